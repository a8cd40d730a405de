use std::time::Duration;

use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_simulator::Settings;
use refersion_relay_tests::{
    Admin, Config, DeadLetter, Refersion, Relay, account, eventually, identify, shared_broker, signature,
};

fn keys(pairs: &[(&str, &str)]) -> Settings {
    let keys = pairs.iter().map(|(public, secret)| ((*public).to_owned(), (*secret).to_owned())).collect();
    Settings { keys, ..Settings::default() }
}

async fn said(relay: &Relay, text: &str) {
    eventually(text, || async { relay.log().contains(text) }).await;
}

#[tokio::test]
async fn a_key_is_rotated_under_load_without_a_restart_or_a_dead_letter() {
    // Refersion knows both keys of the merchant; which one works is switched below.
    let refersion =
        Refersion::start_with(keys(&[("pub_1", "sec_1"), ("pub_new", "sec_new"), ("pub_2", "sec_2")])).await;
    refersion.simulator.set_keys_valid("pub_new", false);
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let (ingest, worker) = (Relay::start("ingest", &config).await, Relay::start("worker", &config).await);

    let mut sent = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    for round in 0..150 {
        ticks.tick().await;
        let events: Vec<_> = (0..20)
            .map(|n| {
                let event = identify(&format!("person{}@example.com", sent + n));
                String::from_utf8(event).expect("UTF-8")
            })
            .collect();
        let answer = ingest.post_batch("write_1", format!(r#"{{"batch":[{}]}}"#, events.join(","))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        sent += events.len();
        match round {
            50 => {
                refersion.simulator.set_keys_valid("pub_1", false);
                refersion.simulator.set_keys_valid("pub_new", true);
            }
            100 => config.edit(
                "public_key = \"pub_1\"\nsecret_key = \"sec_1\"",
                "public_key = \"pub_new\"\nsecret_key = \"sec_new\"",
            ),
            _ => {}
        }
    }

    eventually("all are worked", || async { worker.metric("refersion_relay_worker_ended_total").await >= sent as u64 })
        .await;
    assert_eq!(refersion.simulator.affiliates().len(), sent, "each once");
    assert_eq!(config.dead_letters().await.len(), 0);
    assert!(worker.log().contains("the account's keys work again"), "it was held meanwhile");
    let answer = ingest.try_post("pub_new.sec_new", identify("new@example.com")).await.expect("an answer");
    assert_eq!(answer.status, 202, "the door knows the new keys");
    assert_eq!(ingest.post(1, identify("old@example.com")).await.status, 401, "and forgot the old ones");
}

#[tokio::test]
async fn accounts_come_and_go_without_a_restart() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(3, identify("early@example.com")).await.status, 401);

    config.edit(&account("other", 2), &account("third", 3));
    relay.signal("HUP").await;
    said(&relay, "the account is not configured any more").await;

    assert_eq!(relay.post(3, identify("third@example.com")).await.status, 202);
    eventually("it is delivered", || async { refersion.with_email("third@example.com").len() == 1 }).await;
    assert_eq!(relay.post(2, identify("other@example.com")).await.status, 401);

    config.edit(&account("third", 3), &account("other", 2));
    eventually("they are back", || async { relay.post(2, identify("other@example.com")).await.status == 202 }).await;
    eventually("it is delivered", || async { refersion.with_email("other@example.com").len() == 1 }).await;
    assert_eq!(config.dead_letters().await.len(), 0);
}

#[tokio::test]
async fn what_stands_for_a_missing_last_name_may_change_at_the_doors_and_at_the_workers() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let cher = r#"{"type":"identify","messageId":"1","traits":{"name":"Cher","email":"cher@example.com"}}"#;
    let refused = relay.post(1, cher).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("account.missing_last_name"), "{}", refused.body);

    config.edit("name = \"acme\"\n", "name = \"acme\"\nmissing_last_name = \"repeat\"\n");
    relay.signal("HUP").await;

    eventually("it is taken", || async { relay.post(1, cher).await.status == 202 }).await;
    eventually("it is delivered", || async { refersion.with_email("cher@example.com").len() == 1 }).await;
    assert_eq!(config.dead_letters().await.len(), 0);
}

#[tokio::test]
async fn events_of_an_account_that_is_gone_wait_until_it_is_back() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let (ingest, worker) = (Relay::start("ingest", &config).await, Relay::start("worker", &config).await);
    refersion.simulator.set_keys_valid("pub_2", false);
    assert_eq!(ingest.post(2, identify("first@example.com")).await.status, 202);
    let held = r#"refersion_relay_account_held{account="other"}"#;
    eventually("it is held", || async { worker.metric(held).await == 1 }).await;

    config.edit(&account("other", 2), "");
    said(&worker, "the account is not configured any more").await;
    refersion.simulator.set_keys_valid("pub_2", true);
    config.edit("[[account]]\nname = \"acme\"", &format!("{}[[account]]\nname = \"acme\"", account("other", 2)));

    eventually("it is delivered", || async { refersion.with_email("first@example.com").len() == 1 }).await;
    assert_eq!(config.dead_letters().await.len(), 0);
}

#[tokio::test]
async fn events_that_pile_up_for_an_account_that_is_gone_are_counted() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    config.edit(&account("other", 2), "");
    said(&relay, "the account is not configured any more").await;

    let letter = DeadLetter { account: Some("other"), body: identify("late@example.com"), ..DeadLetter::new("late") };
    Admin::of(&shared_broker(), &config).await.bury([letter]).await;
    assert_eq!(config.command(&["dlq", "replay", "--class", "rejected", "--yes"]).await.code, Some(0));

    // What is left behind is looked for every minute, and when accounts change.
    config.edit("name = \"acme\"", "name = \"acme\"\nsend_welcome = true");
    let waiting = r#"refersion_relay_left_behind_events{kind="account"}"#;
    eventually("it waits, and is counted", || async { relay.metric(waiting).await == 1 }).await;
    assert_eq!(relay.metric(r#"refersion_relay_account_held{account="other"}"#).await, 0, "nothing refuses its keys");
    let ready = r#"refersion_relay_queue_messages_ready{account="other"}"#;
    eventually("nobody is to work it", || async { !relay.metrics().await.contains(ready) }).await;

    config.edit("[[account]]\nname = \"acme\"", &format!("{}[[account]]\nname = \"acme\"", account("other", 2)));
    eventually("it is worked", || async { refersion.with_email("late@example.com").len() == 1 }).await;
    eventually("nothing is left", || async { relay.metric(waiting).await == 0 }).await;
}

#[tokio::test]
async fn a_mistake_in_the_file_changes_nothing_and_is_said_without_secrets() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;

    config.edit("secret_key = \"sec_2\"", "secret_key = \"sec_2\nstatus = 5");
    said(&relay, "the configuration was not reloaded").await;
    let log = relay.log();
    let line = log.lines().find(|line| line.contains("was not reloaded")).expect("it was said");
    assert!(line.contains("not TOML") && line.contains("status has to be"), "all in one line: {line}");

    assert_eq!(relay.post(1, identify("still@example.com")).await.status, 202);
    eventually("it is delivered", || async { refersion.with_email("still@example.com").len() == 1 }).await;
    let log = relay.log();
    assert!(!log.contains("sec_2") && log.matches("was not reloaded").count() == 1, "{log}");
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_secret_is_not_waited_for() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let mut relay = Relay::start("run", &config).await;
    let pipe = config.path().with_file_name("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is there");
    assert!(made.success());

    config.edit("secret_key = \"sec_2\"", &format!("secret_key_file = {pipe:?}"));
    said(&relay, "it is no regular file").await;

    assert_eq!(relay.post(2, identify("still@example.com")).await.status, 202);
    eventually("it is delivered", || async { refersion.with_email("still@example.com").len() == 1 }).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), relay.terminate()).await;
    assert!(ended.expect("SIGTERM ends it").success());
}

#[tokio::test]
async fn an_account_whose_places_differ_is_not_in_force_until_they_do_not() {
    let refersion = Refersion::start_with(keys(&[("pub_1", "sec_1"), ("pub_2", "sec_2"), ("pub_3", "sec_3")])).await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    let admin = Admin::of(&shared_broker(), &config).await;
    admin.declare_classic_queue("events.third").await;

    config.edit("[[account]]\nname = \"acme\"", &format!("{}[[account]]\nname = \"acme\"", account("third", 3)));
    said(&relay, "what was in force still is").await;

    assert_eq!(relay.post(3, identify("third@example.com")).await.status, 401);
    assert_eq!(relay.post(1, identify("first@example.com")).await.status, 202);
    admin.delete_queue("events.third").await;
    eventually("it is in force", || async { relay.post(3, identify("third@example.com")).await.status == 202 }).await;
    eventually("it is delivered", || async { refersion.with_email("third@example.com").len() == 1 }).await;
    assert_eq!(relay.log().matches("what was in force still is").count(), 1, "it is said once");
}

#[tokio::test]
async fn an_account_that_comes_while_the_broker_is_away_is_in_force_when_it_has_its_places_own_node() {
    let mut broker = PrivateBroker::start().await.expect("a broker");
    let refersion = Refersion::start_with(keys(&[("pub_1", "sec_1"), ("pub_2", "sec_2"), ("pub_3", "sec_3")])).await;
    let config = Config::new(&broker.url(), refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    broker.kill().await;
    said(&relay, "the queue is away").await;

    config.edit("[[account]]\nname = \"acme\"", &format!("{}[[account]]\nname = \"acme\"", account("third", 3)));
    said(&relay, "new accounts wait for places: third").await;
    assert_eq!(relay.post(3, identify("early@example.com")).await.status, 401);
    broker.restart().await.expect("it starts again");

    eventually("it is in force", || async { relay.post(3, identify("third@example.com")).await.status == 202 }).await;
    eventually("it is delivered", || async { refersion.with_email("third@example.com").len() == 1 }).await;
    assert_eq!(config.dead_letters().await.len(), 0, "none came before there was a place for it");
}

#[tokio::test]
async fn what_needs_a_restart_is_said_and_taken_back() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    // Not before the file was read once by the running process.
    config.edit("name = \"other\"", "name = \"another\"");
    said(&relay, "the account is configured now").await;

    config.edit("[worker]\n", "[worker]\nconcurrency = 3\n");
    said(&relay, "something but the accounts has changed in the configuration: that needs a restart").await;
    config.edit("[worker]\nconcurrency = 3\n", "[worker]\n");
    said(&relay, "nothing needs a restart").await;

    config.edit("[worker]\n", "[worker]\nconcurrency = 0\n");
    said(&relay, "the configuration was not reloaded").await;
    config.edit("[worker]\nconcurrency = 0\n", "[worker]\n");
    said(&relay, "the configuration can be read again").await;
}

#[tokio::test]
async fn keys_of_every_kind_are_changed_without_a_moment_in_which_neither_works() {
    let refersion =
        Refersion::start_with(keys(&[("pub_1", "sec_1"), ("pub_new", "sec_new"), ("pub_2", "sec_2")])).await;
    let config = Config::embedded(refersion.url(), &[]);
    config.edit("write_key = \"write_1\"", "write_keys = [\"write_1\"]\nwebhook_secrets = [\"shared\"]");
    let relay = Relay::start("run", &config).await;
    let post = async |pair: &str| relay.try_post(pair, identify("a@example.com")).await.expect("an answer").status;
    let send = async |write_key: &str| relay.post_batch(write_key, "{\"batch\":[]}").await.status;
    let hook = async |secret: &str| {
        let event = identify("b@example.com");
        relay.request("POST", "/v1/webhook/acme", &[("x-signature", &*signature(secret, &event))], event).await.status
    };
    let used = async |kind: &str| -> Vec<bool> {
        let page = relay.metrics().await;
        let name = "refersion_relay_ingest_key_last_use_timestamp_seconds{account=\"acme\"";
        let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(kind));
        let mut used: Vec<_> = lines.map(|line| !line.ends_with(" 0")).collect();
        used.sort_unstable();
        used
    };

    config.edit(
        "public_key = \"pub_1\"\nsecret_key = \"sec_1\"",
        "public_key = \"pub_new\"\nsecret_key = \"sec_new\"\nformer_keys = [{ public_key = \"pub_1\", secret_key = \"sec_1\" }]",
    );
    config.edit("[\"write_1\"]", "[\"write_1\", \"write_new\"]");
    config.edit("[\"shared\"]", "[\"shared\", \"shared_new\"]");
    eventually("the new ones work", || async {
        send("write_new").await == 200 && hook("shared_new").await == 200 && post("pub_new.sec_new").await == 202
    })
    .await;
    for kind in ["key_pair", "write_key", "webhook_secret"] {
        assert_eq!(used(kind).await, [false, true], "{kind}: the old one is idle");
    }
    assert_eq!((post("pub_1.sec_1").await, send("write_1").await, hook("shared").await), (202, 200, 200));
    for kind in ["key_pair", "write_key", "webhook_secret"] {
        assert_eq!(used(kind).await, [true, true], "{kind}: the old one works too");
    }
    eventually("Refersion is called with the new ones", || async { refersion.simulator.affiliates().len() == 2 }).await;
    let checked = config.command(&["check"]).await;
    let line = checked.stdout.lines().find(|line| line.contains("account acme: keys of the doors"));
    assert_eq!(line.map(|line| line.matches("write_key ").count()), Some(2), "{checked:?}");

    config.edit("[\"write_1\", \"write_new\"]", "[\"write_new\"]");
    eventually("the old one is gone", || async { send("write_1").await == 401 }).await;
    assert_eq!(used("write_key").await, [true], "and so is what it showed");
}
