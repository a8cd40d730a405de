use refersion_relay_model::{NewAffiliate, Personal};
use refersion_relay_refersion::{Applied, Client, Existing, Failure, KnownText, Rejection, Unreadable};
use refersion_relay_simulator::{self as simulator, CodeStyle, Fault, FaultRule, IdKind, Operation, Settings, Status};
use serde_json::{Value, json};

use crate::support::{ACTIVE, FakeRefersion, PUBLIC_KEY, Reply, Request, Simulated, keys, person};

const WANTED: &str = "jo@x.co";

const NOT_DONE: Failure = Failure::Rejected(Rejection::NotDone);
const VANISHED: Failure = Failure::Unclear { status: 422, bytes: 0, why: Unreadable::Vanished };

async fn identify(client: &Client, affiliate: &NewAffiliate) -> Result<Applied, Failure> {
    client.create(&keys(), affiliate, ACTIVE, Existing::Update).await
}

/// Of whom everything is known that Refersion takes.
fn known_person() -> NewAffiliate {
    NewAffiliate {
        company: Some(Personal::new("Initech")),
        phone: Some(Personal::new("+1 555 0100")),
        address1: Some(Personal::new("1 Main St")),
        city: Some(Personal::new("Austin")),
        state: Some(Personal::new("TX")),
        zip: Some(Personal::new("01234")),
        country: Some("US"),
        unique_merchant_id: Some(Personal::new("u9")),
        ..person(WANTED)
    }
}

/// Puts an affiliate in place who has every field, and other values than anybody here.
fn seed_jo(refersion: &Simulated, status: Status) {
    let other = |text: &str| Some(format!("old {text}"));
    let jo = simulator::NewAffiliate {
        email: WANTED.to_owned(),
        first_name: "Old".to_owned(),
        last_name: "Name".to_owned(),
        status,
        company: other("company"),
        city: other("city"),
        phone: other("phone"),
        state: Some("NV".to_owned()),
        unique_merchant_id: Some("old9".to_owned()),
        ..simulator::NewAffiliate::default()
    };
    refersion.simulator.add_affiliate(PUBLIC_KEY, jo);
}

#[tokio::test]
async fn a_new_person_is_created_with_one_call() {
    let refersion = Simulated::start().await;

    let applied = identify(&refersion.client, &known_person()).await;

    assert_eq!(applied, Ok(Applied::Created));
    assert_eq!(refersion.called(), [Operation::New]);
}

#[tokio::test]
async fn whoever_exists_gets_what_the_event_says_and_keeps_the_rest() {
    for status in [Status::Active, Status::Pending, Status::Denied] {
        let refersion = Simulated::start().await;
        seed_jo(&refersion, status);
        let before = refersion.simulator.affiliates().remove(0);
        let affiliate = NewAffiliate { phone: None, unique_merchant_id: None, ..known_person() };

        let applied = identify(&refersion.client, &affiliate).await;

        assert_eq!(applied, Ok(Applied::Updated), "{status}");
        let text = |text: &str| Some(text.to_owned());
        let expected = simulator::Affiliate {
            first_name: "Peter".to_owned(),
            last_name: "Gibbons".to_owned(),
            company: text("Initech"),
            address1: text("1 Main St"),
            city: text("Austin"),
            state: text("TX"),
            zip: text("01234"),
            country: text("US"),
            ..before
        };
        assert_eq!(refersion.simulator.affiliates(), [expected], "{status}");
        assert_eq!(refersion.called(), [Operation::New, Operation::Search, Operation::Get, Operation::Edit]);
    }
}

#[tokio::test]
async fn only_the_right_one_of_many_is_updated_whatever_rows_call_it() {
    for (list_ids, code_style) in [
        (IdKind::Code, CodeStyle::Alphanumeric),
        (IdKind::Code, CodeStyle::AllDigits),
        (IdKind::Numeric, CodeStyle::AllDigits),
    ] {
        let refersion = Simulated::with(Settings { list_ids, code_style, ..Settings::default() }).await;
        for index in 0..25 {
            let address = if index == 14 { WANTED.to_owned() } else { format!("a{index}{WANTED}") };
            refersion.seed(&address, Status::Active);
        }

        let applied = identify(&refersion.client, &known_person()).await;

        assert_eq!(applied, Ok(Applied::Updated), "{list_ids:?} {code_style:?}");
        let updated = refersion.simulator.affiliates().into_iter().filter(|affiliate| affiliate.first_name == "Peter");
        assert_eq!(updated.map(|affiliate| affiliate.email).collect::<Vec<_>>(), [WANTED]);
    }
}

#[tokio::test]
async fn a_repeat_finds_everything_there() {
    let refersion = Simulated::start().await;
    seed_jo(&refersion, Status::Active);

    let first = identify(&refersion.client, &known_person()).await;
    let after = refersion.simulator.affiliates();
    let second = identify(&refersion.client, &known_person()).await;

    assert_eq!((first, second), (Ok(Applied::Updated), Ok(Applied::Unchanged)));
    assert_eq!(refersion.simulator.affiliates(), after);
}

#[tokio::test]
async fn whoever_was_deactivated_is_left_alone() {
    let refersion = Simulated::start().await;
    seed_jo(&refersion, Status::Disabled);
    let before = refersion.simulator.affiliates();

    let applied = identify(&refersion.client, &known_person()).await;

    assert_eq!(applied, Ok(Applied::LeftInactive));
    assert_eq!(refersion.simulator.affiliates(), before);
    assert!(!refersion.called().contains(&Operation::Edit));
}

#[tokio::test]
async fn two_with_the_same_address_are_one_too_many() {
    let refersion = Simulated::start().await;
    seed_jo(&refersion, Status::Active);
    refersion.seed("JO@x.co", Status::Disabled);
    let before = refersion.simulator.affiliates();

    let applied = identify(&refersion.client, &known_person()).await;

    assert_eq!(applied, Err(Failure::Rejected(Rejection::SeveralFound)));
    assert_eq!(refersion.simulator.affiliates(), before);
}

#[tokio::test]
async fn a_failure_of_any_call_keeps_its_class_and_a_repeat_ends_well() {
    let faults = [
        Fault::status(500, None),
        Fault::status(401, None),
        Fault::TooManyRequests { retry_after: Some("3".to_owned()) },
        Fault::Reset,
        Fault::Truncated,
        Fault::Empty200,
        Fault::NoContent,
        Fault::Html { status: 502 },
    ];
    for operation in [Operation::New, Operation::Search, Operation::Get, Operation::Edit] {
        for fault in faults.iter().cloned().flat_map(|fault| [fault.clone(), Fault::after_effect(fault)]) {
            let refersion = Simulated::start().await;
            seed_jo(&refersion, Status::Active);
            let rule = FaultRule { operation: Some(operation), times: Some(1), ..FaultRule::always(fault.clone()) };
            refersion.simulator.add_fault(rule.clone());
            let expected = classified(&fault);

            let first = identify(&refersion.client, &known_person()).await.unwrap_err();
            let second = identify(&refersion.client, &known_person()).await;

            assert_eq!(first.as_str(), expected, "{operation} {fault:?}");
            assert!(matches!(second, Ok(Applied::Updated | Applied::Unchanged)), "{operation} {fault:?}: {second:?}");
            let [jo] = &refersion.simulator.affiliates()[..] else { panic!("one affiliate") };
            assert_eq!((jo.first_name.as_str(), jo.city.as_deref()), ("Peter", Some("Austin")));
        }
    }
}

fn classified(fault: &Fault) -> &'static str {
    match fault {
        Fault::AfterEffect { then } => classified(then),
        Fault::Reset => "no_answer",
        Fault::Status { status: 401, .. } => "unauthorized",
        Fault::Status { .. } | Fault::Html { .. } => "unavailable",
        Fault::TooManyRequests { .. } => "limited",
        Fault::NoContent => "rejected",
        _ => "unclear",
    }
}

fn taken() -> Reply {
    Reply::json(422, &json!({ "errors": ["The email you have entered is taken by another Affiliate."] }))
}

fn not_found() -> Reply {
    Reply::json(422, &json!({ "errors": ["Affiliate not found."] }))
}

fn affiliate(changes: &Value) -> Value {
    let mut affiliate = json!({
        "id": 7, "offer_id": "1", "status": "ACTIVE", "first_name": "Peter", "last_name": "Gibbons",
        "company_name": "Initech", "email": WANTED, "link": "https://x.refersion.com/c/a3y7", "custom_fields": [],
    });
    for (key, value) in changes.as_object().unwrap() {
        affiliate[key] = value.clone();
    }
    affiliate
}

/// A Refersion where the address is taken by number 7, and `other` answers edits and every get but the first.
async fn taken_by_seven(mut other: impl FnMut(&Request) -> Reply + Send + 'static) -> FakeRefersion {
    let mut gets = 0;
    FakeRefersion::answering(move |request| match request.operation() {
        "new" => taken(),
        "search" => {
            Reply::ok(&json!({ "total": 1, "results": [{ "id": "a3y7", "status": "ACTIVE", "email": WANTED }] }))
        }
        "get" if gets == 0 => {
            gets += 1;
            Reply::ok(&affiliate(&json!({})))
        }
        _ => other(request),
    })
    .await
}

/// What becomes of somebody found, if the edit is answered with `edited`, and the affiliate then is as `shown`.
async fn identify_found(edited: Value, shown: Reply) -> Result<Applied, Failure> {
    let mut shown = Some(shown);
    let refersion = taken_by_seven(move |request| match request.operation() {
        "edit" => Reply::ok(&edited),
        "get" => shown.take().expect("it is asked for once"),
        other => panic!("{other}"),
    })
    .await;
    identify(&refersion.client, &NewAffiliate { company: Some(Personal::new("Initech")), ..person(WANTED) }).await
}

#[tokio::test]
async fn an_edit_has_exactly_the_fields_that_edit_knows_and_the_event_has() {
    let nothing_more = NewAffiliate { company: Some(Personal::new("")), ..person(WANTED) };
    let mut all = json!({
        "id": 7, "first_name": "Peter", "last_name": "Gibbons", "company": "Initech", "phone": "+1 555 0100",
        "address1": "1 Main St", "city": "Austin", "state": "TX", "zip": "01234", "country": "US",
    });
    let of_state = |state: &str| NewAffiliate { state: Some(Personal::new(state)), ..known_person() };
    let mut cases = vec![
        (nothing_more, json!({ "id": 7, "first_name": "Peter", "last_name": "Gibbons" })),
        (known_person(), all.clone()),
    ];
    all["state"] = json!("NSW");
    cases.push((of_state("NSW"), all.clone()));
    all.as_object_mut().unwrap().remove("state");
    for state in ["Texas", "T", "T1", "", "Öst", "T X"] {
        cases.push((of_state(state), all.clone()));
    }
    for (affiliate, item) in cases {
        let refersion = taken_by_seven(|_| Reply::ok(&json!({ "ids_changed": [7], "ids_not_changed": [] }))).await;

        assert_eq!(identify(&refersion.client, &affiliate).await, Ok(Applied::Updated));

        assert_eq!(refersion.bodies("edit"), [json!({ "affiliates": [item] })]);
    }
}

#[tokio::test]
async fn our_id_among_the_changed_is_the_only_success() {
    for ids in [json!([7]), json!(["7"]), json!([3, " 7 "])] {
        let edited = json!({ "ids_changed": ids, "ids_not_changed": [9] });

        assert_eq!(identify_found(edited, not_found()).await, Ok(Applied::Updated), "{ids}");
    }
}

#[tokio::test]
async fn an_edit_that_does_not_mention_us_is_not_done() {
    for edited in [
        json!({ "ids_changed": [], "ids_not_changed": [] }),
        json!({ "ids_changed": [70, "77"], "ids_not_changed": [17] }),
        json!({ "ids_changed": 7, "ids_not_changed": null }),
        json!({ "ids_not_changed": { "7": 7 } }),
    ] {
        // It would hold, and nobody asks.
        let applied = identify_found(edited.clone(), Reply::ok(&affiliate(&json!({})))).await;

        assert_eq!(applied, Err(NOT_DONE), "{edited}");
    }
}

#[tokio::test]
async fn not_changed_is_done_if_the_names_and_the_company_hold_already() {
    for ids in [json!([7]), json!(["7"])] {
        for shown in [json!({}), json!({ "id": "7", "email": "JO@x.co " }), json!({ "first_name": " Peter " })] {
            let edited = json!({ "ids_changed": [], "ids_not_changed": ids });

            let applied = identify_found(edited, Reply::ok(&affiliate(&shown))).await;

            assert_eq!(applied, Ok(Applied::Unchanged), "{ids} {shown}");
        }
    }
}

#[tokio::test]
async fn not_changed_is_not_done_if_something_differs_or_it_is_somebody_else() {
    for shown in [
        json!({ "first_name": "Bill" }),
        json!({ "first_name": null }),
        json!({ "last_name": "gibbons" }),
        json!({ "company_name": "" }),
        json!({ "company_name": null }),
        json!({ "id": 8 }),
        json!({ "id": "a3y7" }),
        json!({ "email": "bojo@x.com" }),
        json!({ "email": null }),
    ] {
        let edited = json!({ "ids_changed": [], "ids_not_changed": [7] });

        let applied = identify_found(edited, Reply::ok(&affiliate(&shown))).await;

        assert_eq!(applied, Err(NOT_DONE), "{shown}");
    }
}

#[tokio::test]
async fn a_company_the_event_does_not_have_is_not_compared() {
    let refersion = taken_by_seven(|request| match request.operation() {
        "edit" => Reply::ok(&json!({ "ids_changed": [], "ids_not_changed": [7] })),
        _ => Reply::ok(&affiliate(&json!({ "company_name": "Chotchkie's" }))),
    })
    .await;

    assert_eq!(identify(&refersion.client, &person(WANTED)).await, Ok(Applied::Unchanged));
}

#[tokio::test]
async fn whoever_is_deactivated_during_the_edit_is_left_alone() {
    let edited = json!({ "ids_changed": [], "ids_not_changed": [7] });
    let shown = affiliate(&json!({ "status": "DISABLED", "first_name": "Old" }));

    assert_eq!(identify_found(edited, Reply::ok(&shown)).await, Ok(Applied::LeftInactive));
}

#[tokio::test]
async fn the_look_after_an_edit_keeps_the_class_of_its_failure() {
    for (shown, expected) in [
        (Reply::text(503, ""), Failure::Unavailable { status: 503, retry_after: None }),
        (Reply::text(401, ""), Failure::Unauthorized { status: 401 }),
        (Reply::ok(&json!({})), Failure::Unclear { status: 200, bytes: 2, why: Unreadable::NoSuccessKeys }),
        (not_found(), VANISHED),
    ] {
        let edited = json!({ "ids_changed": [], "ids_not_changed": [7] });

        assert_eq!(identify_found(edited, shown).await, Err(expected));
    }
}

#[tokio::test]
async fn an_affiliate_who_vanishes_before_the_edit_is_a_matter_for_the_repeat() {
    for text in ["Affiliate not found.", "Could not find affiliates with this keyword."] {
        let refersion = taken_by_seven(move |_| Reply::json(422, &json!({ "errors": [text] }))).await;

        assert_eq!(identify(&refersion.client, &person(WANTED)).await, Err(VANISHED), "{text}");
    }
}

#[tokio::test]
async fn a_proper_no_to_an_edit_is_a_rejection() {
    for (reply, known) in [
        (Reply::json(422, &json!({ "errors": ["Value exceed the char limit'"] })), vec![KnownText::TooLong]),
        (Reply::json(404, &json!({ "error": ["Offer does not exists on the database."] })), vec![KnownText::NoOffer]),
        (Reply::text(204, ""), vec![]),
    ] {
        let mut reply = Some(reply);
        let refersion = taken_by_seven(move |_| reply.take().expect("nobody looks after a no")).await;

        let failure = identify(&refersion.client, &person(WANTED)).await.unwrap_err();

        assert!(
            matches!(&failure, Failure::Rejected(Rejection::Refused { known: found, .. }) if *found == known),
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn taken_with_nobody_to_be_found_is_a_rejection_of_its_own() {
    for found in [
        Reply::json as fn(u16, &Value) -> Reply,
        |_, _| Reply::ok(&json!({ "total": 0, "results": [] })),
        |_, _| Reply::ok(&json!({ "total": 1, "results": [{ "id": "b1", "email": "bojo@x.com" }] })),
    ] {
        let refersion = FakeRefersion::answering(move |request| match request.operation() {
            "new" => taken(),
            "search" => found(422, &json!({ "errors": ["Could not find affiliates with this keyword."] })),
            other => panic!("{other}"),
        })
        .await;

        let failure = identify(&refersion.client, &person(WANTED)).await.unwrap_err();

        assert_eq!(failure, Failure::Rejected(Rejection::TakenNotFound));
        assert!(failure.to_string().contains("taken"), "{failure}");
        assert_eq!(refersion.bodies("new").len(), 1, "it does not loop");
    }
}

#[tokio::test]
async fn nobody_is_written_to_whose_status_or_id_is_not_sure() {
    let unknown = Failure::Unclear { status: 200, bytes: 0, why: Unreadable::NoSuccessKeys };
    let stranger = Failure::Rejected(Rejection::NotIdentified);
    for (shown, expected) in [
        (json!({ "status": null }), Err(unknown.clone())),
        (json!({ "status": " " }), Err(unknown)),
        (json!({ "status": "disabled" }), Ok(Applied::LeftInactive)),
        (json!({ "id": "a3y7" }), Err(stranger.clone())),
        (json!({ "email": "bojo@x.com" }), Err(stranger)),
    ] {
        let shown = affiliate(&shown);
        let refersion = FakeRefersion::answering(move |request| match request.operation() {
            "new" => taken(),
            "search" => Reply::ok(&json!({ "total": 1, "results": [{ "id": "a3y7", "email": WANTED }] })),
            "get" => Reply::ok(&shown),
            other => panic!("{other}"),
        })
        .await;

        assert_eq!(identify(&refersion.client, &person(WANTED)).await, expected);
    }
}
