use refersion_relay_refersion::{Applied, Failure, Rejection, Unreadable};
use refersion_relay_simulator as simulator;
use refersion_relay_simulator::{CodeStyle, Fault, FaultRule, IdKind, Operation, Settings, Status};
use serde_json::{Value, json};

use crate::support::{FakeRefersion, Reply, Request, Simulated, deactivate};

const WANTED: &str = "jo@x.co";

const NOT_IDENTIFIED: Failure = Failure::Rejected(Rejection::NotIdentified);
const NOT_DONE: Failure = Failure::Rejected(Rejection::NotDone);
const INCONCLUSIVE: Failure = Failure::Unclear { status: 200, bytes: 0, why: Unreadable::Inconclusive };

/// Every way in which the simulator can name an affiliate in a row.
const NAMINGS: [(IdKind, CodeStyle); 4] = [
    (IdKind::Code, CodeStyle::Alphanumeric),
    (IdKind::Code, CodeStyle::AllDigits),
    (IdKind::Numeric, CodeStyle::Alphanumeric),
    (IdKind::Numeric, CodeStyle::AllDigits),
];

/// The ids in every status change that was asked for.
fn changed_ids(refersion: &Simulated) -> Vec<Vec<u64>> {
    let calls = refersion.simulator.calls().into_iter();
    calls.filter(|call| call.operation == Operation::StatusChange).map(|call| call.ids).collect()
}

#[tokio::test]
async fn among_many_similar_addresses_only_the_wanted_one_is_disabled() {
    for (list_ids, code_style) in NAMINGS {
        // First, last, and in the middle of the middle page.
        for position in [0, 14, 24] {
            let refersion = Simulated::with(Settings { list_ids, code_style, ..Settings::default() }).await;
            for index in 0..25 {
                let address = match index {
                    index if index == position => WANTED.to_owned(),
                    index if index % 2 == 0 => format!("a{index}{WANTED}"),
                    index => format!("{WANTED}{index}.example"),
                };
                refersion.seed(&address, Status::Active);
            }

            let applied = deactivate(&refersion.client, WANTED).await;

            let context = format!("{list_ids:?} {code_style:?} {position}");
            assert_eq!(applied, Ok(Applied::Deactivated), "{context}");
            assert_eq!(refersion.disabled(), [WANTED], "{context}");
            let id = refersion.simulator.affiliates()[position].id;
            assert_eq!(changed_ids(&refersion), [[id]], "{context}");
            let searches = refersion.called().iter().filter(|call| **call == Operation::Search).count();
            assert_eq!(searches, position / 10 + 1, "{context}");
        }
    }
}

#[tokio::test]
async fn a_code_that_is_a_strangers_numeric_id_disables_no_stranger() {
    let digits = Settings { code_style: CodeStyle::AllDigits, ..Settings::default() };
    let refersion = Simulated::with(digits).await;
    refersion.seed(WANTED, Status::Active);
    refersion.seed("stranger@y.co", Status::Active);
    let [jo, stranger] = &refersion.simulator.affiliates()[..] else { panic!("there are two") };
    assert_eq!(jo.code, stranger.id.to_string());

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Ok(Applied::Deactivated));
    assert_eq!(refersion.disabled(), [WANTED]);
}

#[tokio::test]
async fn capitals_do_not_hide_an_affiliate() {
    for (kept, wanted) in [("jo@x.co", "JO@X.co"), ("Jo@X.Co", "jo@x.co"), ("Jo@X.Co", "  jO@x.cO\n")] {
        let refersion = Simulated::start().await;
        refersion.seed("bojo@x.com", Status::Active);
        refersion.seed(kept, Status::Active);

        let applied = deactivate(&refersion.client, wanted).await;

        assert_eq!(applied, Ok(Applied::Deactivated), "{wanted}");
        assert_eq!(refersion.disabled(), [kept]);
    }
}

#[tokio::test]
async fn plus_underscore_and_percent_are_ordinary_characters_of_an_address() {
    let addresses = ["jo+ann@x.co", "jo_ann@x.co", "jo.ann@x.co", "jo%ann@x.co", "jo ann@x.co", "joann@x.co"];
    for wanted in ["jo+ann@x.co", "jo_ann@x.co", "jo.ann@x.co", "jo%ann@x.co", "joann@x.co"] {
        let refersion = Simulated::with(Settings { page_size: 2, ..Settings::default() }).await;
        for address in addresses {
            refersion.seed(address, Status::Active);
        }

        let applied = deactivate(&refersion.client, wanted).await;

        assert_eq!(applied, Ok(Applied::Deactivated), "{wanted}");
        assert_eq!(refersion.disabled(), [wanted]);
    }
}

#[tokio::test]
async fn an_unknown_address_is_not_found_and_changes_nothing() {
    for others in [vec![], vec!["bojo@x.com"], vec!["ajo@x.co", "jo@x.com", "bjo@x.co"]] {
        let refersion = Simulated::with(Settings { page_size: 1, ..Settings::default() }).await;
        for other in &others {
            refersion.seed(other, Status::Active);
        }

        let applied = deactivate(&refersion.client, WANTED).await;

        assert_eq!(applied, Ok(Applied::NotFound), "{others:?}");
        assert!(refersion.called().iter().all(|call| *call == Operation::Search), "{others:?}");
    }
}

#[tokio::test]
async fn whoever_is_disabled_already_is_left_alone() {
    let refersion = Simulated::start().await;
    refersion.seed(WANTED, Status::Disabled);

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Ok(Applied::AlreadyInactive));
    assert_eq!(refersion.called(), [Operation::Search, Operation::Get]);
}

#[tokio::test]
async fn deactivating_twice_is_as_good_as_once() {
    let refersion = Simulated::start().await;
    refersion.seed(WANTED, Status::Active);

    let first = deactivate(&refersion.client, WANTED).await;
    let second = deactivate(&refersion.client, WANTED).await;

    assert_eq!((first, second), (Ok(Applied::Deactivated), Ok(Applied::AlreadyInactive)));
}

#[tokio::test]
async fn pending_and_denied_affiliates_are_disabled_too() {
    for status in [Status::Pending, Status::Denied] {
        let refersion = Simulated::start().await;
        refersion.seed(WANTED, status);

        let applied = deactivate(&refersion.client, WANTED).await;

        assert_eq!(applied, Ok(Applied::Deactivated), "{status}");
        assert_eq!(refersion.disabled(), [WANTED], "{status}");
    }
}

#[tokio::test]
async fn all_who_share_the_exact_address_are_disabled() {
    let refersion = Simulated::start().await;
    for (address, status) in [
        (WANTED, Status::Active),
        ("bojo@x.com", Status::Active),
        (WANTED, Status::Disabled),
        ("JO@x.co", Status::Pending),
    ] {
        refersion.seed(address, status);
    }

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Ok(Applied::Deactivated));
    assert_eq!(refersion.disabled(), [WANTED, WANTED, "JO@x.co"]);
}

#[tokio::test]
async fn a_lost_answer_after_the_change_is_settled_by_a_repeat() {
    let refersion = Simulated::start().await;
    refersion.seed(WANTED, Status::Active);
    refersion.simulator.add_fault(FaultRule {
        operation: Some(Operation::StatusChange),
        times: Some(1),
        ..FaultRule::always(Fault::after_effect(Fault::Reset))
    });

    let first = deactivate(&refersion.client, WANTED).await;
    let second = deactivate(&refersion.client, WANTED).await;

    assert_eq!(first, Err(Failure::Transport { what: "the connection broke" }));
    assert_eq!(second, Ok(Applied::AlreadyInactive));
    assert_eq!(changed_ids(&refersion).len(), 1);
}

#[tokio::test]
async fn a_failure_at_any_step_is_a_failure_and_disables_nobody() {
    for operation in [Operation::Search, Operation::Get, Operation::StatusChange] {
        for fault in [Fault::status(500, None), Fault::Reset, Fault::Empty200, Fault::NoContent] {
            let refersion = Simulated::start().await;
            refersion.seed(WANTED, Status::Active);
            let rule = FaultRule { operation: Some(operation), ..FaultRule::always(fault.clone()) };
            refersion.simulator.add_fault(rule);

            let applied = deactivate(&refersion.client, WANTED).await;

            assert!(applied.is_err(), "{operation} {fault:?}: {applied:?}");
            assert!(refersion.disabled().is_empty(), "{operation} {fault:?}");
            assert_eq!(refersion.called().last(), Some(&operation), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_failure_on_a_later_page_is_not_the_end_of_the_pages() {
    let refersion = Simulated::with(Settings { page_size: 1, ..Settings::default() }).await;
    refersion.seed("bojo@x.com", Status::Active);
    refersion.seed(WANTED, Status::Active);
    refersion.simulator.add_fault(FaultRule { skip: 1, ..FaultRule::always(Fault::status(503, None)) });

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Err(Failure::Unavailable { status: 503, retry_after: None }));
    assert_eq!(refersion.called(), [Operation::Search; 2]);
}

/// One row of a search.
fn row(id: impl Into<Value>, address: &str) -> Value {
    json!({ "id": id.into(), "offer_id": "1", "status": "ACTIVE", "email": address, "custom_fields": [] })
}

fn rows(total: usize, rows: &[Value]) -> Reply {
    Reply::ok(&json!({ "total": total, "results": rows }))
}

fn no_match() -> Reply {
    Reply::json(422, &json!({ "errors": ["Could not find affiliates with this keyword."] }))
}

fn affiliate(id: impl Into<Value>, status: &str, address: &str) -> Reply {
    Reply::ok(&json!({ "id": id.into(), "status": status, "email": address, "link": "https://x.refersion.com/c/a3y7" }))
}

fn changed(ids: &Value) -> Reply {
    Reply::ok(&json!({ "ids_changed": ids, "ids_not_changed": [] }))
}

/// Answers everything but the search: the affiliate of the wanted address is number 7, and can be disabled.
fn jo_is_number_seven(request: &Request) -> Reply {
    match request.operation() {
        "get" => affiliate(7, "ACTIVE", WANTED),
        "status_change" => changed(&json!([7])),
        other => panic!("{other}"),
    }
}

/// A Refersion that answers a search as told, by the page asked for and the number of searches before.
async fn searching(mut search: impl FnMut(usize, usize) -> Reply + Send + 'static) -> FakeRefersion {
    let mut searches = 0;
    FakeRefersion::answering(move |request| {
        if request.operation() != "search" {
            return jo_is_number_seven(request);
        }
        searches += 1;
        search(request.page(), searches - 1)
    })
    .await
}

/// The pages that were asked for, in order.
fn pages(refersion: &FakeRefersion) -> Vec<usize> {
    refersion.requests().iter().filter(|request| request.operation() == "search").map(Request::page).collect()
}

/// What becomes of a wanted affiliate whom every search finds at once, where the other two operations are as told.
async fn deactivate_found(
    id: impl Into<Value>,
    mut other: impl FnMut(&Request) -> Reply + Send + 'static,
) -> (Result<Applied, Failure>, FakeRefersion) {
    let found = row(id, WANTED);
    let refersion = FakeRefersion::answering(move |request| match request.operation() {
        "search" => rows(1, std::slice::from_ref(&found)),
        _ => other(request),
    })
    .await;
    (deactivate(&refersion.client, WANTED).await, refersion)
}

#[tokio::test]
async fn the_requests_have_exactly_the_documented_fields() {
    let (applied, refersion) = deactivate_found("a3y7", jo_is_number_seven).await;

    assert_eq!(applied, Ok(Applied::Deactivated));
    assert_eq!(refersion.bodies("search"), [json!({ "keyword": WANTED, "page": "1" })]);
    assert_eq!(refersion.bodies("get"), [json!({ "affiliate_code": "a3y7" })]);
    assert_eq!(refersion.bodies("status_change"), [json!({ "ids": [7], "status": "DISABLED" })]);
    assert_eq!(refersion.requests().len(), 3);
}

#[tokio::test]
async fn a_numeric_id_as_a_string_of_digits_is_tried_as_a_number_first() {
    let (applied, refersion) = deactivate_found("7", jo_is_number_seven).await;

    assert_eq!(applied, Ok(Applied::Deactivated));
    assert_eq!(refersion.bodies("get"), [json!({ "id": 7 })]);
    assert_eq!(refersion.bodies("status_change"), [json!({ "ids": [7], "status": "DISABLED" })]);
}

#[tokio::test]
async fn a_string_of_digits_that_is_no_number_of_theirs_is_tried_as_a_code() {
    for stranger in [None, Some("stranger@y.co"), Some("bojo@x.com")] {
        let (applied, refersion) = deactivate_found("8", move |request| match (request.operation(), stranger) {
            ("get", None) if request.json()["id"] == 8 => {
                Reply::json(422, &json!({ "errors": ["Affiliate not found."] }))
            }
            ("get", Some(stranger)) if request.json()["id"] == 8 => affiliate(8, "ACTIVE", stranger),
            _ => jo_is_number_seven(request),
        })
        .await;

        assert_eq!(applied, Ok(Applied::Deactivated), "{stranger:?}");
        assert_eq!(refersion.bodies("get"), [json!({ "id": 8 }), json!({ "affiliate_code": "8" })]);
        assert_eq!(refersion.bodies("status_change"), [json!({ "ids": [7], "status": "DISABLED" })]);
    }
}

#[tokio::test]
async fn ids_may_come_back_as_strings_of_digits() {
    let (applied, refersion) = deactivate_found("a3y7", |request| match request.operation() {
        "get" => affiliate("7", "ACTIVE", WANTED),
        _ => changed(&json!(["6", "7"])),
    })
    .await;

    assert_eq!(applied, Ok(Applied::Deactivated));
    assert_eq!(refersion.bodies("status_change"), [json!({ "ids": [7], "status": "DISABLED" })], "sent as a number");
}

#[tokio::test]
async fn an_id_whose_owner_has_another_address_is_never_acted_upon() {
    for id in [json!("a3y7"), json!("7"), json!(7)] {
        let (applied, refersion) = deactivate_found(id.clone(), |_| affiliate(7, "ACTIVE", "bojo@x.com")).await;

        assert_eq!(applied, Err(NOT_IDENTIFIED), "{id}");
        assert!(refersion.bodies("status_change").is_empty(), "{id}");
    }
}

#[tokio::test]
async fn an_affiliate_without_a_numeric_id_is_never_acted_upon() {
    for id in [json!("a3y7"), json!(7.5), json!(-7), json!(""), json!([7])] {
        let (applied, refersion) = deactivate_found("a3y7", {
            let id = id.clone();
            move |_| affiliate(id.clone(), "ACTIVE", WANTED)
        })
        .await;

        assert_eq!(applied, Err(NOT_IDENTIFIED), "{id}");
        assert!(refersion.bodies("status_change").is_empty(), "{id}");
    }
}

#[tokio::test]
async fn a_row_with_an_unusable_id_is_not_the_same_as_no_row() {
    for id in [json!(null), json!("  "), json!(7.5), json!({})] {
        let (applied, refersion) = deactivate_found(id.clone(), jo_is_number_seven).await;

        assert_eq!(applied, Err(NOT_IDENTIFIED), "{id}");
        assert_eq!(refersion.requests().len(), 1, "{id}");
    }
}

#[tokio::test]
async fn not_changed_and_really_disabled_is_done() {
    for answer in [json!({ "ids_changed": [], "ids_not_changed": [7] }), json!({ "ids_changed": [] })] {
        let mut disabled = false;
        let (applied, refersion) = deactivate_found("a3y7", move |request| {
            if request.operation() == "get" {
                return affiliate(7, if disabled { "DISABLED" } else { "ACTIVE" }, WANTED);
            }
            disabled = true;
            Reply::ok(&answer)
        })
        .await;

        assert_eq!(applied, Ok(Applied::Deactivated));
        assert_eq!(refersion.bodies("get"), [json!({ "affiliate_code": "a3y7" }), json!({ "id": 7 })]);
    }
}

#[tokio::test]
async fn a_success_that_does_not_name_our_id_is_none() {
    for answer in [
        json!({ "ids_changed": [], "ids_not_changed": [7] }),
        json!({ "ids_changed": [], "ids_not_changed": [] }),
        json!({ "ids_changed": [70, 77, "17"], "ids_not_changed": [] }),
        json!({ "ids_not_changed": [7] }),
        json!({ "ids_changed": 7 }),
        json!({ "ids_changed": { "7": true } }),
    ] {
        let (applied, _) = deactivate_found("a3y7", {
            let answer = answer.clone();
            move |request| match request.operation() {
                "get" => affiliate(7, "ACTIVE", WANTED),
                _ => Reply::ok(&answer),
            }
        })
        .await;

        assert_eq!(applied, Err(NOT_DONE), "{answer}");
    }
}

#[tokio::test]
async fn a_change_whose_proof_belongs_to_somebody_else_is_not_done() {
    let mut gets = 0;
    let (applied, _) = deactivate_found("a3y7", move |request| match request.operation() {
        "get" => {
            gets += 1;
            if gets == 1 { affiliate(7, "ACTIVE", WANTED) } else { affiliate(7, "DISABLED", "bojo@x.com") }
        }
        _ => changed(&json!([])),
    })
    .await;

    assert_eq!(applied, Err(NOT_DONE));
}

#[tokio::test]
async fn a_change_that_answers_200_with_an_error_is_not_done() {
    for error in [json!({ "error": "No" }), json!({ "errors": ["No"] }), json!({ "error": ["No", "No"] })] {
        let mut body = json!({ "ids_changed": [7], "ids_not_changed": [] });
        body.as_object_mut().unwrap().extend(error.as_object().unwrap().clone());
        let bytes = body.to_string().len();
        let (applied, _) = deactivate_found("a3y7", move |request| match request.operation() {
            "get" => affiliate(7, "ACTIVE", WANTED),
            _ => Reply::ok(&body),
        })
        .await;

        let unclear = Failure::Unclear { status: 200, bytes, why: Unreadable::NoSuccessKeys };
        assert_eq!(applied, Err(unclear), "{error}");
    }
}

#[tokio::test]
async fn the_only_result_is_not_taken_for_the_wanted_one() {
    let refersion = searching(|_, _| rows(1, &[row(7, "bojo@x.com")])).await;

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Ok(Applied::NotFound));
    assert!(refersion.requests().iter().all(|request| request.operation() == "search"));
}

#[tokio::test]
async fn an_address_is_compared_without_capitals_and_outer_white_space() {
    let refersion = searching(|_, _| rows(2, &[row(9, "jo@x.com"), row(7, " JO@X.Co ")])).await;

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Ok(Applied::Deactivated));
    assert_eq!(refersion.bodies("get"), [json!({ "id": 7 })]);
}

#[tokio::test]
async fn a_search_that_minds_capitals_is_asked_again_in_lower_case() {
    let refersion = FakeRefersion::answering(|request| match request.json()["keyword"].as_str() {
        None => jo_is_number_seven(request),
        Some(WANTED) => rows(1, &[row(7, WANTED)]),
        Some(_) => no_match(),
    })
    .await;

    let applied = deactivate(&refersion.client, "Jo@X.co").await;

    assert_eq!(applied, Ok(Applied::Deactivated));
    assert_eq!(
        refersion.bodies("search"),
        [json!({ "keyword": "Jo@X.co", "page": "1" }), json!({ "keyword": "jo@x.co", "page": "1" })]
    );
}

#[tokio::test]
async fn where_the_search_minds_capitals_nobody_in_either_spelling_is_passed_over() {
    let refersion = FakeRefersion::answering(|request| match request.operation() {
        "search" => match request.json()["keyword"].as_str() {
            Some("Jo@X.co") => rows(1, &[row(8, "Jo@X.co")]),
            Some(WANTED) => rows(1, &[row(7, WANTED)]),
            _ => no_match(),
        },
        "get" => affiliate(request.json()["id"].clone(), "ACTIVE", WANTED),
        "status_change" => changed(&request.json()["ids"]),
        other => panic!("{other}"),
    })
    .await;

    let applied = deactivate(&refersion.client, "Jo@X.co").await;

    assert_eq!(applied, Ok(Applied::Deactivated));
    let ids: Vec<_> = refersion.bodies("status_change").iter().map(|body| body["ids"].clone()).collect();
    assert_eq!(ids, [json!([8]), json!([7])]);
}

#[tokio::test]
async fn whoever_is_disabled_in_whatever_capitals_is_inactive_already() {
    for status in ["DISABLED", "Disabled", " disabled "] {
        let refersion = FakeRefersion::answering(move |request| match request.operation() {
            "search" => rows(1, &[row(7, WANTED)]),
            "get" => affiliate(7, status, WANTED),
            other => panic!("{other}"),
        })
        .await;

        assert_eq!(deactivate(&refersion.client, WANTED).await, Ok(Applied::AlreadyInactive), "{status}");
    }
}

#[tokio::test]
async fn nobody_is_a_refusal_under_every_key_or_an_empty_page() {
    let text = "Could not find affiliates with this keyword.";
    for (status, body) in [
        (422, json!({ "errors": [text] })),
        (422, json!({ "errors": text })),
        (422, json!({ "error": [text] })),
        (422, json!({ "error": text })),
        (422, json!({ "message": text })),
        (200, json!({ "total": 0, "results": [] })),
        (200, json!({ "total": "0", "page": "1/1", "results": [] })),
        (200, json!({ "results": [] })),
    ] {
        let refersion = searching({
            let body = body.clone();
            move |_, _| Reply::json(status, &body)
        })
        .await;

        assert_eq!(deactivate(&refersion.client, WANTED).await, Ok(Applied::NotFound), "{body}");
        assert_eq!(pages(&refersion), [1], "{body}");
    }
}

#[tokio::test]
async fn a_page_that_says_it_is_the_last_is_the_last() {
    let refersion = searching(|page, _| {
        Reply::ok(&json!({ "total": 3, "page": format!("{page}/3"), "results": [row(page, "bojo@x.com")] }))
    })
    .await;

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Ok(Applied::NotFound));
    assert_eq!(pages(&refersion), [1, 2, 3]);
}

#[tokio::test]
async fn the_wanted_affiliate_is_found_on_the_last_of_the_pages() {
    let refersion = searching(|page, _| {
        let address = if page == 3 { WANTED } else { "bojo@x.com" };
        Reply::ok(&json!({ "total": "3", "page": format!("{page}/3"), "results": [row(page + 4, address)] }))
    })
    .await;

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Ok(Applied::Deactivated));
    assert_eq!(pages(&refersion), [1, 2, 3]);
    assert_eq!(refersion.bodies("get"), [json!({ "id": 7 })]);
}

#[tokio::test]
async fn a_total_that_counts_one_page_does_not_end_the_search() {
    let refersion = searching(|page, _| match page {
        1 => rows(2, &[row(1, "ajo@x.co"), row(2, "bjo@x.co")]),
        2 => rows(1, &[row(7, WANTED)]),
        _ => rows(0, &[]),
    })
    .await;

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Ok(Applied::Deactivated));
    assert_eq!(pages(&refersion), [1, 2]);
}

#[tokio::test]
async fn a_page_past_the_end_ends_the_search_as_a_refusal_or_empty() {
    let past: [fn() -> Reply; 2] = [no_match, || rows(2, &[])];
    for past in past {
        let refersion = searching(move |page, _| match page {
            1 => rows(2, &[row(1, "ajo@x.co"), row(2, "bjo@x.co")]),
            _ => past(),
        })
        .await;

        assert_eq!(deactivate(&refersion.client, WANTED).await, Ok(Applied::NotFound));
        assert_eq!(pages(&refersion), [1, 2]);
    }
}

#[tokio::test]
async fn a_server_that_ignores_the_page_is_noticed_by_its_second_answer() {
    let refersion = searching(|_, _| {
        Reply::ok(&json!({ "total": 2, "page": "1/3", "results": [row(1, "ajo@x.co"), row("b", "bjo@x.co")] }))
    })
    .await;

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Ok(Applied::NotFound));
    assert_eq!(pages(&refersion), [1, 2]);
}

#[tokio::test]
async fn a_row_that_moved_to_a_page_read_before_is_found_by_a_second_walk() {
    let (ann, ben, jo) = (row(1, "ajo@x.co"), row(2, "bjo@x.co"), row(7, WANTED));
    let refersion = searching(move |page, searches| match (page, searches) {
        // Before the second page is read, somebody earlier leaves it and the wanted row moves up.
        (1, 0) => rows(3, std::slice::from_ref(&ann)),
        (1, _) => rows(3, std::slice::from_ref(&jo)),
        (2, _) => rows(3, std::slice::from_ref(&ben)),
        _ => no_match(),
    })
    .await;

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Ok(Applied::Deactivated));
    assert_eq!(pages(&refersion), [1, 2, 3, 1]);
}

#[tokio::test]
async fn rows_that_keep_moving_are_inconclusive_and_not_nobody() {
    let refersion = searching(|page, searches| match page {
        1 => rows(9, &[row(100 + searches, "ajo@x.co")]),
        _ => no_match(),
    })
    .await;

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Err(INCONCLUSIVE));
    assert_eq!(pages(&refersion), [1, 2, 1, 2]);
}

#[tokio::test]
async fn a_total_that_the_same_rows_never_reach_is_a_wrong_total() {
    let refersion = searching(|page, _| match page {
        1 => rows(9, &[row(1, "ajo@x.co")]),
        _ => no_match(),
    })
    .await;

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Ok(Applied::NotFound));
    assert_eq!(pages(&refersion), [1, 2, 1, 2]);
}

#[tokio::test]
async fn pages_without_end_are_inconclusive() {
    let refersion = searching(|page, _| rows(1, &[row(1_000 + page, "ajo@x.co")])).await;

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Err(INCONCLUSIVE));
    assert_eq!(pages(&refersion), (1..=500).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_search_that_succeeds_without_its_keys_is_unclear_and_not_nobody() {
    for body in
        [json!({}), json!({ "message": "ok" }), json!({ "results": null }), json!({ "results": [], "error": "x" })]
    {
        let bytes = body.to_string().len();
        let refersion = searching({
            let body = body.clone();
            move |_, _| Reply::ok(&body)
        })
        .await;

        let unclear = Failure::Unclear { status: 200, bytes, why: Unreadable::NoSuccessKeys };
        assert_eq!(deactivate(&refersion.client, WANTED).await, Err(unclear), "{body}");
    }
}

#[tokio::test]
async fn a_status_change_that_is_refused_is_rejected() {
    let (applied, _) = deactivate_found("a3y7", |request| match request.operation() {
        "get" => affiliate(7, "PENDING", WANTED),
        _ => Reply::json(422, &json!({ "errors": ["DISABLED is not a allowed value for field status"] })),
    })
    .await;

    assert!(matches!(applied, Err(Failure::Rejected(Rejection::Refused { status: 422, .. }))), "{applied:?}");
}

#[tokio::test]
async fn affiliates_of_the_simulator_keep_everything_but_their_status() {
    let refersion = Simulated::start().await;
    refersion.seed(WANTED, Status::Active);
    let before = refersion.simulator.affiliates().remove(0);

    deactivate(&refersion.client, WANTED).await.unwrap();

    let after = refersion.simulator.affiliates().remove(0);
    assert_eq!(after, simulator::Affiliate { status: Status::Disabled, ..before });
}

#[tokio::test]
async fn results_that_are_no_array_are_unclear_and_not_nobody() {
    for body in [
        json!({ "total": 1, "results": { "3": row(7, WANTED) } }),
        json!({ "total": 1, "results": "[]" }),
        json!({ "total": 1 }),
    ] {
        let refersion = searching({
            let body = body.clone();
            move |_, _| Reply::ok(&body)
        })
        .await;

        let applied = deactivate(&refersion.client, WANTED).await;

        assert!(matches!(applied, Err(Failure::Unclear { .. })), "{body}: {applied:?}");
    }
}

#[tokio::test]
async fn a_row_of_the_wanted_address_without_an_id_is_not_the_same_as_no_row() {
    let refersion = searching(|_, _| rows(1, &[json!({ "email": WANTED, "status": "ACTIVE" })])).await;

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Err(NOT_IDENTIFIED));
}

#[tokio::test]
async fn a_get_by_number_that_answers_a_code_of_digits_disables_no_stranger() {
    // Here get calls the code `id`, as Refersion's v1 did, and the code 8 is a stranger's number.
    let (_, refersion) = deactivate_found(7, |request| match request.operation() {
        "get" => affiliate("8", "ACTIVE", WANTED),
        _ => changed(&request.json()["ids"]),
    })
    .await;

    assert!(refersion.bodies("status_change").iter().all(|body| body["ids"] != json!([8])));
}

#[tokio::test]
async fn all_who_share_an_address_are_disabled_even_where_codes_are_strangers_numbers() {
    let digits = Settings { code_style: CodeStyle::AllDigits, ..Settings::default() };
    let refersion = Simulated::with(digits).await;
    refersion.seed(WANTED, Status::Active);
    refersion.seed(WANTED, Status::Active);

    let applied = deactivate(&refersion.client, WANTED).await;

    assert_eq!(applied, Ok(Applied::Deactivated));
    assert_eq!(refersion.disabled(), [WANTED, WANTED]);
}
