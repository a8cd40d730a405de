use refersion_relay_simulator::{IdKind, Settings};
use serde_json::json;

use crate::harness::Harness;

#[tokio::test]
async fn a_list_says_which_page_of_how_many_it_is() {
    let refersion = Harness::start().await;
    refersion.seed("a@x.co");
    refersion.seed("b@x.co");
    let (_, code) = refersion.seed("c@x.co");

    let reply = refersion.call("list", &json!({ "limit": "2", "page": "2" })).await;

    reply.is(
        200,
        &json!({ "total": 3, "page": "2/2", "results": [{
        "id": code, "offer_id": "1234", "status": "ACTIVE", "first_name": "Jo", "last_name": "Doe",
        "email": "c@x.co", "custom_fields": [],
    }] }),
    );
}

#[tokio::test]
async fn an_empty_list_is_no_error_and_the_check_of_keys_works_without_affiliates() {
    let refersion = Harness::start().await;

    for body in [json!({}), json!({ "limit": "1", "page": "1" })] {
        let reply = refersion.call("list", &body).await;

        reply.is(200, &json!({ "total": 0, "page": "1/1", "results": [] }));
    }
}

#[tokio::test]
async fn rows_can_carry_the_numeric_id() {
    let refersion = Harness::with(Settings { list_ids: IdKind::Numeric, ..Settings::default() }).await;
    let (id, _) = refersion.seed("jo@x.co");

    let list = refersion.call("list", &json!({ "limit": "1" })).await.json();

    assert_eq!(list["results"][0]["id"], id);
}

#[tokio::test]
async fn a_list_without_a_limit_is_as_long_as_a_page() {
    let refersion = Harness::with(Settings { page_size: 2, ..Settings::default() }).await;
    for email in ["a@x.co", "b@x.co", "c@x.co"] {
        refersion.seed(email);
    }

    let list = refersion.call("list", &json!({})).await.json();

    assert_eq!(list["results"].as_array().unwrap().len(), 2);
    assert_eq!(list["page"], "1/2");
}

#[tokio::test]
async fn numbers_that_are_no_strings_get_a_204() {
    let refersion = Harness::start().await;

    for body in [json!({ "limit": 1 }), json!({ "page": 1 }), json!({ "per_page": "1" })] {
        refersion.call("list", &body).await.is_no_content();
    }
}

#[tokio::test]
async fn a_limit_beyond_a_hundred_is_not_allowed() {
    let refersion = Harness::start().await;

    assert_eq!(refersion.call("list", &json!({ "limit": "100" })).await.status, 200);
    let reply = refersion.call("list", &json!({ "limit": "101" })).await;

    reply.is_unacceptable(&["101 is not a allowed value for field limit"]);
}
