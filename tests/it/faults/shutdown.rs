use refersion_relay_simulator::{Operation, Settings};
use refersion_relay_tests::{Config, Refersion, Relay, eventually, identify, shared_broker};

#[tokio::test]
async fn a_stop_under_load_is_orderly_and_the_next_worker_repeats_nothing() {
    let latency = std::time::Duration::from_millis(50);
    let refersion = Refersion::start_with(Settings { latency, ..Settings::default() }).await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let ingest = Relay::start("ingest", &config).await;
    let mut worker = Relay::start("worker", &config).await;
    let posts = (0..400).map(|n| {
        let ingest = &ingest;
        async move { assert_eq!(ingest.post(1, identify(&format!("person{n}@example.com"))).await.status, 202) }
    });
    futures_util::future::join_all(posts).await;
    eventually("it is working", || async { refersion.count(Operation::New) >= 40 }).await;

    let status = worker.terminate().await;

    assert_eq!(status.code(), Some(0), "{}", worker.log());
    assert!(refersion.count(Operation::New) < 400, "it was stopped in the middle");
    let worker = Relay::start("worker", &config).await;
    eventually("all exist", || async { refersion.simulator.affiliates().len() == 400 }).await;
    eventually("nothing is in hand", || async { worker.metric("refersion_relay_worker_in_hand").await == 0 }).await;
    assert_eq!(refersion.count(Operation::New), 400, "no call that had been answered was repeated");
}

#[tokio::test]
async fn a_stop_while_an_event_waits_does_not_wait_for_it() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[("worker", "shutdown_grace = \"5s\"")]);
    let mut relay = Relay::start("run", &config).await;
    refersion.fail(Operation::New, "", None, refersion_relay_simulator::Fault::status(500, None));
    assert_eq!(relay.post(1, identify("waits@example.com")).await.status, 202);
    let waits = r#"refersion_relay_retries_total{wait="in_hand"}"#;
    eventually("it waits", || async { relay.metric(waits).await >= 3 }).await;

    let status = relay.terminate().await;

    assert_eq!(status.code(), Some(0), "{}", relay.log());
    refersion.simulator.clear_faults();
    let _next = Relay::start("run", &config).await;
    eventually("it is delivered", || async { refersion.with_email("waits@example.com").len() == 1 }).await;
}
