//! Who may say which address belongs to whom, and what is left of it in files.

use std::path::Path;

use refersion_relay_tests::{Refersion, Relay, eventually, signature, with_id};
use serde_json::json;

use super::{On, delete_user, identify_as, identify_user, on_both_queues, started, with_directory, with_directory_on};

on_both_queues! {
    who_may_only_write_to_the_tracking_api_directs_nobodys_deletion,
    whoever_was_delivered_is_known_whenever_the_relay_was_killed,
    nothing_personal_is_in_the_directorys_files_nor_in_log_and_metrics,
}

const ENDED: &str = "refersion_relay_worker_ended_total";

async fn who_may_only_write_to_the_tracking_api_directs_nobodys_deletion(on: On) {
    let refersion = Refersion::start().await;
    let config = with_directory_on(on, &refersion);
    config.edit("write_key = \"write_1\"", "write_key = \"write_1\"\nwebhook_secret = \"shared\"");
    let relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, identify_user("victim")).await.status, 202);
    eventually("she is there", || async { relay.metric(ENDED).await == 1 }).await;
    // Anybody can say so: the write key stands in every page. An identify of what no signature covers says no more.
    let lie = String::from_utf8(identify_as("user-mallory", "victim@example.com")).expect("text");
    let batch = format!("{{\"batch\":[{lie}]}}");
    assert_eq!(relay.post_batch("write_1", batch).await.status, 200);
    let first = String::from_utf8(identify_user("covered")).expect("text");
    let header = ("x-signature", &*signature("shared", first.as_bytes()));
    let behind = String::from_utf8(with_id(lie.as_bytes(), "behind")).expect("text");
    let covered = relay.request("POST", "/v1/webhook/acme", &[header], format!("[{first},{behind}]")).await;
    assert_eq!(covered.status, 200, "{}", covered.body);
    eventually("they are worked", || async { relay.metric(ENDED).await == 4 }).await;

    // And then asks for his own deletion, which Segment signs.
    let delete = delete_user("mallory");
    let header = ("x-signature", &*signature("shared", &delete));
    assert_eq!(relay.request("POST", "/v1/webhook/acme", &[header], delete).await.status, 200);

    eventually("it is a letter", || async { relay.metric(ENDED).await == 5 }).await;
    assert_eq!(config.dead_letters().await.len(), 1);
    assert_eq!(refersion.statuses("victim@example.com"), ["PENDING"]);
    assert_eq!(relay.metric(r#"refersion_relay_directory_rows{what="address"}"#).await, 2);
}

#[tokio::test]
async fn an_account_may_believe_its_write_key() {
    let refersion = Refersion::start().await;
    let config = with_directory(&refersion);
    config.edit("write_key = \"write_1\"", "write_key = \"write_1\"\nwrite_key_may_teach = true");
    let relay = Relay::start("run", &config).await;
    let event = String::from_utf8(identify_user("peter")).expect("text");
    assert_eq!(relay.post_batch("write_1", format!("{{\"batch\":[{event}]}}")).await.status, 200);
    eventually("he is there", || async { relay.metric(ENDED).await == 1 }).await;
    assert_eq!(relay.post(1, delete_user("peter")).await.status, 202);
    eventually("he is deactivated", || async { refersion.statuses("peter@example.com") == ["DISABLED"] }).await;
}

async fn whoever_was_delivered_is_known_whenever_the_relay_was_killed(on: On) {
    const PEOPLE: usize = 300;
    let refersion = Refersion::start().await;
    let config = with_directory_on(on, &refersion);
    let mut relay = Relay::start("run", &config).await;
    for n in 0..PEOPLE {
        assert_eq!(relay.post(1, identify_user(&format!("person{n}"))).await.status, 202);
        if n % 60 == 59 {
            relay.kill().await;
            relay = Relay::start("run", &config).await;
        }
    }
    eventually("all are there", || async { refersion.simulator.affiliates().len() == PEOPLE }).await;
    relay.kill().await;
    let relay = Relay::start("run", &config).await;
    let waiting = r#"refersion_relay_queue_messages_ready{account="acme"}"#;
    eventually("nothing is left", || async {
        relay.metric("refersion_relay_worker_in_hand").await + relay.metric(waiting).await == 0
    })
    .await;

    let ids = (0..PEOPLE).map(|n| format!("user-person{n}")).collect::<Vec<_>>().join("\n");
    let shown = config.command_with_input(&["directory", "show", "--account", "acme"], ids.as_bytes()).await;

    let known = (0..PEOPLE).filter(|n| shown.stdout.contains(&format!("[\"person{n}@example.com\"]"))).count();
    assert_eq!(known, PEOPLE, "{shown:?}");
}

async fn nothing_personal_is_in_the_directorys_files_nor_in_log_and_metrics(on: On) {
    let (refersion, config, relay) = started(on).await;
    let (id, email) = ("petronius.secret@corp", "petronius.private@example.com");
    assert_eq!(relay.post(1, identify_as(id, email)).await.status, 202);
    assert_eq!(relay.post(1, identify_as("milton", "milton.private@example.com")).await.status, 202);
    eventually("both are there", || async { relay.metric(ENDED).await == 2 }).await;
    let delete = json!({"type": "delete", "messageId": "m1", "userId": "milton"}).to_string();
    assert_eq!(relay.post(1, delete).await.status, 202);
    eventually("one is gone", || async { refersion.statuses("milton.private@example.com") == ["DISABLED"] }).await;

    let (metrics, log) = (relay.metrics().await, relay.log());
    let read = |file: &str| std::fs::read(config.folder().join(file)).expect("it is there");
    let texts = [
        ("directory.db", read("directory.db")),
        ("directory.db-wal", read("directory.db-wal")),
        ("metrics", metrics.into_bytes()),
        ("log", log.into_bytes()),
    ];
    for (what, text) in texts {
        for personal in ["petronius", "milton", "private", "example.com"] {
            let found = text.windows(personal.len()).any(|part| part.eq_ignore_ascii_case(personal.as_bytes()));
            assert!(!found, "{personal} in {what}");
        }
    }
}

#[tokio::test]
async fn a_directory_that_is_lost_costs_nothing_but_what_it_knew() {
    let refersion = Refersion::start().await;
    let config = with_directory(&refersion);
    let mut relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, identify_user("before")).await.status, 202);
    eventually("he is there", || async { relay.metric(ENDED).await == 1 }).await;
    assert!(relay.terminate().await.success());
    let at = |file: &str| config.folder().join(file);

    // With other keys it is not begun, since nobody could be found any more.
    std::fs::rename(at("directory.key"), at("kept.key")).expect("it is there");
    let refused = config.command(&["run"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("directory.key"), "{refused:?}");
    assert!(!at("directory.key").exists(), "none is made that fits nothing");
    std::fs::write(at("directory.key"), format!("lookup {0:064}\nseal 0 {0:064}\n", 0)).expect("the folder is ours");
    let refused = config.command(&["run"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("was written with other keys"), "{refused:?}");
    let checked = config.command(&["check"]).await;
    assert!(checked.stdout.contains("FAIL directory: ") && checked.code == Some(1), "{checked:?}");
    remove(&at("directory.key"));
    std::fs::rename(at("kept.key"), at("directory.key")).expect("it is there");

    for file in ["directory.db", "directory.db-wal", "directory.db-shm"] {
        remove(&at(file));
    }
    let relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, identify_user("after")).await.status, 202);
    assert_eq!(relay.post(1, delete_user("after")).await.status, 202);
    assert_eq!(relay.post(1, delete_user("before")).await.status, 202);
    eventually("one is deactivated", || async { refersion.statuses("after@example.com") == ["DISABLED"] }).await;
    eventually("the other is a letter", || async { relay.metric(ENDED).await == 3 }).await;
    assert_eq!(refersion.statuses("before@example.com"), ["PENDING"]);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_hinders_nobody_else_and_learns_when_it_can() {
    let (refersion, config, relay) = started(On::Embedded).await;
    let held = rusqlite::Connection::open(config.folder().join("directory.db")).expect("it is there");
    held.execute_batch("BEGIN IMMEDIATE").expect("nobody writes now");
    assert_eq!(relay.post(1, identify_user("waits")).await.status, 202);
    let event = String::from_utf8(identify_user("goes")).expect("text");
    assert_eq!(relay.post_batch("write_1", format!("{{\"batch\":[{event}]}}")).await.status, 200);
    eventually("who teaches nothing is there", || async { refersion.statuses("goes@example.com") == ["PENDING"] })
        .await;
    eventually("it is said", || async { relay.log().contains("the directory cannot be used") }).await;
    let aside = r#"refersion_relay_events_parked_total{to="tier"}"#;
    eventually("the other lets others go first", || async { relay.metric(aside).await >= 1 }).await;
    assert_eq!(refersion.statuses("waits@example.com"), [""; 0]);

    held.execute_batch("ROLLBACK").expect("it was begun");

    eventually("he is there", || async { refersion.statuses("waits@example.com") == ["PENDING"] }).await;
    assert!(relay.log().contains("the directory can be used again"));
    assert_eq!(relay.log().matches("the directory cannot be used").count(), 1);
    assert!(config.dead_letters().await.is_empty());
    assert_eq!(relay.post(1, delete_user("waits")).await.status, 202);
    eventually("he is deactivated", || async { refersion.statuses("waits@example.com") == ["DISABLED"] }).await;
}

fn remove(path: &Path) {
    // The last process has perhaps taken them with it.
    let _ = std::fs::remove_file(path);
}
