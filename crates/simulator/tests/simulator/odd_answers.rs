use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use refersion_relay_simulator::{Fault, FaultRule, Operation, Shape, Status};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::harness::{Harness, PUBLIC_KEY, Reply, creation};

/// Creates an affiliate while all goes wrong in this way.
async fn create_despite(refersion: &Harness, fault: Fault) -> Reply {
    refersion.simulator.add_fault(FaultRule::always(fault));
    refersion.call("new", &creation("jo@x.co", &json!({}))).await
}

fn created(refersion: &Harness) -> usize {
    refersion.simulator.affiliates().len()
}

fn pieces(bytes: u32, pause_ms: u64) -> Fault {
    Fault::Drip { bytes: NonZeroU32::new(bytes).unwrap(), pause_ms }
}

/// The body of an answer that came in chunks, and how many there were.
fn unchunked(body: &str) -> (String, usize) {
    let (mut rest, mut whole, mut chunks) = (body, String::new(), 0);
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a size");
        let size = usize::from_str_radix(size, 16).expect("hexadecimal");
        if size == 0 {
            return (whole, chunks);
        }
        chunks += 1;
        whole.push_str(&after[..size]);
        rest = after[size..].strip_prefix("\r\n").expect("an end of the chunk");
    }
}

#[tokio::test]
async fn a_dripping_answer_is_whole_and_takes_its_time() {
    let refersion = Harness::start().await;
    let started = Instant::now();

    let reply = create_despite(&refersion, pieces(50, 10)).await;

    let (body, chunks) = unchunked(&reply.body);
    assert!(serde_json::from_str::<Value>(&body).unwrap()["id"].is_string(), "{body}");
    assert_eq!(chunks, body.len().div_ceil(50));
    assert!(Duration::from_millis(10) * u32::try_from(chunks - 1).unwrap() <= started.elapsed());
    assert_eq!((reply.status, created(&refersion)), (200, 1));
}

#[tokio::test]
async fn a_drip_sends_its_first_piece_before_the_pause_and_stops_with_the_simulator() {
    let mut refersion = Harness::start().await;
    refersion.simulator.add_fault(FaultRule::always(pieces(1, 3_600_000)));
    let mut stream = refersion.send("POST", "/affiliate/list", (PUBLIC_KEY, "sec_1"), "{}").await;

    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n1\r\n{\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }

    refersion.stop.cancel();
    (&mut refersion.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_oversized_answer_is_the_real_one_with_white_space_behind_it() {
    for (bytes, expected) in [(100_000, 100_000), (1, 0)] {
        let refersion = Harness::start().await;

        let reply = create_despite(&refersion, Fault::Oversized { bytes }).await;

        let (body, _) = unchunked(&reply.body);
        assert!(body.len() == expected || expected == 0 && body.len() > 1, "{}", body.len());
        assert!(serde_json::from_str::<Value>(&body).unwrap()["id"].is_string());
        assert_eq!((reply.status, created(&refersion)), (200, 1));
    }
}

#[tokio::test]
async fn a_cut_off_answer_ends_short_of_its_announced_length() {
    let refersion = Harness::start().await;

    let reply = create_despite(&refersion, Fault::CutOff).await;

    let announced: usize = reply.header("content-length").unwrap().parse().unwrap();
    assert_eq!(reply.body.len(), announced / 2);
    assert!(reply.body.starts_with('{'));
    assert_eq!((reply.status, created(&refersion)), (200, 1));
}

#[tokio::test]
async fn ids_are_told_unchanged_or_not_at_all_and_nothing_happens() {
    for (fault, listed) in [(Fault::NotChanged, true), (Fault::NotMentioned, false)] {
        let refersion = Harness::start().await;
        let (id, _) = refersion.seed("jo@x.co");
        let before = refersion.simulator.affiliates();
        refersion.simulator.add_fault(FaultRule::always(fault));
        let expected = json!({ "ids_changed": [], "ids_not_changed": if listed { vec![id] } else { vec![] } });

        let edit = refersion.call("edit", &json!({ "affiliates": [{ "id": id, "city": "X" }] })).await;
        let change = refersion.call("status_change", &json!({ "ids": [id], "status": "DISABLED" })).await;

        edit.is(200, &expected);
        change.is(200, &expected);
        assert_eq!(refersion.simulator.affiliates(), before);
    }
}

#[tokio::test]
async fn a_change_that_happened_can_be_told_as_unchanged() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("jo@x.co");
    refersion.simulator.add_fault(FaultRule::always(Fault::after_effect(Fault::NotChanged)));

    let change = refersion.call("status_change", &json!({ "ids": [id], "status": "DISABLED" })).await;

    change.is(200, &json!({ "ids_changed": [], "ids_not_changed": [id] }));
    assert_eq!(refersion.simulator.affiliates()[0].status, Status::Disabled);
}

#[tokio::test]
async fn an_error_comes_as_a_200_alone_or_beside_the_success() {
    let refersion = Harness::start().await;
    create_despite(&refersion, Fault::ErrorIn200).await.is(200, &json!({ "error": "Something went wrong." }));
    assert_eq!(created(&refersion), 0);

    let refersion = Harness::start().await;
    let reply = create_despite(&refersion, Fault::SuccessWithError).await;
    assert_eq!((reply.status, created(&refersion)), (200, 1));
    assert!(reply.json()["id"].is_string() && reply.json()["error"].is_string(), "{}", reply.body);
}

#[tokio::test]
async fn an_object_may_lack_its_keys_and_json_need_not_be_an_object() {
    for (fault, expected) in [
        (Fault::NoSuccessKeys, json!({ "message": "OK" })),
        (Fault::WrongShape { shape: Shape::Array }, json!([{ "id": "a3y7" }])),
        (Fault::WrongShape { shape: Shape::String }, json!("OK")),
        (Fault::WrongShape { shape: Shape::Number }, json!(1)),
        (Fault::WrongShape { shape: Shape::Null }, Value::Null),
    ] {
        let refersion = Harness::start().await;

        create_despite(&refersion, fault).await.is(200, &expected);

        assert_eq!(created(&refersion), 0);
    }
}

#[tokio::test]
async fn a_gateway_forbids_with_a_message_only() {
    let refersion = Harness::start().await;

    create_despite(&refersion, Fault::Forbidden).await.is(403, &json!({ "message": "Forbidden" }));

    assert_eq!(created(&refersion), 0);
}

#[tokio::test]
async fn a_redirect_says_where_to() {
    let refersion = Harness::start().await;

    let reply = create_despite(&refersion, Fault::Redirect { status: 307, location: "/elsewhere".into() }).await;

    assert_eq!((reply.status, reply.header("location")), (307, Some("/elsewhere")));
    assert_eq!(created(&refersion), 0);
}

#[tokio::test]
async fn a_rate_limit_answers_429_to_what_is_beyond_it_key_by_key() {
    for retry_after in [None, Some("1".to_owned())] {
        let refersion = Harness::start().await;
        refersion.simulator.add_fault(FaultRule {
            above_per_second: NonZeroU32::new(3),
            ..FaultRule::always(Fault::TooManyRequests { retry_after: retry_after.clone() })
        });

        let mut replies = Vec::new();
        let started = Instant::now();
        for _ in 0..5 {
            replies.push(refersion.call("list", &json!({})).await);
        }
        let other = refersion.exchange("/affiliate/list", ("pub_2", "sec_2"), "{}").await.unwrap();

        assert!(started.elapsed() < Duration::from_secs(1), "the machine is too slow for this test");
        assert_eq!(replies.iter().map(|reply| reply.status).collect::<Vec<_>>(), [200, 200, 200, 429, 429]);
        assert_eq!(replies[4].header("retry-after"), retry_after.as_deref());
        assert_eq!(other.status, 200);
    }
}

#[tokio::test]
async fn a_chance_with_a_seed_strikes_the_same_calls_each_time() {
    let rule =
        json!({ "operation": "list", "chance": { "probability": 0.5, "seed": 3 }, "fault": { "kind": "close" } });
    let mut runs = Vec::new();
    for _ in 0..2 {
        let refersion = Harness::start().await;
        assert_eq!(refersion.control("POST", "faults", &rule.to_string()).await.status, 200);
        let mut struck = Vec::new();
        for _ in 0..20 {
            struck.push(refersion.try_call("list", "{}").await.is_err());
        }
        runs.push(struck);
    }

    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].contains(&true) && runs[0].contains(&false), "{runs:?}");
}

#[tokio::test]
async fn a_rule_with_a_time_ends_by_itself() {
    let refersion = Harness::start().await;
    let rule = FaultRule {
        operation: Some(Operation::List),
        for_ms: Some(60_000),
        ..FaultRule::always(Fault::status(500, None))
    };
    refersion.simulator.add_fault(FaultRule { for_ms: Some(0), ..FaultRule::always(Fault::Forbidden) });
    refersion.simulator.add_fault(rule);

    assert_eq!(refersion.call("list", &json!({})).await.status, 500);

    let listed = refersion.control("GET", "faults", "").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "what has ended is not listed: {listed}");
    assert!((1..=60_000).contains(&listed[0]["for_ms"].as_u64().unwrap()), "{listed}");
}
