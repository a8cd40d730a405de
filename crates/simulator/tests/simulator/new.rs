use refersion_relay_simulator::{CodeStyle, Settings, Status};
use serde_json::{Value, json};

use crate::harness::{Harness, PASSWORD, PUBLIC_KEY, creation};

#[tokio::test]
async fn creating_answers_with_the_code_and_hides_the_numeric_id_in_a_sentence() {
    let refersion = Harness::start().await;

    let reply = refersion.call("new", &creation("jo@x.co", &json!({}))).await;

    let affiliate = &refersion.simulator.affiliates()[0];
    let message = format!("The affiliate {} has been created with the status of ACTIVE.", affiliate.id);
    let link = format!("https://site.refersion.com/c/{}", affiliate.code);
    reply.is(200, &json!({ "id": affiliate.code, "link": link, "message": message }));
    assert!(affiliate.code.contains(|c: char| c.is_ascii_lowercase()));
    assert_eq!(affiliate.created_at, 1);
}

#[tokio::test]
async fn every_optional_field_is_kept() {
    let refersion = Harness::start().await;
    let optional = json!({
        "status": "PENDING", "offer": "77", "send_welcome": "TRUE", "country": "DE", "company": "C",
        "paypal_email": "p@x.co", "address1": "A1", "address2": "A2", "city": "B", "zip": "10115", "state": "Berlin",
        "phone": "030", "unique_merchant_id": "u1", "conversion_trigger_coupon": "SAVE",
    });

    let reply = refersion.call("new", &creation("jo@x.co", &optional)).await;

    assert_eq!(reply.status, 200);
    let affiliate = &refersion.simulator.affiliates()[0];
    assert_eq!((affiliate.status, affiliate.offer), (Status::Pending, 77));
    let shown = serde_json::to_value(affiliate).unwrap();
    for field in ["country", "company", "paypal_email", "address1", "address2", "city", "zip", "state", "phone"] {
        assert_eq!(shown[field], optional[field], "{field}");
    }
    assert_eq!(shown["unique_merchant_id"], "u1");
}

#[tokio::test]
async fn no_password_is_kept_anywhere() {
    let refersion = Harness::start().await;

    refersion.call("new", &creation("jo@x.co", &json!({}))).await;

    for path in ["affiliates", "calls", "stats"] {
        let shown = refersion.control("GET", path, "").await.body;
        assert!(!shown.contains(PASSWORD), "{path}: {shown}");
    }
}

#[tokio::test]
async fn a_taken_email_is_refused_whatever_its_case_and_whatever_the_status_of_its_owner() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("Jo@x.co");
    refersion.call("status_change", &json!({ "ids": [id], "status": "DISABLED" })).await;

    let reply = refersion.call("new", &creation("jO@X.co", &json!({}))).await;

    reply.is_unacceptable(&["The email you have entered is taken by another Affiliate."]);
}

#[tokio::test]
async fn an_email_is_free_for_another_merchant() {
    let refersion = Harness::start().await;
    refersion.seed("jo@x.co");
    let body = creation("jo@x.co", &json!({})).to_string();

    let reply = refersion.exchange("/affiliate/new", ("pub_2", "sec_2"), &body).await.unwrap();

    assert_eq!(reply.status, 200);
    let owners: Vec<_> = refersion.simulator.affiliates().into_iter().map(|a| a.public_key).collect();
    assert_eq!(owners, [PUBLIC_KEY, "pub_2"]);
}

#[tokio::test]
async fn a_missing_or_empty_required_field_is_named() {
    let refersion = Harness::start().await;

    for field in ["first_name", "last_name", "email", "password", "status"] {
        for value in [Value::Null, json!("")] {
            let reply = refersion.call("new", &creation("jo@x.co", &json!({ field: value }))).await;

            reply.is(400, &json!({ "error": format!("Missing required field {field}") }));
        }
    }
}

#[tokio::test]
async fn a_field_that_is_unknown_or_of_the_wrong_type_gets_a_204_and_no_affiliate() {
    let refersion = Harness::start().await;
    let wrong = [
        json!({ "nickname": "J" }),
        json!({ "send_welcome": true }),
        json!({ "send_welcome": "true" }),
        json!({ "offer": 77 }),
        json!({ "offer": "+77" }),
        json!({ "offer": "abc" }),
        json!({ "country": "USA" }),
        json!({ "country": "CY" }),
        json!({ "phone": 30 }),
        json!({ "first_name": 1 }),
    ];

    for changes in wrong {
        let reply = refersion.call("new", &creation("jo@x.co", &changes)).await;

        reply.is_no_content();
    }
    assert!(refersion.simulator.affiliates().is_empty());
}

#[tokio::test]
async fn a_null_is_a_wrong_type() {
    let refersion = Harness::start().await;
    let mut request = creation("jo@x.co", &json!({}));
    request["city"] = Value::Null;

    refersion.call("new", &request).await.is_no_content();
}

#[tokio::test]
async fn a_value_that_is_not_allowed_is_named_with_its_field() {
    let refersion = Harness::start().await;

    for (field, value) in
        [("status", "DENIED"), ("status", "active"), ("email", "nobody"), ("offer", "0"), ("unique_merchant_id", "a-b")]
    {
        let reply = refersion.call("new", &creation("jo@x.co", &json!({ field: value }))).await;

        reply.is_unacceptable(&[&format!("{value} is not a allowed value for field {field}")]);
    }
}

#[tokio::test]
async fn the_password_rules_are_quoted_with_their_stray_characters() {
    let refersion = Harness::start().await;

    let short = refersion.call("new", &creation("jo@x.co", &json!({ "password": "Abcde1!x" }))).await;
    short.is_unacceptable(&[
        "The password should be at least 9 characters long. Current password length is 8 characters",
    ]);
    let long = "Ab1!".repeat(27);
    let long = refersion.call("new", &creation("jo@x.co", &json!({ "password": long }))).await;
    long.is_unacceptable(&[
        "The password should not be longer than 72 characters. Current password length is 108 characters",
    ]);
    let simple = refersion.call("new", &creation("jo@x.co", &json!({ "password": "testingaaaa" }))).await;
    simple.is_unacceptable(&[
        "The password can\\'t have the same character repeated more than 3 times in a row",
        "The password should have at least 1 number, 1 uppercase letter, 1 lowercase letter and 1 symbol.",
    ]);
    let same = refersion.call("new", &creation("Jo12345@x.co", &json!({ "password": "Jo12345@x.co" }))).await;
    same.is_unacceptable(&["The password can\\'t be the same as the e-mail"]);
}

#[tokio::test]
async fn a_text_without_end_exceeds_the_limit_and_a_stray_quote_follows() {
    let refersion = Harness::start().await;

    let reply = refersion.call("new", &creation("jo@x.co", &json!({ "city": "x".repeat(256) }))).await;

    reply.is_unacceptable(&["Value exceed the char limit'"]);
}

#[tokio::test]
async fn a_code_of_digits_is_the_numeric_id_of_the_next_affiliate() {
    let refersion = Harness::with(Settings { code_style: CodeStyle::AllDigits, ..Settings::default() }).await;

    let (_, code) = refersion.seed("a@x.co");
    let (next, _) = refersion.seed("b@x.co");

    assert_eq!(code, next.to_string());
}
