use std::path::{Path, PathBuf};

use serde::Serialize;

use super::folder::Folder;
use crate::output::words::quoted;

/// What to try after the demo.
#[derive(Debug, Serialize)]
pub(super) struct Next {
    /// The folder that stayed, if one did.
    pub(super) kept: Option<PathBuf>,
    pub(super) commands: Vec<Command>,
}

/// A command line that works as it stands.
#[derive(Debug, Serialize)]
pub(super) struct Command {
    pub(super) command: String,
    pub(super) what: &'static str,
}

impl Next {
    /// `program`: how it was called. `letter`: the id of a dead letter that a replay would mend.
    pub(super) fn new(program: &str, folder: &Folder, keys: &[String], letter: Option<&str>) -> Self {
        let program = quoted(program);
        let command = |arguments: &str, what| Command { command: format!("{program} {arguments}"), what };
        let Folder::Kept(kept) = folder else {
            let commands = vec![
                command("demo --keep", "the same, and the queue stays, to try every other command on"),
                command("demo --json", "the same report for machines"),
                command("init", "makes a configuration of your own, with your keys"),
            ];
            return Self { kept: None, commands };
        };
        let at =
            |arguments: &str, what| command(&format!("{arguments} --config {}", path(&folder.configuration())), what);
        let keys: Vec<_> = keys.iter().map(|key| format!("--key {}", quoted(key))).collect();
        let mut commands = vec![at("dlq list", "the dead letters")];
        if let Some(letter) = letter {
            commands.push(at(&format!("dlq show {letter}"), "one of them, and why"));
            commands.push(at(&format!("dlq replay {letter} --yes"), "sends it again: this one will do now"));
        }
        commands.push(command(
            &format!("simulate {}", keys.join(" ")),
            "a Refersion that knows nobody yet, in a second terminal",
        ));
        commands.push(at("check", "is everything as it should be? (it asks that Refersion)"));
        commands.push(at("run", "works what waits, and takes events in, until Ctrl-C"));
        commands.push(command("init", "makes a configuration of your own, with your keys"));
        Self { kept: Some(kept.clone()), commands }
    }
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_kept_is_named() {
        let gone = Next::new("relay", &Folder::Temporary(tempfile::tempdir().unwrap()), &[], Some("1"));
        assert_eq!(gone.kept, None);
        let commands: Vec<_> = gone.commands.iter().map(|next| next.command.as_str()).collect();
        assert_eq!(commands, ["relay demo --keep", "relay demo --json", "relay init"]);

        let kept = Next::new("relay", &Folder::Kept("/tmp/x".into()), &["pub.sec".to_owned()], Some("12"));
        let commands: Vec<_> = kept.commands.iter().map(|next| next.command.as_str()).collect();
        assert!(commands.contains(&"relay dlq show 12 --config /tmp/x/relay.toml"), "{commands:?}");
        assert!(commands.contains(&"relay simulate --key pub.sec"), "{commands:?}");
    }
}
