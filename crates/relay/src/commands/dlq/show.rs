use anyhow::anyhow;
use refersion_relay_deadletter::{DeadLetters, Entry, visible};
use serde_json::json;

use super::bodies;
use super::text;
use crate::cli::ShowArgs;
use crate::exit::Exit;
use crate::output::output::{say, tell};
use crate::output::words::counted;

pub(super) async fn show(letters: &DeadLetters, args: &ShowArgs) -> Result<(), Exit> {
    let scan = args.scan.scan();
    let found = letters.find(&args.id, &args.classes(), scan).await.map_err(Exit::failed)?;
    let Some(letter) = found else {
        let (id, scanned) = (&args.id, scan.letters);
        let why = anyhow!("no dead letter {id} among the first {scanned} of each class (--scan reads more)");
        return Err(Exit::Failed(why));
    };
    let entry = Entry::new(&letter, bodies(args.show_body));
    if args.json {
        say!("{}", json!(entry))?;
    } else {
        say!("{}", read(&entry).join("\n"))?;
    }
    if !args.json && !args.show_body {
        tell!("--show-body shows the event itself, which is personal data");
    }
    Ok(())
}

/// A line for each thing that is known, and then the event where it is to be seen.
fn read(entry: &Entry) -> Vec<String> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
    let form = if entry.body_base64.is_some() { ", no text, so in base64" } else { "" };
    let lines = [
        ("id", entry.id.clone()),
        ("class", entry.class.to_owned()),
        ("reason", entry.reason.clone()),
        ("error", or_none(&entry.error)),
        ("status", entry.status.map(|status| status.to_string()).unwrap_or_default()),
        ("account", or_none(&entry.account)),
        ("type", entry.kind.clone()),
        ("message id", entry.message_id.clone()),
        ("subject", or_none(&entry.subject)),
        ("generation", entry.generation.to_string()),
        ("attempts", entry.attempts.to_string()),
        ("received", entry.received_at.clone()),
        ("first failed", or_none(&entry.first_failed_at)),
        ("dead since", or_none(&entry.dead_at)),
        ("event", format!("{}{form}", counted(entry.body_bytes as u64, "byte"))),
    ];
    let known = lines.into_iter().filter(|(_, text)| !text.is_empty());
    known.map(|(what, text)| format!("{what:<13} {}", visible(&text))).chain(text::body(entry)).collect()
}

#[cfg(test)]
mod tests {
    use refersion_relay_deadletter::Bodies;
    use refersion_relay_model::{AccountName, Class};
    use refersion_relay_queue::{Death, Headers, Letter, Message};
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn nothing_that_a_stranger_wrote_reaches_the_terminal_or_passes_for_a_line_of_ours() {
        let account = AccountName::try_from("acme").unwrap();
        let mut headers =
            Headers::received("m\x1b[1A1", "ident\u{202e}ify", account, "0123".to_owned(), SystemTime::now());
        let (reason, error) = ("a\nid  forged".to_owned(), Some("\u{9b}2J".to_owned()));
        headers.death = Some(Death { class: Class::Poison, reason, status: None, error, dead_at: None });
        let body = "{\"a\":\"\x1b]52;c;cm0gLXJm\x07\"}\nid  forged\r".into();
        let id = "00112233445566aa".parse().unwrap();
        let letter = Letter { id, class: Class::Poison, message: Message { body, headers } };

        let lines = read(&Entry::new(&letter, Bodies::Shown));

        for line in &lines {
            assert_eq!(visible(line), line.as_str(), "it is as a person may see it");
        }
        assert_eq!(lines.iter().filter(|line| line.starts_with("id")).count(), 1, "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("message id ") && line.contains(r"m\u001b[1A1")), "{lines:?}");
    }
}
