use refersion_relay_simulator::{IdKind, Settings};
use serde_json::{Value, json};

use crate::harness::{Harness, PUBLIC_KEY, person};

fn emails(page: &Value) -> Vec<&str> {
    let rows = page["results"].as_array().unwrap();
    rows.iter().map(|row| row["email"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn any_part_of_the_email_is_found_and_a_row_carries_the_code() {
    let refersion = Harness::start().await;
    let (_, code) = refersion.seed("bojo@x.com");
    refersion.seed("ann@x.com");

    let reply = refersion.call("search", &json!({ "keyword": "JO@x.co" })).await;

    reply.is(
        200,
        &json!({ "total": 1, "results": [{
        "id": code, "offer_id": "1234", "status": "ACTIVE", "first_name": "Jo", "last_name": "Doe",
        "email": "bojo@x.com", "custom_fields": [],
    }] }),
    );
}

#[tokio::test]
async fn wildcards_in_the_keyword_find_too_much() {
    let refersion = Harness::start().await;
    refersion.seed("j.o@x.co");
    refersion.seed("j_o@x.co");

    let found = refersion.call("search", &json!({ "keyword": "j_o@x.co" })).await.json();

    assert_eq!(emails(&found), ["j.o@x.co", "j_o@x.co"]);
}

#[tokio::test]
async fn an_id_of_either_kind_is_found_whole_and_not_in_part() {
    let refersion = Harness::start().await;
    let (id, code) = refersion.seed("jo@x.co");

    for keyword in [id.to_string(), code] {
        let found = refersion.call("search", &json!({ "keyword": keyword })).await.json();
        assert_eq!(emails(&found), ["jo@x.co"]);
    }
    let part = &id.to_string()[..7];
    assert_eq!(refersion.call("search", &json!({ "keyword": part })).await.status, 422);
}

#[tokio::test]
async fn names_narrow_the_search_down() {
    let refersion = Harness::start().await;
    refersion.seed("a@x.co");
    let mut ann = person("b@x.co");
    ann.first_name = "Ann".to_owned();
    refersion.simulator.add_affiliate(PUBLIC_KEY, ann);

    let request = json!({ "keyword": "x.co", "first_name": "ann", "last_name": "doe" });
    let found = refersion.call("search", &request).await.json();

    assert_eq!(emails(&found), ["b@x.co"]);
}

#[tokio::test]
async fn pages_share_a_total_and_the_one_past_the_end_is_empty() {
    let refersion = Harness::with(Settings { page_size: 2, list_ids: IdKind::Numeric, ..Settings::default() }).await;
    let (first, _) = refersion.seed("a@x.co");
    refersion.seed("b@x.co");
    refersion.seed("c@x.co");

    let mut pages = Vec::new();
    for page in ["1", "2", "3"] {
        pages.push(refersion.call("search", &json!({ "keyword": "@x.co", "page": page })).await.json());
    }

    assert_eq!(pages[0]["results"][0]["id"], first);
    assert!(pages.iter().all(|page| page["total"] == 3));
    assert_eq!(emails(&pages[0]), ["a@x.co", "b@x.co"]);
    assert_eq!(emails(&pages[1]), ["c@x.co"]);
    assert!(emails(&pages[2]).is_empty());
}

#[tokio::test]
async fn finding_nobody_is_an_error() {
    let refersion = Harness::start().await;

    let reply = refersion.call("search", &json!({ "keyword": "jo@x.co" })).await;

    reply.is_unacceptable(&["Could not find affiliates with this keyword."]);
}

#[tokio::test]
async fn a_keyword_without_end_exceeds_the_limit_and_no_quote_follows() {
    let refersion = Harness::start().await;

    let reply = refersion.call("search", &json!({ "keyword": "x".repeat(256) })).await;

    reply.is_unacceptable(&["Value exceed the char limit"]);
}

#[tokio::test]
async fn a_search_without_a_keyword_misses_it() {
    let refersion = Harness::start().await;

    let reply = refersion.call("search", &json!({ "page": "1" })).await;

    reply.is(400, &json!({ "error": "Missing required field keyword" }));
}

#[tokio::test]
async fn a_page_that_is_a_number_or_a_limit_gets_a_204() {
    let refersion = Harness::start().await;

    for body in [json!({ "keyword": "a", "page": 1 }), json!({ "keyword": "a", "limit": "1" }), json!({ "keyword": 1 })]
    {
        refersion.call("search", &body).await.is_no_content();
    }
}

#[tokio::test]
async fn there_is_no_page_zero() {
    let refersion = Harness::start().await;

    let reply = refersion.call("search", &json!({ "keyword": "a", "page": "0" })).await;

    reply.is_unacceptable(&["0 is not a allowed value for field page"]);
}
