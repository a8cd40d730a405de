//! A directory that one worker keeps for others, with RabbitMQ between them.

use std::fs;

use refersion_relay_tests::{Admin, Config, Refersion, Relay, eventually, shared_broker};

use super::{On, delete_user, identify_user, with_directory_on};

const ENDED: &str = "refersion_relay_worker_ended_total";
const WAITING: &str = "refersion_relay_directory_waiting";
const LETS_OTHERS_GO: &str = r#"refersion_relay_events_parked_total{to="tier"}"#;

/// A worker in a folder of its own, with the same broker and the same keys, that keeps no directory.
struct Apart {
    config: Config,
}

impl Apart {
    fn from(keeper: &Config, refersion: &Refersion) -> Self {
        let config = with_directory_on(On::RabbitMq, refersion);
        config.edit("path = \"directory.db\"\n", "");
        config.edit(&config.prefix, &keeper.prefix);
        let key = |config: &Config| config.folder().join("directory.key");
        fs::copy(key(keeper), key(&config)).expect("whoever keeps it has made it");
        Self { config }
    }
}

/// The configuration of a worker that keeps the directory and works no events of the tests, with the keys in its folder. None runs.
async fn kept(refersion: &Refersion) -> Config {
    let config = with_directory_on(On::RabbitMq, refersion);
    config.edit("name = \"acme\"", "name = \"nobody\"");
    let mut relay = Relay::start("worker", &config).await;
    assert!(relay.terminate().await.success());
    config
}

/// What `check` says of whoever keeps it.
async fn said(config: &Config) -> String {
    let checked = config.command(&["check"]).await;
    let line = checked.stdout.lines().find(|line| line.contains(" directory keeper: "));
    line.unwrap_or_else(|| panic!("{checked:?}")).to_owned()
}

#[tokio::test]
async fn without_whoever_keeps_it_only_deletes_by_id_wait() {
    let refersion = Refersion::start().await;
    let keeper = kept(&refersion).await;
    let Apart { config } = Apart::from(&keeper, &refersion);
    let relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, identify_user("peter")).await.status, 202);
    eventually("he is there", || async { refersion.statuses("peter@example.com") == ["PENDING"] }).await;
    assert_eq!(relay.post(1, delete_user("peter")).await.status, 202);
    eventually("the delete lets others go first", || async { 1 <= relay.metric(LETS_OTHERS_GO).await }).await;
    assert_eq!(relay.post(1, identify_user("milton")).await.status, 202);
    eventually("who comes later is there", || async { refersion.statuses("milton@example.com") == ["PENDING"] }).await;
    eventually("it is shown", || async { 1 <= relay.metric(WAITING).await }).await;
    assert!(relay.log().contains("the directory cannot be used"), "{}", relay.log());
    let line = said(&config).await;
    assert!(line.starts_with("WARN") && line.contains("no process keeps the directory with the keys"), "{line}");

    let _keeping = Relay::start("worker", &keeper).await;

    eventually("he is deactivated", || async { refersion.statuses("peter@example.com") == ["DISABLED"] }).await;
    eventually("nothing waits", || async { relay.metric(WAITING).await == 0 }).await;
    assert!(config.dead_letters().await.is_empty());
    let line = said(&config).await;
    assert!(line.starts_with("ok") && line.contains("a process keeps it"), "{line}");
    eventually("it is said", || async { relay.log().contains("the directory can be used again") }).await;
    assert_eq!(relay.log().matches("the directory cannot be used").count(), 1);
    // Whoever keeps nothing cannot be asked.
    let elsewhere = config.command(&["directory", "show", "--account", "acme"]).await;
    assert!(elsewhere.code == Some(2) && elsewhere.stderr.contains("run this where the directory is kept"));
}

#[tokio::test]
async fn what_was_taught_is_known_whenever_whoever_keeps_it_is_killed() {
    const PEOPLE: usize = 200;
    let refersion = Refersion::start().await;
    let keeper = kept(&refersion).await;
    let Apart { config } = Apart::from(&keeper, &refersion);
    let relay = Relay::start("run", &config).await;
    let mut keeping = Relay::start("worker", &keeper).await;
    for n in 0..PEOPLE {
        assert_eq!(relay.post(1, identify_user(&format!("person{n}"))).await.status, 202);
        if n % 50 == 25 {
            keeping.kill().await;
            keeping = Relay::start("worker", &keeper).await;
        }
    }
    eventually("all are there", || async { refersion.simulator.affiliates().len() == PEOPLE }).await;
    eventually("all has been read", || async { relay.metric(WAITING).await == 0 }).await;

    let ids = (0..PEOPLE).map(|n| format!("user-person{n}")).collect::<Vec<_>>().join("\n");
    let show = async || {
        let shown = keeper.command_with_input(&["directory", "show", "--account", "acme"], ids.as_bytes()).await.stdout;
        (0..PEOPLE).filter(|n| shown.contains(&format!("[\"person{n}@example.com\"]"))).count()
    };
    eventually("all are known", || async { show().await == PEOPLE }).await;
}

#[tokio::test]
async fn while_its_file_cannot_be_written_lessons_wait_and_nobody_else_does() {
    let refersion = Refersion::start().await;
    let config = with_directory_on(On::RabbitMq, &refersion);
    let relay = Relay::start("run", &config).await;
    let held = rusqlite::Connection::open(config.folder().join("directory.db")).expect("it is there");
    held.execute_batch("BEGIN IMMEDIATE").expect("nobody writes now");
    for person in ["peter", "milton"] {
        assert_eq!(relay.post(1, identify_user(person)).await.status, 202);
        let email = format!("{person}@example.com");
        eventually("who teaches is there", || async { refersion.statuses(&email) == ["PENDING"] }).await;
    }
    assert_eq!(relay.post(1, delete_user("peter")).await.status, 202);
    eventually("the delete lets others go first", || async { 1 <= relay.metric(LETS_OTHERS_GO).await }).await;
    eventually("it is said", || async { relay.log().contains("the directory cannot be used") }).await;

    held.execute_batch("ROLLBACK").expect("it was begun");

    eventually("he is deactivated", || async { refersion.statuses("peter@example.com") == ["DISABLED"] }).await;
    assert_eq!(refersion.statuses("milton@example.com"), ["PENDING"]);
    assert!(config.dead_letters().await.is_empty());
}

#[tokio::test]
async fn another_one_takes_over_with_the_same_file() {
    let refersion = Refersion::start().await;
    let config = with_directory_on(On::RabbitMq, &refersion);
    let relay = Relay::start("run", &config).await;
    let second = Relay::start("worker", &config).await;
    assert_eq!(relay.post(1, identify_user("peter")).await.status, 202);
    eventually("he is there", || async { relay.metric(ENDED).await + second.metric(ENDED).await == 1 }).await;
    relay.kill().await;

    let door = Relay::start("ingest", &config).await;
    assert_eq!(door.post(1, delete_user("peter")).await.status, 202);
    eventually("he is deactivated", || async { refersion.statuses("peter@example.com") == ["DISABLED"] }).await;
}

#[tokio::test]
async fn with_other_keys_nothing_is_mixed_up() {
    let refersion = Refersion::start().await;
    let keeper = kept(&refersion).await;
    let Apart { config } = Apart::from(&keeper, &refersion);
    fs::write(config.folder().join("directory.key"), format!("lookup {0:064}\nseal 0 {0:064}\n", 0)).expect("ours");
    let _keeping = Relay::start("worker", &keeper).await;
    let relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, identify_user("peter")).await.status, 202);
    assert_eq!(relay.post(1, delete_user("peter")).await.status, 202);
    eventually("the delete waits", || async { 1 <= relay.metric(LETS_OTHERS_GO).await }).await;
    let line = said(&config).await;
    assert!(line.starts_with("WARN") && line.contains("no process keeps the directory with the keys"), "{line}");
    assert_eq!(refersion.statuses("peter@example.com"), ["PENDING"]);
    // A worker without keys does not begin.
    fs::remove_file(config.folder().join("directory.key")).expect("it is there");
    let refused = config.command(&["worker"]).await;
    assert!(
        refused.code == Some(2) && refused.stderr.contains("copy that of the worker that has directory.path"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_new_key_is_for_whoever_keeps_it_only() {
    let refersion = Refersion::start().await;
    let keeper = kept(&refersion).await;
    let Apart { config } = Apart::from(&keeper, &refersion);
    let relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, identify_user("before")).await.status, 202);
    eventually("he is there", || async { relay.metric(ENDED).await == 1 }).await;

    // What was taught is in the queue when the key is changed.
    let rekeyed = keeper.command(&["directory", "rekey"]).await;
    assert_eq!(rekeyed.code, Some(0), "{rekeyed:?}");

    let _keeping = Relay::start("worker", &keeper).await;
    assert_eq!(relay.post(1, identify_user("after")).await.status, 202);
    for person in ["before", "after"] {
        assert_eq!(relay.post(1, delete_user(person)).await.status, 202);
        let email = format!("{person}@example.com");
        eventually("he is deactivated", || async { refersion.statuses(&email) == ["DISABLED"] }).await;
    }
}

#[tokio::test]
async fn nothing_personal_is_in_its_queue() {
    let refersion = Refersion::start().await;
    let keeper = kept(&refersion).await;
    let Apart { config } = Apart::from(&keeper, &refersion);
    let relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, identify_user("petronius")).await.status, 202);
    eventually("he is there", || async { relay.metric(ENDED).await == 1 }).await;
    let line = said(&config).await;
    let keys = line.split("the keys ").nth(1).and_then(|rest| rest.split(',').next()).expect("their name");

    let messages = Admin::of(&shared_broker(), &keeper).await.drain_bodies(&format!("directory.{keys}")).await;

    assert!(!messages.is_empty());
    for message in messages {
        let text = String::from_utf8_lossy(&message).to_lowercase();
        assert!(!text.contains("petronius") && !text.contains("acme") && !text.contains("user"), "{text}");
    }
}
