use std::time::SystemTime;

use refersion_relay_deadletter::{DeadLetters, Entry};
use refersion_relay_queue::Letter;
use serde_json::json;

use super::bodies;
use crate::cli::ListArgs;
use crate::commands::say;
use crate::exit::Exit;

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
        say!("{}", json!(entries));
    } else {
        entries.iter().for_each(print);
    }
    let more = if looked.seen < looked.total { " (--scan looks at more)" } else { "" };
    eprintln!("{} of {} dead letters were looked at, {} match{more}", looked.seen, looked.total, entries.len());
    if 0 < without_body {
        let most = MOST_SHOWN / 1024 / 1024;
        eprintln!(
            "{without_body} events are not shown, since all of them are more than {most} MiB: `dlq export` writes them"
        );
    }
    Ok(())
}

fn print(entry: &Entry) {
    let account = entry.account.as_deref().unwrap_or("-");
    let (class, reason) = (entry.class, &entry.reason);
    say!(
        "{}  {class:<9} {reason:<15} {account:<12} {:<8} {}  {}",
        entry.id,
        entry.kind,
        entry.dead_at.as_deref().unwrap_or("-"),
        entry.message_id
    );
    if let Some(body) = entry.body.as_ref().or(entry.body_base64.as_ref()) {
        say!("    {body}");
    }
}
