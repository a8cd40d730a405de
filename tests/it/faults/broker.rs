//! A broker that is not as it should be, under the running program.

use std::time::Duration;

use refersion_relay_private_broker::{Options, PrivateBroker};
use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, eventually, identify};
use serde_json::Value;
use tokio::time::{interval, timeout};

/// What `/health/ready` says.
async fn health(relay: &Relay) -> (u16, Value) {
    let (status, body) = relay.ops("/health/ready").await.expect("it answers");
    (status, serde_json::from_str(&body).expect("JSON"))
}

#[tokio::test]
async fn a_class_that_is_deleted_or_full_loses_no_event_own_node() {
    const EVENTS: usize = 6;
    let node = PrivateBroker::start_with(Options { management: true, ..Options::default() }).await.expect("a node");
    let refersion = Refersion::start().await;
    let api = format!("management_url = \"{}\"", node.management_url().expect("it was asked for"));
    let config = Config::new(&node.url(), refersion.url(), &[("queue", &api)]);
    let policy = async |name: &str, queue: &str, definition: &str| {
        let pattern = format!("^{}\\.{queue}$", config.prefix);
        node.ctl(&["set_policy", name, &pattern, definition, "--apply-to", "queues"]).await.expect("it is set");
    };
    policy("gone", "retry\\.1h", r#"{"expires":3600000}"#).await;
    let relay = Relay::start("run", &config).await;
    refersion.fail(Operation::New, "refused", None, Fault::NoContent);
    let refuse = async |name: &str| {
        assert_eq!(relay.post(1, identify(&format!("refused-{name}@example.com"))).await.status, 202);
    };
    let rejected = format!("{}.dead.rejected", config.prefix);
    let words = ["policy gone undoes", "expires = 3600000", &format!("{}.retry.1h", config.prefix)];
    eventually("the policy is named", || async { words.iter().all(|word| relay.log().contains(word)) }).await;

    node.ctl(&["delete_queue", &rejected]).await.expect("it is deleted");
    refuse("deleted").await;
    let again = "refersion_relay_queue_declared_again_total";
    eventually("it is there again", || async { relay.metric(again).await == 1 }).await;
    eventually("the letter is somewhere", || async { config.dead_letters().await.len() == 1 }).await;
    let first = config.dead_letters().await;
    assert!(relay.log().contains(&format!("declared again: {rejected}")));

    policy("full", "dead\\.rejected", r#"{"max-length":1}"#).await;
    for number in 1..EVENTS {
        refuse(&number.to_string()).await;
    }

    eventually("it is said", || async { health(&relay).await.1["stuck"][0].is_string() }).await;
    let (status, body) = health(&relay).await;
    assert_eq!((status, &body["ready"]), (200, &Value::Bool(true)), "a restart would mend nothing");
    let said = body["stuck"][0].as_str().expect("words");
    assert!(said.contains(&rejected) && said.contains("cannot be moved"), "{said}");
    let stuck = r#"refersion_relay_queue_moves_stuck{to="dead"}"#;
    assert!(0 < relay.metric(stuck).await);
    assert_eq!(relay.log().matches("no event can be moved to").count(), 1, "once");
    // Whoever is not about to die goes on.
    assert_eq!(relay.post(1, identify("fine@example.com")).await.status, 202);
    eventually("fine is there", || async { refersion.statuses("fine@example.com").len() == 1 }).await;

    node.ctl(&["clear_policy", "full"]).await.expect("it is gone");

    eventually("all are there", || async { config.dead_letters().await.len() == EVENTS }).await;
    eventually("nothing is stuck", || async { relay.metric(stuck).await == 0 }).await;
    assert_eq!(health(&relay).await.1["stuck"], Value::Array(Vec::new()));
    let letters = config.dead_letters().await;
    let ids: std::collections::BTreeSet<_> = letters.iter().map(|letter| letter["message_id"].to_string()).collect();
    assert_eq!((letters.len(), ids.len()), (EVENTS, EVENTS), "each is there once");
    assert!(
        letters.iter().filter(|letter| letter["class"] == "rejected").count() >= EVENTS - 1,
        "{first:?} {letters:?}"
    );
}

#[tokio::test]
async fn a_broker_without_memory_pauses_doors_and_workers_and_both_go_on_own_node() {
    const WAITING: usize = 10;
    let node = PrivateBroker::start().await.expect("a node");
    let refersion = Refersion::start().await;
    let config = Config::new(&node.url(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    assert!(relay.log().contains("RabbitMQ's policies were not looked at"), "said once, at the start");
    refersion.fail(Operation::New, "waiting@", None, Fault::status(500, None));
    let waiting: Vec<_> = (0..WAITING).map(|number| format!("waiting@{number}.example.com")).collect();
    for email in &waiting {
        assert_eq!(relay.post(1, identify(email)).await.status, 202);
    }
    eventually("all were tried", || async { WAITING <= refersion.count(Operation::New) }).await;

    node.ctl(&["set_vm_memory_high_watermark", "0.0001"]).await.expect("an alarm");

    // The broker tells a connection of the alarm when it next publishes.
    assert_eq!(relay.post(1, identify("later@example.com")).await.status, 503);
    let (status, body) = health(&relay).await;
    assert_eq!(status, 503, "{body}");
    assert!(body["queue"].as_str().expect("words").contains("memory"), "{body}");
    assert_eq!(relay.metric("refersion_relay_queue_blocked").await, 1);
    // Some calls may have been under way; each event would be tried again within this time.
    let calls = refersion.count(Operation::New);
    let more = async {
        let mut ticks = interval(Duration::from_millis(50));
        while refersion.count(Operation::New) < calls + WAITING / 2 {
            ticks.tick().await;
        }
    };
    assert!(timeout(Duration::from_secs(8), more).await.is_err(), "the worker does not pause");

    refersion.simulator.clear_faults();
    node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.expect("the end of the alarm");

    relay.until_ready().await;
    assert_eq!(relay.post(1, identify("later@example.com")).await.status, 202);
    for email in waiting.iter().map(String::as_str).chain(["later@example.com"]) {
        eventually("everybody is there", || async { refersion.statuses(email).len() == 1 }).await;
    }
    assert_eq!(config.dead_letters().await.len(), 0);
}
