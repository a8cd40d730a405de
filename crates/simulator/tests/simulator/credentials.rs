use refersion_relay_simulator::{Operation, Settings};
use serde_json::json;

use crate::harness::{Harness, PUBLIC_KEY};

const PROBE: &str = r#"{"limit":"1","page":"1"}"#;

async fn status_for(refersion: &Harness, keys: (&str, &str)) -> u16 {
    refersion.exchange("/affiliate/list", keys, PROBE).await.unwrap().status
}

#[tokio::test]
async fn any_complete_pair_is_let_in_where_no_keys_are_configured() {
    let refersion = Harness::start().await;

    assert_eq!(status_for(&refersion, ("pub_x", "sec_x")).await, 200);
    assert_eq!(status_for(&refersion, ("pub_x", "")).await, 401);
    assert_eq!(status_for(&refersion, ("", "sec_x")).await, 401);
}

#[tokio::test]
async fn only_configured_pairs_are_let_in_where_there_are_some() {
    let refersion = Harness::with(Settings {
        keys: vec![("pub_1".into(), "sec_1".into()), ("pub_2".into(), "sec_2".into())],
        ..Settings::default()
    })
    .await;

    assert_eq!(status_for(&refersion, ("pub_2", "sec_2")).await, 200);
    assert_eq!(status_for(&refersion, ("pub_2", "sec_1")).await, 401);
    assert_eq!(status_for(&refersion, ("pub_3", "sec_3")).await, 401);
}

#[tokio::test]
async fn wrong_keys_come_before_a_wrong_body_on_every_operation() {
    let refersion = Harness::start().await;

    for operation in Operation::ALL {
        let path = format!("/affiliate/{operation}");
        let reply = refersion.exchange(&path, ("", ""), "").await.unwrap();

        reply.is(401, &json!({ "error": "Invalid API credentials (error 2)." }));
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_until_it_is_good_again() {
    let refersion = Harness::start().await;

    refersion.simulator.set_keys_valid(PUBLIC_KEY, false);
    assert_eq!(status_for(&refersion, (PUBLIC_KEY, "sec_1")).await, 401);
    assert_eq!(status_for(&refersion, ("pub_2", "sec_2")).await, 200);

    refersion.simulator.set_keys_valid(PUBLIC_KEY, true);
    assert_eq!(status_for(&refersion, (PUBLIC_KEY, "sec_1")).await, 200);
}

#[tokio::test]
async fn an_empty_body_is_a_404_and_one_that_is_no_object_a_400_on_every_operation() {
    let refersion = Harness::start().await;

    for operation in Operation::ALL {
        let empty = refersion.try_call(operation.as_str(), "").await.unwrap();
        empty.is(404, &json!({ "error": "Bad request, no body" }));
        for body in ["{", "[]", "limit=1"] {
            assert_eq!(refersion.try_call(operation.as_str(), body).await.unwrap().status, 400);
        }
    }
}

#[tokio::test]
async fn the_operations_are_at_the_root_and_under_v2() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("jo@x.co");
    let body = json!({ "id": id }).to_string();

    for path in ["/affiliate/get", "/v2/affiliate/get"] {
        let reply = refersion.exchange(path, (PUBLIC_KEY, "sec_1"), &body).await.unwrap();
        assert_eq!(reply.json()["id"], id);
    }
    assert_eq!(refersion.simulator.stats().calls[&Operation::Get].total, 2);
}
