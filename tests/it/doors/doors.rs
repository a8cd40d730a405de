use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_tests::{Config, IDENTIFY, Refersion, Relay, eventually, identify, shared_broker};
use serde_json::json;

#[tokio::test]
async fn each_kind_of_bad_request_has_its_status_and_a_message_for_the_merchant() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("ingest", &config).await;
    let too_large = json!({"type": "identify", "traits": {"bio": "x".repeat(600 * 1024)}}).to_string();
    let endless = format!("[{too_large}{}]", format!(",{too_large}").repeat(8));
    let cases: [(&str, &[u8], u16, &str); 11] = [
        ("wrong.key", IDENTIFY, 401, "publickey.secretkey"),
        ("wrong.key", too_large.as_bytes(), 401, "publickey.secretkey"),
        ("wrong.key", endless.as_bytes(), 413, "512 KiB"),
        ("pub_1.sec_1", too_large.as_bytes(), 413, "512 KiB"),
        ("wrong.key", b"not json", 401, "publickey.secretkey"),
        ("pub_1.sec_1", b"not json", 400, "not valid JSON"),
        ("pub_1.sec_1", b"5", 400, "not a JSON object"),
        ("pub_1.sec_1", br#"{"traits":{}}"#, 400, "`type`"),
        ("pub_1.sec_1", br#"{"type":"track"}"#, 501, "identify or delete"),
        ("pub_1.sec_1", br#"{"type":"identify","traits":{"email":"a@b.c","name":"Cher"}}"#, 400, "`traits.lastName`"),
        ("pub_1.sec_1", br#"{"type":"delete","userId":"1"}"#, 400, "`email`"),
    ];

    for (key, body, status, part) in cases {
        let answer = relay.try_post(key, body.to_vec()).await.expect("an answer");

        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.message().contains(part), "{answer:?}");
    }
    assert!(refersion.simulator.calls().is_empty(), "a door never calls Refersion");
}

#[tokio::test]
async fn an_event_of_nobody_is_ignored_and_counted() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("ingest", &config).await;

    let answer = relay.post(1, r#"{"type":"identify","userId":"u","traits":{"first_time_shopper":true}}"#).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let ignored = r#"refersion_relay_events_ignored_total{at="destination",reason="anonymous"}"#;
    assert_eq!(relay.metric(ignored).await, 1);
    assert_eq!(relay.metric(r#"refersion_relay_events_accepted_total{door="destination"}"#).await, 0);
}

#[tokio::test]
async fn a_frozen_broker_means_no_yes_and_the_relay_recovers_by_itself_own_node() {
    let (broker, refersion) = (PrivateBroker::start().await.expect("a broker"), Refersion::start().await);
    let config = Config::new(&broker.url(), refersion.url(), &[("queue", "confirm_timeout = \"1s\"")]);
    let relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, identify("before@example.com")).await.status, 202);

    broker.freeze();
    for n in 0..5 {
        let answer = relay.post(1, identify(&format!("frozen{n}@example.com"))).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some_and(|value| value.parse::<u32>().is_ok()), "{answer:?}");
    }
    assert!(!relay.is_ready().await);
    assert_eq!(relay.ops("/health/live").await.map(|(status, _)| status), Some(200));
    broker.thaw();

    relay.until_ready().await;
    assert_eq!(relay.post(1, identify("after@example.com")).await.status, 202);
    eventually("it is delivered", || async { refersion.with_email("after@example.com").len() == 1 }).await;
}

#[tokio::test]
async fn the_relay_waits_for_a_broker_that_is_not_there_yet_own_node() {
    let mut broker = PrivateBroker::start().await.expect("a broker");
    let refersion = Refersion::start().await;
    let config = Config::new(&broker.url(), refersion.url(), &[]);
    broker.stop().await;
    let relay = Relay::launch("run", &config);
    eventually("it is live", || async { relay.ops("/health/live").await.is_some() }).await;

    assert_eq!(relay.post(1, IDENTIFY).await.status, 503);
    assert!(!relay.is_ready().await);
    broker.restart().await.expect("it starts again");

    relay.until_ready().await;
    assert_eq!(relay.post(1, IDENTIFY).await.status, 202);
    eventually("peter exists", || async { refersion.with_email("peter@example.com").len() == 1 }).await;
}
