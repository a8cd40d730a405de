use serde_json::json;

use crate::harness::Harness;

#[tokio::test]
async fn either_id_gets_the_affiliate_with_its_numeric_id() {
    let refersion = Harness::start().await;
    let (id, code) = refersion.seed("jo@x.co");

    for request in [json!({ "id": id }), json!({ "affiliate_code": code })] {
        let reply = refersion.call("get", &request).await;

        reply.is(
            200,
            &json!({
                "id": id, "offer_id": "1234", "status": "ACTIVE", "first_name": "Jo", "last_name": "Doe",
                "company_name": "", "email": "jo@x.co", "link": format!("https://site.refersion.com/c/{code}"),
                "custom_fields": [],
            }),
        );
    }
}

#[tokio::test]
async fn an_unknown_id_is_not_found_and_that_is_no_404() {
    let refersion = Harness::start().await;

    for request in [json!({ "id": 1 }), json!({ "affiliate_code": "zzzz" })] {
        let reply = refersion.call("get", &request).await;

        reply.is_unacceptable(&["Affiliate not found."]);
    }
}

#[tokio::test]
async fn one_of_the_ids_has_to_be_given() {
    let refersion = Harness::start().await;

    let reply = refersion.call("get", &json!({})).await;

    reply.is_unacceptable(&["Request filter not provided."]);
}

#[tokio::test]
async fn both_ids_at_once_or_one_of_the_wrong_type_get_a_204() {
    let refersion = Harness::start().await;
    let (id, code) = refersion.seed("jo@x.co");

    for request in [
        json!({ "id": id, "affiliate_code": code }),
        json!({ "id": id.to_string() }),
        json!({ "id": code }),
        json!({ "affiliate_code": 7 }),
        json!({ "email": "jo@x.co" }),
    ] {
        refersion.call("get", &request).await.is_no_content();
    }
}
