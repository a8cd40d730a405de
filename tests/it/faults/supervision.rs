//! A part of the program that ends unasked ends all of it, in order, and is named. `RELAY_FAULT` lets one end, in a debug build.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use refersion_relay_simulator::{Fault, Operation, Settings};
use refersion_relay_tests::{Config, IDENTIFY, Output, PATIENCE, Refersion, Relay, eventually, program, shared_broker};
use serde_json::Value;
use tokio::process::Command;

use crate::doors::tls::{self, Pair};

/// Programs that run at the same time.
const AT_ONCE: usize = 4;

/// A relay of which a part will end.
struct Doomed {
    relay: Relay,
    /// Made when it is time.
    file: PathBuf,
    part: String,
}

impl Doomed {
    fn launch(role: &str, config: &Config, how: &str, part: &str) -> Self {
        let file = config.folder().join(format!("{how} {}", part.replace('/', " ")));
        let mut command = Command::new(program());
        command.env("RELAY_FAULT", format!("{how}:{part}:{}", file.display()));
        command.arg("--config").arg(config.path()).arg(role);
        Self { relay: Relay::launch_as(command), file, part: part.to_owned() }
    }

    /// The same, once it has begun and all that can be ready is.
    async fn start(role: &str, config: &Config, how: &str, part: &str) -> Self {
        let doomed = Self::launch(role, config, how, part);
        if part == "sqlite-writer" || part == "queue/connection" {
            // Without these there is no queue.
            eventually("it has begun", || async { doomed.relay.ops("/health/live").await.is_some() }).await;
        } else {
            doomed.relay.until_ready().await;
        }
        doomed
    }

    fn strike(&self) {
        std::fs::write(&self.file, "").expect("the folder is ours");
    }

    /// Waits for its end, and returns its log.
    async fn end(mut self) -> String {
        let status = self.relay.ended().await;
        assert_eq!(status.code(), Some(1), "{}: {}", self.part, self.relay.log());
        self.relay.log()
    }
}

/// The lines that say which part has ended.
fn named(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("ERROR") && line.contains("has ended unasked")).collect()
}

/// Lets each of these parts panic, and each return, in a process of its own.
async fn each_ends(config: &Config, parts: &[&str]) {
    let ends = |(how, part): (&'static str, String)| async move {
        let doomed = Doomed::start("run", config, how, &part).await;
        doomed.strike();
        let log = doomed.end().await;
        let how = if how == "panic" { "it panicked: RELAY_FAULT says so" } else { "it returned" };
        let said = named(&log);
        let expected = format!("{part} has ended unasked: {how}; this process ends, with exit code 1");
        assert!(said.len() == 1 && said[0].contains(&expected), "{expected}: {said:?}");
    };
    let all = parts.iter().flat_map(|part| ["panic", "return"].map(|how| (how, (*part).to_owned())));
    stream::iter(all).for_each_concurrent(AT_ONCE, ends).await;
}

#[tokio::test]
async fn every_part_that_ends_unasked_ends_the_process_and_is_named() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let parts = ["signals", "ops", "doors", "intake", "reload", "left behind", "flow", "depths"];
    each_ends(&config, &parts).await;
}

#[tokio::test]
async fn so_does_every_part_of_a_worker() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    each_ends(&config, &["worker", "worker/outage monitor", "worker/account other", "worker/metrics"]).await;
}

#[tokio::test]
async fn so_does_every_part_of_an_embedded_queue() {
    let refersion = Refersion::start().await;
    each_ends(&Config::embedded(refersion.url(), &[]), &["sqlite-writer", "sqlite-watch"]).await;
}

#[tokio::test]
async fn so_does_every_part_of_a_queue_on_a_broker() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let consumer = format!("queue/consumer of {}.events.other", config.prefix);
    let acknowledgements = format!("queue/acknowledgements of {}.events.other", config.prefix);
    let parts = ["queue/connection", "queue/tally", "queue/consuming", &consumer, &acknowledgements];
    each_ends(&config, &parts).await;
}

#[tokio::test]
async fn so_does_what_looks_after_a_certificate() {
    let refersion = Refersion::start().await;
    each_ends(&tls::config(refersion.url(), &Pair::until(2040)), &["certificates"]).await;
}

#[tokio::test]
async fn what_is_done_once_may_end_and_not_by_a_panic() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let mut command = Command::new(program());
    command.env("RELAY_FAULT", "panic:policies").arg("--config").arg(config.path()).arg("ingest");
    let mut relay = Relay::launch_as(command);
    assert_eq!(relay.ended().await.code(), Some(1));
    assert!(relay.log().contains("policies has ended unasked: it panicked"), "{}", relay.log());

    let mut relay = Relay::start("ingest", &config).await;
    assert!(relay.log().contains("RabbitMQ's policies were not looked at"), "{}", relay.log());
    assert_eq!(relay.terminate().await.code(), Some(0));
}

/// What `/health/ready` says: the status, and why the process stops.
async fn readiness(relay: &Relay) -> (u16, Option<String>) {
    let (status, body) = relay.ops("/health/ready").await.expect("it answers");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["ready"], status == 200);
    (status, body["stopping"].as_str().map(str::to_owned))
}

async fn slow_refersion(latency: Duration) -> Refersion {
    Refersion::start_with(Settings { latency, ..Settings::default() }).await
}

#[tokio::test]
async fn what_is_in_flight_is_finished_and_meanwhile_the_process_is_live_and_not_ready() {
    let refersion = slow_refersion(Duration::from_millis(1_500)).await;
    let config = Config::embedded(refersion.url(), &[]);
    let doomed = Doomed::start("run", &config, "panic", "intake").await;
    let relay = &doomed.relay;
    assert_eq!(readiness(relay).await, (200, None));
    assert_eq!(relay.post(1, IDENTIFY).await.status, 202);
    eventually("it is in hand", || async { relay.metric("refersion_relay_worker_in_hand").await == 1 }).await;

    doomed.strike();

    eventually("it is said", || async { !named(&relay.log()).is_empty() }).await;
    let why = "intake has ended unasked: it panicked: RELAY_FAULT says so".to_owned();
    assert_eq!(readiness(relay).await, (503, Some(why)));
    assert_eq!(relay.ops("/health/live").await.map(|(status, _)| status), Some(200));
    let log = doomed.end().await;
    assert!(log.contains("stopped"), "in order: {log}");
    assert_eq!(refersion.count(Operation::New), 1);
    assert_eq!(config.ledger().await["delivered"], 1);
}

#[tokio::test]
async fn a_process_that_is_asked_to_stop_is_not_ready_either() {
    let refersion = slow_refersion(Duration::from_millis(1_500)).await;
    let config = Config::embedded(refersion.url(), &[]);
    let mut relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, IDENTIFY).await.status, 202);
    eventually("it is in hand", || async { relay.metric("refersion_relay_worker_in_hand").await == 1 }).await;

    relay.signal("TERM").await;

    eventually("it stops", || async { relay.log().contains("stopping") }).await;
    assert_eq!(readiness(&relay).await, (503, Some("it was asked to".to_owned())));
    assert_eq!(relay.ended().await.code(), Some(0), "{}", relay.log());
}

#[tokio::test]
async fn what_is_in_flight_for_longer_than_the_grace_is_cut_off() {
    let refersion = Refersion::start().await;
    refersion.fail(Operation::New, "", None, Fault::Hang);
    let config = Config::embedded(refersion.url(), &[("worker", "shutdown_grace = \"200ms\"")]);
    config.edit("timeout_ms = 2000", "timeout_ms = 30000");
    let doomed = Doomed::start("run", &config, "return", "depths").await;
    assert_eq!(doomed.relay.post(1, IDENTIFY).await.status, 202);
    let relay = &doomed.relay;
    eventually("it is in hand", || async { relay.metric("refersion_relay_worker_in_hand").await == 1 }).await;

    doomed.strike();

    let log = doomed.end().await;
    assert!(log.contains("not everything in flight was finished"), "{log}");
    assert_eq!(config.ledger().await["waiting"], 1, "it comes again");
}

/// Runs a command of which a part panics when it begins.
async fn command(config: &Config, part: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.env("RELAY_FAULT", format!("panic:{part}")).env("RELAY_CONFIG", config.path()).args(arguments);
    command.stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("the program starts").into()
}

#[tokio::test]
async fn a_command_does_not_go_on_without_a_part_either() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    let commands: [(&str, &[&str]); 6] = [
        ("sqlite-writer", &["dlq", "list"]),
        ("sqlite-watch", &["check"]),
        ("sqlite-writer", &["enqueue", "/dev/null", "--account", "acme"]),
        ("signals", &["enqueue", "/dev/null", "--account", "acme"]),
        ("signals", &["simulate", "--listen", "127.0.0.1:0"]),
        ("refersion", &["demo"]),
    ];
    for (part, arguments) in commands {
        let output = command(&config, part, arguments).await;
        assert_eq!(output.code, Some(1), "{arguments:?}: {output:?}");
        assert!(named(&output.stderr).len() == 1, "{arguments:?}: {output:?}");
        assert!(output.stderr.contains(&format!("{part} has ended unasked")), "{arguments:?}: {output:?}");
    }
}
