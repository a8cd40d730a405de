use std::time::Duration;

use refersion_relay_simulator::{Call, Fault, FaultRule, Operation, Settings};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, shared_broker, with_id};

/// All tiers together are over in a second and a half.
const SHORT: [(&str, &str); 1] = [("retry", "in_hand = \"500ms\"\ntiers = [\"500ms\", \"500ms\"]\nmax_attempts = 3")];
const HELD: &str = r#"refersion_relay_account_held{account="acme"}"#;
const WAITING: &str = r#"refersion_relay_queue_messages_ready{account="acme"}"#;
const ENDED: &str = "refersion_relay_worker_ended_total";
const STORED: &str = r#"refersion_relay_queue_publishes_total{outcome="confirmed"}"#;

/// Waits until the account is held and so many of its events wait unread.
async fn until_held(relay: &Relay, events: u64) {
    eventually("it is held", || async { relay.metric(HELD).await == 1 }).await;
    eventually("all wait unread", || async { relay.metric(WAITING).await == events }).await;
}

#[tokio::test]
async fn refused_keys_hold_the_account_hinder_nobody_else_and_lose_nothing() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &SHORT);
    let relay = Relay::start("run", &config).await;
    refersion.simulator.set_keys_valid("pub_1", false);

    let held: Vec<String> = (0..50).map(|n| format!("held{n}@example.com")).collect();
    for email in &held {
        assert_eq!(relay.post(1, identify(email)).await.status, 202);
        assert_eq!(relay.post(1, delete(email)).await.status, 202);
    }
    let others: Vec<String> = (0..500).map(|n| format!("other{n}@example.com")).collect();
    let posts = others.iter().map(|email| async { assert_eq!(relay.post(2, identify(email)).await.status, 202) });
    futures_util::future::join_all(posts).await;

    eventually("the other account is done", || async { refersion.simulator.affiliates().len() == 500 }).await;
    until_held(&relay, 100).await;
    eventually("three probes were refused", || async { refersion.count(Operation::List) >= 3 }).await;
    assert_eq!(config.dead_letters().await, Vec::<serde_json::Value>::new());

    refersion.simulator.set_keys_valid("pub_1", true);
    eventually("everything has ended", || async { relay.metric(ENDED).await >= 600 }).await;
    for email in &held {
        assert_eq!(refersion.statuses(email), ["DISABLED"], "created, then deactivated: {email}");
    }
    assert_eq!(relay.metric(HELD).await, 0);
    assert_eq!(relay.metric(STORED).await, 600, "nothing is copied, for all that was stored once");
    let is_refused = |call: &Call| call.operation == Operation::List && call.status == Some(401);
    let probes: Vec<_> = refersion.simulator.calls().into_iter().filter(is_refused).collect();
    let gaps: Vec<_> = probes.windows(2).map(|pair| pair[1].started_ms - pair[0].started_ms).collect();
    assert!(gaps.iter().all(|gap| *gap >= 450), "the waits between probes, in ms: {gaps:?}");
}

#[tokio::test]
async fn new_events_of_an_account_go_behind_its_held_ones_even_across_a_crash() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &SHORT);
    let ingest = Relay::start("ingest", &config).await;
    let worker = Relay::start("worker", &config).await;
    refersion.simulator.set_keys_valid("pub_1", false);
    let people: Vec<String> = (0..30).map(|n| format!("person{n}@example.com")).collect();
    for email in &people {
        assert_eq!(ingest.post(1, identify(email)).await.status, 202);
    }
    until_held(&worker, 30).await;
    worker.kill().await;

    // The next worker has not seen the keys refused; only the queue knows what came first.
    let worker = Relay::start("worker", &config).await;
    refersion.simulator.set_keys_valid("pub_1", true);
    for email in &people {
        assert_eq!(ingest.post(1, delete(email)).await.status, 202);
    }

    eventually("all have ended", || async { worker.metric(ENDED).await >= 60 }).await;
    for email in &people {
        assert_eq!(refersion.statuses(email), ["DISABLED"], "{email}");
    }
}

#[tokio::test]
async fn keys_that_are_refused_again_while_the_backlog_is_worked_hold_the_rest_in_order() {
    // A call takes a while, so that much is left when the keys are refused again.
    let refersion = Refersion::start_with(Settings { latency: Duration::from_millis(20), ..Settings::default() }).await;
    let config = Config::new(&shared_broker(), refersion.url(), &SHORT);
    let relay = Relay::start("run", &config).await;
    refersion.simulator.set_keys_valid("pub_1", false);
    let people: Vec<String> = (0..200).map(|n| format!("person{n}@example.com")).collect();
    for email in &people {
        assert_eq!(relay.post(1, identify(email)).await.status, 202);
        assert_eq!(relay.post(1, delete(email)).await.status, 202);
    }
    until_held(&relay, 400).await;

    refersion.simulator.set_keys_valid("pub_1", true);
    eventually("some are worked", || async { refersion.simulator.affiliates().len() >= 20 }).await;
    refersion.simulator.set_keys_valid("pub_1", false);
    eventually("the account is held again", || async { relay.metric(HELD).await > 0 }).await;
    refersion.simulator.set_keys_valid("pub_1", true);

    eventually("all have ended", || async { relay.metric(ENDED).await >= 400 }).await;
    for email in &people {
        assert_eq!(refersion.statuses(email), ["DISABLED"], "{email}");
    }
    assert_eq!(relay.metric(r#"refersion_relay_events_delivered_total{how="not_found"}"#).await, 0);
}

/// Something before Refersion may say 403 to what one event says; its keys are fine.
#[tokio::test]
async fn one_event_that_is_refused_while_others_are_not_does_not_keep_its_account_held() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &SHORT);
    let relay = Relay::start("run", &config).await;
    refersion.fail(Operation::New, "forbidden@", None, forbidden());
    assert_eq!(relay.post(1, identify("forbidden@example.com")).await.status, 202);
    let others = post_others(&relay).await;

    eventually("the others are there", || async { refersion.simulator.affiliates().len() == others }).await;
    eventually("it is given up", || async { config.dead_letters().await.len() == 1 }).await;
    let letter = config.dead_letters().await.remove(0);
    assert_eq!((&letter["class"], &letter["status"]), (&"exhausted".into(), &403.into()), "{letter}");
    eventually("the account is not held any more", || async { relay.metric(HELD).await == 0 }).await;
}

/// All that there is room for are of one person, so the others would never have their turn: the first is refused before.
#[tokio::test]
async fn one_person_who_is_refused_before_all_others_lets_them_go_first() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &SHORT);
    config.edit("[worker]\n", "[worker]\nprefetch = 4\n");
    let relay = Relay::start("run", &config).await;
    refersion.simulator.set_keys_valid("pub_1", false);
    refersion.fail(Operation::New, "forbidden@", None, forbidden());
    for n in 0..5 {
        let event = with_id(&identify("forbidden@example.com"), &format!("forbidden{n}"));
        assert_eq!(relay.post(1, event).await.status, 202);
    }
    eventually("it is held", || async { relay.metric(HELD).await == 1 }).await;
    // They come after those.
    let others = post_others(&relay).await;
    refersion.simulator.set_keys_valid("pub_1", true);
    // What becomes of the refused ones takes others to be delivered after each.
    eventually("the others are there", || async { refersion.simulator.affiliates().len() == others }).await;
}

fn forbidden() -> Fault {
    Fault::status(403, Some("{\"error\":\"Forbidden\"}"))
}

/// Returns how many there are.
async fn post_others(relay: &Relay) -> usize {
    let others = 20;
    for n in 0..others {
        assert_eq!(relay.post(1, identify(&format!("other{n}@example.com"))).await.status, 202);
    }
    others
}

/// One of them owns the account's work queue, and the other one stands by until the first gives it back.
#[tokio::test]
async fn a_hold_comes_to_an_end_with_several_workers_while_events_keep_coming() {
    let refersion = Refersion::start().await;
    // A call takes a while, so there is always one in flight.
    refersion.simulator.add_fault(FaultRule::always(Fault::Latency { ms: 60 }));
    let config = Config::new(&shared_broker(), refersion.url(), &SHORT);
    let door = Relay::start("ingest", &config).await;
    let workers = [Relay::start("worker", &config).await, Relay::start("worker", &config).await];
    refersion.simulator.set_keys_valid("pub_1", false);
    let people: Vec<String> = (0..40).map(|n| format!("person{n}@example.com")).collect();
    for email in &people {
        assert_eq!(door.post(1, identify(email)).await.status, 202);
    }
    let all = async |held: u64| workers[0].metric(HELD).await == held && workers[1].metric(HELD).await == held;
    eventually("both keep it unread", || all(1)).await;
    for worker in &workers {
        assert!(worker.is_ready().await, "rightly");
    }
    refersion.simulator.set_keys_valid("pub_1", true);

    let (done, mut sent) = (tokio_util::sync::CancellationToken::new(), 0);
    let sending = async {
        while !done.is_cancelled() {
            let email = &people[sent % people.len()];
            assert_eq!(door.post(1, with_id(&identify(email), &format!("more{sent}"))).await.status, 202);
            sent += 1;
        }
    };
    let ending = async {
        eventually("it has ended for both", || all(0)).await;
        done.cancel();
    };
    tokio::join!(sending, ending);

    for email in &people {
        assert_eq!(door.post(1, delete(email)).await.status, 202);
    }
    eventually("everybody came and went", || async {
        people.iter().all(|email| refersion.statuses(email) == ["DISABLED"])
    })
    .await;
    assert_eq!(refersion.simulator.affiliates().len(), people.len());
}
