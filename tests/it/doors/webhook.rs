use refersion_relay_tests::{Answer, Config, Refersion, Relay, delete, eventually, identify, signature};
use serde_json::Value;

/// The secret that Segment and the account share.
const SECRET: &str = "shared secret";
const ACME: &str = "/v1/webhook/acme";

/// A configuration whose account `acme` has these lines more.
fn config(refersion: &Refersion, lines: &str) -> Config {
    let config = Config::embedded(refersion.url(), &[]);
    config.edit("name = \"acme\"\n", &format!("name = \"acme\"\n{lines}\n"));
    config
}

fn signed() -> String {
    format!("webhook_secret = \"{SECRET}\"")
}

/// Over the bytes of a body, or of the first element of a batch.
fn signed_by_segment(bytes: &[u8]) -> String {
    signature(SECRET, bytes)
}

fn batch(events: &[Vec<u8>]) -> Vec<u8> {
    [b"[".as_slice(), &events.join(&b","[..]), b"]"].concat()
}

async fn send(relay: &Relay, path: &str, signature: Option<&str>, body: &[u8]) -> Answer {
    let headers: Vec<_> = signature.map(|value| ("x-signature", value)).into_iter().collect();
    relay.request("POST", path, &headers, body).await
}

#[tokio::test]
async fn signed_events_are_worked_whatever_the_method() {
    let refersion = Refersion::start().await;
    let config = config(&refersion, &signed());
    let relay = Relay::start("run", &config).await;
    for (method, name) in [("POST", "post"), ("PUT", "put"), ("PATCH", "patch")] {
        let event = identify(&format!("{name}@example.com"));
        let answer = relay.request(method, ACME, &[("x-signature", &signed_by_segment(&event))], event.clone()).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"success":true}"#), "{answer:?}");
    }
    let gone = delete("post@example.com");
    assert_eq!(send(&relay, ACME, Some(&signed_by_segment(&gone)), &gone).await.status, 200);

    eventually("each has its effect", || async { refersion.statuses("post@example.com") == ["DISABLED"] }).await;
    eventually("all exist", || async { refersion.simulator.affiliates().len() == 3 }).await;
    let accepted = r#"refersion_relay_events_accepted_total{door="webhook"}"#;
    assert_eq!(relay.metric(accepted).await, 4);
    assert_eq!(relay.request("GET", ACME, &[], "").await.status, 405);
}

#[tokio::test]
async fn a_byte_that_was_changed_is_refused() {
    let refersion = Refersion::start().await;
    let config = config(&refersion, &signed());
    let relay = Relay::start("ingest", &config).await;
    let event = delete("a@example.com");
    let fine = signed_by_segment(&event);

    for position in 0..event.len() {
        let mut tampered = event.clone();
        tampered[position] ^= 0x20;
        let answer = send(&relay, ACME, Some(&fine), &tampered).await;
        assert_eq!(answer.status, 401, "byte {position}: {answer:?}");
        let wrapped = batch(&[tampered, identify("b@example.com")]);
        let answer = send(&relay, ACME, Some(&fine), &wrapped).await;
        assert_eq!(answer.status, 401, "byte {position} in a batch: {answer:?}");
    }
    for (path, signature) in [(ACME, None), ("/v1/webhook/other", Some(&*fine)), ("/v1/webhook/nobody", Some(&*fine))] {
        assert_eq!(send(&relay, path, signature, &event).await.status, 401, "{path}");
    }
    assert_eq!(config.ledger().await["accepted"], 0);
    assert_eq!(send(&relay, ACME, Some(&fine), &event).await.status, 200);
}

#[tokio::test]
async fn a_batch_of_four_thousand_is_taken_and_its_repeat_changes_nothing() {
    const EVENTS: usize = 4_000;
    let refersion = Refersion::start().await;
    let config = config(&refersion, &signed());
    let relay = Relay::start("run", &config).await;
    let events: Vec<_> = (0..EVENTS).map(|n| identify(&format!("person{n}@example.com"))).collect();
    let body = batch(&events);

    for _ in 0..2 {
        let begin = std::time::Instant::now();
        assert_eq!(send(&relay, ACME, Some(&signed_by_segment(&events[0])), &body).await.status, 200);
        println!("{EVENTS} events, {} KiB, answered after {} ms", body.len() >> 10, begin.elapsed().as_millis());
    }

    eventually("nothing waits", || async { config.ledger().await["waiting"] == 0 }).await;
    assert_eq!(refersion.simulator.affiliates().len(), EVENTS);
    let ledger = config.ledger().await;
    assert_eq!((&ledger["delivered"], &ledger["ignored"]), (&Value::from(EVENTS), &Value::from(EVENTS)), "{ledger}");
}

#[tokio::test]
async fn a_delete_that_the_signature_does_not_cover_waits_for_a_person() {
    let refersion = Refersion::start().await;
    let config = config(&refersion, &signed());
    let relay = Relay::start("run", &config).await;
    let events = [identify("first@example.com"), identify("second@example.com"), delete("first@example.com")];

    let answer = send(&relay, ACME, Some(&signed_by_segment(&events[0])), &batch(&events)).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    eventually("both exist", || async { refersion.simulator.affiliates().len() == 2 }).await;
    let letters = config.dead_letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((&letters[0]["class"], &letters[0]["reason"]), (&"unverified".into(), &"unsigned".into()));
    assert_eq!(refersion.statuses("first@example.com"), ["PENDING"]);

    // Nobody means it by the way.
    for by_the_way in [&["--class", "invalid"][..], &["--reason", "unsigned"], &["--account", "acme"]] {
        let replayed = config.command(&[&["dlq", "replay", "--yes"], by_the_way].concat()).await;
        assert_eq!((replayed.code, config.dead_letters().await.len()), (Some(0), 1), "{by_the_way:?}: {replayed:?}");
    }
    let plan = config.command(&["dlq", "replay", "--reason", "unsigned"]).await;
    assert!(plan.stdout.contains("1 more is left out"), "{plan:?}");
    let events = config.command(&["dlq", "export", "--events"]).await;
    assert!(events.stdout.is_empty() && events.stderr.contains("1 unverified one was left out"), "{events:?}");
    let replayed = config.command(&["dlq", "replay", "--class", "unverified", "--yes"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    eventually("a person meant it", || async { refersion.statuses("first@example.com") == ["DISABLED"] }).await;
}

#[tokio::test]
async fn an_account_may_trust_its_batches() {
    let refersion = Refersion::start().await;
    let config = config(&refersion, &format!("{}\nwebhook_trust_batches = true", signed()));
    let relay = Relay::start("run", &config).await;
    let events = [identify("first@example.com"), delete("first@example.com")];
    assert_eq!(send(&relay, ACME, Some(&signed_by_segment(&events[0])), &batch(&events)).await.status, 200);
    eventually("it is deleted", || async { refersion.statuses("first@example.com") == ["DISABLED"] }).await;
}

#[tokio::test]
async fn an_account_may_do_without_signatures() {
    let refersion = Refersion::start().await;
    let config = config(&refersion, "webhook_unsigned = true");
    let relay = Relay::start("run", &config).await;
    assert_eq!(send(&relay, ACME, None, &identify("a@example.com")).await.status, 200);
    assert_eq!(send(&relay, ACME, None, &delete("a@example.com")).await.status, 200);
    eventually("the delete waits for a person", || async { config.dead_letters().await.len() == 1 }).await;
    eventually("the other exists", || async { refersion.statuses("a@example.com") == ["PENDING"] }).await;
}
