//! Identifies that say what Refersion has been told before.

use refersion_relay_simulator::Operation;
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, shared_broker, with_id};
use serde_json::Value;

const ENDED: &str = "refersion_relay_worker_ended_total";
const KNOWN: &str = r#"refersion_relay_events_delivered_total{how="known"}"#;

/// Both accounts know for an hour what they said; the first one updates.
fn skipping(refersion: &Refersion) -> Config {
    let config = Config::embedded(refersion.url(), &[("worker", "skip_unchanged = \"1h\"")]);
    config.edit("name = \"acme\"\n", "name = \"acme\"\non_existing = \"update\"\n");
    config
}

fn named(name: &str, message_id: &str) -> Vec<u8> {
    let mut event: Value = serde_json::from_slice(&identify("peter@example.com")).expect("JSON");
    (event["traits"]["firstName"], event["messageId"]) = (name.into(), message_id.into());
    event.to_string().into_bytes()
}

/// Sends an event and waits until it has ended. How many calls that took.
async fn calls_for(relay: &Relay, refersion: &Refersion, account: u8, event: Vec<u8>) -> usize {
    let (ended, calls) = (relay.metric(ENDED).await, refersion.operations().len());
    assert_eq!(relay.post(account, event).await.status, 202);
    eventually("it has ended", || async { relay.metric(ENDED).await == ended + 1 }).await;
    let operations = refersion.operations();
    // Those with which it is found out whether the keys work are not for the event.
    operations[calls..].iter().filter(|operation| **operation != Operation::List).count()
}

#[tokio::test]
async fn what_was_said_is_not_said_again_and_anything_else_is() {
    let refersion = Refersion::start().await;
    let config = skipping(&refersion);
    let relay = Relay::start("run", &config).await;
    let peter = async |name: &str, message_id: &str| calls_for(&relay, &refersion, 1, named(name, message_id)).await;
    assert_eq!(peter("Peter", "m1").await, 1, "he is new");
    assert_eq!(peter("Peter", "m2").await, 0);
    assert!(0 < peter("Pete", "m3").await, "he is called otherwise");
    assert_eq!(peter("Pete", "m4").await, 0);
    assert!(0 < peter("Peter", "m5").await, "as he was before, but not as he is");
    assert_eq!(relay.metric(KNOWN).await, 2);
    assert_eq!(refersion.with_email("peter@example.com")[0].first_name, "Peter");

    assert!(0 < calls_for(&relay, &refersion, 1, delete("peter@example.com")).await);
    assert!(0 < peter("Peter", "m6").await, "after a delete nothing is known of him");
    assert!(0 < peter("Peter", "m7").await, "nor of one who is left deactivated");
    assert_eq!(relay.metric(KNOWN).await, 2);
}

#[tokio::test]
async fn an_account_that_keeps_affiliates_only_has_to_know_that_they_exist() {
    let refersion = Refersion::start().await;
    let config = skipping(&refersion);
    let relay = Relay::start("run", &config).await;
    assert_eq!(calls_for(&relay, &refersion, 2, named("Peter", "m1")).await, 1);
    assert_eq!(calls_for(&relay, &refersion, 2, named("Pete", "m2")).await, 0);
    // In another account he is somebody else.
    assert_eq!(calls_for(&relay, &refersion, 1, named("Pete", "m3")).await, 1);
}

#[tokio::test]
async fn nothing_is_known_after_the_queue_was_given_back() {
    let refersion = Refersion::start().await;
    let config = skipping(&refersion);
    let relay = Relay::start("run", &config).await;
    assert_eq!(calls_for(&relay, &refersion, 1, named("Peter", "m1")).await, 1);
    // Held, and released: in between another worker could have had it.
    refersion.simulator.set_keys_valid("pub_1", false);
    assert_eq!(relay.post(1, with_id(&identify("milton@example.com"), "m2")).await.status, 202);
    let held = r#"refersion_relay_account_held{account="acme"}"#;
    eventually("it is held", || async { relay.metric(held).await == 1 }).await;
    refersion.simulator.set_keys_valid("pub_1", true);
    eventually("it goes on", || async { relay.metric(ENDED).await == 2 }).await;

    assert!(0 < calls_for(&relay, &refersion, 1, named("Peter", "m3")).await);
    assert_eq!(calls_for(&relay, &refersion, 1, named("Peter", "m4")).await, 0);
}

#[tokio::test]
async fn after_a_failure_nothing_is_known_and_a_replay_says_it_again() {
    let refersion = Refersion::start().await;
    let config = skipping(&refersion);
    let relay = Relay::start("run", &config).await;
    assert_eq!(calls_for(&relay, &refersion, 1, named("Peter", "m1")).await, 1);
    let no = refersion_relay_simulator::Fault::status(422, Some(r#"{"errors":["no"]}"#));
    refersion.fail(Operation::New, "peter@example.com", Some(1), no);
    assert!(0 < calls_for(&relay, &refersion, 1, named("Pete", "m2")).await);
    assert_eq!(config.dead_letters().await.len(), 1);
    // What is at Refersion now is not known, whatever was said before.
    assert!(0 < calls_for(&relay, &refersion, 1, named("Peter", "m3")).await);
    assert_eq!(calls_for(&relay, &refersion, 1, named("Peter", "m4")).await, 0);
    // A replay says it again even if it is known.
    assert!(0 < calls_for(&relay, &refersion, 1, named("Pete", "m5")).await);
    assert_eq!(calls_for(&relay, &refersion, 1, named("Pete", "m6")).await, 0);
    let (ended, calls) = (relay.metric(ENDED).await, refersion.operations().len());
    let replayed = config.command(&["dlq", "replay", "--class", "rejected", "--yes"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    eventually("it has ended", || async { relay.metric(ENDED).await == ended + 1 }).await;
    assert!(calls < refersion.operations().len());
    assert_eq!(refersion.with_email("peter@example.com")[0].first_name, "Pete");
}

/// From RabbitMQ 4.0 on another worker may have had the queue meanwhile, and nobody says so.
#[tokio::test]
async fn on_rabbitmq_it_is_forgotten_when_nothing_of_the_account_is_in_hand() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[("worker", "skip_unchanged = \"1h\"")]);
    let relay = Relay::start("run", &config).await;
    assert_eq!(calls_for(&relay, &refersion, 1, named("Peter", "m1")).await, 1);
    assert!(0 < calls_for(&relay, &refersion, 1, named("Peter", "m2")).await);
    assert_eq!(relay.metric(KNOWN).await, 0);
}

#[tokio::test]
async fn on_rabbitmq_what_queues_up_behind_each_other_is_said_once() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[("worker", "skip_unchanged = \"1h\"")]);
    let door = Relay::start("ingest", &config).await;
    for message_id in ["m1", "m2", "m3"] {
        assert_eq!(door.post(1, named("Peter", message_id)).await.status, 202);
    }

    let worker = Relay::start("worker", &config).await;

    eventually("all have ended", || async { worker.metric(ENDED).await == 3 }).await;
    assert_eq!((worker.metric(KNOWN).await, refersion.count(Operation::New)), (2, 1));
}
