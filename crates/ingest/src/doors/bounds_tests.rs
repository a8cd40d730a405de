//! The bounds, as requests meet them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http_body_util::BodyExt;
use refersion_relay_model::{AccountName, KeyPair};
use refersion_relay_telemetry::Metrics;
use secrecy::SecretString;
use serde_json::Value;
use tower::ServiceExt;
use url::form_urlencoded;

use crate::doors::fake::{self, FakeQueue, bounds};
use crate::front::protection::{Bounds, Loan, Protection};
use crate::{Access, AccountAccess, Ingest, router};

const MIB: usize = 1024 * 1024;
const EVENT: &str = r#"{"type":"identify","traits":{"name":"A B","email":"a@example.com"},"writeKey":"write_1"}"#;

/// Doors with an account that may send so many requests in a second.
fn doors(per_second: u32) -> (Ingest, Arc<FakeQueue>) {
    let mut access = Access::default();
    let name = AccountName::try_from("acme").unwrap();
    let account = AccountAccess {
        write_keys: vec![SecretString::from("write_1")],
        webhook_unsigned: true,
        max_requests_per_second: per_second,
        ..AccountAccess::new(name, KeyPair::new("pub_1", "sec_1"))
    };
    access.admit(account, &Metrics::new());
    fake::ingest(access)
}

async fn send(ingest: &Ingest, request: Request) -> (u16, Response) {
    let response = router(ingest.clone()).oneshot(request).await.unwrap();
    (response.status().as_u16(), response)
}

fn post(path: &str, user: &str, body: impl Into<String>) -> Request {
    let basic = format!("Basic {}", STANDARD.encode(format!("{user}:")));
    Request::post(path).header(AUTHORIZATION, basic).body(Body::from(body.into())).unwrap()
}

/// A good request to each door, and what it is answered.
fn requests() -> Vec<(Request, u16)> {
    let data = STANDARD.encode(EVENT);
    let pixel = Request::get(format!("/v1/pixel/identify?data={data}")).body(Body::empty()).unwrap();
    let key_in_body = Request::post("/v1/identify").body(Body::from(EVENT)).unwrap();
    vec![
        (post("/v1/destination", "pub_1.sec_1", EVENT), 202),
        (post("/v1/webhook/acme", "", EVENT), 200),
        (post("/v1/identify", "write_1", EVENT), 200),
        (key_in_body, 200),
        (post("/v1/batch", "write_1", format!("{{\"batch\":[{EVENT}]}}")), 200),
        (pixel, 200),
    ]
}

#[tokio::test]
async fn a_byte_order_mark_before_a_body_is_no_part_of_it_at_any_door() {
    let (ingest, queue) = doors(0);
    let marked = format!("\u{feff}{EVENT}");
    let data: String = form_urlencoded::byte_serialize(STANDARD.encode(&marked).as_bytes()).collect();
    let key_in_body = |path: &str, body: String| Request::post(path).body(Body::from(body)).unwrap();
    let requests = [
        (post("/v1/destination", "pub_1.sec_1", marked.clone()), 202),
        (post("/v1/destination", "pub_1.sec_1", format!("\u{feff}[{EVENT}]")), 202),
        (post("/v1/webhook/acme", "", marked.clone()), 200),
        (post("/v1/webhook/acme", "", format!("\u{feff}[{EVENT}]")), 200),
        (post("/v1/identify", "write_1", marked.clone()), 200),
        (key_in_body("/v1/identify", marked), 200),
        (key_in_body("/v1/batch", format!("\u{feff}{{\"batch\":[{EVENT}]}}")), 200),
        (Request::get(format!("/v1/pixel/identify?data={data}")).body(Body::empty()).unwrap(), 200),
    ];
    let count = requests.len();
    for (request, expected) in requests {
        let uri = request.uri().path().to_owned();
        assert_eq!(send(&ingest, request).await.0, expected, "{uri}");
    }
    assert_eq!(queue.stored(), count);
}

/// Many events that are almost nothing.
fn many(count: usize) -> String {
    vec!["{}"; count].join(",")
}

/// The three doors that take many events at once.
fn batches(count: usize) -> [(Request, u16); 3] {
    let events = many(count);
    [
        (post("/v1/destination", "pub_1.sec_1", format!("[{events}]")), 202),
        (post("/v1/webhook/acme", "", format!("[{events}]")), 200),
        (post("/v1/batch", "write_1", format!("{{\"batch\":[{events}]}}")), 200),
    ]
}

fn lend(ingest: &Ingest, bytes: usize) -> Loan {
    let mut loan = ingest.protection.budget.borrow(false);
    loan.resize(bytes).unwrap();
    loan
}

fn lent(ingest: &Ingest) -> u64 {
    let page = ingest.metrics.render();
    let line = page.lines().find_map(|line| line.strip_prefix("refersion_relay_ingest_body_bytes "));
    line.unwrap().parse().unwrap()
}

/// What is over a limit is refused in the door's own way, with a time to come back.
async fn check_over_limit(request: Request, ingest: &Ingest) {
    let uri = request.uri().clone();
    let (status, response) = send(ingest, request).await;
    assert_eq!(status, 429, "{uri}");
    assert_eq!(response.headers()[RETRY_AFTER], "1", "{uri}");
    let media = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    if uri.path().starts_with("/v1/pixel/") {
        assert_eq!(media, "image/gif");
        return;
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert!(body["message"].is_string(), "{uri}");
    assert_eq!(body.get("code").is_none(), uri.path() == "/v1/destination", "{uri}");
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_an_account_counts_its_requests_at_every_door() {
    for ((first, taken), (second, _)) in requests().into_iter().zip(requests()) {
        let (ingest, _) = doors(1);
        assert_eq!(send(&ingest, first).await.0, taken);
        check_over_limit(second, &ingest).await;
    }
    let (ingest, _) = doors(0);
    for (request, taken) in requests() {
        assert_eq!(send(&ingest, request).await.0, taken);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_nobody_do_not_use_up_the_limit_of_an_account() {
    let (ingest, _) = doors(1);
    for _ in 0..3 {
        assert_eq!(send(&ingest, post("/v1/destination", "pub_1.wrong", EVENT)).await.0, 401);
        assert_eq!(send(&ingest, post("/v1/batch", "wrong", EVENT)).await.0, 401);
    }
    assert_eq!(send(&ingest, post("/v1/destination", "pub_1.sec_1", EVENT)).await.0, 202);
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_all_comes_before_anything_else() {
    let (ingest, _) = doors(0);
    let bounds = Bounds { max_requests_per_second: 1, ..bounds() };
    let ingest = Ingest { protection: Protection::new(bounds, Metrics::new()), ..ingest };
    assert_eq!(send(&ingest, post("/v1/destination", "wrong", EVENT)).await.0, 401);
    for (request, _) in requests() {
        check_over_limit(request, &ingest).await;
    }
    check_over_limit(post("/v1/destination", "wrong", EVENT), &ingest).await;
}

#[tokio::test]
async fn where_there_is_no_memory_a_large_body_is_to_be_sent_again_and_a_small_one_is_taken() {
    let (ingest, _) = doors(0);
    let all = lend(&ingest, 56 * MIB);
    let large = || "x".repeat(MIB);
    for request in [
        post("/v1/destination", "pub_1.sec_1", large()),
        post("/v1/webhook/acme", "", large()),
        post("/v1/batch", "write_1", large()),
        Request::post("/v1/batch").body(Body::from(large())).unwrap(),
    ] {
        let uri = request.uri().clone();
        let (status, response) = send(&ingest, request).await;
        assert_eq!((status, response.headers()[RETRY_AFTER].to_str().unwrap()), (503, "5"), "{uri}");
    }
    for (request, taken) in requests() {
        assert_eq!(send(&ingest, request).await.0, taken);
    }
    assert_eq!(send(&ingest, post("/v1/batch", "wrong", large())).await.0, 401, "nothing of it is kept");
    drop(all);
    assert_eq!(lent(&ingest), 0);
}

#[tokio::test]
async fn what_a_batch_becomes_is_charged_before_it_is_made() {
    let (ingest, queue) = doors(0);
    // Enough for every body, and not for 10,000 messages.
    let all = lend(&ingest, 52 * MIB);
    for (request, _) in batches(10_000) {
        let uri = request.uri().clone();
        assert_eq!(send(&ingest, request).await.0, 503, "{uri}");
    }
    assert_eq!(queue.stored(), 0);
    for (request, taken) in batches(1_000) {
        assert_eq!(send(&ingest, request).await.0, taken);
    }
    drop(all);
    for (request, taken) in batches(10_000) {
        assert_eq!(send(&ingest, request).await.0, taken);
    }
    assert_eq!((queue.stored(), lent(&ingest)), (33_000, 0));
}

#[tokio::test]
async fn the_memory_of_an_event_is_in_use_until_the_queue_has_dropped_it_whatever_its_sender_heard() {
    let (ingest, queue) = doors(0);
    queue.gives_up.store(true, Ordering::Relaxed);
    for (request, _) in requests().into_iter().chain(batches(1_000)) {
        let uri = request.uri().clone();
        let before = lent(&ingest);
        assert!([500, 503].contains(&send(&ingest, request).await.0), "{uri}");
        let kept = std::mem::take(&mut *queue.kept.lock().unwrap());
        let bytes: usize = kept.iter().map(|(_, message)| message.body.len()).sum();
        let held = lent(&ingest) - before;
        assert!(0 < bytes && bytes as u64 <= held, "{uri}: {held} for {bytes}");
        drop(kept);
        assert_eq!(lent(&ingest), before, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_a_batch_is_in_use_until_it_is_stored_even_when_nobody_waits_for_it() {
    let (ingest, queue) = doors(0);
    queue.open.forget_permits(1_000);
    for (number, (request, _)) in (1..).zip(batches(10_000)) {
        // Answered when the door has no more patience, with a queue that does not answer.
        let giving_up = tokio::time::timeout(std::time::Duration::from_secs(30), send(&ingest, request)).await;
        assert!(giving_up.map_or(true, |(status, _)| status == 503));
        assert!(number * 10_000 * 1024 < lent(&ingest), "{number}");
    }
    queue.open.add_permits(3);
    while queue.stored() < 30_000 || 0 < lent(&ingest) {
        tokio::task::yield_now().await;
    }
}
