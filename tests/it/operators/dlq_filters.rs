//! Which dead letters a command means, and what it counts.

use std::time::Duration;

use refersion_relay_tests::{Admin, Config, DeadLetter, shared_broker};
use serde_json::Value;

const HOUR: Duration = Duration::from_hours(1);

/// Five letters that differ in everything.
async fn buried() -> (Config, Admin) {
    let config = Config::new(&shared_broker(), "http://127.0.0.1:9", &[]);
    let admin = Admin::of(&shared_broker(), &config).await;
    admin
        .bury([
            DeadLetter::new("a"),
            DeadLetter { kind: "delete", age: HOUR * 2, ..DeadLetter::new("b") },
            DeadLetter { account: Some("other"), generation: 3, age: HOUR * 50, ..DeadLetter::new("c") },
            DeadLetter { class: "exhausted", reason: "age", age: HOUR * 24 * 9, ..DeadLetter::new("d") },
            DeadLetter { class: "invalid", reason: "incomplete", account: None, ..DeadLetter::new("e") },
        ])
        .await;
    (config, admin)
}

async fn json(config: &Config, arguments: &[&str]) -> Value {
    let output = config.command(&[&["dlq"], arguments, &["--json"]].concat()).await;
    assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    serde_json::from_str(&output.stdout).expect("one JSON document")
}

/// The message ids that `dlq list` shows with these options, in alphabetical order.
async fn listed(config: &Config, filter: &[&str]) -> String {
    let letters = json(config, &[&["list"], filter].concat()).await;
    let ids = letters.as_array().expect("an array").iter().map(|letter| letter["message_id"].as_str().expect("an id"));
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    ids.concat()
}

#[tokio::test]
async fn every_filter_says_which_letters_are_meant() {
    let (config, _admin) = buried().await;
    let all = json(&config, &["list"]).await;
    let id = |message_id: &str| -> String {
        let letter = all.as_array().expect("an array").iter().find(|letter| letter["message_id"] == message_id);
        letter.expect("it is there")["id"].as_str().expect("an id").to_owned()
    };
    let (a, d) = (id("a"), id("d"));
    for (filter, expected) in [
        (vec![], "abcde"),
        (vec!["--class", "rejected"], "abc"),
        (vec!["--class", "exhausted", "--class", "invalid", "--class", "invalid"], "de"),
        (vec!["--reason", "refused"], "abc"),
        (vec!["--reason", "age", "--reason", "incomplete"], "de"),
        (vec!["--account", "other"], "c"),
        (vec!["--account", "other", "--account", "acme"], "abcd"),
        (vec!["--type", "delete"], "b"),
        (vec!["--message-id", "b", "--message-id", "d"], "bd"),
        (vec!["--generation", "3"], "c"),
        (vec!["--generation", "0", "--account", "other"], ""),
        (vec!["--older-than", "1h 30m"], "bcd"),
        (vec!["--newer-than", "1h 30m"], "ae"),
        (vec!["--older-than", "1h", "--newer-than", "3days"], "bc"),
        (vec![&a, "--id", &d], "ad"),
        (vec![&a, "--type", "delete"], ""),
    ] {
        assert_eq!(listed(&config, &filter).await, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn a_letter_is_found_by_the_id_that_its_sender_wrote() {
    let config = Config::new(&shared_broker(), "http://127.0.0.1:9", &[]);
    let incomplete = r#"{"type":"identify","messageId":"milton's stapler","traits":{"email":"milton@example.com"}}"#;
    let enqueued = config.command_with_input(&["enqueue", "-", "--account", "acme"], incomplete.as_bytes()).await;
    assert_eq!(enqueued.code, Some(0), "{enqueued:?}");

    let found = config.command(&["dlq", "list", "--message-id", "milton's stapler"]).await;
    let shown = found.stdout.split_whitespace().find(|word| word.starts_with("hashed-")).expect("it is hashed");
    let again = config.command(&["dlq", "list", "--message-id", shown]).await;
    let other = config.command(&["dlq", "list", "--message-id", "bill's stapler"]).await;

    assert!(!found.stdout.contains("stapler"), "{found:?}");
    assert_eq!(again.stdout, found.stdout);
    assert!(!other.stdout.contains("hashed-"), "{other:?}");
}

#[tokio::test]
async fn a_listing_says_how_much_it_looked_at() {
    let (config, _admin) = buried().await;

    let some = config.command(&["dlq", "list", "--scan", "2", "--type", "identify"]).await;
    let all = config.command(&["dlq", "list"]).await;

    assert_eq!(some.stdout.lines().count(), 1 + 3, "a header, and the letters: {some:?}");
    assert!(some.stderr.contains("4 of 5 dead letters were looked at, 3 match (--scan looks at more)"), "{some:?}");
    assert!(all.stderr.contains("5 of 5 dead letters were looked at, 5 match\n"), "{all:?}");
}

#[tokio::test]
async fn statistics_are_exact_in_their_totals_and_say_what_the_rest_is_taken_from() {
    let (config, _admin) = buried().await;

    let all = json(&config, &["stats"]).await;
    let some = json(&config, &["stats", "--scan", "1", "--class", "rejected", "--account", "acme"]).await;

    assert_eq!((&all["total"], &all["scanned"], &all["selected"]), (&5.into(), &5.into(), &5.into()));
    assert_eq!(all["by_class"], serde_json::json!({"rejected": 3, "exhausted": 1, "invalid": 1}));
    assert_eq!(all["by_account"], serde_json::json!({"acme": 3, "other": 1, "": 1}));
    assert_eq!(all["by_type"], serde_json::json!({"identify": 4, "delete": 1}));
    assert_eq!(all["by_reason"], serde_json::json!({"refused": 3, "age": 1, "incomplete": 1}));
    let ages = serde_json::json!({"under_an_hour": 2, "under_a_day": 1, "under_a_week": 1, "under_30_days": 1});
    assert_eq!(all["by_age"], ages);
    let classes = all["classes"].as_array().expect("an array");
    let totals: Vec<_> = classes.iter().map(|class| (class["class"].as_str(), class["total"].as_u64())).collect();
    assert!(totals.contains(&(Some("rejected"), Some(3))) && totals.contains(&(Some("poison"), Some(0))), "{totals:?}");
    assert_eq!((&some["total"], &some["scanned"], &some["selected"]), (&3.into(), &1.into(), &1.into()));
    let text = config.command(&["dlq", "stats"]).await;
    for line in ["rejected            3  looked at 3, of which 3 match", "  by age: under an hour 2, under a day 1"] {
        assert!(text.stdout.contains(line), "{line}: {}", text.stdout);
    }
    assert!(!text.stdout.contains("example.com"));
}

#[tokio::test]
async fn whoever_forgets_to_say_which_letters_changes_nothing() {
    let (config, _admin) = buried().await;
    let unclear: [&[&str]; 8] = [
        &["replay", "--yes"],
        &["drop", "--yes"],
        &["drop", "--yes", "--rate", "10", "--in-flight", "5"],
        &["replay", "--class", "rejected", "--in-flight", "0", "--yes"],
        &["replay", "--class", "rejected", "--in-flight", "1001", "--yes"],
        &["drop", "--class", "rejected", "--scan", "65536", "--yes"],
        &["drop", "--older-than", "soon", "--yes"],
        &["drop", "--account", "NO SUCH", "--yes"],
    ];
    for arguments in unclear {
        let output = config.command(&[&["dlq"], arguments].concat()).await;
        assert_eq!(output.code, Some(2), "{arguments:?}: {output:?}");
    }
    assert_eq!(listed(&config, &[]).await, "abcde");
}
