//! What commands print, and what becomes of it when it cannot be written.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use refersion_relay_tests::{Config, Output, identify, program};
use tokio::process::Command;

/// A queue in a file with one dead letter in it. Nobody works it.
async fn with_a_letter() -> Config {
    let config = Config::embedded("http://127.0.0.1:1/v2", &[]);
    let incomplete = br#"{"type":"identify","traits":{"email":"one@example.com"}}"#;
    let enqueued = config.command_with_input(&["enqueue", "-", "--account", "acme"], incomplete).await;
    assert_eq!(enqueued.code, Some(0), "{enqueued:?}");
    config
}

/// Runs a command whose standard output goes there.
async fn printing(config: &Config, arguments: &[&str], stdout: Stdio) -> Output {
    let mut command = Command::new(program());
    command.env("RELAY_CONFIG", config.path()).args(arguments).stdin(Stdio::null()).stdout(stdout).kill_on_drop(true);
    command.stderr(Stdio::piped());
    command.spawn().expect("the program starts").wait_with_output().await.expect("it is ours").into()
}

fn full() -> File {
    File::options().write(true).open("/dev/full").expect("Linux has it")
}

const PRINTING: [&[&str]; 16] = [
    &["dlq", "list"],
    &["dlq", "list", "--json"],
    &["dlq", "list", "--show-body"],
    &["dlq", "stats"],
    &["dlq", "stats", "--json"],
    &["dlq", "export"],
    &["dlq", "export", "--events"],
    &["dlq", "replay", "--class", "invalid"],
    &["dlq", "drop", "--class", "invalid", "--json"],
    &["check"],
    &["check", "--json"],
    &["enqueue", "/dev/null", "--account", "acme", "--json"],
    &["demo", "--json"],
    &["simulate", "--listen", "127.0.0.1:0"],
    &["--help"],
    &["--version"],
];

#[tokio::test]
async fn no_command_takes_a_full_disk_for_a_success() {
    let config = with_a_letter().await;
    for arguments in PRINTING {
        let output = printing(&config, arguments, full().into()).await;
        assert_eq!(output.code, Some(1), "{arguments:?}: {output:?}");
        assert!(output.stderr.contains("No space left on device"), "{arguments:?}: {output:?}");
    }
    let read_only = File::open("/dev/null").expect("it is there");
    let output = printing(&config, &["dlq", "stats"], read_only.into()).await;
    assert!(output.code == Some(1) && output.stderr.contains("standard output"), "nobody may write there: {output:?}");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let config = with_a_letter().await;
    let endless = ["check", "demo", "simulate"];
    for arguments in PRINTING.into_iter().filter(|arguments| !endless.contains(&arguments[0])) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = printing(&config, arguments, writer.into()).await;
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
        assert!(!output.stderr.to_lowercase().contains("pipe"), "{arguments:?}: {output:?}");
    }
}

#[tokio::test]
async fn a_command_does_its_work_although_nobody_can_be_told() {
    let config = with_a_letter().await;
    let mut command = Command::new(program());
    command.env("RELAY_CONFIG", config.path()).args(["dlq", "drop", "--class", "invalid", "--yes"]);
    let output = command.stdin(Stdio::null()).stderr(full()).output().await.expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(config.dead_letters().await.is_empty());
}

#[tokio::test]
async fn what_was_done_is_said_somewhere_when_it_cannot_be_printed() {
    let config = with_a_letter().await;
    let dropped = printing(&config, &["dlq", "drop", "--class", "invalid", "--yes", "--json"], full().into()).await;
    assert_eq!(dropped.code, Some(1), "{dropped:?}");
    assert!(dropped.stderr.contains("1 dead letter was deleted"), "{dropped:?}");
}

#[tokio::test]
async fn an_exported_file_is_for_its_owner_only_and_standard_output_is_taken_as_it_is() {
    let config = with_a_letter().await;
    let exported = config.folder().join("letters");
    let path = exported.to_str().expect("UTF-8");
    let mode = || exported.metadata().expect("there").permissions().mode() & 0o777;

    std::fs::write(&exported, "what was there, which is longer than a letter. ".repeat(99)).expect("written");
    std::fs::set_permissions(&exported, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let output = config.command(&["dlq", "export", "--output", path]).await;
    assert!(output.code == Some(0) && output.stderr.contains("was open to others (644)"), "{output:?}");
    assert!(output.stderr.contains("1 dead letter was written, 1 of 1 was looked at"), "{output:?}");
    assert_eq!(mode(), 0o600);
    let text = std::fs::read_to_string(&exported).expect("there");
    assert!(text.lines().count() == 1 && text.contains("one@example.com"), "{text}");

    std::fs::remove_file(&exported).expect("it is there");
    assert_eq!(config.command(&["dlq", "export", "--output", path]).await.code, Some(0));
    assert_eq!(mode(), 0o600, "a new one");

    let piped = config.command(&["dlq", "export", "--output", "/dev/stdout"]).await;
    assert!(piped.code == Some(0) && piped.stdout.contains("one@example.com"), "{piped:?}");
    let other = config.folder().join("other");
    std::fs::hard_link(&exported, &other).expect("linked");
    let refused = config.command(&["dlq", "export", "--output", path]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("hard link"), "{refused:?}");
}

#[tokio::test]
async fn bytes_of_strangers_cannot_steer_a_terminal() {
    let config = Config::embedded("http://127.0.0.1:1/v2", &[]);
    let event = String::from_utf8(identify("one@example.com")).expect("text");
    let incomplete =
        "{\"type\":\"identify\",\"messageId\":\"a\u{9b}2Jb\",\"traits\":{\"email\":\"\u{202e}\u{7f}\u{9b}31m\"}}";
    let lines = format!("{event}\n{incomplete}\n");
    let enqueued = config.command_with_input(&["enqueue", "-", "--account", "acme"], lines.as_bytes()).await;
    assert_eq!(enqueued.code, Some(0), "{enqueued:?}");
    let letters = config.dead_letters().await;
    let id = letters[0]["id"].as_str().expect("an id");

    for arguments in [
        &["dlq", "list", "--show-body"][..],
        &["dlq", "list", "--show-body", "--json"],
        &["dlq", "show", id, "--show-body"],
        &["dlq", "show", id, "--show-body", "--json"],
        &["dlq", "list", "--message-id", "a\u{9b}2Jb"],
        &["enqueue", "/nowhere/\u{1b}]0;x\u{7}\u{202e}", "--account", "acme"],
        &["dlq", "export", "--output", "/nowhere/\u{9b}31m"],
        &["dlq", "list", "--class", "\u{202e}\u{9b}"],
    ] {
        let output = config.command(arguments).await;
        for text in [&output.stdout, &output.stderr] {
            let acted_on = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(acted_on), "{arguments:?}: {text:?}");
        }
        if arguments.contains(&"--json") {
            assert!(serde_json::from_str::<serde_json::Value>(&output.stdout).is_ok(), "{output:?}");
            assert!(output.stdout.contains(r"\u202e"), "{output:?}");
        }
    }
}
