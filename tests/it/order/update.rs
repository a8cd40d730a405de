use refersion_relay_simulator::{Affiliate, Fault, NewAffiliate, Operation, Status};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, shared_broker};
use serde_json::json;

/// A relay whose accounts update affiliates that exist.
async fn updating(refersion: &Refersion) -> (Config, Relay) {
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let text = std::fs::read_to_string(config.path()).expect("read");
    let text = text.replace("[[account]]\n", "[[account]]\non_existing = \"update\"\n");
    std::fs::write(config.path(), text).expect("written");
    let relay = Relay::start("run", &config).await;
    (config, relay)
}

/// An identify of `email` as Nina Novak, who lives in Texas, with a message id of its own.
fn renamed(email: &str, message_id: &str) -> Vec<u8> {
    let address = json!({"street": "1 Main St", "city": "Austin", "state": "Texas", "country": "USA"});
    let traits = json!({"firstName": "Nina", "lastName": "Novak", "email": email, "address": address});
    json!({"type": "identify", "messageId": message_id, "traits": traits}).to_string().into_bytes()
}

fn seed(refersion: &Refersion, email: &str, status: Status) {
    let (first_name, last_name) = ("Olga".to_owned(), "Old".to_owned());
    let affiliate = NewAffiliate { email: email.to_owned(), first_name, last_name, status, ..NewAffiliate::default() };
    refersion.simulator.add_affiliate("pub_1", affiliate);
}

async fn ended(relay: &Relay, count: u64) {
    let what = format!("{count} events have ended");
    eventually(&what, || async { relay.metric("refersion_relay_worker_ended_total").await >= count }).await;
}

async fn delivered(relay: &Relay, how: &str) -> u64 {
    relay.metric(&format!("refersion_relay_events_delivered_total{{how=\"{how}\"}}")).await
}

/// The one affiliate with this address.
#[track_caller]
fn only(refersion: &Refersion, email: &str) -> Affiliate {
    let mut found = refersion.with_email(email);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[tokio::test]
async fn an_identify_of_an_existing_address_updates_it_and_a_repeat_says_unchanged() {
    let refersion = Refersion::start().await;
    seed(&refersion, "nina@example.com", Status::Active);
    let (config, relay) = updating(&refersion).await;

    assert_eq!(relay.post(1, renamed("nina@example.com", "first")).await.status, 202);
    ended(&relay, 1).await;
    let after = only(&refersion, "nina@example.com");
    assert_eq!(relay.post(1, renamed("nina@example.com", "second")).await.status, 202);
    ended(&relay, 2).await;

    assert_eq!((after.first_name.as_str(), after.last_name.as_str()), ("Nina", "Novak"));
    let address = [after.address1.as_deref(), after.city.as_deref(), after.state.as_deref(), after.country.as_deref()];
    assert_eq!(address, [Some("1 Main St"), Some("Austin"), None, Some("US")], "an edit takes no long state");
    assert_eq!(after.status, Status::Active);
    assert_eq!(only(&refersion, "nina@example.com"), after);
    assert_eq!((delivered(&relay, "updated").await, delivered(&relay, "unchanged").await), (1, 1));
    assert_eq!(relay.metric(r#"refersion_relay_fields_omitted_total{field="state"}"#).await, 2);
    assert_eq!(relay.metric(r#"refersion_relay_refersion_calls_total{operation="edit",outcome="ok"}"#).await, 2);
    assert_eq!(config.dead_letters().await, Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn a_deactivated_affiliate_is_left_alone_and_counted() {
    let refersion = Refersion::start().await;
    seed(&refersion, "nina@example.com", Status::Active);
    let (_config, relay) = updating(&refersion).await;

    assert_eq!(relay.post(1, delete("nina@example.com")).await.status, 202);
    assert_eq!(relay.post(1, renamed("nina@example.com", "late")).await.status, 202);
    ended(&relay, 2).await;

    let nina = only(&refersion, "nina@example.com");
    assert_eq!((nina.status, nina.first_name.as_str(), nina.city), (Status::Disabled, "Olga", None));
    assert_eq!((delivered(&relay, "deactivated").await, delivered(&relay, "left_inactive").await), (1, 1));
    assert_eq!(refersion.count(Operation::Edit), 0);
    assert_eq!(relay.metric(r#"refersion_relay_fields_omitted_total{field="state"}"#).await, 0);
}

#[tokio::test]
async fn keep_still_changes_nothing() {
    let refersion = Refersion::start().await;
    seed(&refersion, "nina@example.com", Status::Active);
    let before = only(&refersion, "nina@example.com");
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;

    assert_eq!(relay.post(1, renamed("nina@example.com", "first")).await.status, 202);
    ended(&relay, 1).await;

    assert_eq!(only(&refersion, "nina@example.com"), before);
    assert_eq!(delivered(&relay, "existing").await, 1);
    assert_eq!(refersion.operations(), [Operation::New], "one creation, nothing looked up");
}

#[tokio::test]
async fn an_edit_that_fails_before_or_after_its_effect_ends_well() {
    for (fault, how) in [
        (Fault::status(500, None), "updated"),
        (Fault::after_effect(Fault::status(500, None)), "unchanged"),
        (Fault::after_effect(Fault::Reset), "unchanged"),
    ] {
        let refersion = Refersion::start().await;
        seed(&refersion, "nina@example.com", Status::Pending);
        let (config, relay) = updating(&refersion).await;
        refersion.fail(Operation::Edit, "", Some(1), fault.clone());

        assert_eq!(relay.post(1, renamed("nina@example.com", "first")).await.status, 202);
        ended(&relay, 1).await;

        let nina = only(&refersion, "nina@example.com");
        assert_eq!((nina.first_name.as_str(), nina.city.as_deref()), ("Nina", Some("Austin")), "{fault:?}");
        assert_eq!(delivered(&relay, how).await, 1, "{fault:?}");
        assert_eq!((refersion.count(Operation::New), refersion.count(Operation::Edit)), (2, 2), "{fault:?}");
        assert_eq!(config.dead_letters().await, Vec::<serde_json::Value>::new());
    }
}

#[tokio::test]
async fn taken_by_nobody_who_can_be_found_is_a_dead_letter_that_says_so() {
    let refersion = Refersion::start().await;
    let (config, relay) = updating(&refersion).await;
    let taken = r#"{"errors":["The email you have entered is taken by another Affiliate."]}"#;
    refersion.fail(Operation::New, "nina@", None, Fault::status(422, Some(taken)));

    assert_eq!(relay.post(1, renamed("nina@example.com", "first")).await.status, 202);
    ended(&relay, 1).await;

    let letters = config.dead_letters().await;
    assert_eq!((&letters[0]["class"], &letters[0]["reason"]), (&json!("rejected"), &json!("not_identified")));
    let error = letters[0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("is taken, and the search finds no affiliate"), "{letters:?}");
    assert_eq!(refersion.count(Operation::New), 1);
}

#[tokio::test]
async fn check_shows_what_is_done_with_those_who_exist() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let text = std::fs::read_to_string(config.path()).expect("read");
    std::fs::write(config.path(), text.replacen("[[account]]\n", "[[account]]\non_existing = \"update\"\n", 1))
        .expect("written");

    let output = config.command(&["check", "--json"]).await;

    let printed: serde_json::Value = serde_json::from_str(&output.stdout).expect("one JSON document");
    let accounts = &printed["effective"]["account"];
    assert_eq!((&accounts[0]["on_existing"], &accounts[1]["on_existing"]), (&json!("update"), &json!("keep")));
}
