//! The number of shards changes while events flow, by starting one process after another again. What runs on both queues
//! is a function here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use refersion_relay_simulator::{Fault, Operation};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify, shared_broker};
use serde_json::Value;
use tokio::sync::RwLock;

const SENDERS: usize = 6;
/// How many people each sender goes on with when the new shards are in use.
const MORE: usize = 20;
const NEW_IN_USE: &str = r#"refersion_relay_queue_shards_in_use{shards="3"}"#;
const OLD_IN_USE: &str = r#"refersion_relay_queue_shards_in_use{shards="4"}"#;
const VIOLATIONS: &str = "refersion_relay_order_violations_total";

/// Processes that come and go.
type Fleet = [RwLock<Option<Relay>>; 2];

fn new_shards(config: &Config) {
    config.edit("shards = 4\n", "shards = 3\ndrain = [4]\n");
}

async fn are_in_use(relay: &Relay, series: &str) -> bool {
    relay.metric(series).await == 1
}

/// Says one thing after another about people of its own, each until it is accepted, at whichever process answers. Who
/// comes and goes shows whether their order was kept.
async fn send(fleet: &Fleet, sender: usize, is_changed: &AtomicBool) -> Vec<String> {
    let mut people = Vec::new();
    let mut last = usize::MAX;
    while people.len() < last {
        if last == usize::MAX && is_changed.load(Ordering::Relaxed) {
            last = people.len() + MORE;
        }
        let email = format!("person{}-{sender}@example.com", people.len());
        for (n, event) in [identify(&email), delete(&email)].into_iter().enumerate() {
            let mut process = people.len() + n;
            loop {
                let answer = match &*fleet[process % 2].read().await {
                    Some(relay) => relay.try_post("pub_1.sec_1", event.clone()).await,
                    None => None,
                };
                match answer.map(|answer| answer.status) {
                    Some(202) => break,
                    Some(503) | None => tokio::time::sleep(Duration::from_millis(20)).await,
                    Some(other) => panic!("{email} was answered with {other}"),
                }
                process += 1;
            }
            // A steady stream, and not one that fills the shards.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        people.push(email);
    }
    people
}

async fn restart(process: &RwLock<Option<Relay>>, config: &Config) {
    let mut old = process.write().await.take().expect("it runs");
    assert_eq!(old.metric(VIOLATIONS).await, 0);
    assert!(old.terminate().await.success());
    let new = Relay::start("run", config).await;
    *process.write().await = Some(new);
}

async fn nothing_is_lost_or_overtaken(refersion: &Refersion, config: &Config) {
    let started = std::time::Instant::now();
    let start = async || RwLock::new(Some(Relay::start("run", config).await));
    let (fleet, is_changed): (Fleet, _) = ([start().await, start().await], AtomicBool::new(false));
    let changing = async {
        new_shards(config);
        for process in &fleet {
            restart(process, config).await;
        }
        println!("both were started again after {:?}", started.elapsed());
        for process in &fleet {
            let process = process.read().await;
            let relay = process.as_ref().expect("it runs");
            eventually("the new shards are in use", || are_in_use(relay, NEW_IN_USE)).await;
        }
        println!("the new shards are in use after {:?}", started.elapsed());
        is_changed.store(true, Ordering::Relaxed);
    };

    let senders = futures_util::future::join_all((0..SENDERS).map(|sender| send(&fleet, sender, &is_changed)));
    let (people, ()) = tokio::join!(senders, changing);

    let people: Vec<_> = people.into_iter().flatten().collect();
    println!("{} people came and went until {:?}", people.len(), started.elapsed());
    let all_gone = || async {
        let affiliates = refersion.simulator.affiliates();
        affiliates.len() == people.len() && affiliates.iter().all(|found| found.status.as_str() == "DISABLED")
    };
    eventually("everybody came before they went", all_gone).await;
    for process in &fleet {
        let process = process.read().await;
        let relay = process.as_ref().expect("it runs");
        assert_eq!((relay.metric(VIOLATIONS).await, relay.metric(OLD_IN_USE).await), (0, 0));
        assert!(relay.is_ready().await);
    }
    assert_eq!(config.dead_letters().await, Vec::<Value>::new());
    let check = config.command(&["check"]).await;
    assert!(check.stdout.contains("nothing is left on the 4 shards"), "{}", check.stdout);
    config.edit("shards = 3\ndrain = [4]\n", "shards = 4\n");
    let check = config.command(&["check"]).await;
    assert!(check.code == Some(1) && check.stdout.contains("set queue.shards to the number in use"), "{check:?}");
    println!("all of it took {:?}", started.elapsed());
}

#[tokio::test]
async fn the_number_of_shards_changes_while_events_flow() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    nothing_is_lost_or_overtaken(&refersion, &config).await;
}

#[tokio::test]
async fn the_number_of_shards_of_an_embedded_queue_changes_while_events_flow() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[]);
    nothing_is_lost_or_overtaken(&refersion, &config).await;
}

#[tokio::test]
async fn a_worker_that_is_killed_while_it_closes_the_old_shards_leaves_them_to_others() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let mut old = Relay::start("run", &config).await;
    assert_eq!(old.post(1, identify("one@example.com")).await.status, 202);
    eventually("it is worked", || async { refersion.with_email("one@example.com").len() == 1 }).await;
    assert!(old.terminate().await.success());
    new_shards(&config);
    let ingest = Relay::start("ingest", &config).await;
    let first = Relay::start("worker", &config).await;
    let closing = "closing these shards";
    eventually("it is closing them", || async { first.log().contains(closing) }).await;
    let refuses = || async { ingest.post(1, identify("two@example.com")).await.status == 503 };
    eventually("new events wait", refuses).await;
    let file = config.folder().join("events.ndjson");
    std::fs::write(&file, identify("four@example.com")).expect("the folder is ours");
    let enqueue = config.begin(&["enqueue", file.to_str().expect("a path"), "--account", "acme"]);

    first.kill().await;

    let accepts = || async { ingest.post(1, identify("three@example.com")).await.status == 202 };
    eventually("new events are taken", accepts).await;
    assert!(are_in_use(&ingest, OLD_IN_USE).await);
    let second = Relay::start("worker", &config).await;
    eventually("they are worked", || async { refersion.with_email("three@example.com").len() == 1 }).await;
    let enqueued = enqueue.output().await;
    assert_eq!(enqueued.code, Some(0), "{enqueued:?}");
    eventually("the new shards are in use", || are_in_use(&second, NEW_IN_USE)).await;
    assert_eq!(refersion.with_email("four@example.com").len(), 1);
    assert!(!ingest.log().contains("ERROR"), "{}", ingest.log());
}

#[tokio::test]
async fn what_waits_in_a_tier_is_done_before_the_new_shards_are_used() {
    let refersion = Refersion::start().await;
    let config = Config::embedded(refersion.url(), &[("retry", "in_hand = \"0s\"\ntiers = [\"4s\"]")]);
    let mut relay = Relay::start("run", &config).await;
    refersion.fail(Operation::New, "abc@", Some(1), Fault::status(500, None));
    assert_eq!(relay.post(1, identify("abc@example.com")).await.status, 202);
    let waits = r#"refersion_relay_retries_total{wait="tier"}"#;
    eventually("it is in a tier", || async { relay.metric(waits).await == 1 }).await;
    assert!(relay.terminate().await.success());
    new_shards(&config);

    let relay = Relay::start("run", &config).await;

    assert!(are_in_use(&relay, OLD_IN_USE).await);
    let check = config.command(&["check"]).await;
    let said = "draining 4 shards: 0 events wait on them, 1 in tiers, 0 behind held accounts";
    assert!(check.stdout.contains(said), "{}", check.stdout);
    eventually("the new shards are in use", || are_in_use(&relay, NEW_IN_USE)).await;
    assert_eq!(refersion.with_email("abc@example.com").len(), 1, "it is done by then");
}
