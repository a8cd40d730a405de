use refersion_relay_simulator::{Fault, Operation, Shape};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, shared_broker, with_id};

/// Everything that Refersion can do wrong and that may be right the next time.
fn transient() -> Vec<(&'static str, Fault)> {
    vec![
        ("500", Fault::status(500, None)),
        ("503", Fault::status(503, Some("unavailable"))),
        ("limited", Fault::TooManyRequests { retry_after: None }),
        ("reset", Fault::Reset),
        ("hang", Fault::Hang),
        ("html", Fault::Html { status: 200 }),
        ("proxy", Fault::Html { status: 404 }),
        ("truncated", Fault::Truncated),
        ("empty", Fault::Empty200),
        ("close", Fault::Close),
        ("cut-off", Fault::CutOff),
        ("oversized", Fault::Oversized { bytes: 4 * 1024 * 1024 }),
        ("error-in-200", Fault::ErrorIn200),
        ("no-keys", Fault::NoSuccessKeys),
        ("array", Fault::WrongShape { shape: Shape::Array }),
        ("redirect", Fault::Redirect { status: 302, location: "/".to_owned() }),
        ("500-after", Fault::after_effect(Fault::status(500, None))),
        ("reset-after", Fault::after_effect(Fault::Reset)),
        ("hang-after", Fault::after_effect(Fault::Hang)),
    ]
}

#[tokio::test]
async fn whatever_may_succeed_later_does_and_makes_one_affiliate() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    for (name, fault) in transient() {
        refersion.fail(Operation::New, &format!("{name}@"), Some(2), fault);
    }

    for (name, _) in transient() {
        assert_eq!(relay.post(1, identify(&format!("{name}@example.com"))).await.status, 202);
    }

    let all = transient().len() as u64;
    eventually("all are delivered", || async { relay.metric("refersion_relay_worker_ended_total").await >= all }).await;
    for (name, _) in transient() {
        let email = format!("{name}@example.com");
        let calls =
            refersion.simulator.calls().into_iter().filter(|call| call.email.as_deref() == Some(&email)).count();
        assert_eq!((refersion.statuses(&email), calls), (vec!["PENDING"], 3), "{name}");
    }
    assert_eq!(config.dead_letters().await, Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn a_delete_survives_the_same() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let operations = [Operation::Search, Operation::Get, Operation::StatusChange];
    for operation in operations {
        refersion.fail(operation, "", Some(1), Fault::after_effect(Fault::status(502, None)));
    }

    assert_eq!(relay.post(1, identify("jo@example.com")).await.status, 202);
    assert_eq!(relay.post(1, delete("jo@example.com")).await.status, 202);

    eventually("jo is deactivated", || async { refersion.statuses("jo@example.com") == ["DISABLED"] }).await;
    let delivered = "refersion_relay_worker_ended_total";
    eventually("both have ended", || async { relay.metric(delivered).await >= 2 }).await;
    assert_eq!(relay.metric(r#"refersion_relay_attempts_failed_total{failure="unavailable"}"#).await, 3);
}

#[tokio::test]
async fn a_proper_no_is_a_dead_letter_at_once_and_taken_is_delivered() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    refersion.fail(Operation::New, "nocontent@", None, Fault::NoContent);
    refersion.fail(
        Operation::New,
        "toolong@",
        None,
        Fault::status(422, Some(r#"{"errors":["Value exceed the char limit'"]}"#)),
    );

    for email in ["taken@example.com", "nocontent@example.com", "toolong@example.com"] {
        assert_eq!(relay.post(1, identify(email)).await.status, 202);
    }
    assert_eq!(relay.post(1, with_id(&identify("taken@example.com"), "again")).await.status, 202);

    eventually("all have ended", || async { relay.metric("refersion_relay_worker_ended_total").await >= 4 }).await;
    assert_eq!(relay.metric(r#"refersion_relay_events_delivered_total{how="existing"}"#).await, 1);
    assert_eq!(refersion.with_email("taken@example.com").len(), 1);
    let mut letters = config.dead_letters().await;
    letters.sort_by_key(|letter| letter["status"].to_string());
    let facts = |key: &str| letters.iter().map(|letter| letter[key].clone()).collect::<Vec<_>>();
    assert_eq!(facts("class"), ["rejected", "rejected"]);
    assert_eq!(facts("status"), [204, 422]);
    assert_eq!(facts("attempts"), [1, 1]);
    assert_eq!(refersion.count(Operation::New), 4, "nothing was repeated");
}

#[tokio::test]
async fn what_never_succeeds_is_exhausted_after_its_attempts() {
    let refersion = Refersion::start().await;
    let retry = [("retry", "in_hand = \"0s\"\ntiers = [\"100ms\", \"200ms\"]\nmax_attempts = 4")];
    let config = Config::new(&shared_broker(), refersion.url(), &retry);
    let relay = Relay::start("run", &config).await;
    refersion.fail(Operation::New, "never@", None, Fault::status(500, None));

    assert_eq!(relay.post(1, identify("never@example.com")).await.status, 202);

    eventually("it is dead", || async { relay.metric("refersion_relay_worker_ended_total").await >= 1 }).await;
    let letters = config.dead_letters().await;
    assert_eq!((letters[0]["class"].as_str(), letters[0]["reason"].as_str()), (Some("exhausted"), Some("attempts")));
    assert_eq!(letters[0]["attempts"], 4);
    assert_eq!(refersion.count(Operation::New), 4);
    assert_eq!(relay.metric(r#"refersion_relay_retries_total{wait="tier"}"#).await, 3);
}

#[tokio::test]
async fn retry_after_pauses_the_account_and_costs_no_attempt() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[("retry", "max_attempts = 1")]);
    let relay = Relay::start("run", &config).await;
    refersion.fail(Operation::New, "", Some(1), Fault::TooManyRequests { retry_after: Some("2".to_owned()) });

    assert_eq!(relay.post(1, identify("first@example.com")).await.status, 202);
    eventually("Refersion was called", || async { refersion.count(Operation::New) == 1 }).await;
    for n in 0..10 {
        assert_eq!(relay.post(1, identify(&format!("next{n}@example.com"))).await.status, 202);
    }

    eventually("all have ended", || async { relay.metric("refersion_relay_worker_ended_total").await >= 11 }).await;
    let mut calls = refersion.simulator.calls();
    // The first owner of a work queue asks whether the keys work.
    calls.retain(|call| call.operation != Operation::List);
    assert!(calls[1..].iter().all(|call| call.started_ms >= calls[0].started_ms + 1_900), "{calls:?}");
    assert_eq!((calls.len(), refersion.simulator.affiliates().len()), (12, 11));
}
