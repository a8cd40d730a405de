use std::collections::HashSet;
use std::sync::Mutex;

use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_simulator::Operation;
use refersion_relay_tests::{Config, Refersion, Relay, eventually, identify, shared_broker};

/// Posts one event after the other until it is told to stop, and remembers those that were accepted.
struct Sender<'a> {
    ingest: &'a tokio::sync::RwLock<Relay>,
    lane: usize,
    accepted: &'a Mutex<HashSet<String>>,
}

impl Sender<'_> {
    async fn run(&self, events: usize) {
        for n in 0..events {
            let email = format!("person-{}-{n}@example.com", self.lane);
            let answer = self.ingest.read().await.try_post("pub_1.sec_1", identify(&email)).await;
            if answer.is_some_and(|answer| answer.status == 202) {
                self.accepted.lock().expect("not poisoned").insert(email);
            }
        }
    }
}

fn once_each(refersion: &Refersion, accepted: &HashSet<String>) {
    let affiliates = refersion.simulator.affiliates();
    let emails: HashSet<_> = affiliates.iter().map(|affiliate| affiliate.email.clone()).collect();
    assert_eq!(emails.len(), affiliates.len(), "one affiliate for each address");
    let lost: Vec<_> = accepted.difference(&emails).collect();
    assert!(lost.is_empty(), "accepted and lost: {lost:?}");
}

#[tokio::test]
async fn killing_worker_and_ingest_under_load_loses_nothing() {
    let refersion = Refersion::start().await;
    let config = Config::new(&shared_broker(), refersion.url(), &[]);
    let ingest = tokio::sync::RwLock::new(Relay::start("ingest", &config).await);
    let accepted = Mutex::new(HashSet::new());
    let sending = async {
        let senders = (0..8).map(|lane| Sender { ingest: &ingest, lane, accepted: &accepted });
        let senders: Vec<_> = senders.collect();
        futures_util::future::join_all(senders.iter().map(|sender| sender.run(150))).await;
    };
    let killing = async {
        for round in 1..=6 {
            let worker = Relay::start("worker", &config).await;
            let wanted = round * 40;
            eventually("some are worked", || async {
                refersion.count(Operation::New) >= wanted || accepted.lock().expect("not poisoned").len() >= 1_000
            })
            .await;
            worker.kill().await;
            if round % 2 == 0 {
                // The senders wait for the next one: there is always a door, but not always the same.
                let mut current = ingest.write().await;
                let next = Relay::start("ingest", &config).await;
                std::mem::replace(&mut *current, next).kill().await;
            }
        }
    };
    tokio::join!(sending, killing);

    let _worker = Relay::start("worker", &config).await;
    let accepted = accepted.into_inner().expect("not poisoned");
    assert!(accepted.len() > 1_000, "{} were accepted", accepted.len());
    eventually("every accepted event has its effect", || async {
        let emails: HashSet<_> =
            refersion.simulator.affiliates().into_iter().map(|affiliate| affiliate.email).collect();
        accepted.is_subset(&emails)
    })
    .await;
    once_each(&refersion, &accepted);
    let repeated = refersion.count(Operation::New) - refersion.simulator.affiliates().len();
    println!("{} accepted, {repeated} calls repeated", accepted.len());
}

#[tokio::test]
async fn freezing_and_killing_the_broker_under_load_loses_nothing_own_node() {
    let mut broker = PrivateBroker::start().await.expect("a broker");
    let refersion = Refersion::start().await;
    let config = Config::new(&broker.url(), refersion.url(), &[("queue", "confirm_timeout = \"1s\"")]);
    let ingest = tokio::sync::RwLock::new(Relay::start("run", &config).await);
    let accepted = Mutex::new(HashSet::new());
    let count = || accepted.lock().expect("not poisoned").len();
    let sender = |lane| Sender { ingest: &ingest, lane, accepted: &accepted };
    let load = |from: usize| {
        let senders: Vec<_> = (from..from + 8).map(sender).collect();
        async move {
            futures_util::future::join_all(senders.iter().map(|sender| sender.run(60))).await;
        }
    };

    tokio::join!(load(0), async {
        eventually("some are accepted", || async { count() >= 100 }).await;
        broker.freeze();
        let relay = ingest.read().await;
        eventually("it is not ready", || async { !relay.is_ready().await }).await;
        broker.thaw();
    });
    ingest.read().await.until_ready().await;
    let before = count();
    tokio::join!(load(8), async {
        eventually("some more are accepted", || async { count() >= before + 100 }).await;
        broker.kill().await;
        broker.restart().await.expect("it starts again");
    });
    ingest.read().await.until_ready().await;
    load(16).await;

    let after = accepted.lock().expect("not poisoned").clone();
    eventually("every accepted event has its effect", || async {
        let emails: HashSet<_> =
            refersion.simulator.affiliates().into_iter().map(|affiliate| affiliate.email).collect();
        after.is_subset(&emails)
    })
    .await;
    once_each(&refersion, &after);
    println!("{} accepted", after.len());
}
