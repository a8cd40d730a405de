use refersion_relay_simulator::{Fault, FaultRule};
use serde_json::{Value, json};

use crate::harness::{Harness, PUBLIC_KEY, creation};

#[tokio::test]
async fn faults_are_added_one_or_many_listed_and_cleared() {
    let refersion = Harness::start().await;
    let one = json!({ "operation": "new", "times": 2, "fault": { "kind": "too_many_requests", "retry_after": "1" } });
    let many = json!([
        { "operation": null, "public_key": null, "email_contains": null, "times": null, "fault": { "kind": "empty_200" } },
        { "fault": { "kind": "after_effect", "then": { "kind": "hang" } } },
    ]);

    let first = refersion.control("POST", "faults", &one.to_string()).await;
    let second = refersion.control("POST", "faults", &many.to_string()).await;
    refersion.call("new", &creation("jo@x.co", &json!({}))).await;

    assert_eq!((first.status, second.status), (200, 200));
    let listed = refersion.control("GET", "faults", "").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert_eq!(
        listed[0],
        json!({
            "operation": "new", "public_key": null, "email_contains": null, "times": 1, "skip": 0,
            "above_per_second": null, "chance": null, "for_ms": null,
            "fault": { "kind": "too_many_requests", "retry_after": "1" },
        })
    );
    assert_eq!(refersion.control("DELETE", "faults", "").await.status, 204);
    refersion.control("GET", "faults", "").await.is(200, &json!([]));
}

#[tokio::test]
async fn a_fault_that_cannot_be_read_adds_nothing_and_says_why() {
    let refersion = Harness::start().await;
    let rules = json!([{ "fault": { "kind": "hang" } }, { "fault": { "kind": "explode" } }]);

    let reply = refersion.control("POST", "faults", &rules.to_string()).await;

    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("explode"), "{}", reply.body);
    refersion.control("GET", "faults", "").await.is(200, &json!([]));
}

#[tokio::test]
async fn keys_are_revoked_over_http() {
    let refersion = Harness::start().await;

    for (valid, expected) in [(false, 401), (true, 200)] {
        let body = json!({ "public_key": PUBLIC_KEY, "valid": valid }).to_string();
        assert_eq!(refersion.control("POST", "keys", &body).await.status, 204);
        assert_eq!(refersion.call("list", &json!({})).await.status, expected);
    }
}

#[tokio::test]
async fn seeded_affiliates_are_shown_in_order_of_creation() {
    let refersion = Harness::start().await;
    let seeds = json!([
        { "public_key": "pub_2", "email": "a@x.co", "first_name": "A", "last_name": "B", "status": "DENIED" },
        { "public_key": "pub_1", "email": "b@x.co", "city": "X" },
    ]);

    let reply = refersion.control("POST", "affiliates", &seeds.to_string()).await;

    assert_eq!(reply.status, 201);
    let shown = refersion.control("GET", "affiliates", "").await.json();
    assert_eq!(shown, reply.json());
    let first = &shown[0];
    assert_eq!(first["public_key"], "pub_2");
    assert_eq!((&first["email"], &first["status"]), (&json!("a@x.co"), &json!("DENIED")));
    assert_eq!((&first["created_at"], &first["company"]), (&json!(1), &Value::Null));
    assert_eq!((&shown[1]["city"], &shown[1]["status"]), (&json!("X"), &json!("ACTIVE")));
    assert!(first["id"].is_u64() && first["code"].is_string());
}

#[tokio::test]
async fn a_seed_with_a_typing_error_or_without_a_merchant_is_refused() {
    let refersion = Harness::start().await;

    for seed in [json!({ "public_key": "pub_1", "mail": "a@x.co" }), json!({ "email": "a@x.co" })] {
        let reply = refersion.control("POST", "affiliates", &seed.to_string()).await;
        assert_eq!(reply.status, 400);
    }
    assert!(refersion.simulator.affiliates().is_empty());
}

#[tokio::test]
async fn seeds_may_share_an_email() {
    let refersion = Harness::start().await;
    refersion.seed("jo@x.co");
    refersion.seed("jo@x.co");

    let found = refersion.call("search", &json!({ "keyword": "jo@x.co" })).await.json();

    assert_eq!(found["total"], 2);
}

#[tokio::test]
async fn stats_count_every_call_by_operation_and_status() {
    let refersion = Harness::start().await;
    refersion.call("new", &creation("jo@x.co", &json!({}))).await;
    refersion.call("new", &creation("jo@x.co", &json!({}))).await;
    refersion.simulator.add_fault(FaultRule::always(Fault::Reset));
    refersion.try_call("new", "{}").await.unwrap_err();

    let stats = refersion.control("GET", "stats", "").await.json();

    assert_eq!(stats["calls"]["new"], json!({ "total": 3, "by_status": { "200": 1, "422": 1 } }));
    assert_eq!(stats["calls"]["status_change"], json!({ "total": 0, "by_status": {} }));
    assert_eq!(stats["calls"].as_object().unwrap().len(), 6);
    assert_eq!((&stats["affiliates"], &stats["max_in_flight"], &stats["in_flight"]), (&json!(1), &json!(1), &json!(0)));
}

#[tokio::test]
async fn max_in_flight_remembers_how_many_calls_there_were_at_once() {
    let refersion = Harness::start().await;
    refersion.simulator.add_fault(FaultRule::always(Fault::Hang));
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(refersion.send("POST", "/affiliate/list", (PUBLIC_KEY, "sec_1"), "{}").await);
    }
    refersion.until(|stats| stats.in_flight == 3).await;

    drop(streams);
    refersion.until(|stats| stats.in_flight == 0).await;

    assert_eq!(refersion.simulator.stats().max_in_flight, 3);
}

#[tokio::test]
async fn calls_are_shown_in_order_of_arrival_with_their_subject() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("jo@x.co");
    refersion.call("search", &json!({ "keyword": "jo@" })).await;
    refersion.call("edit", &json!({ "affiliates": [{ "id": id, "email": "ann@x.co", "last_name": "Lee" }] })).await;
    refersion.call("status_change", &json!({ "ids": [id, 5], "status": "DENIED" })).await;

    let calls = refersion.control("GET", "calls", "").await.json();
    let latest = refersion.control("GET", "calls?limit=1", "").await.json();

    assert_eq!(calls.as_array().unwrap().len(), 3);
    assert!(calls[0]["started_ms"].is_u64());
    for (index, (operation, email, ids, last_name)) in [
        ("search", json!("jo@"), json!([]), Value::Null),
        ("edit", json!("ann@x.co"), json!([id]), json!("Lee")),
        ("status_change", Value::Null, json!([id, 5]), Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let mut call = calls[index].clone();
        call.as_object_mut().unwrap().remove("started_ms");
        assert_eq!(
            call,
            json!({
                "seq": index + 1, "operation": operation, "public_key": PUBLIC_KEY, "email": email, "ids": ids,
                "last_name": last_name, "status": 200, "fault": null,
            })
        );
    }
    assert_eq!(latest, json!([calls[2]]));
}
