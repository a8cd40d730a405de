use std::{
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    time::{Duration, SystemTime},
};

use refersion_relay_refersion::{Applied, Failure, KnownText, Rejection, Unreadable};
use refersion_relay_simulator::{Fault, FaultRule};
use serde_json::json;
use tokio::net::TcpSocket;

use crate::support::{FakeRefersion, Reply, Simulated, client, client_with, create, deactivate, keys};

/// The limit up to which an answer is read.
const MEGABYTE: usize = 1024 * 1024;

pub(crate) const BROKE: Failure = Failure::Transport { what: "the connection broke" };
pub(crate) const TOO_LONG: Failure = Failure::Transport { what: "it took too long" };

fn unavailable(status: u16, seconds: Option<u64>) -> Failure {
    Failure::Unavailable { status, retry_after: seconds.map(Duration::from_secs) }
}

pub(crate) fn limited(seconds: Option<u64>) -> Failure {
    Failure::Limited { retry_after: seconds.map(Duration::from_secs) }
}

pub(crate) fn not_json(status: u16, bytes: usize) -> Failure {
    Failure::Unclear { status, bytes, why: Unreadable::NotJson }
}

fn refused(status: u16, known: &[KnownText], bytes: usize) -> Failure {
    Failure::Rejected(Rejection::Refused { status, known: known.to_vec(), bytes })
}

/// A status as the simulator answers it, in Refersion's words.
fn status(status: u16, text: &str) -> (Fault, usize) {
    let body = json!({ "error": text }).to_string();
    (Fault::status(status, Some(&body)), body.len())
}

fn busy(status: u16, retry_after: &str) -> Fault {
    Fault::Status { status, body: None, content_type: None, retry_after: Some(retry_after.into()) }
}

/// What a create and a check of the keys make of a fault, and that neither has an effect, nor is tried twice.
pub(crate) async fn check(fault: Fault, expected: Failure) {
    let refersion = Simulated::start().await;
    refersion.simulator.add_fault(FaultRule::always(fault.clone()));

    let created = create(&refersion.client, "jo@x.co").await;
    let checked = refersion.client.check_keys(&keys()).await;

    assert_eq!(created, Err(expected.clone()), "{fault:?}");
    assert_eq!(checked, Err(expected), "{fault:?}");
    assert!(refersion.simulator.affiliates().is_empty(), "{fault:?}");
    assert_eq!(refersion.called().len(), 2, "{fault:?}");
}

#[tokio::test]
async fn trouble_at_refersion_is_unavailable_whatever_the_body() {
    for code in [408, 500, 502, 503, 504, 599] {
        check(Fault::status(code, None), unavailable(code, None)).await;
        check(Fault::status(code, Some("busy")), unavailable(code, None)).await;
        // A text that means something else in a 422.
        check(status(code, "The email you have entered is taken by another Affiliate.").0, unavailable(code, None))
            .await;
    }
    check(Fault::Html { status: 502 }, unavailable(502, None)).await;
}

#[tokio::test]
async fn a_wait_in_seconds_is_passed_on() {
    check(busy(503, "7"), unavailable(503, Some(7))).await;
    check(busy(503, "0"), unavailable(503, Some(0))).await;
    check(busy(500, "120"), unavailable(500, Some(120))).await;
    check(Fault::TooManyRequests { retry_after: Some("2".into()) }, limited(Some(2))).await;
}

#[tokio::test]
async fn a_wait_that_cannot_be_read_is_no_wait() {
    for unreadable in ["soon", "-1", "1.5", "99999999999999999999999"] {
        check(busy(503, unreadable), unavailable(503, None)).await;
        check(Fault::TooManyRequests { retry_after: Some(unreadable.into()) }, limited(None)).await;
    }
}

#[tokio::test]
async fn a_wait_until_a_date_is_the_time_that_is_left() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_hours(1));
    for status in [429, 503] {
        let refersion = Simulated::start().await;
        refersion.simulator.add_fault(FaultRule::always(busy(status, &date)));

        let failure = create(&refersion.client, "jo@x.co").await.unwrap_err();

        let wait = match failure {
            Failure::Unavailable { status: 503, retry_after } | Failure::Limited { retry_after } => retry_after,
            other => panic!("{other:?}"),
        };
        let wait = wait.expect("the date is readable");
        assert!((Duration::from_mins(59)..=Duration::from_hours(1)).contains(&wait), "{status} {wait:?}");
    }
}

#[tokio::test]
async fn a_date_that_has_passed_is_no_time_at_all() {
    check(busy(503, "Sun, 06 Nov 1994 08:49:37 GMT"), unavailable(503, Some(0))).await;
}

#[tokio::test]
async fn too_many_requests_is_limited_and_too_many_elements_is_rejected() {
    check(Fault::TooManyRequests { retry_after: None }, limited(None)).await;
    check(Fault::status(429, None), limited(None)).await;
    check(Fault::Html { status: 429 }, limited(None)).await;
    let (fault, bytes) = status(429, "Max number of elements on attribute (50) reached.");
    check(fault, refused(429, &[KnownText::TooManyElements], bytes)).await;
}

#[tokio::test]
async fn refused_keys_are_unauthorized_whatever_the_body() {
    for code in [401, 403] {
        let unauthorized = Failure::Unauthorized { status: code };
        check(Fault::status(code, None), unauthorized.clone()).await;
        check(Fault::Html { status: code }, unauthorized.clone()).await;
        check(status(code, "Invalid API credentials (error 2).").0, unauthorized.clone()).await;
        check(Fault::status(code, Some(r#"{"message":"Forbidden"}"#)), unauthorized).await;
    }
}

#[tokio::test]
async fn refersions_own_no_is_rejected_with_what_is_known_of_it() {
    for (code, text, known) in [
        (400, "Missing required field email", vec![KnownText::MissingField]),
        (404, "Bad request, no body", vec![KnownText::NoBody]),
        (404, "Offer does not exists on the database.", vec![KnownText::NoOffer]),
        (422, "X is not a allowed value for field Y", vec![KnownText::ValueNotAllowed]),
        (422, "Your account plan does not support this feature (error 1).", vec![KnownText::PlanLimit]),
        (422, r"The password can\'t be the same as the e-mail", vec![KnownText::Password]),
        (422, "Something new", vec![]),
    ] {
        let (fault, bytes) = status(code, text);
        check(fault, refused(code, &known, bytes)).await;
    }
}

#[tokio::test]
async fn a_204_is_a_refusal_without_words() {
    check(Fault::NoContent, refused(204, &[], 0)).await;
}

#[tokio::test]
async fn a_no_that_is_not_refersions_is_unclear() {
    for code in [400, 404, 405, 413, 422] {
        check(Fault::status(code, None), not_json(code, 0)).await;
        check(Fault::status(code, Some("no such page")), not_json(code, 12)).await;
        check(Fault::status(code, Some("{}")), not_json(code, 2)).await;
    }
    let refersion = Simulated::start().await;
    refersion.simulator.add_fault(FaultRule::always(Fault::Html { status: 404 }));
    let failure = create(&refersion.client, "jo@x.co").await.unwrap_err();
    assert!(matches!(failure, Failure::Unclear { status: 404, bytes: 1.., why: Unreadable::NotJson }), "{failure:?}");
}

#[tokio::test]
async fn a_200_that_says_nothing_is_unclear() {
    check(Fault::Empty200, not_json(200, 0)).await;
    check(Fault::status(200, Some("[]")), not_json(200, 2)).await;
    check(Fault::status(201, Some("OK")), not_json(201, 2)).await;
    check(Fault::status(200, Some("{}")), Failure::Unclear { status: 200, bytes: 2, why: Unreadable::NoSuccessKeys })
        .await;
}

#[tokio::test]
async fn a_page_for_people_is_unclear_even_as_a_200() {
    let refersion = Simulated::start().await;
    refersion.simulator.add_fault(FaultRule::always(Fault::Html { status: 200 }));

    let failure = create(&refersion.client, "jo@x.co").await.unwrap_err();

    assert!(matches!(failure, Failure::Unclear { status: 200, bytes: 1.., why: Unreadable::NotJson }), "{failure:?}");
}

#[tokio::test]
async fn json_that_breaks_off_is_unclear_although_the_effect_happened() {
    let refersion = Simulated::start().await;
    refersion.simulator.add_fault(FaultRule::always(Fault::Truncated));

    let failure = create(&refersion.client, "jo@x.co").await.unwrap_err();

    assert!(matches!(failure, Failure::Unclear { status: 200, bytes: 1.., why: Unreadable::NotJson }), "{failure:?}");
    assert_eq!(refersion.simulator.affiliates().len(), 1);
}

#[tokio::test]
async fn a_reset_is_a_broken_connection_and_is_not_tried_again() {
    check(Fault::Reset, BROKE).await;
}

#[tokio::test]
async fn a_reset_on_a_connection_that_was_used_before_is_not_tried_again_either() {
    let refersion = Simulated::start().await;
    refersion.client.check_keys(&keys()).await.unwrap();
    refersion.simulator.add_fault(FaultRule { times: Some(1), ..FaultRule::always(Fault::after_effect(Fault::Reset)) });

    let created = create(&refersion.client, "jo@x.co").await;

    assert_eq!(created, Err(BROKE));
    assert_eq!(refersion.called().len(), 2);
}

#[tokio::test]
async fn an_answer_that_ends_before_its_announced_length_is_a_broken_connection() {
    let refersion = FakeRefersion::always(|| Reply::ok(&json!({ "id": "a3y7" })).cut_off()).await;

    assert_eq!(create(&refersion.client, "jo@x.co").await, Err(BROKE));
}

#[tokio::test]
async fn silence_takes_too_long_with_or_without_the_effect() {
    for (fault, affiliates) in [(Fault::Hang, 0), (Fault::after_effect(Fault::Hang), 1)] {
        let refersion = Simulated::start().await;
        refersion.simulator.add_fault(FaultRule::always(fault));
        let impatient = client_with(&refersion.base_url, Duration::from_millis(250), |_, _| ());

        let created = create(&impatient, "jo@x.co").await;

        assert_eq!(created, Err(TOO_LONG));
        assert_eq!(refersion.simulator.affiliates().len(), affiliates);
    }
}

#[tokio::test]
async fn a_slow_answer_within_the_timeout_is_an_answer() {
    let refersion = Simulated::start().await;
    refersion.simulator.add_fault(FaultRule::always(Fault::Latency { ms: 5 }));

    assert_eq!(create(&refersion.client, "jo@x.co").await, Ok(Applied::Created));
}

#[tokio::test]
async fn a_closed_port_is_no_connection() {
    // Bound and never listening, so that nobody else gets the port either.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();

    let created = create(&client(&format!("http://{address}/v2")), "jo@x.co").await;

    assert_eq!(created, Err(Failure::Transport { what: "could not connect" }));
}

#[tokio::test]
async fn after_the_effect_a_fault_looks_like_any_other() {
    for (fault, expected) in [
        (Fault::status(500, None), unavailable(500, None)),
        (busy(503, "3"), unavailable(503, Some(3))),
        (Fault::TooManyRequests { retry_after: Some("4".into()) }, limited(Some(4))),
        (Fault::Reset, BROKE),
        (Fault::Empty200, not_json(200, 0)),
        (Fault::NoContent, refused(204, &[], 0)),
    ] {
        let refersion = Simulated::start().await;
        refersion.simulator.add_fault(FaultRule::always(Fault::after_effect(fault.clone())));

        let created = create(&refersion.client, "jo@x.co").await;

        assert_eq!(created, Err(expected), "{fault:?}");
        assert_eq!(refersion.simulator.affiliates().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn an_answer_of_more_than_a_megabyte_is_not_read_to_its_end() {
    let refersion = FakeRefersion::always(|| {
        let padding = "x".repeat(8 * MEGABYTE);
        Reply::ok(&json!({ "id": "a3y7", "padding": padding }))
    })
    .await;

    let failure = create(&refersion.client, "jo@x.co").await.unwrap_err();

    let Failure::Unclear { status: 200, bytes, why: Unreadable::TooLarge } = failure else { panic!("{failure:?}") };
    assert!((MEGABYTE + 1..2 * MEGABYTE).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn an_answer_of_exactly_a_megabyte_is_read() {
    let refersion = FakeRefersion::always(|| {
        let start = r#"{"id":"a3y7"}"#;
        Reply::text(200, format!("{start}{}", " ".repeat(MEGABYTE - start.len())))
    })
    .await;

    assert_eq!(create(&refersion.client, "jo@x.co").await, Ok(Applied::Created));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_takes_the_keys_nowhere() {
    let elsewhere = FakeRefersion::always(|| Reply::ok(&json!({ "id": "a3y7", "results": [] }))).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/affiliate/new", elsewhere.base_url);
        let refersion = FakeRefersion::always(move || {
            Reply::json(status, &json!({ "id": "a3y7" })).header("Location", location.clone())
        })
        .await;

        let created = create(&refersion.client, "jo@x.co").await;
        let deactivated = deactivate(&refersion.client, "jo@x.co").await;
        let checked = refersion.client.check_keys(&keys()).await;

        assert_eq!(created, Err(not_json(status, 13)), "{status}");
        assert_eq!(deactivated, Err(not_json(status, 13)), "{status}");
        assert_eq!(checked, Err(not_json(status, 13)), "{status}");
        assert_eq!(refersion.requests().len(), 3, "{status}");
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_failure_says_its_status_and_its_word() {
    for (reply, status, word) in [
        (Reply::text as fn(u16, String) -> Reply, 503, "unavailable"),
        (Reply::text, 429, "limited"),
        (Reply::text, 404, "unclear"),
        (Reply::text, 403, "unauthorized"),
        (Reply::text, 204, "rejected"),
    ] {
        let refersion = FakeRefersion::always(move || reply(status, String::new())).await;

        let failure = create(&refersion.client, "jo@x.co").await.unwrap_err();

        assert_eq!((failure.status(), failure.as_str()), (Some(status), word));
    }
    assert_eq!((BROKE.status(), BROKE.as_str()), (None, "no_answer"));
}

#[tokio::test]
async fn a_failed_call_does_not_spoil_the_next() {
    let calls = Arc::new(AtomicUsize::new(0));
    let refersion = FakeRefersion::answering({
        let calls = calls.clone();
        move |_| match calls.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::text(500, "busy"),
            1 => Reply::ok(&json!({ "id": "a" })).cut_off(),
            _ => Reply::ok(&json!({ "id": "a3y7" })),
        }
    })
    .await;

    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(create(&refersion.client, "jo@x.co").await);
    }

    assert_eq!(answers, [Err(unavailable(500, None)), Err(BROKE), Ok(Applied::Created)]);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}
