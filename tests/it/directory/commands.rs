//! `directory show`, `forget`, `learn` and `rekey`, with the relay running or not.

use refersion_relay_tests::{Config, Output, Refersion, Relay, eventually};
use serde_json::{Value, json};

use super::{delete_user, identify_user, with_directory};

const ENDED: &str = "refersion_relay_worker_ended_total";

async fn directory(config: &Config, arguments: &[&str], input: &str) -> Output {
    config.command_with_input(&[&["directory"], arguments].concat(), input.as_bytes()).await
}

/// What is known of these, in their order.
async fn shown(config: &Config, ids: &str) -> Vec<Value> {
    let shown = directory(config, &["show", "--account", "acme"], ids).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    shown.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn a_person_can_be_shown_forgotten_and_learnt_again_while_the_relay_runs() {
    let refersion = Refersion::start().await;
    let config = with_directory(&refersion);
    let none = directory(&config, &["show", "--account", "acme"], "user-peter\n").await;
    assert!(none.code == Some(1) && none.stderr.contains("there is no directory at"), "{none:?}");
    let relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, identify_user("peter")).await.status, 202);
    eventually("he is there", || async { relay.metric(ENDED).await == 1 }).await;

    let checked = config.command(&["check"]).await;
    let line = checked.stdout.lines().find(|line| line.contains(" directory: ")).unwrap_or_default();
    assert!(line.starts_with("ok ") && line.contains("addresses: 1, learnt since 20"), "{checked:?}");
    let known = json!({"account": "acme", "userId": "user-peter", "emails": ["peter@example.com"], "deleted": false});
    let unknown = json!({"account": "acme", "userId": "nobody", "emails": [], "deleted": false});
    assert_eq!(shown(&config, "user-peter\nnobody\n").await, [known, unknown]);
    let several = directory(&config, &["show"], "user-peter\n").await;
    assert!(several.code == Some(2) && several.stderr.contains("--account"), "{several:?}");

    let forgotten = directory(&config, &["forget", "--account", "acme"], "user-peter\nnobody\n").await;
    assert_eq!(forgotten.stdout, "people forgotten: 2, with addresses: 1\n", "{forgotten:?}");
    assert_eq!(shown(&config, "user-peter\n").await[0]["emails"], json!([]));

    let people = r#"{"userId":"user-peter","email":"peter@example.com"}
        {"type":"identify","anonymousId":"browser","traits":{"email":"milton@example.com"}}

        {"userId":"user-peter","email":"Peter@Example.com"}
"#;
    let learnt = directory(&config, &["learn", "--account", "acme", "-"], people).await;
    assert_eq!(learnt.stdout, "learnt: 2, known before: 1, left out since they were deleted: 0\n", "{learnt:?}");
    let browser = directory(&config, &["show", "--account", "acme", "--anonymous"], "browser").await;
    assert!(browser.stdout.contains("milton@example.com"), "{browser:?}");
    assert_eq!(relay.post(1, delete_user("peter")).await.status, 202);
    eventually("he is deactivated", || async { refersion.statuses("peter@example.com") == ["DISABLED"] }).await;
    eventually("he is erased", || async { shown(&config, "user-peter\n").await[0]["deleted"] == json!(true) }).await;
    let again = directory(&config, &["learn", "--account", "acme", "-"], people).await;
    assert!(again.stdout.ends_with("left out since they were deleted: 2\n"), "{again:?}");

    let bad = directory(
        &config,
        &["learn", "--account", "acme", "-"],
        "{\"userId\":\"x\",\"email\":\"x@example.com\"}\noops\n",
    )
    .await;
    assert!(bad.code == Some(1) && bad.stderr.contains("line 2 has no address"), "{bad:?}");
    assert_eq!(shown(&config, "x\n").await[0]["emails"], json!(["x@example.com"]), "what stands before it is good");
}

#[tokio::test]
async fn the_key_can_be_changed_while_the_relay_is_stopped() {
    let refersion = Refersion::start().await;
    let config = with_directory(&refersion);
    let mut relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, identify_user("peter")).await.status, 202);
    eventually("he is there", || async { relay.metric(ENDED).await == 1 }).await;
    let refused = directory(&config, &["rekey"], "").await;
    assert!(refused.code == Some(1) && refused.stderr.contains("is in use: stop the relay first"), "{refused:?}");
    assert!(relay.terminate().await.success());
    let key = || std::fs::read_to_string(config.folder().join("directory.key")).expect("it is there");
    let old = key();

    let rekeyed = directory(&config, &["rekey"], "").await;

    assert_eq!(rekeyed.stdout, "addresses sealed with a new key: 1; the old key is gone\n", "{rekeyed:?}");
    let new = key();
    let seals =
        |text: &str| text.lines().filter(|line| line.starts_with("seal ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(seals(&new).len(), 1);
    assert_ne!(seals(&new), seals(&old));
    let relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, delete_user("peter")).await.status, 202);
    eventually("he is deactivated", || async { refersion.statuses("peter@example.com") == ["DISABLED"] }).await;
}
