//! Refersion goes away in every way there is, and comes back. One charged attempt would make a dead letter.

use std::time::Duration;

use refersion_relay_simulator::{Call, Fault, FaultRule, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, eventually, identify, shared_broker, with_id};
use serde_json::Value;

const ONE_ATTEMPT: [(&str, &str); 1] = [("retry", "max_attempts = 1")];
const OUT: &str = r#"refersion_relay_refersion_state{state="outage"}"#;
const UP: &str = r#"refersion_relay_refersion_state{state="up"}"#;
const ENDED: &str = "refersion_relay_worker_ended_total";
const CHARGED: &str = "refersion_relay_attempts_charged_total";
const SPARED: &str = "refersion_relay_attempts_spared_total";
const FAILED_PROBES: &str = r#"refersion_relay_refersion_probes_total{result="failed"}"#;

/// How Refersion is out.
enum Outage {
    /// It was killed, and nobody listens.
    Gone,
    /// Every call meets this.
    Struck(Fault),
}

impl Outage {
    async fn begin(self, refersion: &mut Refersion) -> Self {
        match &self {
            Self::Gone => refersion.kill().await,
            Self::Struck(fault) => refersion.simulator.add_fault(FaultRule::always(fault.clone())),
        }
        self
    }

    fn end(self, refersion: &mut Refersion) {
        match self {
            Self::Gone => refersion.restart(),
            Self::Struck(_) => refersion.simulator.clear_faults(),
        }
    }
}

async fn health(relay: &Relay) -> (u16, Value) {
    let (status, body) = relay.ops("/health/ready").await.expect("it answers");
    (status, serde_json::from_str(&body).expect("JSON"))
}

async fn post_all(relay: &Relay, name: &str, count: u32) {
    let posts = (0..count).map(|n| async move {
        let account = 1 + u8::from(n % 2 == 1);
        assert_eq!(relay.post(account, identify(&format!("{name}{n}@example.com"))).await.status, 202);
    });
    futures_util::future::join_all(posts).await;
}

/// The times between the beginnings of probes in the outage, in milliseconds, as the simulator saw them.
fn gaps(refersion: &Refersion) -> Vec<u64> {
    let is_probe = |call: &Call| call.operation == Operation::List && call.fault.is_some();
    let calls = refersion.simulator.calls().into_iter().filter(is_probe);
    let probes: Vec<_> = calls.map(|call| call.started_ms).collect();
    probes.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Lets an outage happen under load, and checks that it costs nobody anything.
async fn check_outage(config: impl FnOnce(&str) -> Config, outage: Outage, trouble: &str) {
    let mut refersion = Refersion::start().await;
    let config = config(refersion.url());
    let relay = Relay::start("run", &config).await;
    let load = async {
        post_all(&relay, "first", 200).await;
    };
    let begins = async {
        // Both, so that their keys are asked for no more.
        eventually("it is working for both", || async {
            let affiliates = refersion.simulator.affiliates();
            ["pub_1", "pub_2"].iter().all(|key| affiliates.iter().any(|one| one.public_key == *key))
        })
        .await;
        outage.begin(&mut refersion).await
    };
    let (outage, ()) = tokio::join!(begins, load);

    eventually("it is out", || async { relay.metric(OUT).await == 1 }).await;
    let before = relay.metric(ENDED).await;
    post_all(&relay, "second", 100).await;
    let failed = relay.metric(FAILED_PROBES).await;
    eventually("it is probed", || async { relay.metric(FAILED_PROBES).await >= failed + 3 }).await;
    let (status, health) = health(&relay).await;
    assert_eq!(
        (status, health["ready"].as_bool(), health["refersion"]["state"].as_str()),
        (200, Some(true), Some("outage"))
    );
    assert_eq!(health["refersion"]["trouble"], trouble, "{health}");
    assert_eq!(relay.metric(ENDED).await, before, "nothing is worked");

    outage.end(&mut refersion);

    eventually("all are delivered", || async { relay.metric(ENDED).await == 300 }).await;
    eventually("it is up", || async { relay.metric(UP).await == 1 }).await;
    assert_eq!(refersion.simulator.affiliates().len(), 300, "each once");
    assert_eq!(config.dead_letters().await, Vec::<Value>::new());
    assert_eq!(relay.metric(CHARGED).await, 0);
    assert_eq!(relay.metric(r#"refersion_relay_retries_total{wait="tier"}"#).await, 0, "nobody lost its place");
    assert!(gaps(&refersion).iter().all(|gap| 950 <= *gap), "{:?}", gaps(&refersion));
    let log = relay.log();
    assert_eq!(log.matches("Refersion is out").count(), log.matches("Refersion answers again").count(), "{log}");
}

fn embedded(url: &str) -> Config {
    patient(Config::embedded(url, &ONE_ATTEMPT))
}

/// On a busy machine a call can take longer than two seconds, and would rightly be charged.
fn patient(config: Config) -> Config {
    config.edit("timeout_ms = 2000", "timeout_ms = 8000");
    config
}

#[tokio::test]
async fn a_refersion_that_was_killed_costs_nobody_anything() {
    check_outage(embedded, Outage::Gone, "no_answer").await;
}

#[tokio::test]
async fn nor_does_it_on_rabbitmq() {
    check_outage(|url| patient(Config::new(&shared_broker(), url, &ONE_ATTEMPT)), Outage::Gone, "no_answer").await;
}

#[tokio::test]
async fn nor_does_one_that_hangs() {
    check_outage(embedded, Outage::Struck(Fault::Hang), "no_answer").await;
}

#[tokio::test]
async fn nor_does_one_that_answers_with_500() {
    check_outage(embedded, Outage::Struck(Fault::status(500, Some(r#"{"error":"sorry"}"#))), "unavailable").await;
}

#[tokio::test]
async fn nor_does_a_page_for_people_in_its_place() {
    check_outage(embedded, Outage::Struck(Fault::Html { status: 200 }), "unclear").await;
}

#[tokio::test]
async fn a_single_event_in_an_outage_costs_no_more() {
    let mut refersion = Refersion::start().await;
    let config = embedded(refersion.url());
    let relay = Relay::start("run", &config).await;
    assert_eq!(relay.post(1, identify("early@example.com")).await.status, 202);
    eventually("the account is worked for", || async { relay.metric(ENDED).await == 1 }).await;
    refersion.kill().await;

    assert_eq!(relay.post(1, identify("lonely@example.com")).await.status, 202);
    eventually("it is out", || async { relay.metric(OUT).await == 1 }).await;
    eventually("it is probed", || async { relay.metric(FAILED_PROBES).await >= 3 }).await;
    refersion.restart();

    eventually("it is delivered", || async { relay.metric(ENDED).await == 2 }).await;
    assert_eq!(refersion.statuses("lonely@example.com"), ["PENDING"]);
    assert_eq!((relay.metric(CHARGED).await, config.dead_letters().await.len()), (0, 0));
    assert_eq!(relay.metric(SPARED).await, 1);
    eventually("it is up", || async { relay.metric(UP).await == 1 }).await;
}

#[tokio::test]
async fn the_first_event_of_an_account_is_not_tried_before_its_keys_are_known() {
    let mut refersion = Refersion::start().await;
    let config = embedded(refersion.url());
    let relay = Relay::start("run", &config).await;
    refersion.kill().await;

    assert_eq!(relay.post(1, identify("first@example.com")).await.status, 202);
    eventually("it is out", || async { relay.metric(OUT).await == 1 }).await;
    refersion.restart();

    eventually("it is delivered", || async { relay.metric(ENDED).await == 1 }).await;
    assert_eq!((relay.metric(CHARGED).await, relay.metric(SPARED).await), (0, 0));
    let calls: Vec<_> = refersion.simulator.calls().iter().map(|call| call.operation).collect();
    assert!(calls.ends_with(&[Operation::List, Operation::New]), "{calls:?}");
}

#[tokio::test]
async fn an_event_that_fails_alone_is_charged_whether_others_are_there_or_not() {
    let refersion = Refersion::start().await;
    let config = embedded(refersion.url());
    let relay = Relay::start("run", &config).await;
    refersion.fail(Operation::New, "failing@", None, Fault::status(500, None));

    assert_eq!(relay.post(1, identify("failing@example.com")).await.status, 202);
    eventually("it is charged", || async { relay.metric(CHARGED).await == 1 }).await;
    let probes = r#"refersion_relay_refersion_probes_total{result="answered"}"#;
    assert_eq!(relay.metric(probes).await, 1, "a probe says whose the failure is");

    assert_eq!(relay.post(1, with_id(&identify("failing@example.com"), "again")).await.status, 202);
    post_all(&relay, "fine", 100).await;
    eventually("it is charged too", || async { relay.metric(CHARGED).await == 2 }).await;
    eventually("all have ended", || async { relay.metric(ENDED).await == 102 }).await;
    assert_eq!((refersion.simulator.affiliates().len(), config.dead_letters().await.len()), (100, 2));
    assert!(!relay.log().contains("Refersion is out"), "and nobody else had to wait");
}

#[tokio::test]
async fn a_worker_that_starts_in_an_outage_is_ready_and_waits_for_its_end() {
    let mut refersion = Refersion::start().await;
    let config = embedded(refersion.url());
    refersion.kill().await;
    let relay = Relay::start("run", &config).await;
    post_all(&relay, "early", 20).await;
    eventually("it is out", || async { relay.metric(OUT).await == 1 }).await;
    relay.kill().await;

    let mut relay = Relay::start("run", &config).await;
    eventually("it is out", || async { relay.metric(OUT).await == 1 }).await;
    let began = std::time::Instant::now();
    assert!(relay.terminate().await.success(), "an outage is no hindrance to an orderly end");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    refersion.restart();
    let relay = Relay::start("run", &config).await;

    eventually("all are delivered", || async { relay.metric(ENDED).await == 20 }).await;
    assert_eq!((refersion.simulator.affiliates().len(), config.dead_letters().await.len()), (20, 0));
}
