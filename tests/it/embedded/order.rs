use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, with_id};

#[tokio::test]
async fn events_behind_one_that_waits_keep_their_order_when_the_worker_dies() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let ingest = Relay::start("ingest", &config).await;
    let worker = Relay::start("worker", &config).await;
    refersion.fail(Operation::New, "abc@", Some(3), Fault::status(500, None));

    // A: identify, which fails and waits. B: delete. C: identify.
    assert_eq!(ingest.post(1, identify("abc@example.com")).await.status, 202);
    eventually("A waits", || async { worker.metric(r#"refersion_relay_retries_total{wait="in_hand"}"#).await >= 1 })
        .await;
    assert_eq!(ingest.post(1, delete("abc@example.com")).await.status, 202);
    assert_eq!(ingest.post(1, with_id(&identify("abc@example.com"), "again")).await.status, 202);
    eventually("B and C are in hand", || async { worker.metric("refersion_relay_worker_in_hand").await >= 3 }).await;
    worker.kill().await;
    let worker = Relay::start("worker", &config).await;

    eventually("all have ended", || async { worker.metric("refersion_relay_worker_ended_total").await >= 3 }).await;
    // Without the probes that find out whether Refersion or the event is at fault.
    let calls = refersion.simulator.calls().into_iter().filter(|call| call.operation != Operation::List);
    let answered = calls.filter(|call| call.status.is_some_and(|status| status != 500));
    let operations: Vec<_> = answered.map(|call| (call.operation, call.status)).collect();
    let expected = [
        (Operation::New, Some(200)),
        (Operation::Search, Some(200)),
        (Operation::Get, Some(200)),
        (Operation::StatusChange, Some(200)),
        (Operation::New, Some(422)),
    ];
    assert_eq!(operations, expected);
}

#[tokio::test]
async fn events_that_wait_in_a_tier_come_when_they_are_due() {
    let refersion = Refersion::start().await;
    let retry = ("retry", "in_hand = \"0s\"\ntiers = [\"1s\"]");
    let config = Config::embedded(refersion.url(), &[retry]);
    let relay = Relay::start("run", &config).await;
    refersion.fail(Operation::New, "late@", Some(1), Fault::status(500, None));

    assert_eq!(relay.post(1, identify("late@example.com")).await.status, 202);

    eventually("it waits in its tier", || async {
        relay.metric(r#"refersion_relay_retries_total{wait="tier"}"#).await == 1
    })
    .await;
    assert_eq!(config.ledger().await["waiting"], 1);
    eventually("it has its effect", || async { refersion.statuses("late@example.com") == ["PENDING"] }).await;
    eventually("the ledger says so", || async { config.ledger().await["delivered"] == 1 }).await;
}

#[tokio::test]
async fn a_held_account_is_worked_in_order_when_its_keys_work_again() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    refersion.simulator.set_keys_valid("pub_1", false);

    for n in 0..40 {
        let email = format!("held{n}@example.com");
        assert_eq!(relay.post(1, identify(&email)).await.status, 202);
        assert_eq!(relay.post(1, delete(&email)).await.status, 202);
    }
    assert_eq!(relay.post(2, identify("free@example.com")).await.status, 202);
    eventually("the other account is worked", || async { !refersion.with_email("free@example.com").is_empty() }).await;
    // A crash in the middle of it changes nothing.
    relay.kill().await;
    let _relay = Relay::start("run", &config).await;
    refersion.simulator.set_keys_valid("pub_1", true);

    eventually("each was created and then deactivated", || async {
        let affiliates = refersion.simulator.affiliates();
        affiliates.iter().filter(|affiliate| affiliate.status.as_str() == "DISABLED").count() == 40
    })
    .await;
    assert_eq!(refersion.simulator.affiliates().len(), 41);
    eventually("the ledger says so", || async { config.ledger().await["delivered"] == 81 }).await;
}
