use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, eventually, identify, shared_broker};
use serde_json::Value;

const NO: &str = r#"{"errors":["Value exceed the char limit'"]}"#;

/// A relay with three dead letters of class `rejected`.
async fn with_three_letters(refersion: &Refersion, config: &Config) -> Relay {
    let relay = Relay::start("run", config).await;
    refersion.fail(Operation::New, "dead", None, Fault::status(422, Some(NO)));
    for n in 0..3 {
        assert_eq!(relay.post(1, identify(&format!("dead{n}@example.com"))).await.status, 202);
    }
    eventually("three are dead", || async { relay.metric("refersion_relay_worker_ended_total").await >= 3 }).await;
    relay
}

fn ids(letters: &[Value]) -> Vec<String> {
    letters.iter().map(|letter| letter["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn letters_are_listed_and_shown_without_personal_data() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    assert_eq!(config.dead_letters().await, Vec::<Value>::new(), "an empty list is an array too");
    let _relay = with_three_letters(&refersion, &config).await;

    let letters = config.dead_letters().await;
    assert_eq!(letters.len(), 3);
    for key in
        ["id", "class", "reason", "account", "type", "message_id", "generation", "attempts", "received_at", "dead_at"]
    {
        assert!(letters.iter().all(|letter| !letter[key].is_null()), "{key}");
    }
    assert_eq!(ids(&config.dead_letters().await), ids(&letters), "reading them moves nothing");
    let id = &ids(&letters)[0];
    let hidden = config.command(&["dlq", "show", id]).await;
    assert!(!hidden.stdout.contains("example.com"), "{hidden:?}");
    for line in ["class         rejected", "status        422", "account       acme", "event         "] {
        assert!(hidden.stdout.lines().any(|shown| shown.starts_with(line)), "{line}: {hidden:?}");
    }
    let shown = config.command(&["dlq", "show", id, "--show-body", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown.stdout).expect("one JSON document");
    let body = shown["body"].as_str().expect("text");
    assert!(["dead0@example.com", "dead1@example.com", "dead2@example.com"].iter().any(|email| body.contains(email)));
    let text = config.command(&["dlq", "list"]).await;
    assert!(text.stdout.lines().count() == 1 + 3 && !text.stdout.contains("example.com"), "{text:?}");
    let error = letters[0]["error"].as_str().expect("Refersion said why");
    assert!(text.stdout.starts_with("ID  ") && text.stdout.matches(error).count() == 3, "{text:?}");
    let unknown = config.command(&["dlq", "show", "0123456789abcdef"]).await;
    assert_eq!(unknown.code, Some(1));
}

#[tokio::test]
async fn a_replay_needs_a_yes_and_reaches_refersion_although_its_id_was_just_seen() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = with_three_letters(&refersion, &config).await;
    let letters = config.dead_letters().await;
    let one = ids(&letters)[1].clone();
    let message_id = letters[1]["message_id"].as_str().expect("an id").to_owned();

    let plan = config.command(&["dlq", "replay", &one]).await;
    assert_eq!(plan.code, Some(0), "{plan:?}");
    assert!(plan.stdout.contains("1 would be sent again") && plan.stderr.contains("--yes"), "{plan:?}");
    assert_eq!(config.dead_letters().await.len(), 3);
    assert_eq!(refersion.count(Operation::New), 3);

    refersion.simulator.clear_faults();
    let done = config.command(&["dlq", "replay", &one, "--yes", "--json"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let done: Value = serde_json::from_str(&done.stdout).expect("one JSON document");
    assert_eq!(done["done"]["replayed"], 1);
    eventually("it is delivered", || async { refersion.simulator.affiliates().len() == 1 }).await;
    let left = config.dead_letters().await;
    assert!(left.len() == 2 && left.iter().all(|letter| letter["message_id"] != message_id.as_str()), "{left:?}");

    let rest = config.command(&["dlq", "replay", "--class", "rejected", "--yes"]).await;
    assert_eq!(rest.code, Some(0), "{rest:?}");
    eventually("all are delivered", || async { refersion.simulator.affiliates().len() == 3 }).await;
    assert_eq!(relay.metric("refersion_relay_worker_ended_total").await, 6);
}

#[tokio::test]
async fn a_replayed_letter_that_dies_again_has_the_next_generation_and_fresh_attempts() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = with_three_letters(&refersion, &config).await;

    assert_eq!(config.command(&["dlq", "replay", "--class", "rejected", "--yes"]).await.code, Some(0));

    eventually("all are dead again", || async { relay.metric("refersion_relay_worker_ended_total").await >= 6 }).await;
    let letters = config.dead_letters().await;
    assert_eq!(letters.len(), 3);
    assert!(letters.iter().all(|letter| letter["generation"] == 1 && letter["attempts"] == 1), "{letters:?}");
}

#[tokio::test]
async fn an_unknown_letter_is_said_and_changes_nothing() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let _relay = with_three_letters(&refersion, &config).await;

    let done = config.command(&["dlq", "replay", "0123456789abcdef", "--yes"]).await;

    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("were not there"), "{done:?}");
    assert_eq!(config.dead_letters().await.len(), 3);
}
