use std::fmt::Write as _;
use std::path::Path;

use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, eventually, identify};
use serde_json::Value;

#[tokio::test]
async fn a_second_worker_stands_by_and_goes_on_when_the_first_is_killed() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let ingest = Relay::start("ingest", &config).await;
    let first = Relay::start("worker", &config).await;
    assert_eq!(ingest.post(1, identify("one@example.com")).await.status, 202);
    eventually("the first one works", || async { refersion.with_email("one@example.com").len() == 1 }).await;
    let second = Relay::start("worker", &config).await;
    eventually("the second one says that it stands by", || async { second.log().contains("standing by") }).await;
    assert!(second.is_ready().await, "standing by is being ready");
    assert_eq!(ingest.post(1, identify("two@example.com")).await.status, 202);
    eventually("still the first one works", || async { refersion.with_email("two@example.com").len() == 1 }).await;
    assert_eq!(second.metric("refersion_relay_worker_deliveries_total").await, 0);
    // What was called and is not settled would be called again.
    eventually("both are settled", || async { config.ledger().await["delivered"] == 2 }).await;

    first.kill().await;

    assert_eq!(ingest.post(1, identify("three@example.com")).await.status, 202);
    eventually("the second one works", || async { refersion.with_email("three@example.com").len() == 1 }).await;
    assert_eq!(second.metric("refersion_relay_worker_deliveries_total").await, 1);
    assert_eq!(refersion.count(Operation::New), 3, "nobody called twice");
}

#[tokio::test]
async fn commands_work_beside_a_running_relay() {
    const LINES: usize = 3_000;
    let refersion = Refersion::start().await;
    let no = Fault::status(422, Some(r#"{"errors":["Value exceed the char limit'"]}"#));
    // A rule looks at the whole body, in which there is a drawn password too: a short word could be in that.
    refersion.fail(Operation::New, "rejected-", None, no);
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let file = config.folder().join("events.ndjson");
    let mut text = String::new();
    for n in 0..LINES {
        let email = format!("{}{n}@example.com", if n % 100 == 0 { "rejected-" } else { "good" });
        writeln!(text, "{}", String::from_utf8_lossy(&identify(&email))).expect("a String takes everything");
    }
    std::fs::write(&file, text).expect("the folder is ours");

    let enqueue = config.begin(&["enqueue", path(&file), "--account", "acme", "--json"]);
    let posts = (0..100).map(|n| {
        let relay = &relay;
        async move { assert_eq!(relay.post(1, identify(&format!("posted{n}@example.com"))).await.status, 202) }
    });
    futures_util::future::join_all(posts).await;
    let enqueued = enqueue.output().await;
    assert_eq!(enqueued.code, Some(0), "{enqueued:?}");
    eventually("the refused ones are dead", || async { config.dead_letters().await.len() == LINES / 100 }).await;

    refersion.simulator.clear_faults();
    let one = config.dead_letters().await[0]["id"].as_str().expect("an id").to_owned();
    let shown = config.command(&["dlq", "show", &one, "--json"]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let dropped = config.command(&["dlq", "drop", &one, "--yes"]).await;
    assert_eq!(dropped.code, Some(0), "{dropped:?}");
    let replayed = config.command(&["dlq", "replay", "--class", "rejected", "--yes", "--json"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");

    let affiliates = LINES - 1 + 100;
    eventually("all but the dropped one exist", || async { refersion.simulator.affiliates().len() == affiliates })
        .await;
    eventually("nothing waits any more", || async { config.ledger().await["waiting"] == 0 }).await;
    let ledger = config.ledger().await;
    let expected = [("accepted", LINES + 100), ("delivered", affiliates), ("ignored", 0), ("dropped", 1), ("dead", 0)];
    for (key, number) in expected {
        assert_eq!(ledger[key], number, "{key}: {ledger}");
    }
    let checked = config.command(&["check"]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("ok   conservation: "), "{}", checked.stdout);
}

#[tokio::test]
async fn two_who_replay_a_class_at_once_send_each_letter_once() {
    const LETTERS: usize = 400;
    let refersion = Refersion::start().await;
    let no = Fault::status(422, Some(r#"{"errors":["Value exceed the char limit'"]}"#));
    refersion.fail(Operation::New, "", None, no);
    let config = Config::embedded(refersion.url(), &[]);
    let mut relay = Relay::start("run", &config).await;
    let posts = (0..LETTERS).map(|n| {
        let relay = &relay;
        async move { assert_eq!(relay.post(1, identify(&format!("p{n}@example.com"))).await.status, 202) }
    });
    futures_util::future::join_all(posts).await;
    eventually("all are dead", || async { config.ledger().await["dead"] == LETTERS }).await;
    assert!(relay.terminate().await.success());

    let arguments = ["dlq", "replay", "--class", "rejected", "--yes", "--json"];
    let (one, other) = tokio::join!(config.command(&arguments), config.command(&arguments));

    for output in [&one, &other] {
        // What the other one had taken before it was looked at is said.
        let fine = output.code == Some(0)
            || output.stderr.contains("letters were looked at")
            || output.stderr.contains("was looked at");
        assert!(fine, "{output:?}");
    }
    let acted = |output: &refersion_relay_tests::Output| {
        let document: Value = serde_json::from_str(&output.stdout).expect("a JSON document");
        document["done"]["replayed"].as_u64().expect("a number")
    };
    assert_eq!(acted(&one) + acted(&other), LETTERS as u64);
    let ledger = config.ledger().await;
    assert_eq!((&ledger["waiting"], &ledger["dead"]), (&Value::from(LETTERS), &Value::from(0)));
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
