use std::collections::BTreeSet;

use refersion_relay_model::{NewAffiliate, Personal};
use refersion_relay_refersion::{
    Applied, Existing, Failure, KnownText, NewAffiliateDefaults, Rejection, Status, Unreadable, generate_password,
};
use refersion_relay_simulator as simulator;
use refersion_relay_simulator::{Fault, FaultRule};
use serde_json::{Value, json};

use crate::support::{
    ACTIVE, FakeRefersion, PUBLIC_KEY, Reply, SECRET_KEY, Simulated, create, deactivate, keys, logged, person,
};

const TAKEN: &str = "The email you have entered is taken by another Affiliate.";

fn created() -> Reply {
    Reply::ok(&json!({
        "id": "a3y7",
        "link": "https://site.refersion.com/c/a3y7",
        "message": "The affiliate 37569297 has been created with the status of ACTIVE.",
    }))
}

/// What Refersion is sent for this affiliate, with the password taken out and handed back apart.
async fn sent(affiliate: &NewAffiliate, defaults: NewAffiliateDefaults) -> (Value, String) {
    let refersion = FakeRefersion::always(created).await;
    let applied = refersion.client.create(&keys(), affiliate, defaults, Existing::Keep).await;
    assert_eq!(applied, Ok(Applied::Created));
    let mut body = refersion.bodies("new").remove(0);
    let password = body.as_object_mut().unwrap().remove("password").unwrap();
    (body, password.as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_person_with_the_required_fields_only_sends_nothing_else() {
    let defaults = NewAffiliateDefaults { status: Status::Pending, send_welcome: false };

    let (body, _) = sent(&person("peter@example.com"), defaults).await;

    assert_eq!(
        body,
        json!({
            "email": "peter@example.com", "first_name": "Peter", "last_name": "Gibbons",
            "status": "PENDING", "send_welcome": "FALSE",
        })
    );
}

#[tokio::test]
async fn an_address_is_sent_in_the_spelling_that_a_later_delete_looks_for() {
    let (body, _) = sent(&person("Peter@Example.COM"), NewAffiliateDefaults::default()).await;

    assert_eq!(body["email"], "peter@example.com");
}

#[tokio::test]
async fn everything_that_is_known_of_a_person_is_sent_under_refersions_names() {
    let affiliate = NewAffiliate {
        company: Some(Personal::new("Initech")),
        phone: Some(Personal::new("+1 555 0100")),
        address1: Some(Personal::new("1 Main St")),
        city: Some(Personal::new("Austin")),
        state: Some(Personal::new("TX")),
        zip: Some(Personal::new("01234")),
        country: Some("US"),
        unique_merchant_id: Some(Personal::new("u97980cfea0067")),
        ..person("Peter+Tps_1@Example.com")
    };
    let defaults = NewAffiliateDefaults { status: Status::Active, send_welcome: true };

    let (body, _) = sent(&affiliate, defaults).await;

    assert_eq!(
        body,
        json!({
            "email": "peter+tps_1@example.com", "first_name": "Peter", "last_name": "Gibbons",
            "status": "ACTIVE", "send_welcome": "TRUE", "company": "Initech", "phone": "+1 555 0100",
            "address1": "1 Main St", "city": "Austin", "state": "TX", "zip": "01234", "country": "US",
            "unique_merchant_id": "u97980cfea0067",
        })
    );
}

#[tokio::test]
async fn what_is_sent_is_what_the_simulator_keeps() {
    let refersion = Simulated::start().await;
    let affiliate = NewAffiliate {
        company: Some(Personal::new("Initech")),
        country: Some("GB"),
        unique_merchant_id: Some(Personal::new("u9")),
        ..person("peter@example.com")
    };
    let pending = NewAffiliateDefaults { status: Status::Pending, send_welcome: true };

    let applied = refersion.client.create(&keys(), &affiliate, pending, Existing::Keep).await;

    assert_eq!(applied, Ok(Applied::Created));
    let kept = refersion.simulator.affiliates().remove(0);
    assert_eq!((kept.public_key.as_str(), kept.email.as_str()), (PUBLIC_KEY, "peter@example.com"));
    assert_eq!((kept.first_name.as_str(), kept.last_name.as_str()), ("Peter", "Gibbons"));
    assert_eq!(kept.status, simulator::Status::Pending);
    assert_eq!((kept.company.as_deref(), kept.country.as_deref()), (Some("Initech"), Some("GB")));
    assert_eq!((kept.unique_merchant_id.as_deref(), kept.phone), (Some("u9"), None));
}

#[tokio::test]
async fn every_affiliate_gets_a_password_of_its_own_that_obeys_the_rules() {
    let refersion = Simulated::start().await;
    let mut passwords = BTreeSet::new();

    for name in ["ann", "ben", "cleo"] {
        let address = format!("{name}@example.com");
        // The simulator refuses a password that breaks a rule.
        assert_eq!(create(&refersion.client, &address).await, Ok(Applied::Created));
        passwords.insert(sent(&person(&address), ACTIVE).await.1);
    }

    assert_eq!(passwords.len(), 3);
}

#[tokio::test]
async fn creating_is_one_call() {
    let refersion = Simulated::start().await;

    create(&refersion.client, "peter@example.com").await.unwrap();

    assert_eq!(refersion.called(), [simulator::Operation::New]);
}

#[tokio::test]
async fn a_taken_address_is_an_affiliate_that_exists_and_stays_as_it_is() {
    for (status, spelling) in [
        (simulator::Status::Active, "peter@example.com"),
        (simulator::Status::Disabled, "PETER@Example.com"),
        (simulator::Status::Denied, "peter@example.com"),
    ] {
        let refersion = Simulated::start().await;
        refersion.seed("peter@example.com", status);
        let before = refersion.simulator.affiliates();

        let applied = create(&refersion.client, spelling).await;

        assert_eq!(applied, Ok(Applied::Existing), "{status} {spelling}");
        assert_eq!(refersion.simulator.affiliates(), before);
        assert_eq!(refersion.called(), [simulator::Operation::New]);
    }
}

#[tokio::test]
async fn an_address_that_only_contains_another_is_not_taken() {
    let refersion = Simulated::start().await;
    refersion.seed("bojo@x.com", simulator::Status::Active);

    let applied = create(&refersion.client, "jo@x.co").await;

    assert_eq!(applied, Ok(Applied::Created));
    assert_eq!(refersion.simulator.affiliates().len(), 2);
}

#[tokio::test]
async fn addresses_that_a_pattern_would_mix_up_are_two_affiliates() {
    let refersion = Simulated::start().await;

    for address in ["jo_ann@x.co", "jo.ann@x.co", "jo+ann@x.co", "jo%20ann@x.co"] {
        assert_eq!(create(&refersion.client, address).await, Ok(Applied::Created), "{address}");
    }

    let kept: Vec<_> = refersion.simulator.affiliates().into_iter().map(|affiliate| affiliate.email).collect();
    assert_eq!(kept, ["jo_ann@x.co", "jo.ann@x.co", "jo+ann@x.co", "jo%20ann@x.co"]);
}

#[tokio::test]
async fn taken_is_recognised_under_every_key_and_in_every_shape() {
    for key in ["error", "errors", "message"] {
        for texts in [json!(TAKEN), json!([TAKEN]), json!(["The First Name field is required.", TAKEN])] {
            let body = json!({ key: texts });
            let refersion = FakeRefersion::always({
                let body = body.clone();
                move || Reply::json(422, &body)
            })
            .await;

            assert_eq!(create(&refersion.client, "peter@example.com").await, Ok(Applied::Existing), "{body}");
        }
    }
}

#[tokio::test]
async fn taken_inside_a_200_is_an_affiliate_that_exists() {
    let refersion = FakeRefersion::always(|| Reply::ok(&json!({ "errors": [TAKEN] }))).await;

    assert_eq!(create(&refersion.client, "peter@example.com").await, Ok(Applied::Existing));
}

#[tokio::test]
async fn other_refusals_are_rejections_under_every_key_and_in_every_shape() {
    for key in ["error", "errors", "message"] {
        for texts in [json!(r"Value exceed the char limit'"), json!(["Value exceed the char limit'"])] {
            let body = json!({ key: texts });
            let refersion = FakeRefersion::always({
                let body = body.clone();
                move || Reply::json(422, &body)
            })
            .await;

            let failure = create(&refersion.client, "peter@example.com").await.unwrap_err();

            let expected =
                Rejection::Refused { status: 422, known: vec![KnownText::TooLong], bytes: body.to_string().len() };
            assert_eq!(failure, Failure::Rejected(expected), "{body}");
        }
    }
}

#[tokio::test]
async fn a_refusal_by_the_simulator_says_which_kind_it_is() {
    let refersion = Simulated::start().await;
    let affiliate =
        NewAffiliate { unique_merchant_id: Some(Personal::new("not-alphanumeric")), ..person("peter@example.com") };

    let failure = refersion.client.create(&keys(), &affiliate, ACTIVE, Existing::Keep).await.unwrap_err();

    let Failure::Rejected(Rejection::Refused { status, known, .. }) = &failure else { panic!("{failure:?}") };
    assert_eq!((*status, known.as_slice()), (422, [KnownText::ValueNotAllowed].as_slice()));
    assert!(!failure.to_string().contains("not-alphanumeric"), "{failure}");
    assert!(refersion.simulator.affiliates().is_empty());
}

#[tokio::test]
async fn a_200_without_an_id_or_with_an_error_is_no_creation() {
    for body in [
        json!({}),
        json!({ "message": "The affiliate 37569297 has been created with the status of ACTIVE." }),
        json!({ "id": null, "link": "https://site.refersion.com/c/a3y7" }),
        json!({ "id": "a3y7", "error": "Something went wrong" }),
        json!({ "id": "a3y7", "errors": ["Something went wrong"] }),
    ] {
        let refersion = FakeRefersion::always({
            let body = body.clone();
            move || Reply::ok(&body)
        })
        .await;

        let failure = create(&refersion.client, "peter@example.com").await.unwrap_err();

        let bytes = body.to_string().len();
        assert_eq!(failure, Failure::Unclear { status: 200, bytes, why: Unreadable::NoSuccessKeys }, "{body}");
    }
}

#[tokio::test]
async fn an_answer_lost_after_the_effect_and_a_repeat_make_one_affiliate() {
    for lost in [
        Fault::Reset,
        Fault::Truncated,
        Fault::Empty200,
        Fault::status(500, None),
        Fault::Html { status: 502 },
        Fault::TooManyRequests { retry_after: None },
    ] {
        let refersion = Simulated::start().await;
        let fault = Fault::after_effect(lost.clone());
        refersion.simulator.add_fault(FaultRule { times: Some(1), ..FaultRule::always(fault) });

        let first = create(&refersion.client, "peter@example.com").await;
        let second = create(&refersion.client, "peter@example.com").await;

        assert!(first.is_err(), "{lost:?}");
        assert_eq!(second, Ok(Applied::Existing), "{lost:?}");
        assert_eq!(refersion.simulator.affiliates().len(), 1, "{lost:?}");
        assert_eq!(refersion.called(), [simulator::Operation::New; 2], "the client itself repeats nothing: {lost:?}");
    }
}

#[tokio::test]
async fn a_failure_without_an_effect_and_a_repeat_make_one_affiliate() {
    let refersion = Simulated::start().await;
    refersion.simulator.add_fault(FaultRule { times: Some(1), ..FaultRule::always(Fault::Reset) });

    let first = create(&refersion.client, "peter@example.com").await;
    let second = create(&refersion.client, "peter@example.com").await;

    assert!(first.is_err());
    assert_eq!(second, Ok(Applied::Created));
    assert_eq!(refersion.simulator.affiliates().len(), 1);
}

#[tokio::test]
async fn the_password_shows_in_no_debug_output() {
    // An unkind Refersion quotes the whole request in its refusal.
    let refersion = FakeRefersion::answering(|request| {
        Reply::json(422, &json!({ "errors": [format!("The password in {} is bad", request.body)] }))
    })
    .await;

    let answer = create(&refersion.client, "peter@example.com").await;

    let password = refersion.bodies("new")[0]["password"].as_str().unwrap().to_owned();
    let failure = answer.clone().unwrap_err();
    let shown = format!("{answer:?} {failure:#?} {failure} {:?} {:?}", refersion.client, person("peter@example.com"));
    assert!(shown.contains("Password"), "{shown}");
    assert!(!shown.contains(&password), "{shown}");
    assert!(!shown.contains("peter@example.com"), "{shown}");
    for key in [PUBLIC_KEY, SECRET_KEY] {
        assert!(!shown.contains(key), "{shown}");
    }
}

#[test]
fn a_generated_password_hides_itself() {
    use secrecy::ExposeSecret as _;
    let password = generate_password();

    let shown = format!("{password:?}");

    assert!(!shown.contains(password.expose_secret()), "{shown}");
}

#[tokio::test]
async fn the_most_talkative_log_names_no_password_no_key_and_no_address() {
    let refersion = FakeRefersion::always(created).await;

    create(&refersion.client, "peter@example.com").await.unwrap();
    deactivate(&refersion.client, "peter@example.com").await.unwrap_err();

    let password = refersion.bodies("new")[0]["password"].as_str().unwrap().to_owned();
    let shown = logged();
    assert!(shown.contains("called Refersion"), "{shown}");
    for secret in [password.as_str(), PUBLIC_KEY, SECRET_KEY, "peter@example.com"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn a_200_with_an_error_of_any_shape_is_no_creation() {
    for error in [json!({ "code": 5 }), json!(true), json!([{ "message": "No" }])] {
        let body = json!({ "id": "a3y7", "error": error });
        let refersion = FakeRefersion::always({
            let body = body.clone();
            move || Reply::ok(&body)
        })
        .await;

        let created = create(&refersion.client, "peter@example.com").await;

        assert!(matches!(created, Err(Failure::Unclear { .. })), "{body}: {created:?}");
    }
}
