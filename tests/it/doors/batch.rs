use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_simulator::Operation;
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, gzip, identify, shared_broker};
use serde_json::{Value, json};

/// A batch of events, each as it is.
fn batch(events: &[Vec<u8>]) -> Vec<u8> {
    let mut body = b"{\"batch\":[".to_vec();
    body.extend(events.join(&b", "[..]));
    body.extend(b"],\"sentAt\":\"2026-01-01T00:00:00.000Z\"}");
    body
}

#[tokio::test]
async fn a_batch_is_taken_whole_and_a_bad_item_hinders_no_other() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let odd = br#"{ "type" : "identify",  "traits":{"email":"odd@example.com"}, "n": 1.0e2 }"#.to_vec();
    let events = [
        identify("one@example.com"),
        br#"{"type":"track","event":"x","userId":"u"}"#.to_vec(),
        odd.clone(),
        b"5".to_vec(),
        br#"{"type":"identify","userId":"u","traits":{}}"#.to_vec(),
        identify("two@example.com"),
    ];

    let answer = relay.post_batch("write_1", batch(&events)).await;

    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"success":true}"#), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    eventually("both exist", || async { refersion.simulator.affiliates().len() == 2 }).await;
    let letters = config.dead_letters().await;
    assert!(letters.len() == 2 && letters.iter().all(|letter| letter["class"] == "invalid"), "{letters:?}");
    let bodies = config.command(&["dlq", "list", "--json", "--show-body"]).await.stdout;
    let bodies: Vec<Value> = serde_json::from_str(&bodies).expect("an array");
    let kept = bodies.iter().any(|letter| letter["body"].as_str().map(str::as_bytes) == Some(odd.as_slice()));
    assert!(kept, "an item keeps its bytes: {bodies:?}");
    let accepted = relay.metric(r#"refersion_relay_events_accepted_total{door="tracking"}"#).await;
    let ignored = |reason: &str| format!(r#"refersion_relay_events_ignored_total{{at="tracking",reason="{reason}"}}"#);
    let unsupported = relay.metric(&ignored("unsupported_type")).await;
    assert_eq!((accepted, unsupported, relay.metric(&ignored("anonymous")).await), (4, 1, 1));
}

#[tokio::test]
async fn only_what_no_repeat_can_mend_is_refused() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("ingest", &config).await;
    let large = batch(&vec![vec![b'1'; 1024]; 5 * 1024]);
    let keyed = json!({"writeKey": "write_2", "batch": []}).to_string();
    let cases: [(&str, Vec<u8>, u16, &str); 8] = [
        ("nobody", batch(&[]), 401, "unauthorized"),
        ("pub_1.sec_1", batch(&[]), 401, "unauthorized"),
        ("", batch(&[]), 401, "unauthorized"),
        ("write_1", keyed.into_bytes(), 401, "unauthorized"),
        ("write_1", b"{\"batch\":[".to_vec(), 400, "malformed"),
        ("write_1", b"[]".to_vec(), 400, "malformed"),
        ("write_1", large.clone(), 400, "too_large"),
        ("nobody", large, 400, "too_large"),
    ];

    for (key, body, status, code) in cases {
        let answer = relay.post_batch(key, body).await;

        let said: Value = serde_json::from_str(&answer.body).expect("a JSON object, whatever the status");
        assert_eq!((answer.status, said["code"].as_str()), (status, Some(code)), "{key}: {answer:?}");
        assert!(said["success"] == false && said["message"] == said["error"] && said["error"].is_string(), "{said}");
    }
    for fine in [batch(&[]), json!({"batch": [{"type": "page"}], "writeKey": "write_1"}).to_string().into_bytes()] {
        assert_eq!(relay.post_batch("write_1", fine).await.status, 200);
    }
    assert_eq!(relay.post_batch("write_1", gzip(&batch(&[]))).await.status, 400, "packed, and does not say so");
    assert_eq!(relay.post_packed_batch("write_1", gzip(&batch(&[identify("packed@example.com")]))).await.status, 200);
    assert_eq!(relay.post_packed_batch("write_1", gzip(&vec![b' '; 64 * 1024 * 1024])).await.status, 400);
}

#[tokio::test]
async fn events_of_one_person_keep_their_order_within_a_batch_and_between_batches() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[("retry", "in_hand = \"20s\"")]);
    config.edit("write_key = \"write_1\"", "write_key = \"write_1\"\nwrite_key_may_delete = true");
    let relay = Relay::start("run", &config).await;
    let people: Vec<_> = (0..20).map(|n| format!("person{n}@example.com")).collect();

    // Without ids of their own: a repeat of the same bytes later is another event.
    let plain = |event: Vec<u8>| {
        let mut event: Value = serde_json::from_slice(&event).expect("JSON");
        event.as_object_mut().expect("an object").remove("messageId");
        event.to_string().into_bytes()
    };
    for _ in 0..3 {
        let events: Vec<_> = (0..2)
            .flat_map(|_| people.iter().flat_map(|email| [plain(identify(email)), plain(delete(email))]))
            .collect();
        assert_eq!(relay.post_batch("write_1", batch(&events)).await.status, 200);
    }

    eventually("all are worked", || async { relay.metric("refersion_relay_worker_ended_total").await >= 240 }).await;
    for email in &people {
        assert_eq!(refersion.statuses(email), ["DISABLED"], "{email}: the last event was a delete");
    }
    let found = r#"refersion_relay_events_delivered_total{how="not_found"}"#;
    assert_eq!(relay.metric(found).await, 0, "no delete came before its identify");
}

#[tokio::test]
async fn a_batch_that_is_not_durable_whole_is_not_taken_and_its_repeat_does_no_harm_own_node() {
    let (broker, refersion) = (PrivateBroker::start().await.expect("a broker"), Refersion::start().await);
    let config = Config::new(&broker.url(), refersion.url(), &[("queue", "confirm_timeout = \"1s\"")]);
    let relay = Relay::start("run", &config).await;
    let events: Vec<_> = (0..100).map(|n| identify(&format!("frozen{n}@example.com"))).collect();

    broker.freeze();
    let answer = relay.post_batch("write_1", batch(&events)).await;
    assert!(answer.status == 503 && answer.header("retry-after").is_some(), "{answer:?}");
    broker.thaw();
    relay.until_ready().await;

    assert_eq!(relay.post_batch("write_1", batch(&events)).await.status, 200);
    eventually("all exist", || async { refersion.simulator.affiliates().len() == 100 }).await;
    assert_eq!(relay.metric(r#"refersion_relay_events_accepted_total{door="tracking"}"#).await, 100);
    assert!(refersion.count(Operation::New) <= 200);
}
