use std::collections::BTreeMap;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, shared_broker};

/// A pipeline: plain AMQP, as any language can do it.
struct Pipeline {
    channel: Channel,
    prefix: String,
    _connection: Connection,
}

impl Pipeline {
    async fn connect(config: &Config) -> Self {
        let connection = Connection::connect(&shared_broker(), ConnectionProperties::default()).await;
        let connection = connection.expect("the broker is there");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        Self { channel, prefix: config.prefix.clone(), _connection: connection }
    }

    async fn publish(&self, account: &str, body: &[u8]) {
        self.publish_with(&format!("{}.intake.{account}", self.prefix), "", body, BasicProperties::default()).await;
    }

    async fn publish_with(&self, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        let sent = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await;
        assert!(sent.expect("sent").await.expect("confirmed").is_ack());
    }
}

fn forged(account: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    let entries = [
        ("x-relay-account", account),
        ("x-relay-attempts", "39"),
        ("x-relay-generation", "7"),
        ("x-relay-class", "rejected"),
        ("x-relay-reason", "refused"),
        ("x-first-death-exchange", "elsewhere"),
    ];
    for (key, value) in entries {
        headers.insert(key.into(), AMQPValue::LongString(value.into()));
    }
    BasicProperties::default()
        .with_headers(headers)
        .with_message_id("peter@example.com".into())
        .with_type("delete".into())
}

#[tokio::test]
async fn plain_events_from_any_publisher_are_worked_in_their_order() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let pipeline = Pipeline::connect(&config).await;

    for n in 0..50 {
        let email = format!("person{n}@example.com");
        pipeline.publish("acme", &identify(&email)).await;
        pipeline.publish("acme", &delete(&email)).await;
    }
    pipeline.publish("other", &identify("theirs@example.com")).await;
    pipeline.publish("acme", br#"{"type":"track","event":"x"}"#).await;

    eventually("all are worked", || async { relay.metric("refersion_relay_worker_ended_total").await >= 101 }).await;
    for n in 0..50 {
        assert_eq!(refersion.statuses(&format!("person{n}@example.com")), ["DISABLED"]);
    }
    assert_eq!(refersion.with_email("theirs@example.com")[0].public_key, "pub_2");
    let accepted = r#"refersion_relay_events_accepted_total{door="intake"}"#;
    // An event may be worked before its door has counted it.
    eventually("all are counted", || async { relay.metric(accepted).await >= 101 }).await;
    let ignored = r#"refersion_relay_events_ignored_total{at="intake",reason="unsupported_type"}"#;
    eventually("it is ignored", || async { relay.metric(ignored).await == 1 }).await;
}

#[tokio::test]
async fn poison_of_every_kind_becomes_a_dead_letter_with_a_reason_and_memory_stays_flat() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let pipeline = Pipeline::connect(&config).await;
    let before = relay.resident_mib();
    let nobodys = format!("{}.intake.nobody", config.prefix);
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let intake = format!("{}.intake", config.prefix);
    let (channel, none) = (&pipeline.channel, FieldTable::default);
    channel.exchange_declare(nobodys.as_str().into(), ExchangeKind::Fanout, durable, none()).await.expect("declared");
    let options = QueueBindOptions::default();
    let bound = channel.queue_bind(intake.as_str().into(), nobodys.as_str().into(), "".into(), options, none());
    bound.await.expect("bound");

    let deep = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000)).into_bytes();
    let deep_traits = format!(r#"{{"type":"identify","traits":{}1{}}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
    let large = vec![b'x'; 10 * 1024 * 1024];
    let bodies: [(&str, &[u8]); 11] = [
        ("unreadable", b""),
        ("unreadable", b"not json"),
        ("unreadable", b"{\"type\":\"identify\",\"userId\":\"\xff\xfe\"}"),
        ("too_large", &large),
        ("too_large", &deep),
        ("too_large", deep_traits.as_bytes()),
        ("not_an_event", b"[1,2]"),
        ("not_an_event", b"{\"type\":{\"a\":1}}"),
        ("incomplete", b"{\"type\":\"identify\",\"traits\":{\"email\":[],\"name\":\"A B\"}}"),
        ("incomplete", b"{\"type\":\"delete\",\"email\":7,\"context\":\"\"}"),
        ("incomplete", b"{\"type\":\"identify\",\"traits\":{\"email\":\"a@b.c\"}}"),
    ];
    for (_, body) in bodies {
        pipeline.publish("acme", body).await;
    }
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000)).into_bytes();
    pipeline.publish("acme", &deep).await;
    pipeline.publish("nobody", &identify("stray@example.com")).await;
    pipeline.publish_with("", &intake, &identify("direct@example.com"), forged("acme")).await;
    // Forged headers on a good event change nothing about it: it is new, and it is the exchange's account's.
    let exchange = format!("{}.intake.acme", config.prefix);
    pipeline.publish_with(&exchange, "", &identify("forged@example.com"), forged("other")).await;
    for _ in 0..20 {
        pipeline.publish("acme", &large).await;
    }
    pipeline.publish("acme", &identify("honest@example.com")).await;

    eventually("the honest one exists", || async { refersion.with_email("honest@example.com").len() == 1 }).await;
    // The large ones are copied one at a time, so the honest one may have passed some.
    let accepted = r#"refersion_relay_events_accepted_total{door="intake"}"#;
    eventually("all are read", || async { relay.metric(accepted).await == 36 }).await;
    assert_eq!(refersion.with_email("forged@example.com")[0].public_key, "pub_1");
    assert_eq!(refersion.simulator.affiliates().len(), 2);
    let letters = config.dead_letters().await;
    let mut reasons = BTreeMap::<String, usize>::new();
    for letter in &letters {
        *reasons.entry(letter["reason"].as_str().expect("a reason").to_owned()).or_default() += 1;
        assert!(letter["generation"] == 0 && letter["attempts"] == 0 && letter["error"].is_string(), "{letter}");
    }
    let expected =
        [("unreadable", 4), ("too_large", 23), ("not_an_event", 2), ("incomplete", 3), ("unknown_account", 2)];
    assert_eq!(reasons, expected.map(|(reason, count)| (reason.to_owned(), count)).into());
    assert!(!serde_json::to_string(&letters).expect("JSON").contains("example.com"));
    assert!(relay.is_ready().await);
    let grown = relay.resident_mib().saturating_sub(before);
    assert!(grown < 300, "it grew by {grown} MiB");
}

#[tokio::test]
async fn one_process_reads_the_intake_and_another_takes_over() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let (first, second) = (Relay::start("ingest", &config).await, Relay::start("ingest", &config).await);
    let _worker = Relay::start("worker", &config).await;
    let pipeline = Pipeline::connect(&config).await;
    let accepted = r#"refersion_relay_events_accepted_total{door="intake"}"#;
    for n in 0..20 {
        pipeline.publish("acme", &identify(&format!("before{n}@example.com"))).await;
    }
    eventually("all are read", || async { first.metric(accepted).await + second.metric(accepted).await == 20 }).await;
    let counts = (first.metric(accepted).await, second.metric(accepted).await);
    assert!(counts == (20, 0) || counts == (0, 20), "one reads: {counts:?}");

    let (reader, other) = if counts.0 == 20 { (first, second) } else { (second, first) };
    reader.kill().await;
    for n in 0..20 {
        pipeline.publish("acme", &identify(&format!("after{n}@example.com"))).await;
    }

    eventually("all exist", || async { refersion.simulator.affiliates().len() == 40 }).await;
    // One more for each acknowledgement that was lost with the reader.
    eventually("the other one has read them", || async { other.metric(accepted).await >= 20 }).await;
}
