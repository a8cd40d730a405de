//! Deletes that name only an id: who is meant, and what becomes of those of whom nobody knows.

use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, eventually, identify, signature, with_id};
use serde_json::{Value, json};

use super::{On, delete_user, identify_as, identify_user, on_both_queues, started, with_directory_on};

on_both_queues! {
    every_delete_of_segments_deactivates_whom_it_means_at_both_doors,
    the_second_delete_of_somebody_is_done_already_and_costs_no_call,
    a_delete_of_somebody_unknown_says_in_the_end_why_it_cannot_be_done,
    a_delete_waits_for_an_identify_that_came_before_it,
    of_two_ids_with_one_address_nobody_is_deleted,
    who_came_back_by_a_door_that_is_not_believed_is_not_taken_for_deleted,
    a_delete_of_nobody_hides_nobody,
    whoever_had_several_addresses_is_deleted_with_all_of_them_and_nobody_else_is,
    without_a_directory_a_delete_by_id_is_refused_as_before,
    who_was_created_by_a_replay_after_the_delete_is_not_taken_for_deleted,
}

const ENDED: &str = "refersion_relay_worker_ended_total";

/// The deletes that Segment documents, of this person: with an address, without one, with nothing around it, and as a webhook.
fn shapes(person: &str) -> [String; 4] {
    let user = format!("user-{person}");
    [
        json!({"type": "delete", "channel": "server", "messageId": format!("delete-1-{person}"), "projectId": "p", "userId": user,
            "context": [], "integrations": [], "email": format!("{person}@example.com"),
            "receivedAt": "2019-02-19T23:58:54.387Z"})
        .to_string(),
        json!({"type": "delete", "channel": "server", "messageId": format!("delete-2-{person}"), "projectId": "p", "userId": user,
            "context": [], "integrations": [], "receivedAt": "2019-02-19T23:58:54.387Z"})
        .to_string(),
        json!({"context": null, "integrations": null, "messageId": format!("delete-reg-3::job-2-{person}"),
            "originalTimestamp": "2020-05-09 23:54:49.209808489 +0000 UTC m=+70366.299", "type": "delete", "userId": user})
        .to_string(),
        json!({"type": "delete", "userId": user, "timestamp": "2020-05-09T23:54:49.209Z"}).to_string(),
    ]
}

async fn disabled(refersion: &Refersion, email: &str) {
    eventually(&format!("{email} is deactivated"), || async { refersion.statuses(email) == ["DISABLED"] }).await;
}

/// Every event is accounted for, and so many are dead.
async fn adds_up(on: On, config: &Config, dead: u64) {
    if on == On::Embedded {
        let ledger = config.ledger().await;
        let count = |name: &str| ledger[name].as_u64().expect("a number");
        let ended = ["delivered", "ignored", "dropped", "dead", "waiting"].map(count).iter().sum::<u64>();
        assert_eq!((count("accepted"), count("dead")), (ended, dead), "{ledger}");
        return;
    }
    let checked = config.command(&["check", "--conservation", "--json"]).await;
    let document: Value = serde_json::from_str(&checked.stdout).expect("a JSON document");
    let sum = &document["conservation"];
    assert_eq!((&sum["difference"], &sum["dead"]), (&json!(0), &json!(dead)), "{sum}");
}

async fn every_delete_of_segments_deactivates_whom_it_means_at_both_doors(on: On) {
    let refersion = Refersion::start().await;
    let config = with_directory_on(on, &refersion);
    config.edit("write_key = \"write_1\"", "write_key = \"write_1\"\nwebhook_secret = \"shared\"");
    let relay = Relay::start("run", &config).await;
    let people: Vec<_> =
        ["direct", "webhook"].iter().flat_map(|door| (0..4).map(move |n| format!("{door}{n}"))).collect();
    for person in &people {
        assert_eq!(relay.post(1, identify_user(person)).await.status, 202);
    }
    eventually("all are there", || async { refersion.simulator.affiliates().len() == 8 }).await;
    // Some of them were identified a month ago.
    let directory = rusqlite::Connection::open(config.folder().join("directory.db")).expect("it is there");
    directory.execute("UPDATE person SET seen = seen - 30 WHERE id % 2 = 0", []).expect("nobody else has it");

    for (n, person) in people.iter().enumerate() {
        let delete = shapes(person)[n % 4].clone();
        let answer = if n < 4 {
            relay.post(1, delete).await
        } else {
            let header = ("x-signature", &*signature("shared", delete.as_bytes()));
            relay.request("POST", "/v1/webhook/acme", &[header], delete).await
        };
        assert!(matches!(answer.status, 200 | 202), "{person}: {}", answer.body);
    }

    for person in &people {
        disabled(&refersion, &format!("{person}@example.com")).await;
    }
    // Each was one event, and is delivered as one.
    eventually("all have ended", || async { relay.metric(ENDED).await == 16 }).await;
    assert_eq!(relay.metric(r#"refersion_relay_directory_resolved_total{how="completed"}"#).await, 6);
    eventually("they are erased", || async {
        relay.metric(r#"refersion_relay_directory_rows{what="erased"}"#).await == 8
    })
    .await;
    assert_eq!(relay.metric(r#"refersion_relay_directory_rows{what="address"}"#).await, 0);
    adds_up(on, &config, 0).await;
}

async fn the_second_delete_of_somebody_is_done_already_and_costs_no_call(on: On) {
    let (refersion, _config, relay) = started(on).await;
    assert_eq!(relay.post(1, identify_user("peter")).await.status, 202);
    eventually("he is there", || async { relay.metric(ENDED).await == 1 }).await;
    assert_eq!(relay.post(1, delete_user("peter")).await.status, 202);
    eventually("he is deleted", || async { relay.metric(ENDED).await == 2 }).await;
    let searches = refersion.count(Operation::Search);

    // One for each of a workspace's sources.
    for source in ["a", "b"] {
        assert_eq!(relay.post(1, with_id(&delete_user("peter"), source)).await.status, 202);
    }

    let already = r#"refersion_relay_events_delivered_total{how="already_inactive"}"#;
    eventually("both are done", || async { relay.metric(already).await == 2 }).await;
    assert_eq!(refersion.count(Operation::Search), searches);
}

async fn a_delete_of_somebody_unknown_says_in_the_end_why_it_cannot_be_done(on: On) {
    let (refersion, config, relay) = started(on).await;
    assert_eq!(relay.post(1, delete_user("peter")).await.status, 202);
    // Who comes after the delete is not meant by it.
    assert_eq!(relay.post(1, identify_user("peter")).await.status, 202);

    eventually("it is a letter", || async { relay.metric(ENDED).await == 2 }).await;
    let letters = config.dead_letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = &letters[0];
    assert_eq!((&letter["class"], &letter["reason"]), (&json!("invalid"), &json!("incomplete")));
    let error = letter["error"].as_str().expect("a sentence");
    let expected = "no address is known for this userId: the directory knows those who were identified since 20";
    assert!(error.starts_with(expected), "{error}");
    assert!(1 <= relay.metric(r#"refersion_relay_retries_total{wait="tier"}"#).await, "it was tried again");
    assert_eq!(refersion.statuses("peter@example.com"), ["PENDING"]);
    adds_up(on, &config, 1).await;

    // Whoever replays it means who is there now.
    let replayed = config.command(&["dlq", "replay", "--class", "invalid", "--yes"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    disabled(&refersion, "peter@example.com").await;
    adds_up(on, &config, 0).await;
}

async fn a_delete_waits_for_an_identify_that_came_before_it(on: On) {
    let refersion = Refersion::start().await;
    let config = with_directory_on(on, &refersion);
    config.edit("wait = \"2s\"", "wait = \"1h\"");
    config.edit("tiers = [\"500ms\"]", "tiers = [\"2s\"]");
    let relay = Relay::start("run", &config).await;
    // The first event about the address fails and waits in a tier, and the one that names the person waits behind it.
    refersion.fail(Operation::New, "peter@example.com", Some(1), Fault::Reset);
    assert_eq!(relay.post(1, identify("peter@example.com")).await.status, 202);
    eventually("it waits", || async { relay.metric(r#"refersion_relay_retries_total{wait="tier"}"#).await == 1 }).await;
    assert_eq!(relay.post(1, identify_user("peter")).await.status, 202);
    assert_eq!(relay.post(1, delete_user("peter")).await.status, 202);

    disabled(&refersion, "peter@example.com").await;
    eventually("all have ended", || async { relay.metric(ENDED).await == 3 }).await;
    assert_eq!(relay.metric(r#"refersion_relay_directory_resolved_total{how="completed"}"#).await, 1);
    adds_up(on, &config, 0).await;
}

async fn of_two_ids_with_one_address_nobody_is_deleted(on: On) {
    let (refersion, config, relay) = started(on).await;
    // The second one can be anybody who is let to say so, Segment's own write key is in every page.
    for user in ["user-victim", "user-mallory"] {
        assert_eq!(relay.post(1, identify_as(user, "victim@example.com")).await.status, 202);
    }
    eventually("she is there", || async { relay.metric(ENDED).await == 2 }).await;
    assert_eq!(relay.post(1, delete_user("mallory")).await.status, 202);
    eventually("it is a letter", || async { relay.metric(ENDED).await == 3 }).await;
    let letters = config.dead_letters().await;
    let error = letters[0]["error"].as_str().expect("a sentence");
    assert_eq!(error, "another userId has the same address, so it is not certain whom this delete means");
    assert_eq!(refersion.statuses("victim@example.com"), ["PENDING"]);
}

async fn who_came_back_by_a_door_that_is_not_believed_is_not_taken_for_deleted(on: On) {
    let (refersion, config, relay) = started(on).await;
    assert_eq!(relay.post(1, identify_user("peter")).await.status, 202);
    eventually("he is there", || async { relay.metric(ENDED).await == 1 }).await;
    assert_eq!(relay.post(1, delete_user("peter")).await.status, 202);
    disabled(&refersion, "peter@example.com").await;
    eventually("he is erased", || async { relay.metric(ENDED).await == 2 }).await;

    let again = String::from_utf8(identify_as("user-peter", "peter@example.org")).expect("text");
    assert_eq!(relay.post_batch("write_1", format!("{{\"batch\":[{again}]}}")).await.status, 200);
    eventually("he is back", || async { relay.metric(ENDED).await == 3 }).await;
    assert_eq!(relay.post(1, with_id(&delete_user("peter"), "again")).await.status, 202);

    eventually("it is a letter", || async { relay.metric(ENDED).await == 4 }).await;
    assert_eq!(config.dead_letters().await.len(), 1, "where he is now is not known");
}

async fn a_delete_of_nobody_hides_nobody(on: On) {
    let (_refersion, config, relay) = started(on).await;
    let mistyped = json!({"type": "delete", "messageId": "m1", "userId": "user-peter", "email": "petre@example.com"});
    assert_eq!(relay.post(1, mistyped.to_string()).await.status, 202);
    eventually("it has ended", || async { relay.metric(ENDED).await == 1 }).await;
    assert_eq!(relay.post(1, delete_user("peter")).await.status, 202);
    eventually("it is a letter", || async { relay.metric(ENDED).await == 2 }).await;
    assert_eq!(config.dead_letters().await.len(), 1);
}

async fn whoever_had_several_addresses_is_deleted_with_all_of_them_and_nobody_else_is(on: On) {
    let (refersion, config, relay) = started(on).await;
    let people = [(1, "one", "old@example.com"), (1, "one", "new@example.com"), (1, "two", "two@example.com")];
    for (account, user, email) in people {
        assert_eq!(relay.post(account, identify_as(user, email)).await.status, 202);
    }
    // The same id is another person's in another account.
    assert_eq!(relay.post(2, identify_as("one", "other@example.com")).await.status, 202);
    eventually("all are there", || async { refersion.simulator.affiliates().len() == 4 }).await;

    let delete = json!({"type": "delete", "messageId": "delete-one", "userId": "one"}).to_string();
    assert_eq!(relay.post(1, delete).await.status, 202);

    for gone in ["old@example.com", "new@example.com"] {
        disabled(&refersion, gone).await;
    }
    eventually("all have ended", || async { relay.metric(ENDED).await == 6 }).await;
    for here in ["two@example.com", "other@example.com"] {
        assert_eq!(refersion.statuses(here), ["PENDING"], "{here}");
    }
    let explained = config.command(&["explain", "delete-one", "--ops", &relay.ops_door().to_string()]).await;
    assert!(explained.stdout.starts_with("delete-one (account acme): delivered (deactivated) at"), "{explained:?}");
    adds_up(on, &config, 0).await;
}

async fn without_a_directory_a_delete_by_id_is_refused_as_before(on: On) {
    let refersion = Refersion::start().await;
    let config = with_directory_on(on, &refersion);
    config.edit("enabled = true", "enabled = false");
    let relay = Relay::start("run", &config).await;
    let answer = relay.post(1, delete_user("peter")).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(
        answer.message().contains("the relay's directory, which would know it by the id, is off"),
        "{}",
        answer.body
    );
    assert_eq!(relay.post(1, identify("peter@example.com")).await.status, 202);
    eventually("he is there", || async { relay.metric(ENDED).await == 1 }).await;
    for file in ["directory.db", "directory.key"] {
        assert!(!config.folder().join(file).exists(), "nothing is stored: {file}");
    }
}

async fn who_was_created_by_a_replay_after_the_delete_is_not_taken_for_deleted(on: On) {
    let (refersion, config, relay) = started(on).await;
    // Taught, and refused by Refersion.
    let no = Fault::status(422, Some(r#"{"errors":["no"]}"#));
    refersion.fail(Operation::New, "peter@example.com", Some(1), no);
    assert_eq!(relay.post(1, identify_user("peter")).await.status, 202);
    eventually("it is a letter", || async { relay.metric(ENDED).await == 1 }).await;
    assert_eq!(relay.post(1, delete_user("peter")).await.status, 202);
    eventually("there is nobody to delete", || async { relay.metric(ENDED).await == 2 }).await;
    let replayed = config.command(&["dlq", "replay", "--class", "rejected", "--yes"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    eventually("he is there", || async { refersion.statuses("peter@example.com") == ["PENDING"] }).await;

    assert_eq!(relay.post(1, with_id(&delete_user("peter"), "again")).await.status, 202);

    disabled(&refersion, "peter@example.com").await;
}
