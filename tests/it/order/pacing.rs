use refersion_relay_simulator::{Call, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify};

const ENDED: &str = "refersion_relay_worker_ended_total";

/// An embedded configuration whose first account may make so many calls in a second.
fn paced(url: &str, rate: u32) -> Config {
    let config = Config::embedded(url, &[]);
    config.edit("write_key = \"write_1\"", &format!("write_key = \"write_1\"\nmax_calls_per_second = {rate}"));
    config
}

async fn post_all(relay: &Relay, name: &str, count: u32) {
    for n in 0..count {
        assert_eq!(relay.post(1, identify(&format!("{name}{n}@example.com"))).await.status, 202);
    }
}

/// When events of this key were called for: whether it works is not asked for as an event.
fn of_key(calls: &[Call], key: &str) -> Vec<u64> {
    let of_events = calls.iter().filter(|call| call.operation != Operation::List);
    of_events.filter(|call| call.public_key == key).map(|call| call.started_ms).collect()
}

#[tokio::test]
async fn an_account_makes_no_more_calls_in_a_second_than_it_may_and_the_others_as_many_as_they_like() {
    let refersion = Refersion::start().await;
    let config = paced(refersion.url(), 20);
    let relay = Relay::start("run", &config).await;
    post_all(&relay, "person", 20).await;
    eventually("all exist", || async { refersion.simulator.affiliates().len() == 20 }).await;
    for n in 0..10 {
        assert_eq!(relay.post(1, delete(&format!("person{n}@example.com"))).await.status, 202);
    }
    for n in 0..10 {
        assert_eq!(relay.post(2, identify(&format!("other{n}@example.com"))).await.status, 202);
    }

    eventually("all have ended", || async { relay.metric(ENDED).await == 40 }).await;
    let calls = refersion.simulator.calls();
    let paced = of_key(&calls, "pub_1");
    // A delete is a search, a look and a change. Two calls may come at once; the simulator may notice the first one late.
    assert_eq!(paced.len(), 20 + 3 * 10);
    assert!((50 - 2) * 1_000 / 20 <= paced[49] - paced[0] + 200, "{paced:?}");
    assert_eq!(of_key(&calls, "pub_2").len(), 10);
    assert!(0 < relay.metric(r#"refersion_relay_refersion_call_limit{account="other"}"#).await);
    assert_eq!(relay.metric(r#"refersion_relay_refersion_calls_in_flight{account="acme"}"#).await, 0);
}

#[tokio::test]
async fn a_bound_that_is_lifted_while_it_runs_holds_up_nobody_any_more() {
    let refersion = Refersion::start().await;
    let config = paced(refersion.url(), 1);
    let relay = Relay::start("run", &config).await;
    // At one in a second these would take longer than anybody waits here.
    post_all(&relay, "person", 120).await;
    eventually("it has begun", || async { !refersion.simulator.affiliates().is_empty() }).await;

    config.edit("max_calls_per_second = 1", "max_calls_per_second = 0");

    eventually("all have ended", || async { relay.metric(ENDED).await == 120 }).await;
    assert_eq!(refersion.simulator.affiliates().len(), 120);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_calls_whose_turn_has_not_come() {
    let refersion = Refersion::start().await;
    let config = paced(refersion.url(), 1);
    config.edit("[worker]", "[worker]\nshutdown_grace = \"5s\"");
    let mut relay = Relay::start("run", &config).await;
    post_all(&relay, "person", 40).await;
    eventually("it has begun", || async { !refersion.simulator.affiliates().is_empty() }).await;

    assert!(relay.terminate().await.success(), "{}", relay.log());

    config.edit("max_calls_per_second = 1", "max_calls_per_second = 0");
    let _next = Relay::start("run", &config).await;
    eventually("all are delivered", || async { refersion.simulator.affiliates().len() == 40 }).await;
}

#[tokio::test]
async fn an_account_with_a_slow_pace_and_a_backlog_keeps_nobody_waiting_behind_it() {
    let refersion = Refersion::start().await;
    let config = paced(refersion.url(), 1);
    config.edit("[worker]\n", "[worker]\nprefetch = 16\n");
    let relay = Relay::start("run", &config).await;
    // At one in a second they take longer than anybody waits here, and they are more than there is room for.
    post_all(&relay, "person", 150).await;
    for n in 0..150 {
        assert_eq!(relay.post(1, delete(&format!("person{n}@example.com"))).await.status, 202);
    }
    for n in 0..16 {
        assert_eq!(relay.post(2, identify(&format!("other{n}@example.com"))).await.status, 202);
    }

    eventually("the others are there", || async { of_key(&refersion.simulator.calls(), "pub_2").len() == 16 }).await;
    assert!(of_key(&refersion.simulator.calls(), "pub_1").len() < 100);
    // They wait in their own queue, where they keep their order, and nobody is told that something is wrong with the account.
    let backlog = r#"refersion_relay_queue_messages_ready{account="acme"}"#;
    eventually("they wait", || async { 100 < relay.metric(backlog).await }).await;
    assert_eq!(relay.metric(r#"refersion_relay_account_held{account="acme"}"#).await, 0);
    assert_eq!(relay.metric(r#"refersion_relay_retries_total{wait="tier"}"#).await, 0);
    assert_eq!(relay.metric("refersion_relay_attempts_charged_total").await, 0);

    config.edit("max_calls_per_second = 1", "max_calls_per_second = 0");
    eventually("all have ended", || async { relay.metric(ENDED).await == 316 }).await;
    for n in 0..150 {
        assert_eq!(refersion.statuses(&format!("person{n}@example.com")), ["DISABLED"], "created, then deactivated");
    }
    let parked = r#"refersion_relay_events_parked_total{to="tier"}"#;
    assert_eq!(relay.metric(parked).await, 0, "nobody lost its place");
    eventually("no backlog is left", || async { relay.metric(backlog).await == 0 }).await;
}
