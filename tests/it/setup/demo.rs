use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use refersion_relay_tests::{Output, PATIENCE, program};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// A machine that has this program and nothing else.
struct Machine {
    temporary: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { temporary: TempDir::new().expect("a folder") }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.env_clear().env("PATH", "").env("TMPDIR", self.temporary.path()).current_dir(self.temporary.path());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let output = tokio::time::timeout(PATIENCE, self.command(arguments).output()).await;
        output.expect("it ends").expect("the program starts").into()
    }

    /// Runs a command line as a shell does.
    async fn shell(&self, line: &str) -> Output {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).env_clear().env("TMPDIR", self.temporary.path()).stdin(Stdio::null());
        command.output().await.expect("a shell").into()
    }

    /// What is left in the folder for temporary files.
    fn leftovers(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.temporary.path()).expect("the folder is ours");
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).expect("one JSON document")
}

fn sum(of: &Value) -> u64 {
    of.as_object().expect("counts").values().map(|count| count.as_u64().expect("a count")).sum()
}

#[tokio::test]
async fn it_needs_nothing_else_on_the_machine_and_leaves_nothing_behind() {
    let machine = Machine::new();

    let output = machine.run(&["demo"]).await;

    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("everything came out as it should"), "{}", output.stdout);
    for part in [
        "  202  22 events",
        "  401  ",
        "  413  ",
        "  501  ",
        "samir@example.com",
        "rejected    3e931f6b-7544-…",
        "unverified  b2f6c3de-5d0a-…",
    ] {
        assert!(output.stdout.contains(part), "{part} is not in:\n{}", output.stdout);
    }
    let here = program().display().to_string();
    let wide = output.stdout.lines().find(|line| 100 < line.chars().count() && !line.contains(&here));
    assert_eq!(wide, None, "a line is wider than a page");
    assert!(output.stderr.lines().any(|line| line.starts_with("  202  identify")), "{}", output.stderr);
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn its_json_is_one_document_whose_sums_agree() {
    let output = Machine::new().run(&["demo", "--json"]).await;

    assert_eq!(output.code, Some(0), "{output:?}");
    let report = json(&output);
    assert_eq!(report["held"], true);
    let expectations = report["expectations"].as_array().expect("an array");
    assert!(50 < expectations.len() && expectations.iter().all(|it| it["held"] == true), "{expectations:#?}");
    let (sent, ledger, outcomes) = (&report["sent"], &report["ledger"], &report["outcomes"]);
    let number = |of: &Value| of.as_u64().expect("a number");
    assert_eq!(number(&sent["events"]), number(&sent["accepted"]) + sum(&sent["refused"]) + sum(&sent["ignored"]));
    // A delete by a userId goes on as another one, with the address.
    let completed = number(&outcomes["completed"]);
    assert_eq!(completed, 1);
    assert_eq!(number(&sent["accepted"]) + completed, number(&ledger["accepted"]));
    let ends = ["delivered", "ignored", "dropped", "dead", "waiting"];
    assert_eq!(number(&ledger["accepted"]), ends.iter().map(|end| number(&ledger[end])).sum::<u64>());
    assert_eq!(number(&ledger["delivered"]), sum(&outcomes["delivered"]) + completed);
    assert_eq!(ledger["ignored"], outcomes["copies"]);
    assert_eq!(number(&ledger["dead"]), sum(&outcomes["dead_lettered"]));
    assert_eq!(number(&ledger["dead"]), report["dead_letters"].as_array().expect("an array").len() as u64);
}

#[tokio::test]
async fn what_it_keeps_works_with_the_commands_it_prints() {
    let machine = Machine::new();

    let output = machine.run(&["demo", "--keep", "--json"]).await;

    assert_eq!(output.code, Some(0), "{output:?}");
    let report = json(&output);
    let kept = report["next"]["kept"].as_str().expect("a folder");
    assert_eq!(Path::new(kept).parent(), Some(machine.temporary.path()));
    let printed: Vec<_> = report["next"]["commands"].as_array().expect("an array").iter().collect();
    let line = |part: &str| {
        let mut lines = printed.iter().map(|next| next["command"].as_str().expect("a text"));
        lines.find(|line| line.contains(part)).expect("it is printed").to_owned()
    };

    let letters = json(&machine.shell(&format!("{} --json", line(" dlq list "))).await);
    let ids = |letters: &Value| -> Vec<_> {
        letters.as_array().expect("an array").iter().map(|letter| letter["id"].clone()).collect()
    };
    assert_eq!((ids(&letters).len(), ids(&letters)), (4, ids(&report["dead_letters"])));
    let letter = json(&machine.shell(&format!("{} --json", line(" dlq show "))).await);
    assert_eq!(
        (&letter["message_id"], &letter["class"]),
        (&"3e931f6b-7544-4201-83e3-73233a3a5f23".into(), &"rejected".into())
    );
    // Refersion is gone, or somebody else's.
    let check = machine.shell(&line(" check ")).await;
    for part in ["ok   queue: ", "ok   conservation: 33 accepted", "account initech"] {
        assert!(check.stdout.contains(part), "{part} is not in:\n{}", check.stdout);
    }
    assert!(!check.stdout.contains("WARN configuration"), "others can read it: {}", check.stdout);
    let replay = machine.shell(&line(" dlq replay ")).await;
    assert!(replay.code == Some(0) && replay.stdout.contains("1 dead letter was sent again"), "{replay:?}");
}

#[tokio::test]
async fn it_can_be_told_what_to_keep_it_in_and_overwrites_nothing() {
    let machine = Machine::new();
    let folder = machine.temporary.path().join("a folder/below");
    let keep = format!("--keep={}", folder.display());

    let first = machine.run(&["demo", &keep]).await;
    let before = std::fs::read(folder.join("relay.db")).expect("it is kept");
    let second = machine.run(&["demo", &keep]).await;

    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.stdout.contains(&format!("--config '{}", folder.display())), "{}", first.stdout);
    assert_eq!((second.code, second.stderr.lines().count()), (Some(2), 1), "{second:?}");
    assert!(second.stderr.contains("relay.toml") && second.stdout.is_empty(), "{second:?}");
    assert_eq!(std::fs::read(folder.join("relay.db")).expect("it is kept"), before);
}

#[tokio::test]
async fn an_interrupted_demo_ends_in_good_order() {
    let machine = Machine::new();
    let mut child = machine.command(&["demo", "--json"]).spawn().expect("the program starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped")).lines();
    // Refersion has asked for a second's pause by then, so it cannot have ended yet.
    while let Ok(Some(line)) = stderr.next_line().await
        && !line.starts_with("working")
    {}

    let pid = child.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.expect("kill is there").success());
    let rest = async { while let Ok(Some(_)) = stderr.next_line().await {} };
    let ended = tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(rest, child.wait_with_output()).1 });
    let output: Output = ended.await.expect("it ends soon").expect("it is ours").into();

    assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output:?}");
    assert_eq!(machine.leftovers(), Vec::<String>::new());
}
