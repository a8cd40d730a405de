use std::time::SystemTime;

use refersion_relay_deadletter::{DeadLetters, Entry};
use refersion_relay_queue::Letter;
use serde_json::json;

use super::bodies;
use super::text::{body, table};
use crate::cli::ListArgs;
use crate::exit::Exit;
use crate::output::output::{say, tell};
use crate::output::words::{counted, form};

const HEADER: [&str; 8] = ["ID", "CLASS", "REASON", "ACCOUNT", "TYPE", "DEAD SINCE", "MESSAGE ID", "ERROR"];

/// Bytes of bodies that are shown. They are in memory together, and one can be as large as the broker takes it.
const MOST_SHOWN: usize = 64 * 1024 * 1024;

pub(super) async fn list(letters: &DeadLetters, args: &ListArgs) -> Result<(), Exit> {
    let selection = args.filter.selection(SystemTime::now());
    // Gathered before anything is printed: nobody else can read the class while `less` waits for a person.
    let mut entries = Vec::new();
    let (mut room, mut without_body) = (MOST_SHOWN, 0_u64);
    let mut visit = |letter: Letter| {
        let size = letter.message.body.len();
        let is_shown = args.show_body && size <= room;
        room -= if is_shown { size } else { 0 };
        without_body += u64::from(args.show_body && !is_shown);
        entries.push(Entry::new(&letter, bodies(is_shown)));
    };
    let looked = letters.list(&selection, args.scan.scan(), &mut visit).await.map_err(Exit::failed)?;
    if args.json {
        say!("{}", json!(entries))?;
    } else if !entries.is_empty() {
        say!("{}", text(&entries).join("\n"))?;
    }
    let more = if looked.seen < looked.total { " (--scan looks at more)" } else { "" };
    let (seen, matching) = (looked.seen, entries.len());
    let total = counted(looked.total, "dead letter");
    let (were, matches) = (form(seen, "was", "were"), form(matching as u64, "matches", "match"));
    tell!("{seen} of {total} {were} looked at, {matching} {matches}{more}");
    if 0 < without_body {
        let (events, are) = (counted(without_body, "event"), form(without_body, "is", "are"));
        let most = MOST_SHOWN / 1024 / 1024;
        tell!("{events} {are} not shown, since all of them are more than {most} MiB: `dlq export` writes them");
    }
    Ok(())
}

/// A line for each letter, and its event below it where that is to be seen.
fn text(entries: &[Entry]) -> Vec<String> {
    let rows = entries.iter().map(|entry| {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        [
            entry.id.clone(),
            entry.class.to_owned(),
            entry.reason.clone(),
            or_none(&entry.account),
            entry.kind.clone(),
            or_none(&entry.dead_at),
            entry.message_id.clone(),
            or_none(&entry.error),
        ]
    });
    let mut lines = table(&HEADER, rows).into_iter();
    let header = lines.next();
    let letters = lines.zip(entries).flat_map(|(line, entry)| std::iter::once(line).chain(body(entry)));
    header.into_iter().chain(letters).collect()
}
