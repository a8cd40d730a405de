use serde_json::{Value, json};

use super::*;

fn judged(event: &Value) -> Judgement {
    judge(&Event::parse(event.to_string().as_bytes()).unwrap())
}

#[track_caller]
fn created(event: &Value) -> NewAffiliate {
    match judged(event) {
        Judgement::Work(Command::Create(affiliate)) => *affiliate,
        other => panic!("{event}: {other:?}"),
    }
}

#[track_caller]
fn refused(event: &Value, expected: &[Missing]) {
    assert_eq!(judged(event), Judgement::Refuse(expected.to_vec()), "{event}");
}

#[expect(clippy::unnecessary_wraps, reason = "the fields it is compared with are optional")]
fn personal(text: &str) -> Option<Personal> {
    Some(Personal::new(text))
}

/// The documented identify: its top-level address is not the one that counts, and its country is no code.
fn documented_identify() -> Value {
    json!({
        "messageId": "test-message-txsmji", "timestamp": "2019-05-02T14:14:40.519Z", "type": "identify",
        "email": "test@example.org", "userId": "test-user-t0zpx",
        "traits": {
            "name": "Peter Gibbons", "email": "peter@example.com", "plan": "premium", "logins": 5,
            "address": {"street": "6th St", "city": "San Francisco", "state": "CA", "postalCode": "94103", "country": "USA"}
        }
    })
}

#[test]
fn the_documented_identify_creates_peter() {
    let peter = created(&documented_identify());
    assert_eq!(peter.email.expose(), "peter@example.com");
    assert_eq!((peter.first_name.expose(), peter.last_name.expose()), ("Peter", "Gibbons"));
    assert_eq!(
        (peter.address1, peter.city, peter.state, peter.zip, peter.country),
        (personal("6th St"), personal("San Francisco"), personal("CA"), personal("94103"), Some("US"))
    );
    assert_eq!(peter.unique_merchant_id, None, "a user id with dashes is not alphanumeric");
    assert_eq!(peter.omitted, [OmittedField::UniqueMerchantId]);
}

#[test]
fn a_delete_deactivates_by_its_top_level_address() {
    let delete =
        json!({"type": "delete", "userId": "5678", "context": [], "integrations": [], "email": "peter@example.com"});
    assert_eq!(judged(&delete), Judgement::Work(Command::Deactivate(Email::parse("peter@example.com").unwrap())));
    let by_traits = json!({"type": "delete", "context": null, "traits": {"email": "p@example.com"}});
    assert_eq!(judged(&by_traits), Judgement::Work(Command::Deactivate(Email::parse("p@example.com").unwrap())));
    refused(&json!({"type": "delete", "userId": "5678"}), &[Missing::Email]);
}

#[test]
fn the_top_level_address_is_only_a_fallback() {
    let event = json!({"type": "identify", "email": "top@example.org", "traits": {"name": "A B", "email": null}});
    assert_eq!(created(&event).email.expose(), "top@example.org");
}

#[test]
fn scalars_of_the_wrong_type_are_read_all_the_same() {
    let event = json!({
        "type": "identify", "userId": 42, "context": null, "integrations": [],
        "traits": {
            "first_name": "Ann", "last_name": 7, "email": "ann@example.com", "phone": 15_551_234_567_u64,
            "company": {"name": "Initech", "id": 3},
            "address": {"postal_code": 94103, "country": "Germany"}
        }
    });
    let ann = created(&event);
    assert_eq!(ann.last_name, Personal::new("7"));
    assert_eq!((ann.phone, ann.company), (personal("15551234567"), personal("Initech")));
    assert_eq!((ann.zip, ann.country), (personal("94103"), Some("DE")));
    assert_eq!(ann.unique_merchant_id, personal("42"));
}

#[test]
fn an_address_may_be_one_line_or_nonsense() {
    let with = |address: Value| {
        created(&json!({"type": "identify", "traits": {"name": "A B", "email": "a@b", "address": address}}))
    };
    assert_eq!(with(json!("6th St, San Francisco")).address1, personal("6th St, San Francisco"));
    for nonsense in [json!([]), json!(null), json!(true), json!({"street": {}})] {
        assert_eq!(with(nonsense).address1, None);
    }
}

#[test]
fn a_country_that_cannot_be_mapped_is_left_out_and_said() {
    let event = json!({"type": "identify", "traits": {"name": "A B", "email": "a@b", "address": {"country": "Kenya"}}});
    let affiliate = created(&event);
    assert_eq!((affiliate.country, affiliate.omitted), (None, vec![OmittedField::Country]));
}

#[test]
fn everything_that_is_missing_is_said_at_once() {
    refused(&json!({"type": "identify", "traits": {"email": "a@b"}}), &[Missing::FirstName, Missing::LastName]);
    refused(&json!({"type": "identify", "traits": {"name": "Cher"}}), &[Missing::Email, Missing::LastName]);
    refused(
        &json!({"type": "identify", "traits": {"name": "Cher", "email": "nowhere"}}),
        &[Missing::ValidEmail, Missing::LastName],
    );
    refused(&json!({"type": "identify", "email": "a@b", "traits": []}), &[Missing::FirstName, Missing::LastName]);
}

#[test]
fn what_segment_computed_is_ignored_unless_it_is_a_whole_person() {
    let computed = |traits: Value| {
        judged(&json!({"type": "identify", "context": {"personas": {"name": "big"}}, "traits": traits}))
    };
    for traits in [json!({"big_spender": true}), json!({"email": "a@example.com"}), json!({"name": "Cher"})] {
        assert_eq!(computed(traits.clone()), Judgement::Ignore(Ignored::Computed), "{traits}");
    }
    let whole = computed(json!({"email": "a@example.com", "name": "A B", "big_spender": true}));
    assert!(matches!(whole, Judgement::Work(_)), "{whole:?}");
    let event = Event::parse(br#"{"type":"identify","traits":{"email":"a@example.com"}}"#).unwrap();
    let around = Envelope::unfiltered().with_batch(None, Some(&json!({"personas": {}})));
    assert_eq!(judge_in(&event, &around), Judgement::Ignore(Ignored::Computed));
}

#[test]
fn what_is_not_for_refersion_is_ignored() {
    let computed = json!({"type": "identify", "userId": "u", "traits": {"first_time_shopper": true}});
    assert_eq!(judged(&computed), Judgement::Ignore(Ignored::Anonymous));
    let track = json!({"type": "track", "event": "Order Completed"});
    assert_eq!(judged(&track), Judgement::Ignore(Ignored::UnsupportedType(EventType::Track)));
    let mut excluded = documented_identify();
    excluded["integrations"] = json!({"All": true, "Refersion": false});
    assert_eq!(judged(&excluded), Judgement::Ignore(Ignored::OptedOut));
    excluded["integrations"] = json!({"All": false, "Refersion": {}});
    assert!(matches!(judged(&excluded), Judgement::Work(_)));
}
