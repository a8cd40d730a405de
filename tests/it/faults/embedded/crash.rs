//! Kills at random moments. `RELAY_TEST_KILLS=200` makes it a long run; a run prints its seed, and `RELAY_TEST_SEED`
//! repeats its moments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use refersion_relay_simulator::{Fault, Operation, Settings};
use refersion_relay_tests::{Config, Refersion, Relay, delete, eventually, identify};
use serde_json::Value;
use tokio::sync::RwLock;

const SENDERS: usize = 8;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// A sender who repeats what was not accepted, as Segment does. Every third person is deleted again, every seventh is one
/// whom Refersion refuses for good.
struct Sender<'a> {
    relay: &'a RwLock<Option<Relay>>,
    lane: usize,
    enough: &'a AtomicBool,
    accepted: &'a Mutex<BTreeMap<String, Wanted>>,
}

/// What has to become of somebody whose events were accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Pending,
    Disabled,
    Dead,
}

impl Sender<'_> {
    async fn run(&self) {
        let mut n = 0;
        while !self.enough.load(Ordering::Relaxed) {
            let refused = n % 7 == 3;
            let email = format!("{}{n}-{}@example.com", if refused { "refused" } else { "person" }, self.lane);
            self.until_accepted(identify(&email)).await;
            let wanted = if refused { Wanted::Dead } else { Wanted::Pending };
            self.accepted.lock().expect("not poisoned").insert(email.clone(), wanted);
            if !refused && n % 3 == 0 {
                self.until_accepted(delete(&email)).await;
                self.accepted.lock().expect("not poisoned").insert(email, Wanted::Disabled);
            }
            n += 1;
        }
    }

    async fn until_accepted(&self, event: Vec<u8>) {
        loop {
            let answer = match self.relay.read().await.as_ref() {
                Some(relay) => relay.try_post("pub_1.sec_1", event.clone()).await,
                None => None,
            };
            match answer.map(|answer| answer.status) {
                Some(202) => return,
                Some(503) | None => tokio::task::yield_now().await,
                Some(other) => panic!("answered with {other}"),
            }
        }
    }
}

/// Kills the one process `kills` times while it takes events in and works them.
async fn kill_at_random(kills: u64, seed: u64, accepted: &Mutex<BTreeMap<String, Wanted>>, config: &Config) {
    let mut random = StdRng::seed_from_u64(seed);
    let relay = RwLock::new(Some(Relay::start("run", config).await));
    let enough = AtomicBool::new(false);
    let sending = async {
        let senders: Vec<_> =
            (0..SENDERS).map(|lane| Sender { relay: &relay, lane, enough: &enough, accepted }).collect();
        futures_util::future::join_all(senders.iter().map(Sender::run)).await;
    };
    let killing = async {
        for _ in 0..kills {
            // Not a wait for something: the moment is what is drawn.
            let moment = Duration::from_millis(random.random_range(0..400));
            tokio::time::sleep(moment).await;
            // What it was just answering stays unanswered.
            let current = relay.write().await.take().expect("it runs");
            current.kill().await;
            // Half of them are killed again while they start.
            let next = Relay::launch("run", config);
            if random.random_bool(0.5) {
                next.until_ready().await;
            }
            *relay.write().await = Some(next);
        }
        enough.store(true, Ordering::Relaxed);
        if let Some(relay) = relay.read().await.as_ref() {
            relay.until_ready().await;
        }
    };
    tokio::join!(sending, killing);
    relay.write().await.take().expect("it runs").kill().await;
}

#[tokio::test]
async fn kills_at_random_moments_lose_nothing_and_count_everything() {
    let (kills, seed) = (number("RELAY_TEST_KILLS", 12), number("RELAY_TEST_SEED", rand::random()));
    println!("{kills} kills, RELAY_TEST_SEED={seed}");
    let latency = Duration::from_millis(5);
    let refersion = Refersion::start_with(Settings { latency, ..Settings::default() }).await;
    let no = Fault::status(422, Some(r#"{"errors":["Value exceed the char limit'"]}"#));
    refersion.fail(Operation::New, "refused", None, no);
    let config = Config::embedded(refersion.url(), &[]);
    let accepted = Mutex::new(BTreeMap::new());

    kill_at_random(kills, seed, &accepted, &config).await;

    let _relay = Relay::start("run", &config).await;
    eventually("nothing waits any more", || async { config.ledger().await["waiting"] == 0 }).await;
    let accepted = accepted.into_inner().expect("not poisoned");
    let mut affiliates = BTreeMap::<String, Vec<&'static str>>::new();
    for affiliate in refersion.simulator.affiliates() {
        affiliates.entry(affiliate.email).or_default().push(affiliate.status.as_str());
    }
    let dead: BTreeSet<String> = letters(&config).await;
    for (email, wanted) in &accepted {
        let found = affiliates.get(email).map(Vec::as_slice).unwrap_or_default();
        let fine = match wanted {
            Wanted::Pending => found == ["PENDING"],
            Wanted::Disabled => found == ["DISABLED"],
            Wanted::Dead => found.is_empty() && dead.contains(email),
        };
        assert!(fine, "{email} was accepted and should be {wanted:?}, and is {found:?}");
    }
    assert!(affiliates.values().all(|all| all.len() == 1), "one affiliate for each address");
    let ledger = config.ledger().await;
    let count = |key: &str| ledger[key].as_u64().expect("a number");
    let ended = count("delivered") + count("ignored") + count("dropped") + count("dead") + count("waiting");
    assert_eq!(count("accepted"), ended, "{ledger}");
    let posted = accepted.values().map(|wanted| if *wanted == Wanted::Disabled { 2 } else { 1 }).sum::<u64>();
    assert!(posted <= count("accepted"), "each 2xx was counted: {posted}, {ledger}");
    println!("{} people, {posted} events accepted: {ledger}", accepted.len());
    let repeated = refersion.simulator.calls().iter().filter(|call| call.operation == Operation::New).count();
    println!("{repeated} creations called for {} affiliates and {} refusals", affiliates.len(), dead.len());
}

/// The addresses of the dead letters.
async fn letters(config: &Config) -> BTreeSet<String> {
    let output = config.command(&["dlq", "export", "--events", "--class", "rejected"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let email = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        event["traits"]["email"].as_str().expect("an address").to_owned()
    };
    output.stdout.lines().map(email).collect()
}
