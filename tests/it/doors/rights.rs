//! Which credential may do what, from the door to Refersion.

use refersion_relay_simulator::{Fault, NewAffiliate, Operation, Status};
use refersion_relay_tests::{
    Config, Refersion, Relay, delete, eventually, identify, shared_broker, signature, with_id,
};
use serde_json::{Value, json};

const ENDED: &str = "refersion_relay_worker_ended_total";
/// All tiers together are over in a second.
const SHORT: [(&str, &str); 1] = [("retry", "in_hand = \"0\"\ntiers = [\"500ms\"]\nmax_attempts = 3")];

/// An account that updates, with these lines more.
fn updating(config: &Config, lines: &str) {
    config.edit("write_key = \"write_1\"", &format!("write_key = \"write_1\"\non_existing = \"update\"\n{lines}"));
}

fn seed(refersion: &Refersion, email: &str) {
    let (first_name, last_name) = ("Olga".to_owned(), "Old".to_owned());
    let affiliate = NewAffiliate {
        email: email.to_owned(),
        first_name,
        last_name,
        status: Status::Active,
        ..NewAffiliate::default()
    };
    refersion.simulator.add_affiliate("pub_1", affiliate);
}

/// Her name at Refersion, and her status.
fn is(refersion: &Refersion, email: &str) -> (String, Status) {
    let found = refersion.with_email(email);
    assert_eq!(found.len(), 1, "{found:?}");
    (found[0].first_name.clone(), found[0].status)
}

fn batch(events: &[Vec<u8>]) -> Vec<u8> {
    [b"{\"batch\":[".as_slice(), &events.join(&b","[..]), b"]}"].concat()
}

async fn ended(relay: &Relay, count: u64) {
    eventually(&format!("{count} have ended"), || async { relay.metric(ENDED).await >= count }).await;
}

#[tokio::test]
async fn who_knows_a_write_key_can_neither_delete_nor_change_anybody() {
    let refersion = Refersion::start().await;
    seed(&refersion, "nina@example.com");
    let config = Config::embedded(refersion.url(), &[]);
    updating(&config, "");
    let relay = Relay::start("run", &config).await;
    let key = ("authorization", "Basic d3JpdGVfMTo=");
    let (gone, other) = (delete("nina@example.com"), identify("nina@example.com"));

    for (number, path) in ["/v1/batch", "/v1/import", "/v1/b"].into_iter().enumerate() {
        let events = [with_id(&gone, &format!("gone-{number}")), with_id(&other, &format!("other-{number}"))];
        assert_eq!(relay.request("POST", path, &[key], batch(&events)).await.status, 200, "{path}");
    }
    for path in ["/v1/identify", "/v1/i"] {
        // The path says what it is, whatever the event says.
        let mut event: Value = serde_json::from_slice(&other).expect("JSON");
        (event["type"], event["messageId"]) = ("delete".into(), path.into());
        assert_eq!(relay.request("POST", path, &[key], event.to_string()).await.status, 200, "{path}");
    }

    ended(&relay, 5).await;
    assert_eq!(is(&refersion, "nina@example.com"), ("Olga".to_owned(), Status::Active));
    let letters = config.dead_letters().await;
    let refused = letters
        .iter()
        .filter(|letter| (&letter["class"], &letter["reason"]) == (&json!("unverified"), &json!("unsigned")));
    assert_eq!((refused.count(), letters.len()), (3, 3), "{letters:?}");
    assert_eq!(refersion.count(Operation::Edit), 0);

    // Whoever has the Refersion keys may do both, with the same message id too.
    assert_eq!(relay.post(1, with_id(&other, "other-0")).await.status, 202);
    eventually("she is renamed", || async { is(&refersion, "nina@example.com").0 == "Test" }).await;
    assert_eq!(relay.post(1, gone).await.status, 202);
    eventually("she is deactivated", || async { is(&refersion, "nina@example.com").1 == Status::Disabled }).await;
}

#[tokio::test]
async fn an_account_may_give_its_write_key_these_rights() {
    let refersion = Refersion::start().await;
    seed(&refersion, "nina@example.com");
    let config = Config::embedded(refersion.url(), &[]);
    updating(&config, "write_key_may_delete = true\nwrite_key_may_update = true");
    let relay = Relay::start("run", &config).await;
    assert_eq!(relay.post_batch("write_1", batch(&[identify("nina@example.com")])).await.status, 200);
    eventually("she is renamed", || async { is(&refersion, "nina@example.com").0 == "Test" }).await;
    assert_eq!(relay.post_batch("write_1", batch(&[delete("nina@example.com")])).await.status, 200);
    eventually("she is deactivated", || async { is(&refersion, "nina@example.com").1 == Status::Disabled }).await;
}

#[tokio::test]
async fn what_no_signature_covers_changes_nobody_and_what_one_covers_does() {
    let refersion = Refersion::start().await;
    let people = ["covered@example.com", "behind@example.com"];
    for email in people {
        seed(&refersion, email);
    }
    let config = Config::embedded(refersion.url(), &[]);
    updating(&config, "webhook_secret = \"shared\"");
    let relay = Relay::start("run", &config).await;
    let events = people.map(identify);
    let body = [b"[".as_slice(), &events.join(&b","[..]), b"]"].concat();
    let header = ("x-signature", &*signature("shared", &events[0]));
    assert_eq!(relay.request("POST", "/v1/webhook/acme", &[header], body).await.status, 200);
    ended(&relay, 2).await;
    assert_eq!(people.map(|email| is(&refersion, email).0), ["Test", "Olga"]);
}

/// Through everything that can happen to an event before it is worked, on this queue.
async fn still_only_creates(queue: &str) {
    let refersion = Refersion::start().await;
    let people = ["held@example.com", "late@example.com", "dead@example.com"];
    for email in people {
        seed(&refersion, email);
    }
    let config = Config::new(queue, refersion.url(), &SHORT);
    updating(&config, "");
    let mut relay = Relay::start("run", &config).await;
    // One is tried again from a retry queue, and one becomes a dead letter.
    refersion.fail(Operation::New, "late@", Some(1), Fault::status(500, None));
    let refusal = r#"{"errors":["Value exceed the char limit'"]}"#;
    refersion.fail(Operation::New, "dead@", Some(1), Fault::status(422, Some(refusal)));
    assert_eq!(relay.post_batch("write_1", batch(&[identify(people[1]), identify(people[2])])).await.status, 200);
    eventually("both were tried", || async { refersion.count(Operation::New) >= 2 }).await;
    eventually("one is dead", || async { config.dead_letters().await.len() == 1 }).await;
    ended(&relay, 2).await;

    // One waits for its account while everything is started again.
    refersion.simulator.set_keys_valid("pub_1", false);
    assert_eq!(relay.post_batch("write_1", batch(&[identify(people[0])])).await.status, 200);
    let held = r#"refersion_relay_account_held{account="acme"}"#;
    eventually("it is held", || async { relay.metric(held).await == 1 }).await;
    relay.kill().await;
    relay = Relay::start("run", &config).await;
    refersion.simulator.set_keys_valid("pub_1", true);
    ended(&relay, 1).await;
    let replayed = config.command(&["dlq", "replay", "--class", "rejected", "--yes"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    ended(&relay, 2).await;

    for email in people {
        assert_eq!(is(&refersion, email), ("Olga".to_owned(), Status::Active), "{email}");
    }
    assert_eq!((refersion.count(Operation::Edit), config.dead_letters().await), (0, Vec::<Value>::new()));
    // The same account updates who comes with its Refersion keys.
    assert_eq!(relay.post(1, with_id(&identify(people[0]), "again")).await.status, 202);
    eventually("she is renamed", || async { is(&refersion, people[0]).0 == "Test" }).await;
}

#[tokio::test]
async fn an_event_that_only_creates_does_so_after_a_retry_a_hold_a_restart_and_a_replay() {
    still_only_creates("sqlite:relay.db").await;
}

#[tokio::test]
async fn an_event_that_only_creates_does_so_after_all_of_that_on_a_broker() {
    still_only_creates(&shared_broker()).await;
}
