//! Replaying, dropping and exporting dead letters in number.

use std::time::{Duration, Instant};

use refersion_relay_tests::{Admin, Command, Config, DeadLetter, eventually, shared_broker};
use serde_json::Value;

/// As many letters of class `rejected`, every tenth a delete.
fn letters(count: usize) -> impl Iterator<Item = DeadLetter> {
    (0..count).map(|n| DeadLetter {
        kind: if n.is_multiple_of(10) { "delete" } else { "identify" },
        subject: format!("subject-{}", n % 7),
        ..DeadLetter::new(&format!("m{n}"))
    })
}

fn ids(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("m{n}")).collect()
}

async fn buried(count: usize) -> (Config, Admin) {
    let config = Config::new(&shared_broker(), "http://127.0.0.1:9", &[]);
    let admin = Admin::of(&shared_broker(), &config).await;
    admin.bury(letters(count)).await;
    (config, admin)
}

async fn until_some_are_replayed(admin: &Admin) {
    eventually("some are replayed", || async { 3 <= admin.replayed().await }).await;
}

async fn interrupted(command: Command) -> Value {
    command.signal("INT").await;
    let output = command.output().await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("interrupted"), "{output:?}");
    serde_json::from_str(&output.stdout).expect("one JSON document")
}

#[tokio::test]
async fn a_replay_takes_what_matches_and_keeps_the_rest_in_order() {
    for in_flight in ["1", "200"] {
        let (config, admin) = buried(300).await;

        let plan = config.command(&["dlq", "replay", "--type", "delete", "--scan", "100"]).await;
        let arguments = ["dlq", "replay", "--type", "delete", "--yes", "--json", "--in-flight", in_flight];
        let done = config.command(&arguments).await;

        assert!(plan.stdout.contains("of 300 dead letters, 100 were looked at and 10 would be sent again"), "{plan:?}");
        assert!(plan.stdout.contains("  by age: under an hour 10"), "{plan:?}");
        assert_eq!(done.code, Some(0), "{done:?}");
        let done: Value = serde_json::from_str(&done.stdout).expect("one JSON document");
        assert_eq!((&done["done"]["seen"], &done["done"]["replayed"]), (&300.into(), &30.into()));
        assert_eq!(admin.drain("dead.rejected").await, ids((0..300).filter(|n| n % 10 != 0)), "{in_flight} in flight");
        let replayed = admin.drain_work().await;
        assert_eq!(replayed.len(), 30);
        assert!(replayed.values().all(|copies| *copies == 1), "{replayed:?}");
    }
}

#[tokio::test]
async fn a_drop_needs_a_yes_and_deletes_what_matches() {
    let (config, admin) = buried(50).await;

    let plan = config.command(&["dlq", "drop", "--type", "identify"]).await;
    assert_eq!(plan.code, Some(0), "{plan:?}");
    assert!(plan.stdout.contains("45 would be deleted") && plan.stderr.contains("--yes"), "{plan:?}");
    assert_eq!(admin.ready("dead.rejected").await, 50);
    let done = config.command(&["dlq", "drop", "--type", "identify", "--yes"]).await;

    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("45 dead letters were deleted, 50 of 50 were looked at"), "{done:?}");
    assert_eq!(admin.drain("dead.rejected").await, ids((0..50).step_by(10)));
    assert_eq!(admin.replayed().await, 0);
}

#[tokio::test]
async fn a_letter_without_an_account_is_counted_and_kept() {
    let (config, admin) = buried(0).await;
    admin.bury([DeadLetter { account: None, ..DeadLetter::new("nobodys") }, DeadLetter::new("ours")]).await;

    let done = config.command(&["dlq", "replay", "--class", "rejected", "--yes"]).await;

    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("1 of them names no account"), "{done:?}");
    assert!(done.stdout.contains("1 dead letter was sent again, 2 of 2 were looked at"), "{done:?}");
    assert!(done.stdout.contains("1 names no account and stayed"), "{done:?}");
    assert_eq!(admin.drain("dead.rejected").await, ["nobodys"]);
}

#[tokio::test]
async fn a_letter_that_is_too_large_for_a_work_queue_is_counted_and_kept() {
    let (config, admin) = buried(0).await;
    let just = DeadLetter { body: vec![b'x'; 512 * 1024], ..DeadLetter::new("just") };
    let large = DeadLetter { body: vec![b'x'; 512 * 1024 + 1], ..DeadLetter::new("large") };
    admin.bury([large, just]).await;

    let plan = config.command(&["dlq", "replay", "--class", "rejected"]).await;
    let done = config.command(&["dlq", "replay", "--class", "rejected", "--yes", "--json"]).await;
    let again = config.command(&["dlq", "replay", "--class", "rejected", "--yes"]).await;

    assert!(plan.stdout.contains("1 of them is larger than 512 KiB"), "{plan:?}");
    let json: Value = serde_json::from_str(&done.stdout).expect("one JSON document");
    assert_eq!((&json["plan"]["too_large"], &json["done"]["too_large"]), (&1.into(), &1.into()), "{json}");
    assert_eq!(json["done"]["replayed"], 1, "{json}");
    assert!(again.stdout.contains("1 is larger than 512 KiB and stayed"), "{again:?}");
    assert_eq!((done.code, again.code), (Some(0), Some(0)));
    assert_eq!((admin.drain("dead.rejected").await.len(), admin.replayed().await), (1, 1));
}

#[tokio::test]
async fn an_export_writes_what_matches_and_leaves_everything_in_order() {
    let (config, admin) = buried(40).await;
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("letters.ndjson");

    let to_file = ["dlq", "export", "--type", "delete", "--output", file.to_str().expect("text")];
    let written = config.command(&to_file).await;
    let printed = config.command(&["dlq", "export", "--type", "delete", "--in-flight", "10"]).await;

    assert_eq!((written.code, written.stdout.as_str()), (Some(0), ""), "{written:?}");
    assert!(written.stderr.contains("4 dead letters were written, 40 of 40 were looked at"), "{written:?}");
    let text = std::fs::read_to_string(&file).expect("it was written");
    assert_eq!(printed.stdout, text, "the same letters, from the same order");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let exported: Vec<_> = lines.iter().map(|letter| letter["message_id"].as_str().expect("an id")).collect();
    assert_eq!(exported, ids([0, 10, 20, 30]));
    assert!(lines[0]["body"].as_str().expect("text").contains("m0@example.com"));
    assert_eq!((lines[0]["reason"].as_str(), lines[0]["class"].as_str()), (Some("refused"), Some("rejected")));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600, "personal data");
    assert_eq!(admin.drain("dead.rejected").await, ids(0..40));
}

#[tokio::test]
async fn exported_events_are_one_line_each_and_what_is_no_json_is_said() {
    let (config, admin) = buried(0).await;
    let body = |text: &str| text.as_bytes().to_vec();
    admin
        .bury([
            DeadLetter {
                body: body("{\n  \"type\": \"identify\",\r\n  \"a\": \"x\\ny\"\n}\n"),
                ..DeadLetter::new("a")
            },
            DeadLetter { body: body("{\"type\": oops"), ..DeadLetter::new("b") },
            DeadLetter { body: vec![0xff, 0xfe], class: "malformed", ..DeadLetter::new("c") },
        ])
        .await;

    let events = config.command(&["dlq", "export", "--events"]).await;
    let letters = config.command(&["dlq", "export"]).await;

    assert_eq!(events.code, Some(0), "{events:?}");
    assert_eq!(events.stdout.lines().count(), 1, "{events:?}");
    let event: Value = serde_json::from_str(&events.stdout).expect("JSON");
    assert_eq!(event, serde_json::json!({"type": "identify", "a": "x\ny"}));
    assert!(events.stderr.contains("2 are no JSON"), "{events:?}");
    assert!(letters.stdout.contains(r#""body_base64":"//4=""#) && letters.stdout.lines().count() == 3, "{letters:?}");
}

#[tokio::test]
async fn an_export_that_nobody_reads_stops_and_leaves_everything() {
    let (config, admin) = buried(3_000).await;

    let folder = tempfile::TempDir::new().expect("a folder");
    let full = config.command(&["dlq", "export", "--in-flight", "100", "--output", "/dev/full"]).await;
    let missing = folder.path().join("missing/letters");
    let missing = config.command(&["dlq", "export", "--output", missing.to_str().expect("text")]).await;

    assert_eq!(full.code, Some(1), "{full:?}");
    assert!(full.stderr.contains("cannot write"), "{full:?}");
    assert_eq!(missing.code, Some(1), "{missing:?}");
    let mut left = admin.drain("dead.rejected").await;
    left.sort_by_key(|id| id[1..].parse::<usize>().expect("a number"));
    assert_eq!(left, ids(0..3_000));
}

#[tokio::test]
async fn a_rate_is_kept_and_progress_is_said() {
    let (config, admin) = buried(60).await;
    let begin = Instant::now();

    let slow = config.command(&["dlq", "replay", "--type", "identify", "--rate", "9", "--yes"]).await;
    let took = begin.elapsed();

    assert_eq!(slow.code, Some(0), "{slow:?}");
    assert!(Duration::from_millis(53_000 / 9) <= took, "54 letters took {took:?}");
    let line = slow.stderr.lines().find(|line| line.starts_with("replay: ")).expect("a line of progress");
    assert!(line.contains(" of 60, ") && line.ends_with(" sent again"), "{line}");
    assert_eq!(admin.drain_work().await.len(), 54);
}

#[tokio::test]
async fn an_interrupted_replay_says_what_it_did_and_leaves_the_rest() {
    for in_flight in ["1", "20"] {
        let (config, admin) = buried(500).await;
        let arguments = ["dlq", "replay", "--class", "rejected", "--rate", "50", "--in-flight", in_flight];
        let command = config.begin(&[&arguments[..], &["--yes", "--json"]].concat());
        until_some_are_replayed(&admin).await;

        let done = interrupted(command).await;

        let replayed = admin.drain_work().await;
        assert_eq!(done["done"]["replayed"], replayed.len());
        let mut everything = admin.drain("dead.rejected").await;
        assert_eq!(everything.len() + replayed.len(), 500, "{in_flight} in flight");
        everything.extend(replayed.into_keys());
        everything.sort_by_key(|id| id[1..].parse::<usize>().expect("a number"));
        assert_eq!(everything, ids(0..500));
    }
}

#[tokio::test]
async fn a_second_command_is_told_who_is_at_work_where() {
    let (config, admin) = buried(500).await;
    let first = config.begin(&["dlq", "replay", "--class", "rejected", "--rate", "20", "--yes", "--json"]);
    until_some_are_replayed(&admin).await;

    for second in
        [&["list"][..], &["drop", "--class", "rejected", "--yes"], &["export"], &["replay", "--type", "delete"]]
    {
        let output = config.command(&[&["dlq"], second].concat()).await;
        assert_eq!(output.code, Some(1), "{second:?}: {output:?}");
        let said = "another command is working on the dead letters of class rejected";
        assert!(output.stderr.contains(said), "{second:?}: {output:?}");
    }
    let other = config.command(&["dlq", "list", "--class", "invalid"]).await;
    assert_eq!(other.code, Some(0), "{other:?}");
    let stats = config.command(&["dlq", "stats", "--json"]).await;
    assert_eq!(stats.code, Some(0), "{stats:?}");
    let stats: Value = serde_json::from_str(&stats.stdout).expect("one JSON document");
    let rejected = stats["classes"].as_array().expect("an array").iter().find(|class| class["class"] == "rejected");
    assert_eq!(rejected.expect("it is there")["busy"], true);
    assert!(0 < stats["total"].as_u64().expect("a number"));
    interrupted(first).await;
}
