use refersion_relay_simulator::Status;
use serde_json::json;

use crate::harness::Harness;

#[tokio::test]
async fn every_status_but_pending_can_be_set() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("jo@x.co");

    for status in [Status::Denied, Status::Disabled, Status::Active] {
        let reply = refersion.call("status_change", &json!({ "ids": [id], "status": status })).await;

        reply.is(200, &json!({ "ids_changed": [id], "ids_not_changed": [] }));
        assert_eq!(refersion.simulator.affiliates()[0].status, status);
    }
}

#[tokio::test]
async fn a_status_already_held_and_an_unknown_id_come_back_as_not_changed() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("jo@x.co");

    let reply = refersion.call("status_change", &json!({ "ids": [id, 5, 5], "status": "ACTIVE" })).await;

    reply.is(200, &json!({ "ids_changed": [], "ids_not_changed": [id, 5] }));
}

#[tokio::test]
async fn nobody_becomes_pending() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("jo@x.co");

    let reply = refersion.call("status_change", &json!({ "ids": [id], "status": "PENDING" })).await;

    reply.is_unacceptable(&["PENDING is not a allowed value for field status"]);
}

#[tokio::test]
async fn fifty_ids_are_the_most_and_one_more_is_a_429_about_size() {
    let refersion = Harness::start().await;
    let ids: Vec<u64> = (1..=51).collect();

    let fifty = refersion.call("status_change", &json!({ "ids": ids[..50], "status": "ACTIVE" })).await;
    let more = refersion.call("status_change", &json!({ "ids": ids, "status": "ACTIVE" })).await;

    assert_eq!(fifty.status, 200);
    more.is(429, &json!({ "error": "Max number of elements on attribute (50) reached." }));
}

#[tokio::test]
async fn an_id_that_is_no_integer_gets_a_204() {
    let refersion = Harness::start().await;

    for ids in [json!(["1"]), json!(["a3y7"]), json!([1.5]), json!(1)] {
        refersion.call("status_change", &json!({ "ids": ids, "status": "ACTIVE" })).await.is_no_content();
    }
}

#[tokio::test]
async fn a_missing_field_is_named() {
    let refersion = Harness::start().await;

    for (body, field) in [
        (json!({ "status": "ACTIVE" }), "ids"),
        (json!({ "ids": [], "status": "ACTIVE" }), "ids"),
        (json!({ "ids": [1] }), "status"),
    ] {
        let reply = refersion.call("status_change", &body).await;

        reply.is(400, &json!({ "error": format!("Missing required field {field}") }));
    }
}
