//! Events of one subject keep their order. What runs on both queues is a function here; `embedded::order` calls it too.

pub(crate) mod hot;
pub(crate) mod oracle;

use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, shared_broker, with_id};

/// Nothing waits in hand, and all waits are short.
pub(crate) const TIERS: (&str, &str) = ("retry", "in_hand = \"0s\"\ntiers = [\"1s\", \"2s\"]");

const ENDED: &str = "refersion_relay_worker_ended_total";
const TO_TIER: &str = r#"refersion_relay_retries_total{wait="tier"}"#;
const PARKED: &str = r#"refersion_relay_events_parked_total{to="tier"}"#;

/// The calls that were answered properly, in their order.
fn answered(refersion: &Refersion) -> Vec<(Operation, Option<u16>)> {
    let calls = refersion.simulator.calls().into_iter();
    let calls =
        calls.filter(|call| call.operation != Operation::List && call.status.is_some_and(|status| status < 500));
    calls.map(|call| (call.operation, call.status)).collect()
}

/// What a creation, a deactivation and another creation of one person are.
fn created_deactivated_existing() -> Vec<(Operation, Option<u16>)> {
    vec![
        (Operation::New, Some(200)),
        (Operation::Search, Some(200)),
        (Operation::Get, Some(200)),
        (Operation::StatusChange, Some(200)),
        (Operation::New, Some(422)),
    ]
}

/// Nothing ended out of its order, and no place was given up.
pub(crate) async fn nothing_was_given_up(relay: &Relay) {
    assert_eq!(relay.metric("refersion_relay_order_violations_total").await, 0);
    for reason in ["full", "expired", "hand_over"] {
        let given_up = format!("refersion_relay_order_given_up_total{{reason=\"{reason}\"}}");
        assert_eq!(relay.metric(&given_up).await, 0, "{reason}");
    }
    assert_eq!(relay.metric("refersion_relay_order_entries").await, 0, "what has ended is not remembered");
}

pub(crate) async fn a_worker_that_dies_changes_nothing(refersion: &Refersion, config: &Config) {
    let ingest = Relay::start("ingest", config).await;
    let worker = Relay::start("worker", config).await;
    refersion.fail(Operation::New, "abc@", Some(3), Fault::status(500, None));

    // A: identify, which fails and waits. B: delete. C: identify.
    assert_eq!(ingest.post(1, identify("abc@example.com")).await.status, 202);
    eventually("A waits", || async { worker.metric(r#"refersion_relay_retries_total{wait="in_hand"}"#).await >= 1 })
        .await;
    assert_eq!(ingest.post(1, delete("abc@example.com")).await.status, 202);
    assert_eq!(ingest.post(1, with_id(&identify("abc@example.com"), "again")).await.status, 202);
    eventually("B and C are in hand", || async { worker.metric("refersion_relay_worker_in_hand").await >= 3 }).await;
    worker.kill().await;
    let worker = Relay::start("worker", config).await;

    eventually("all have ended", || async { worker.metric(ENDED).await >= 3 }).await;
    assert_eq!(answered(refersion), created_deactivated_existing());
    nothing_was_given_up(&worker).await;
}

/// The configuration has [`TIERS`].
pub(crate) async fn what_is_in_a_tier_is_not_overtaken(refersion: &Refersion, config: &Config) {
    let relay = Relay::start("run", config).await;
    refersion.fail(Operation::New, "abc@", Some(3), Fault::status(500, None));

    assert_eq!(relay.post(1, identify("abc@example.com")).await.status, 202);
    eventually("A is in a tier", || async { relay.metric(TO_TIER).await >= 1 }).await;
    assert_eq!(relay.post(1, delete("abc@example.com")).await.status, 202);
    assert_eq!(relay.post(1, with_id(&identify("abc@example.com"), "again")).await.status, 202);
    assert_eq!(relay.post(1, identify("free@example.com")).await.status, 202);

    eventually("somebody else need not wait", || async { !refersion.with_email("free@example.com").is_empty() }).await;
    assert_eq!(refersion.count(Operation::Search), 0);
    eventually("all have ended", || async { relay.metric(ENDED).await >= 4 }).await;
    let mut answered = answered(refersion);
    let free = answered.iter().position(|call| *call == (Operation::New, Some(200))).expect("it was first");
    answered.remove(free);
    assert_eq!(answered, created_deactivated_existing());
    assert!(2 <= relay.metric(PARKED).await);
    nothing_was_given_up(&relay).await;
}

/// The configuration has [`TIERS`].
pub(crate) async fn what_is_in_a_tier_is_not_overtaken_while_its_account_is_held(
    refersion: &Refersion,
    config: &Config,
) {
    let relay = Relay::start("run", config).await;
    refersion.fail(Operation::New, "abc@", Some(1), Fault::status(500, None));

    assert_eq!(relay.post(1, identify("abc@example.com")).await.status, 202);
    eventually("A is in a tier", || async { relay.metric(TO_TIER).await >= 1 }).await;
    refersion.simulator.set_keys_valid("pub_1", false);
    assert_eq!(relay.post(1, identify("another@example.com")).await.status, 202);
    let held = r#"refersion_relay_account_held{account="acme"}"#;
    eventually("the account is held", || async { relay.metric(held).await >= 1 }).await;
    assert_eq!(relay.post(1, delete("abc@example.com")).await.status, 202);
    let waiting = r#"refersion_relay_queue_messages_ready{account="acme"}"#;
    eventually("A is back behind B", || async { relay.metric(waiting).await == 3 }).await;
    refersion.simulator.set_keys_valid("pub_1", true);

    eventually("all have ended", || async { relay.metric(ENDED).await >= 3 }).await;
    assert_eq!(refersion.statuses("abc@example.com"), ["DISABLED"]);
    nothing_was_given_up(&relay).await;
}

#[tokio::test]
async fn events_behind_one_that_waits_keep_their_order_when_the_worker_dies() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    a_worker_that_dies_changes_nothing(&refersion, &config).await;
}

#[tokio::test]
async fn events_behind_one_in_a_tier_wait_for_it() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[TIERS]);
    what_is_in_a_tier_is_not_overtaken(&refersion, &config).await;
}

#[tokio::test]
async fn an_event_in_a_tier_is_not_overtaken_while_its_account_is_held() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[TIERS]);
    what_is_in_a_tier_is_not_overtaken_while_its_account_is_held(&refersion, &config).await;
}

#[tokio::test]
async fn one_busy_subject_leaves_room_for_others() {
    let refersion = hot::slow_refersion().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[hot::ROOM]);
    hot::leaves_room(&refersion, &config).await;
}

#[tokio::test]
async fn affiliates_become_what_their_last_events_say() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[TIERS]);
    oracle::agrees(&refersion, &config, "update").await;
}
