use std::time::SystemTime;

use refersion_relay_deadletter::{DeadLetters, Entry};
use refersion_relay_queue::Letter;
use serde_json::json;

use super::bodies;
use crate::cli::ListArgs;
use crate::commands::say;
use crate::exit::Exit;

pub(super) async fn list(letters: &DeadLetters, args: &ListArgs) -> Result<(), Exit> {
    let selection = args.filter.selection(SystemTime::now());
    // Gathered before anything is printed: nobody else can read the class while `less` waits for a person.
    let mut entries = Vec::new();
    let mut visit = |letter: Letter| entries.push(Entry::new(&letter, bodies(args.show_body)));
    let looked = letters.list(&selection, args.scan.scan(), &mut visit).await.map_err(Exit::failed)?;
    if args.json {
        say!("{}", json!(entries));
    } else {
        entries.iter().for_each(print);
    }
    let more = if looked.seen < looked.total { " (--scan looks at more)" } else { "" };
    eprintln!("{} of {} dead letters were looked at, {} match{more}", looked.seen, looked.total, entries.len());
    Ok(())
}

fn print(entry: &Entry) {
    let account = entry.account.as_deref().unwrap_or("-");
    let (class, reason) = (entry.class, &entry.reason);
    say!(
        "{}  {class:<10} {reason:<15} {account:<12} {:<8} {}  {}",
        entry.id,
        entry.kind,
        entry.dead_at.as_deref().unwrap_or("-"),
        entry.message_id
    );
    if let Some(body) = entry.body.as_ref().or(entry.body_base64.as_ref()) {
        say!("    {body}");
    }
}
