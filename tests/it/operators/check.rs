//! What `check` finds, and that nothing keeps it from ending.

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use refersion_relay_private_broker::{Options, PrivateBroker};
use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{
    Canned, Config, Output, Refersion, Relay, eventually, http_client, identify, shared_broker,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A `check --json`, and how it ended.
struct Checked {
    code: Option<i32>,
    findings: Vec<(String, String, String)>,
    output: Output,
}

async fn check(config: &Config) -> Checked {
    let output = config.command(&["check", "--json"]).await;
    let printed: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("one document: {output:?}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().expect("a string").to_owned();
    let findings = printed["findings"].as_array().expect("findings").iter();
    let findings = findings.map(|finding| (text(finding, "what"), text(finding, "level"), text(finding, "says")));
    Checked { code: output.code, findings: findings.collect(), output }
}

impl Checked {
    /// What is said about one thing, if it is said only once.
    #[track_caller]
    fn of(&self, what: &str) -> (&str, &str) {
        let found: Vec<_> = self.findings.iter().filter(|finding| finding.0 == what).collect();
        assert_eq!(found.len(), 1, "{what}: {:#?}", self.findings);
        (&found[0].1, &found[0].2)
    }

    #[track_caller]
    fn says(&self, what: &str, level: &str, words: &[&str]) {
        let (is, says) = self.of(what);
        let all = words.iter().all(|word| says.contains(word));
        assert!(is == level && all, "{what} should be {level} with {words:?}: {is} {says}");
    }
}

/// Gives accounts keys in files, by text.
fn replace(config: &Config, from: &str, to: &str) {
    let text = std::fs::read_to_string(config.path()).expect("read");
    assert!(text.contains(from), "{from} is in {text}");
    write(config.path(), text.replace(from, to)).expect("written");
}

#[tokio::test]
async fn every_file_that_cannot_be_read_is_named_and_the_rest_is_looked_at() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    replace(
        &config,
        "secret_key = \"sec_1\"\nwrite_key = \"write_1\"",
        "secret_key_file = \"/nowhere/one\"\nwrite_key_file = \"/nowhere/write\"",
    );
    replace(&config, "[queue]", "[queue]\nmanagement_url_file = \"/nowhere/api\"");

    let checked = check(&config).await;

    assert_eq!(checked.code, Some(1), "{:?}", checked.output);
    checked.says("account acme: secret_key", "failed", &["/nowhere/one", "No such file"]);
    checked.says("account acme: write_key", "failed", &["/nowhere/write"]);
    checked.says("queue.management_url", "failed", &["/nowhere/api"]);
    checked.says("account acme", "warning", &["not tried", "secret_key_file"]);
    checked.says("account other", "ok", &[]);
    checked.says("queue", "ok", &[]);
    checked.says("policies", "warning", &["not looked at", "management_url_file"]);
    assert_eq!(refersion.simulator.calls().len(), 1, "nothing was tried with a stand-in");
}

#[tokio::test]
async fn a_broker_whose_url_cannot_be_read_is_not_looked_at_and_not_shown() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    replace(&config, &format!("url = \"{}\"", shared_broker()), "url_file = \"/nowhere/broker\"");

    let checked = check(&config).await;

    assert_eq!(checked.code, Some(1), "{:?}", checked.output);
    checked.says("queue.url", "failed", &["/nowhere/broker"]);
    checked.says("queue", "warning", &["not looked at", "queue.url_file"]);
    checked.says("policies", "warning", &["not looked at"]);
    let printed: Value = serde_json::from_str(&checked.output.stdout).expect("JSON");
    assert_eq!(printed["effective"]["queue"]["url"], Value::Null);
}

#[tokio::test]
async fn secrets_that_others_can_read_or_that_look_wrong_are_named() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let folder = TempDir::new().expect("a folder");
    set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let file = |name: &str, mode: u32, text: &str| {
        let path = folder.path().join(name);
        write(&path, text).expect("written");
        set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
        format!("secret_key_file = {path:?}")
    };
    replace(&config, "secret_key = \"sec_1\"", &file("open", 0o644, "sec_1\n"));
    let write_key = file("two-lines", 0o600, "write\nkey\n").replace("secret_key", "write_key");
    replace(
        &config,
        "secret_key = \"sec_2\"\nwrite_key = \"write_2\"",
        &format!("{}\n{write_key}", file("empty", 0o600, "\n")),
    );

    let checked = check(&config).await;

    assert_eq!(checked.code, Some(1), "{:?}", checked.output);
    checked.says("account acme: secret_key", "warning", &["every user", "open"]);
    checked.says("account acme", "ok", &[]);
    checked.says("account other: secret_key", "failed", &["empty"]);
    checked.says("account other: write_key", "warning", &["line breaks", "two-lines"]);
    checked.says("account other", "warning", &["not tried"]);
    // The configuration itself has the broker's password.
    set_permissions(config.path().parent().expect("a folder"), Permissions::from_mode(0o755)).expect("it is ours");
    for (mode, level) in [(0o644, "warning"), (0o640, "ok")] {
        set_permissions(config.path(), Permissions::from_mode(mode)).expect("it is ours");
        check(&config).await.says("configuration", level, &["relay.toml"]);
    }
}

#[tokio::test]
async fn a_broker_and_a_refersion_that_never_answer_do_not_hold_it() {
    // The kernel accepts connections, and nobody ever reads from them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("bound");
    let api = format!("management_url = \"http://{address}\"");
    let refersion = format!("http://{address}/v2");
    let config = Config::new(&format!("amqp://u:p@{address}/%2f"), &refersion, &[("queue", &api)]);

    let checked = tokio::time::timeout(Duration::from_mins(1), check(&config)).await.expect("it ends");

    assert_eq!(checked.code, Some(1), "{:?}", checked.output);
    checked.says("queue", "failed", &["did not answer"]);
    checked.says("policies", "warning", &["not looked at", "too long"]);
    checked.says("account acme", "failed", &["took too long"]);
    checked.says("clock", "warning", &["no answer from Refersion"]);
}

#[tokio::test]
async fn the_clock_is_compared_with_refersions() {
    let hour = Duration::from_hours(1);
    let now = SystemTime::now();
    let date = |time: SystemTime| format!("Date: {}\r\n", httpdate::fmt_http_date(time));
    for (date, level, words, code) in [
        (date(now - hour), "failed", ["ahead of", "NTP"], 1),
        (date(now + hour), "failed", ["behind", "NTP"], 1),
        (date(now - Duration::from_secs(30)), "warning", ["ahead of", "NTP"], 0),
        (String::new(), "warning", ["not compared", "had a date"], 0),
    ] {
        let refersion = Canned::start(200, &date, r#"{"total":0,"results":[]}"#).await;
        let config = Config::new(&shared_broker(), &format!("{}/v2", refersion.url()), &[]);

        let checked = check(&config).await;

        checked.says("clock", level, &words);
        checked.says("account acme", "ok", &[]);
        assert_eq!(checked.code, Some(code), "{date}: {:?}", checked.output);
    }
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    check(&config).await.says("clock", "ok", &["agrees"]);
}

#[tokio::test]
async fn policies_that_could_not_be_looked_at_are_a_warning_that_says_what_to_do() {
    let refersion = Refersion::start().await;
    let empty = json!({"items": [], "page_count": 1, "page": 1}).to_string();
    let (refusing, strange) = (Canned::start(401, "", "{}").await, Canned::start(200, "", "<html>").await);
    let other = Canned::start(200, "", &empty).await;
    for (api, words) in [
        (None, ["not looked at", "set queue.management_url"]),
        (Some("http://127.0.0.1:1"), ["could not connect", "queue.management_url"]),
        (Some(refusing.url()), ["401", "monitoring"]),
        (Some(strange.url()), ["not the management API", "queue.management_url"]),
        (Some(other.url()), [".events.acme", "of the same broker"]),
    ] {
        let line = api.map(|url| format!("management_url = \"{url}\"")).unwrap_or_default();
        let config = Config::new(&shared_broker(), refersion.url(), &[("queue", &line)]);

        let checked = check(&config).await;

        checked.says("policies", "warning", &words);
        assert_eq!(checked.code, Some(0), "{:?}", checked.output);
    }
}

#[tokio::test]
async fn how_workers_share_the_accounts_is_said() {
    let refersion = Refersion::start().await;
    let page = |version: &str| json!({"rabbitmq_version": version, "items": [], "page_count": 1}).to_string();
    let (old, new) = (Canned::start(200, "", &page("3.13.7")).await, Canned::start(200, "", &page("4.1.0")).await);
    for (api, level, words) in [
        (Some(new.url()), "ok", ["RabbitMQ 4.1.0", "over all workers"]),
        (Some(old.url()), "ok", ["RabbitMQ 3.13.7", "the others stand by"]),
        (None, "warning", ["not known", "queue.management_url"]),
        (Some("http://127.0.0.1:1"), "warning", ["not known", "could not connect"]),
    ] {
        let line = api.map(|url| format!("management_url = \"{url}\"")).unwrap_or_default();
        let config = Config::new(&shared_broker(), refersion.url(), &[("queue", &line)]);

        let checked = check(&config).await;

        checked.says("workers", level, &words);
        assert_eq!(checked.code, Some(0), "{:?}", checked.output);
    }
}

#[tokio::test]
async fn the_brokers_password_is_not_sent_unencrypted() {
    let refersion = Refersion::start().await;
    let line = "management_url = \"http://rabbit.invalid:15672\"";
    let config = Config::new(&shared_broker(), refersion.url(), &[("queue", line)]);

    let checked = check(&config).await;

    checked.says("policies", "warning", &["not looked at", "unencrypted", "queue.management_url"]);
    let warned = |(what, level, says): &(String, String, String)| {
        what == "queue.management_url" && level == "warning" && says.contains("unencrypted: use https")
    };
    assert!(checked.findings.iter().any(warned), "{:?}", checked.findings);
    assert_eq!(checked.code, Some(0), "{:?}", checked.output);
}

#[tokio::test]
async fn what_no_configuration_names_fails_until_it_is_done_and_is_told_at_the_start() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let relay = Relay::start("run", &config).await;
    refersion.simulator.set_keys_valid("pub_1", false);
    refersion.fail(Operation::New, "waiting@", None, Fault::status(500, None));
    assert_eq!(relay.post(1, identify("held@example.com")).await.status, 202);
    let held = r#"refersion_relay_account_held{account="acme"}"#;
    eventually("it is held", || async { relay.metric(held).await == 1 }).await;
    let checked = check(&config).await;
    checked.says("left behind", "ok", &["nothing"]);
    checked.says("work queues", "ok", &["1 event waits: 1 for acme"]);
    relay.kill().await;

    config.edit("name = \"acme\"", "name = \"renamed\"");

    let checked = check(&config).await;
    assert_eq!(checked.code, Some(1), "{:?}", checked.output);
    checked.says(
        "left behind",
        "failed",
        &["1 event waits in the work queue of account acme", "configure an account of that name"],
    );
    refersion.simulator.set_keys_valid("pub_1", true);
    let relay = Relay::start("run", &config).await;
    let metric = |kind: &str| format!("refersion_relay_left_behind_events{{kind=\"{kind}\"}}");
    eventually("the metric says so", || async { relay.metric(&metric("account")).await == 1 }).await;
    assert_eq!(relay.metric(&metric("tier")).await, 0);
    assert_eq!(relay.log().matches("left behind: 1 event waits in the work queue of account acme").count(), 1);

    // As the message says.
    config.edit("name = \"renamed\"", "name = \"acme\"");
    eventually("it is done", || async { refersion.statuses("held@example.com").len() == 1 }).await;
    eventually("nothing is left", || async { relay.metric(&metric("account")).await == 0 }).await;
    check(&config).await.says("left behind", "ok", &["nothing"]);
}

#[tokio::test]
async fn events_in_a_retry_delay_that_was_taken_out_are_named_and_still_add_up() {
    let refersion = Refersion::start().await;
    let retry = [("retry", "in_hand = \"100ms\"\ntiers = [\"10m\"]\nmax_attempts = 3")];
    let config = Config::new(&shared_broker(), refersion.url(), &retry);
    let mut relay = Relay::start("run", &config).await;
    refersion.fail(Operation::New, "waiting@", None, Fault::status(500, None));
    assert_eq!(relay.post(1, identify("waiting@example.com")).await.status, 202);
    assert_eq!(relay.post(1, identify("fine@example.com")).await.status, 202);
    let retried = r#"refersion_relay_retries_total{wait="tier"}"#;
    eventually("it waits", || async { relay.metric(retried).await == 1 }).await;
    eventually("the delay is remembered", || async { relay.log().contains("what is configured is remembered") }).await;
    assert!(relay.terminate().await.success());

    config.edit("tiers = [\"10m\"]", "tiers = [\"1s\"]");

    let relay = Relay::start("run", &config).await;
    let tier = r#"refersion_relay_left_behind_events{kind="tier"}"#;
    eventually("the metric says so", || async { relay.metric(tier).await == 1 }).await;
    let output = config.command(&["check", "--json", "--conservation"]).await;
    let printed: Value = serde_json::from_str(&output.stdout).expect("one document");
    assert_eq!((&printed["conservation"]["difference"], &printed["conservation"]["waiting"]), (&json!(0), &json!(1)));
    let left = printed["findings"].as_array().expect("findings").iter().filter(|found| found["what"] == "left behind");
    let left: Vec<_> = left.map(|found| (found["level"].as_str().unwrap(), found["says"].as_str().unwrap())).collect();
    assert!(left[0].0 == "failed" && left[0].1.contains("retry delay 10m"), "{left:?}");
    assert!(
        left[1].0 == "warning" && left[1].1.contains("queue.management_url"),
        "what is not known is said: {left:?}"
    );
    assert_eq!(left.len(), 2);
}

#[tokio::test]
async fn events_of_an_account_that_left_are_named_own_node() {
    let node = PrivateBroker::start_with(Options { management: true, ..Options::default() }).await.expect("a node");
    let refersion = Refersion::start().await;
    let api = format!("management_url = \"{}\"", node.management_url().expect("it was asked for"));
    let config = Config::new(&node.url(), refersion.url(), &[("queue", &api)]);
    let door = Relay::start("ingest", &config).await;
    for n in 0..3 {
        assert_eq!(door.post(1, identify(&format!("person{n}@example.com"))).await.status, 202);
    }
    check(&config).await.says("work queues", "ok", &["3 events wait: 3 for acme"]);
    config.edit("name = \"acme\"", "name = \"renamed\"");

    let says = "3 events wait in the work queue of account acme, which is not configured, and nobody works them";
    let named = |(what, level, text): &(String, String, String)| {
        what == "left behind" && level == "failed" && text.contains(says)
    };
    // The API hears of new events with its statistics, some seconds late.
    eventually("they are named", || async { check(&config).await.findings.iter().any(named) }).await;
    let next = Relay::start("worker", &config).await;
    eventually("the log says so too", || async { next.log().contains(says) }).await;
    next.kill().await;
    door.kill().await;

    config.edit("name = \"renamed\"", "name = \"acme\"");
    assert!(!check(&config).await.findings.iter().any(named));

    // Nothing remembers another prefix: the management API shows what is there, and whether anybody reads it.
    config.edit(&format!("prefix = \"{}\"", config.prefix), "prefix = \"another\"");
    let says = format!("3 events wait below the prefix {}, and nobody reads there", config.prefix);
    let named = |(what, _, text): &(String, String, String)| what == "left behind" && text.contains(&says);
    eventually("the prefix is named", || async { check(&config).await.findings.iter().any(named) }).await;
}

#[tokio::test]
async fn a_broker_that_takes_nothing_or_allows_too_little_is_a_failure_own_node() {
    let node = PrivateBroker::start_with(Options { management: true, ..Options::default() }).await.expect("a node");
    let refersion = Refersion::start().await;
    let api = format!("management_url = \"{}\"", node.management_url().expect("it was asked for"));
    let config = Config::new(&node.url(), refersion.url(), &[("queue", &api)]);
    let fine = check(&config).await;
    assert_eq!(fine.code, Some(0), "{:?}", fine.output);

    node.ctl(&["set_vhost_limits", "-p", "/", r#"{"max-connections": 5, "max-queues": 500}"#]).await.expect("it does");
    let limited = check(&config).await;
    limited.says("limit of connections", "failed", &["allows 5 connections", "needs about"]);
    limited.says("limit of queues", "ok", &["allows 500 queues"]);
    assert_eq!(limited.code, Some(1), "{:?}", limited.output);
    node.ctl(&["clear_vhost_limits", "-p", "/"]).await.expect("it does");

    node.ctl(&["set_vm_memory_high_watermark", "0.0001"]).await.expect("it does");
    let alarmed = check(&config).await;
    alarmed.says("alarm", "failed", &["low on memory", "503"]);
    assert_eq!(alarmed.code, Some(1), "{:?}", alarmed.output);
}

#[tokio::test]
async fn policies_that_do_harm_are_named_own_node() {
    let node = PrivateBroker::start_with(Options { management: true, ..Options::default() }).await.expect("a node");
    let refersion = Refersion::start().await;
    let api = node.management_url().expect("it was asked for");
    // The user comes from the broker's URL, and the password has to be encoded there.
    for order in [
        &["add_user", "relay", "50%41"][..],
        &["set_user_tags", "relay", "monitoring"],
        &["set_permissions", "relay", ".*", ".*", ".*"],
    ] {
        node.ctl(order).await.expect("the node does it");
    }
    let url = node.url().replace("guest:guest@", "relay:50%2541@");
    let line = format!("management_url = \"{}\"", api.replace("guest:guest@", ""));
    let config = Config::new(&url, refersion.url(), &[("queue", &line)]);
    check(&config).await.says("policies", "ok", &["none does harm"]);
    let prefix = &config.prefix;
    let policies = [
        ("policies", "ttl", r"events\.", json!({"message-ttl": 60_000})),
        ("policies", "sooner", r"retry\.1m$", json!({"message-ttl": 1_000, "dead-letter-routing-key": "acme"})),
        ("policies", "unsafe", r"retry\.10m$", json!({"dead-letter-strategy": "at-most-once"})),
        ("policies", "drop", r"dead\.invalid$", json!({"max-length": 10, "overflow": "drop-head"})),
        ("policies", "full", r"dead\.rejected$", json!({"max-length-bytes": 1_000_000})),
        ("policies", "gone", r"retry\.1h$", json!({"expires": 3_600_000})),
        ("policies", "harmless", r"intake$", json!({"max-in-memory-length": 100, "delivery-limit": 200})),
        ("operator-policies", "limit", r"unrouted$", json!({"delivery-limit": 3})),
        ("policies", "stranger", r"x", json!({"message-ttl": 1})),
    ];
    let http = http_client().build().expect("a client");
    for (kind, name, pattern, definition) in &policies {
        let pattern = format!("^{prefix}\\.{pattern}");
        let body = json!({"pattern": pattern, "definition": definition, "apply-to": "queues"}).to_string();
        let put = http.put(format!("{api}/api/{kind}/%2f/{name}")).body(body);
        let answer = put.header("content-type", "application/json").send().await.expect("the API answers");
        assert!(answer.status().is_success(), "{name}: {:?}", answer.text().await);
    }

    // The API hears of changed policies with its statistics, some seconds late.
    let named = || async {
        let findings = check(&config).await.findings;
        findings.into_iter().filter(|(what, ..)| what.contains("polic")).collect::<Vec<_>>()
    };
    eventually("the last policies are named", || async {
        let named = named().await;
        ["policy ttl", "policy gone", "operator policy limit"]
            .iter()
            .all(|name| named.iter().any(|(what, ..)| what == name))
    })
    .await;
    let named = named().await;
    assert_eq!(config.command(&["check"]).await.code, Some(1));
    let expected = [
        ("policy ttl", "failed", "message-ttl = 60000", "events.acme"),
        ("policy ttl", "failed", "message-ttl = 60000", "events.other"),
        ("policy sooner", "failed", "message-ttl = 1000", "retry.1m"),
        ("policy sooner", "failed", "dead-letter-routing-key = acme", "retry.1m"),
        ("policy unsafe", "failed", "dead-letter-strategy = at-most-once", "retry.10m"),
        ("policy drop", "failed", "max-length = 10", "dead.invalid"),
        ("policy drop", "failed", "overflow = drop-head", "dead.invalid"),
        ("policy full", "warning", "max-length-bytes = 1000000", "dead.rejected"),
        ("policy gone", "failed", "expires = 3600000", "retry.1h"),
        ("operator policy limit", "failed", "delivery-limit = 3", "unrouted"),
    ];
    for (what, level, setting, queue) in expected {
        let queue = format!("{prefix}.{queue}");
        let found = named.iter().any(|(is, how, says)| {
            is == what && how == level && says.contains(&format!("{setting} on ")) && says.contains(&queue)
        });
        assert!(found, "{what} {setting} on {queue}: {named:#?}");
    }
    // The work queues together are one finding.
    assert_eq!(named.len(), expected.len() - 1, "{named:#?}");
}
