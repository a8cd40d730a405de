use std::{
    io,
    time::{Duration, Instant},
};

use refersion_relay_simulator::{Fault, FaultRule, Operation, Settings};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::harness::{Harness, PUBLIC_KEY, Reply, creation};

/// Tries to create an affiliate while all goes wrong in this way.
async fn create_despite(refersion: &Harness, fault: Fault) -> io::Result<Reply> {
    refersion.simulator.add_fault(FaultRule::always(fault));
    let body = creation("jo@x.co", &json!({})).to_string();
    refersion.try_call("new", &body).await
}

fn created(refersion: &Harness) -> usize {
    refersion.simulator.affiliates().len()
}

#[tokio::test]
async fn latency_delays_a_call_that_is_fine_otherwise() {
    let refersion = Harness::start().await;
    let started = Instant::now();

    let reply = create_despite(&refersion, Fault::Latency { ms: 20 }).await.unwrap();

    assert!(Duration::from_millis(20) <= started.elapsed());
    assert_eq!((reply.status, created(&refersion)), (200, 1));
}

#[tokio::test]
async fn the_latency_of_the_settings_delays_every_call() {
    let refersion = Harness::with(Settings { latency: Duration::from_millis(20), ..Settings::default() }).await;
    let started = Instant::now();

    refersion.call("list", &json!({})).await;

    assert!(Duration::from_millis(20) <= started.elapsed());
}

#[tokio::test]
async fn a_status_comes_with_its_body_and_its_headers() {
    let refersion = Harness::start().await;
    let fault = Fault::Status {
        status: 503,
        body: Some("busy".into()),
        content_type: Some("text/plain".into()),
        retry_after: Some("7".into()),
    };

    let reply = create_despite(&refersion, fault).await.unwrap();

    assert_eq!((reply.status, reply.body.as_str()), (503, "busy"));
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    assert_eq!(reply.header("retry-after"), Some("7"));
    assert_eq!(created(&refersion), 0);
}

#[tokio::test]
async fn a_status_without_a_body_is_empty() {
    let refersion = Harness::start().await;

    let reply = create_despite(&refersion, Fault::status(500, None)).await.unwrap();

    assert_eq!((reply.status, reply.body.as_str()), (500, ""));
    assert_eq!(reply.header("content-type"), None);
}

#[tokio::test]
async fn too_many_requests_says_when_to_come_back_and_nothing_of_elements() {
    let refersion = Harness::start().await;
    let fault = Fault::TooManyRequests { retry_after: Some("2".into()) };

    let reply = create_despite(&refersion, fault).await.unwrap();

    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("2")));
    assert!(!reply.body.contains("elements"));
    assert_eq!(created(&refersion), 0);
}

#[tokio::test]
async fn a_hanging_call_ends_when_the_client_goes() {
    let refersion = Harness::start().await;
    refersion.simulator.add_fault(FaultRule::always(Fault::Hang));

    let stream = refersion.send("POST", "/affiliate/list", (PUBLIC_KEY, "sec_1"), "{}").await;
    refersion.until(|stats| stats.in_flight == 1).await;
    drop(stream);
    refersion.until(|stats| stats.in_flight == 0).await;

    let call = &refersion.simulator.calls()[0];
    assert_eq!((call.status, call.fault), (None, Some("hang")));
}

#[tokio::test]
async fn a_hanging_call_ends_without_an_answer_when_the_simulator_stops() {
    let mut refersion = Harness::start().await;
    refersion.simulator.add_fault(FaultRule::always(Fault::Hang));
    let mut stream = refersion.send("POST", "/affiliate/list", (PUBLIC_KEY, "sec_1"), "{}").await;
    refersion.until(|stats| stats.in_flight == 1).await;

    refersion.stop.cancel();

    let mut answer = Vec::new();
    // A reset and an orderly end are both fine here.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    (&mut refersion.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let refersion = Harness::start().await;

    let error = create_despite(&refersion, Fault::Reset).await.unwrap_err();

    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(created(&refersion), 0);
    let call = &refersion.simulator.calls()[0];
    assert_eq!((call.status, call.fault), (None, Some("reset")));
    assert_eq!(refersion.simulator.stats().in_flight, 0);
}

#[tokio::test]
async fn html_is_a_page_for_a_person() {
    let refersion = Harness::start().await;

    let reply = create_despite(&refersion, Fault::Html { status: 502 }).await.unwrap();

    assert_eq!(reply.status, 502);
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(reply.body.contains("<h1>502 Bad Gateway</h1>"));
    assert_eq!(created(&refersion), 0);
}

#[tokio::test]
async fn a_truncated_answer_breaks_off_after_the_effect() {
    let refersion = Harness::start().await;

    let reply = create_despite(&refersion, Fault::Truncated).await.unwrap();

    assert_eq!((reply.status, created(&refersion)), (200, 1));
    assert!(reply.body.starts_with('{'));
    assert!(serde_json::from_str::<serde_json::Value>(&reply.body).is_err());
}

#[tokio::test]
async fn an_empty_200_has_no_body_and_no_effect() {
    let refersion = Harness::start().await;

    let reply = create_despite(&refersion, Fault::Empty200).await.unwrap();

    assert_eq!((reply.status, reply.body.as_str(), created(&refersion)), (200, "", 0));
}

#[tokio::test]
async fn no_content_has_no_effect() {
    let refersion = Harness::start().await;

    create_despite(&refersion, Fault::NoContent).await.unwrap().is_no_content();

    assert_eq!(created(&refersion), 0);
}

#[tokio::test]
async fn after_the_effect_any_other_fault_can_follow() {
    for (fault, expected) in [
        (Fault::status(500, None), Some(500)),
        (Fault::Empty200, Some(200)),
        (Fault::Truncated, Some(200)),
        (Fault::Latency { ms: 1 }, Some(200)),
        (Fault::Reset, None),
    ] {
        let refersion = Harness::start().await;

        let reply = create_despite(&refersion, Fault::after_effect(fault.clone())).await;

        assert_eq!(reply.ok().map(|reply| reply.status), expected, "{fault:?}");
        assert_eq!(created(&refersion), 1, "{fault:?}");
        assert_eq!(refersion.simulator.calls()[0].fault, Some("after_effect"));
    }
}

#[tokio::test]
async fn a_hang_after_the_effect_leaves_the_affiliate_behind() {
    let refersion = Harness::start().await;
    refersion.simulator.add_fault(FaultRule::always(Fault::after_effect(Fault::Hang)));
    let body = creation("jo@x.co", &json!({})).to_string();

    let _stream = refersion.send("POST", "/affiliate/new", (PUBLIC_KEY, "sec_1"), &body).await;
    refersion.until(|stats| stats.affiliates == 1).await;

    assert_eq!(refersion.simulator.stats().in_flight, 1);
}

#[tokio::test]
async fn a_rule_strikes_only_the_calls_it_describes() {
    let refersion = Harness::start().await;
    refersion.seed("ann@x.co");
    refersion.simulator.add_fault(FaultRule {
        operation: Some(Operation::Search),
        public_key: Some(PUBLIC_KEY.into()),
        email_contains: Some("ann@".into()),
        times: Some(1),
        skip: 1,
        ..FaultRule::always(Fault::status(500, None))
    });
    let ann = json!({ "keyword": "ann@x.co" });

    assert_eq!(refersion.call("list", &json!({})).await.status, 200);
    assert_eq!(refersion.call("search", &json!({ "keyword": "x.co" })).await.status, 200);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(refersion.call("search", &ann).await.status);
    }

    assert_eq!(statuses, [200, 500, 200]);
}

#[tokio::test]
async fn a_fault_strikes_before_the_keys_are_looked_at() {
    let refersion = Harness::start().await;
    refersion.simulator.add_fault(FaultRule::always(Fault::status(503, None)));

    let reply = refersion.exchange("/affiliate/list", ("", ""), "").await.unwrap();

    assert_eq!(reply.status, 503);
}

#[tokio::test]
async fn cleared_faults_are_gone() {
    let refersion = Harness::start().await;
    refersion.simulator.add_fault(FaultRule::always(Fault::Reset));

    refersion.simulator.clear_faults();

    assert_eq!(refersion.call("list", &json!({})).await.status, 200);
}
