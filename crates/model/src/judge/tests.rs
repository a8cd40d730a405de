use serde_json::{Value, json};

use super::*;

fn judged(event: &Value) -> Judgement {
    judge(&Event::parse(event.to_string().as_bytes()).unwrap(), MissingLastName::Refuse)
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
    refused(&json!({"type": "delete"}), &[Missing::Email]);
}

#[test]
fn a_delete_by_an_id_alone_can_be_completed_by_who_knows_the_address() {
    let by_id = judged(&json!({"type": "delete", "userId": "5678"}));
    assert_eq!(by_id, Judgement::Complete(PersonId::user("5678")));
    assert_eq!(by_id.without_directory(), Judgement::Refuse(vec![Missing::EmailOfId]));
    refused(&json!({"type": "delete", "userId": "5678", "email": "no address"}), &[Missing::ValidEmail]);
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
fn a_company_may_be_a_name_or_an_object_also_as_text() {
    for company in [json!("Initech"), json!({"name": "Initech"}), json!(r#"{"name":"Initech","id":3}"#)] {
        let traits = json!({"name": "A B", "email": "a@example.com", "company": company});
        let event = json!({"type": "identify", "traits": traits});
        assert_eq!(created(&event).company, personal("Initech"), "{company}");
    }
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
    let text = with(json!("{\"street\": \"6th St\", \"city\": \"Austin\", \"country\": \"US\"}"));
    assert_eq!((text.address1, text.city, text.country), (personal("6th St"), personal("Austin"), Some("US")));
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
    assert_eq!(judge_in(&event, &around, MissingLastName::Refuse), Judgement::Ignore(Ignored::Computed));
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

#[test]
fn the_person_may_stand_in_the_context_only() {
    let ann = json!({"name": "Ann Ford", "email": "ann@example.com"});
    let nobody = [
        json!(null),
        json!({}),
        json!([]),
        json!(""),
        json!("{}"),
        json!({"plan": "pro"}),
        json!({"email": null, "name": ""}),
    ];
    for traits in nobody {
        let event = json!({"type": "identify", "traits": traits, "context": {"traits": ann}});
        assert_eq!(created(&event).email.expose(), "ann@example.com", "{event}");
    }
    let event = json!({"type": "identify", "context": {"traits": ann.to_string()}});
    assert_eq!(created(&event).email.expose(), "ann@example.com");
    let event = json!({"type": "identify", "context": json!({"traits": ann}).to_string()});
    assert_eq!(created(&event).email.expose(), "ann@example.com");
    let delete = json!({"type": "delete", "userId": "u1", "context": {"traits": {"email": "ann@example.com"}}});
    assert_eq!(judged(&delete), Judgement::Work(Command::Deactivate(Email::parse("ann@example.com").unwrap())));
}

#[test]
fn traits_that_name_somebody_win_over_those_in_the_context_and_are_not_mixed_with_them() {
    let bob = json!({"name": "Bob Hill", "email": "bob@example.com", "phone": "1"});
    let event = json!({"type": "identify", "traits": {"name": "Ann Ford", "email": "ann@example.com"}, "context": {"traits": bob}});
    let ann = created(&event);
    assert_eq!((ann.email.expose(), ann.phone), ("ann@example.com", None));
    let event = json!({"type": "identify", "traits": {"email": "ann@example.com"}, "context": {"traits": bob}});
    refused(&event, &[Missing::FirstName, Missing::LastName]);
}

#[test]
fn traits_may_be_json_text_of_an_object_or_stand_at_the_top_one_by_one() {
    let ann = json!({"name": "Ann Ford", "email": "ann@example.com", "address": "{\"city\": \"Austin\"}"});
    for event in [
        json!({"type": "identify", "traits": ann.to_string()}),
        json!({"type": "identify", "Traits": format!(" {ann}\n")}),
        json!({"type": "identify", "traits.name": "Ann Ford", "traits.email": "ann@example.com", "traits.address.city": "Austin"}),
        json!({"type": "identify", "traits": {"$name": "Ann Ford", "$email": "ann@example.com", "address.city": "Austin"}}),
    ] {
        let ann = created(&event);
        assert_eq!((ann.email.expose(), ann.city), ("ann@example.com", personal("Austin")), "{event}");
    }
    let half_an_emoji =
        r#"{"type":"identify","traits":"{\"name\":\"Ann \ud83c Ford\",\"email\":\"ann@example.com\"}"}"#;
    let escaped = r#"{"type":"identify","traits":"{\"name\":\"Ann \\ud83c Ford\",\"email\":\"ann@example.com\"}"}"#;
    for body in [half_an_emoji, escaped] {
        let event = Event::parse(body.as_bytes()).unwrap();
        assert!(matches!(judge(&event, MissingLastName::Refuse), Judgement::Work(_)), "{body}");
    }
}

#[test]
fn what_excludes_refersion_may_be_json_text_too() {
    let event = json!({"type": "identify", "email": "a@b", "integrations": "{\"Refersion\": false}"});
    assert_eq!(judged(&event), Judgement::Ignore(Ignored::OptedOut));
}

#[test]
fn traits_that_are_no_object_are_said() {
    let ann = json!({"name": "Ann Ford", "email": "ann@example.com"});
    for traits in [json!("Ann Ford"), json!(5), json!(true), json!([ann]), json!("{\"name\":"), json!("[]x")] {
        refused(&json!({"type": "identify", "traits": traits}), &[Missing::Traits]);
        refused(
            &json!({"type": "identify", "email": "a@b", "traits": traits, "context": {"traits": ann}}),
            &[Missing::Traits],
        );
        refused(&json!({"type": "identify", "context": {"traits": traits}}), &[Missing::Traits]);
    }
    let said = Missing::sentence(EventType::Identify, &[Missing::Traits]);
    assert!(said.contains("`traits`") && said.contains("object"), "{said}");
    let delete = json!({"type": "delete", "email": "a@b", "traits": "none"});
    assert!(matches!(judged(&delete), Judgement::Work(_)), "a delete needs none");
}

#[test]
fn somebody_whose_address_or_name_cannot_be_read_is_not_anonymous() {
    let person = json!({"email": ["ann@example.com"]});
    refused(
        &json!({"type": "identify", "traits": person}),
        &[Missing::ValidEmail, Missing::FirstName, Missing::LastName],
    );
    let person = json!({"name": {"first": "Ann", "last": "Ford"}});
    refused(&json!({"type": "identify", "traits": person}), &[Missing::Email, Missing::FirstName, Missing::LastName]);
    for nobody in ["null", "undefined", "undefined undefined", "\u{200b}"] {
        let event = json!({"type": "identify", "traits": {"name": nobody, "email": nobody, "firstName": nobody}});
        match nobody {
            "undefined undefined" => refused(&event, &[Missing::ValidEmail, Missing::FirstName, Missing::LastName]),
            _ => assert_eq!(judged(&event), Judgement::Ignore(Ignored::Anonymous), "{event}"),
        }
    }
}

#[test]
fn an_address_may_stand_as_the_users_id_only() {
    let event = json!({"type": "identify", "userId": "Ann@example.com", "traits": {"name": "Ann Ford"}});
    let ann = created(&event);
    assert_eq!((ann.email.expose(), ann.unique_merchant_id), ("Ann@example.com", None));
    let delete = json!({"type": "delete", "userId": "ann@example.com", "context": [], "integrations": []});
    assert_eq!(judged(&delete), Judgement::Work(Command::Deactivate(Email::parse("ann@example.com").unwrap())));
    let other = json!({"type": "identify", "userId": "ann@example.com", "traits": {"name": "Ann Ford", "email": "a.ford@example.com"}});
    assert_eq!(created(&other).email.expose(), "a.ford@example.com");
    let invalid =
        json!({"type": "identify", "userId": "ann@example.com", "traits": {"name": "Ann Ford", "email": "nowhere"}});
    refused(&invalid, &[Missing::ValidEmail]);
    let by_id = judged(&json!({"type": "delete", "userId": "auth0|ann@example.com"}));
    assert_eq!(by_id, Judgement::Complete(PersonId::user("auth0|ann@example.com")));
}

#[test]
fn what_an_account_wants_stands_for_a_missing_last_name() {
    let cher = |policy| {
        let event = json!({"type": "identify", "traits": {"name": "Cher", "email": "cher@example.com"}});
        judge(&Event::parse(event.to_string().as_bytes()).unwrap(), policy)
    };
    assert_eq!(cher(MissingLastName::Refuse), Judgement::Refuse(vec![Missing::LastName]));
    for (policy, expected) in [(MissingLastName::Repeat, "Cher"), (MissingLastName::Dash, "-")] {
        let Judgement::Work(Command::Create(affiliate)) = cher(policy) else { panic!("{policy:?}") };
        assert_eq!((affiliate.first_name.expose(), affiliate.last_name.expose()), ("Cher", expected));
        let nobody = Event::parse(br#"{"type":"identify","traits":{"email":"a@b"}}"#).unwrap();
        assert_eq!(
            judge(&nobody, policy),
            Judgement::Refuse(vec![Missing::FirstName, Missing::LastName]),
            "{policy:?}"
        );
    }
    let said = Missing::sentence(EventType::Identify, &[Missing::LastName]);
    assert!(said.contains("account.missing_last_name"), "{said}");
}

#[test]
fn one_person_is_one_subject_whatever_is_written_around_the_address() {
    let with = |email: &str| json!({"type": "identify", "traits": {"name": "Ann Ford", "email": email}}).to_string();
    let mut bodies: Vec<_> = [
        "ann@example.com",
        " ANN@example.com",
        "ann@example.com\u{200b}",
        "a\u{feff}nn@example.com",
        "<ann@example.com>",
        "Ann Ford <ann@example.com>",
        "mailto:ann@example.com",
    ]
    .map(with)
    .to_vec();
    bodies.push(format!("\u{feff}{}", with("ann@example.com")));
    bodies.push(json!({"type": "delete", "userId": "Ann@Example.com"}).to_string());
    let subject = |body: &String| crate::Subject::of(&Event::parse(body.as_bytes()).unwrap(), "m1");
    for body in &bodies {
        assert_eq!(subject(body), subject(&bodies[0]), "{body}");
    }
}
