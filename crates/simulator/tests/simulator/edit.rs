use serde_json::json;

use crate::harness::Harness;

#[tokio::test]
async fn an_edit_changes_what_it_names_and_nothing_else() {
    let refersion = Harness::start().await;
    let (id, code) = refersion.seed("jo@x.co");

    let reply = refersion
        .call(
            "edit",
            &json!({ "affiliates": [{
            "id": id, "first_name": "Ann", "email": "ann@x.co", "company": "C", "offer": 77, "state": "NSW",
            "country": "AU", "custom_fields": [{ "1": "one" }, { "2": "two" }],
        }] }),
        )
        .await;

    reply.is(200, &json!({ "ids_changed": [id], "ids_not_changed": [] }));
    let affiliate = &refersion.simulator.affiliates()[0];
    assert_eq!((affiliate.first_name.as_str(), affiliate.last_name.as_str()), ("Ann", "Doe"));
    assert_eq!((affiliate.email.as_str(), affiliate.offer), ("ann@x.co", 77));
    assert_eq!(affiliate.code, code);
    let shown = refersion.call("get", &json!({ "id": id })).await.json();
    assert_eq!(shown["company_name"], "C");
    assert_eq!(
        shown["custom_fields"],
        json!([{ "label": "Field 1", "value": "one" }, { "label": "Field 2", "value": "two" }])
    );
}

#[tokio::test]
async fn an_unknown_id_and_an_edit_without_effect_are_told_inside_a_200() {
    let refersion = Harness::start().await;
    let (first, _) = refersion.seed("a@x.co");
    let (second, _) = refersion.seed("b@x.co");

    let reply = refersion
        .call(
            "edit",
            &json!({ "affiliates": [
            { "id": first, "first_name": "Jo" }, { "id": second, "first_name": "Ann" }, { "id": 5, "city": "X" },
        ] }),
        )
        .await;

    reply.is(200, &json!({ "ids_changed": [second], "ids_not_changed": [first, 5] }));
}

#[tokio::test]
async fn an_affiliate_of_another_merchant_is_unknown() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("jo@x.co");
    let body = json!({ "affiliates": [{ "id": id, "city": "X" }] }).to_string();

    let reply = refersion.exchange("/affiliate/edit", ("pub_2", "sec_2"), &body).await.unwrap();

    reply.is(200, &json!({ "ids_changed": [], "ids_not_changed": [id] }));
}

#[tokio::test]
async fn a_new_email_can_be_taken_and_ones_own_cannot() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("a@x.co");
    refersion.seed("b@x.co");

    let own = refersion.call("edit", &json!({ "affiliates": [{ "id": id, "email": "A@x.co" }] })).await;
    let other = refersion.call("edit", &json!({ "affiliates": [{ "id": id, "email": "B@x.co" }] })).await;

    own.is(200, &json!({ "ids_changed": [id], "ids_not_changed": [] }));
    other.is_unacceptable(&["The email you have entered is taken by another Affiliate."]);
}

#[tokio::test]
async fn an_empty_value_takes_an_optional_field_away() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("jo@x.co");
    refersion
        .call("edit", &json!({ "affiliates": [{ "id": id, "city": "X", "custom_fields": [{ "1": "one" }] }] }))
        .await;

    refersion.call("edit", &json!({ "affiliates": [{ "id": id, "city": "", "custom_fields": [{ "1": "" }] }] })).await;

    let affiliate = &refersion.simulator.affiliates()[0];
    assert_eq!(affiliate.city, None);
    assert!(affiliate.custom_fields.is_empty());
}

#[tokio::test]
async fn a_field_that_cannot_be_edited_or_has_the_wrong_type_gets_a_204() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("jo@x.co");
    let wrong = [
        json!({ "id": id.to_string(), "city": "X" }),
        json!({ "id": id, "offer": "77" }),
        json!({ "id": id, "status": "ACTIVE" }),
        json!({ "id": id, "password": "Abcdefg1!" }),
        json!({ "id": id, "unique_merchant_id": "u1" }),
        json!({ "id": id, "country": "USA" }),
        json!({ "id": id, "city": null }),
        json!({ "id": id, "custom_fields": { "1": "one" } }),
    ];
    let before = refersion.simulator.affiliates();

    for item in wrong {
        refersion.call("edit", &json!({ "affiliates": [item] })).await.is_no_content();
    }
    refersion
        .call("edit", &json!({ "affiliates": [{ "id": id, "city": "X" }], "dry_run": "TRUE" }))
        .await
        .is_no_content();
    assert_eq!(refersion.simulator.affiliates(), before);
}

#[tokio::test]
async fn a_missing_field_is_named() {
    let refersion = Harness::start().await;

    for (body, field) in [
        (json!({}), "affiliates"),
        (json!({ "affiliates": [] }), "affiliates"),
        (json!({ "affiliates": [{ "city": "X" }] }), "id"),
        (json!({ "affiliates": [{ "id": 1 }] }), "to edit"),
    ] {
        let reply = refersion.call("edit", &body).await;

        reply.is(400, &json!({ "error": format!("Missing required field {field}") }));
    }
}

#[tokio::test]
async fn an_unknown_offer_is_a_404_with_an_array() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("jo@x.co");

    let reply = refersion.call("edit", &json!({ "affiliates": [{ "id": id, "offer": 0 }] })).await;

    reply.is(404, &json!({ "error": ["Offer does not exists on the database."] }));
}

#[tokio::test]
async fn a_state_of_more_than_three_letters_is_not_allowed() {
    let refersion = Harness::start().await;
    let (id, _) = refersion.seed("jo@x.co");

    let reply = refersion.call("edit", &json!({ "affiliates": [{ "id": id, "state": "Berlin" }] })).await;

    reply.is_unacceptable(&["Berlin is not a allowed value for field state"]);
}
