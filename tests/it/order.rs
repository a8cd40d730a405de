use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, shared_broker, with_id};

#[tokio::test]
async fn events_behind_one_that_waits_keep_their_order_when_the_worker_dies() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
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
