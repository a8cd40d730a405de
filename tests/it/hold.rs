use refersion_relay_simulator::{Fault, FaultRule, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, program, shared_broker, with_id};

/// All tiers together are over in a second and a half.
const SHORT: [(&str, &str); 1] = [("retry", "in_hand = \"500ms\"\ntiers = [\"500ms\", \"500ms\"]\nmax_attempts = 3")];

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
    let held_metric = r#"refersion_relay_account_held{account="acme"}"#;
    assert_eq!(relay.metric(held_metric).await, 1);
    eventually("three probes were refused", || async { refersion.count(Operation::List) >= 3 }).await;
    assert_eq!(config.dead_letters().await, Vec::<serde_json::Value>::new());

    refersion.simulator.set_keys_valid("pub_1", true);
    let ended = "refersion_relay_worker_ended_total";
    eventually("everything has ended", || async { relay.metric(ended).await >= 600 }).await;
    for email in &held {
        assert_eq!(refersion.statuses(email), ["DISABLED"], "created, then deactivated: {email}");
    }
    assert_eq!(relay.metric(held_metric).await, 0);
    let probes: Vec<_> =
        refersion.simulator.calls().into_iter().filter(|call| call.operation == Operation::List).collect();
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
    let held = r#"refersion_relay_events_held_total{account="acme"}"#;
    eventually("all are held", || async { worker.metric(held).await >= 30 }).await;
    worker.kill().await;

    // The next worker has not seen the keys refused; only the queue knows that something is held.
    let worker = Relay::start("worker", &config).await;
    refersion.simulator.set_keys_valid("pub_1", true);
    for email in &people {
        assert_eq!(ingest.post(1, delete(email)).await.status, 202);
    }

    eventually("all have ended", || async { worker.metric("refersion_relay_worker_ended_total").await >= 60 }).await;
    for email in &people {
        assert_eq!(refersion.statuses(email), ["DISABLED"], "{email}");
    }
}

#[tokio::test]
async fn keys_that_are_refused_again_while_events_are_released_hold_them_again_in_order() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &SHORT);
    let relay = Relay::start("run", &config).await;
    refersion.simulator.set_keys_valid("pub_1", false);
    let people: Vec<String> = (0..200).map(|n| format!("person{n}@example.com")).collect();
    for email in &people {
        assert_eq!(relay.post(1, identify(email)).await.status, 202);
        assert_eq!(relay.post(1, delete(email)).await.status, 202);
    }
    let held = r#"refersion_relay_events_held_total{account="acme"}"#;
    eventually("all are held", || async { relay.metric(held).await >= 400 }).await;

    refersion.simulator.set_keys_valid("pub_1", true);
    eventually("some are released", || async { refersion.simulator.affiliates().len() >= 20 }).await;
    refersion.simulator.set_keys_valid("pub_1", false);
    let held_again = r#"refersion_relay_account_held{account="acme"}"#;
    eventually("the account is held again", || async { relay.metric(held_again).await > 0 }).await;
    refersion.simulator.set_keys_valid("pub_1", true);

    eventually("all have ended", || async { relay.metric("refersion_relay_worker_ended_total").await >= 400 }).await;
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
    let held = r#"refersion_relay_account_held{account="acme"}"#;
    eventually("the account is not held any more", || async { relay.metric(held).await == 0 }).await;
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
    let held = r#"refersion_relay_events_held_total{account="acme"}"#;
    eventually("they are held before anybody else", || async { relay.metric(held).await == 5 }).await;
    let others = post_others(&relay).await;
    eventually("all are held", || async { relay.metric(held).await == 5 + others as u64 }).await;
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

/// One of them works what is held, and both add to it as long as it does.
#[tokio::test]
async fn a_hold_comes_to_an_end_with_several_workers_while_events_keep_coming() {
    let refersion = Refersion::start().await;
    // A call takes a while, so there is always one in flight.
    refersion.simulator.add_fault(FaultRule::always(Fault::Latency { ms: 60 }));
    let config = Config::new(&shared_broker(), refersion.url(), &SHORT);
    let worker = |shards: &str| {
        let mut command = tokio::process::Command::new(program());
        command.arg("--config").arg(config.path()).arg("worker").env("RELAY__WORKER__SHARDS", shards);
        Relay::launch_as(command)
    };
    let (door, workers) = (Relay::start("ingest", &config).await, [worker("0-1"), worker("2-3")]);
    for worker in &workers {
        worker.until_ready().await;
    }
    refersion.simulator.set_keys_valid("pub_1", false);
    let held = r#"refersion_relay_events_held_total{account="acme"}"#;
    let people: Vec<String> = (0..40).map(|n| format!("person{n}@example.com")).collect();
    for email in &people {
        assert_eq!(door.post(1, identify(email)).await.status, 202);
    }
    eventually("both have held some", || async {
        workers[0].metric(held).await > 0 && workers[1].metric(held).await > 0
    })
    .await;
    refersion.simulator.set_keys_valid("pub_1", true);

    let (done, mut sent) = (tokio_util::sync::CancellationToken::new(), 0);
    let sending = async {
        while !done.is_cancelled() {
            let email = &people[sent % people.len()];
            assert_eq!(door.post(1, with_id(&identify(email), &format!("more{sent}"))).await.status, 202);
            sent += 1;
        }
    };
    let ends = "no event of this account is held any more";
    let ending = async {
        eventually("it has ended for both", || async { workers.iter().all(|worker| worker.log().contains(ends)) })
            .await;
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
