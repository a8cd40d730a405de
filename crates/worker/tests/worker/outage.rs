//! Refersion goes away for longer than events stay in hand, and comes back. All times are scaled down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use refersion_relay_model::{Class, Command};
use refersion_relay_queue::{Place, Queue, RabbitMq, Scan};
use refersion_relay_refersion::{Applied, CallResult, Calls, Failure, Operation};
use refersion_relay_telemetry::Metrics;
use refersion_relay_worker::{Account, OutageSettings, RefersionApi, WorkerSettings};
use tokio::sync::watch;

use crate::support::{Running, account, identify, queue, settings, store, until_shown};

const EVENTS: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Up,
    Down,
    /// It refuses the account's keys.
    Refuses,
    /// It is there once more to say that the keys work, and then down.
    Leaves,
}

/// A Refersion that comes and goes as the test wants.
struct Fickle {
    mood: Mutex<Mood>,
    applied: Mutex<BTreeMap<String, u32>>,
    probes: watch::Sender<u32>,
}

impl Fickle {
    fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self { mood: Mutex::new(mood), applied: Mutex::default(), probes: watch::Sender::new(0) })
    }

    fn become_(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    async fn until_probed(&self, times: u32) {
        self.probes.subscribe().wait_for(|probes| times <= *probes).await.unwrap();
    }

    /// How often each address was worked.
    fn applied(&self) -> Vec<u32> {
        self.applied.lock().unwrap().values().copied().collect()
    }

    fn answer(mood: Mood, calls: &dyn Calls) -> Result<(), Failure> {
        let answer = match mood {
            Mood::Up => Ok(()),
            Mood::Refuses => Err(Failure::Unauthorized { status: 401 }),
            Mood::Down | Mood::Leaves => Err(Failure::Transport { what: "could not connect" }),
        };
        let proper = matches!(mood, Mood::Up | Mood::Refuses);
        calls.ended(CallResult {
            operation: Operation::New,
            took: Duration::ZERO,
            proper,
            failure: answer.as_ref().err(),
        });
        answer
    }
}

#[async_trait]
impl RefersionApi for Fickle {
    async fn apply(&self, _: &Account, command: &Command, calls: Arc<dyn Calls>) -> Result<Applied, Failure> {
        calls.begin().await;
        Self::answer(*self.mood.lock().unwrap(), &*calls)?;
        *self.applied.lock().unwrap().entry(command.email().expose().to_owned()).or_default() += 1;
        Ok(Applied::Created)
    }

    async fn check_keys(&self, _: &Account, calls: Arc<dyn Calls>) -> Result<(), Failure> {
        calls.begin().await;
        self.probes.send_modify(|probes| *probes += 1);
        let mut mood = self.mood.lock().unwrap();
        if *mood == Mood::Leaves {
            *mood = Mood::Down;
            return Self::answer(Mood::Up, &*calls);
        }
        Self::answer(*mood, &*calls)
    }
}

fn scaled() -> WorkerSettings {
    let outage = OutageSettings {
        patience: Duration::from_secs(1),
        probe_at_least: Duration::from_millis(100),
        probe_at_most: Duration::from_millis(200),
    };
    WorkerSettings { outage, ..settings() }
}

async fn store_all(queue: &RabbitMq) {
    for n in 0..EVENTS {
        store(queue, &identify(&format!("person{n}@example.com"))).await;
    }
}

async fn is_clean(queue: &RabbitMq, metrics: &Metrics) {
    until_shown(metrics, &["attempts_charged_total 0", "retries_total{wait=\"tier\"} 0", "worker_in_hand 0"]).await;
    for class in Class::ALL {
        let mut letters = 0;
        queue.browse(class, Scan { letters: 10 }, &mut |_| letters += 1).await.expect("letters");
        assert_eq!(letters, 0, "{class}");
    }
}

#[tokio::test]
async fn a_work_queue_is_given_back_in_a_long_outage_and_taken_up_again_after_it() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    store_all(&queue).await;
    let refersion = Fickle::new(Mood::Down);
    let running = Running::start_with(scaled(), &queue, refersion.clone(), vec![account()], &metrics);

    until_shown(&metrics, &["refersion_state{state=\"outage\"} 1"]).await;
    let given_back = ["worker_in_hand 0", "worker_owned{account=\"acme\"} 0"];
    until_shown(&metrics, &given_back).await;
    assert!(running.readiness.is_ready(), "an outage is no reason to restart it");
    let depth = queue.depth(&Place::Work(account().name)).await.expect("a depth");
    assert_eq!(depth.ready, EVENTS as u64);
    // More come in while nobody listens.
    store(&queue, &identify("late@example.com")).await;
    refersion.become_(Mood::Up);

    until_shown(&metrics, &["worker_ended_total 11", "refersion_state{state=\"up\"} 1"]).await;
    assert_eq!(refersion.applied(), [1; EVENTS + 1]);
    until_shown(&metrics, &["queue_connections{connection=\"consume\"} 1", "worker_redeliveries_total 10"]).await;
    is_clean(&queue, &metrics).await;
    running.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_into_a_lane_does_not_go_round_while_nobody_is_worked() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    for version in 0..EVENTS {
        let traits = format!(r#"{{"name":"Version {version}","email":"busy@example.com"}}"#);
        store(&queue, &format!(r#"{{"type":"identify","traits":{traits}}}"#)).await;
    }
    let refersion = Fickle::new(Mood::Down);
    let scaled = scaled();
    let outage = OutageSettings { patience: Duration::from_mins(2), ..scaled.outage };
    let settings = WorkerSettings { outage, ..scaled };
    let running = Running::start_with(settings, &queue, refersion.clone(), vec![account()], &metrics);
    until_shown(&metrics, &["refersion_state{state=\"outage\"} 1"]).await;

    refersion.until_probed(30).await; // 3 s at least; the patience with a full lane is 1 s
    refersion.become_(Mood::Up);

    until_shown(&metrics, &["worker_ended_total 10", "events_parked_total{to=\"queue\"} 0"]).await;
    assert_eq!(refersion.applied(), [10]);
    is_clean(&queue, &metrics).await;
    running.stop().await;
}

#[tokio::test]
async fn events_stay_in_hand_in_a_short_outage_and_are_worked_once() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    store_all(&queue).await;
    let refersion = Fickle::new(Mood::Down);
    let running = Running::start(&queue, refersion.clone(), vec![account()], &metrics);

    until_shown(&metrics, &["refersion_state{state=\"outage\"} 1"]).await;
    refersion.become_(Mood::Up);

    until_shown(&metrics, &["worker_ended_total 10"]).await;
    assert_eq!(refersion.applied(), [1; EVENTS]);
    until_shown(&metrics, &["worker_redeliveries_total 0"]).await;
    is_clean(&queue, &metrics).await;
    running.stop().await;
}

#[tokio::test]
async fn a_hold_returns_everything_in_hand_and_nobody_reads_until_the_keys_work() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    store_all(&queue).await;
    let refersion = Fickle::new(Mood::Refuses);
    let running = Running::start_with(scaled(), &queue, refersion.clone(), vec![account()], &metrics);
    until_shown(&metrics, &["account_held{account=\"acme\"} 1", "worker_owned{account=\"acme\"} 0"]).await;
    let depth = queue.depth(&Place::Work(account().name)).await.expect("a depth");
    assert_eq!(depth.ready, EVENTS as u64);
    assert!(running.readiness.is_ready(), "a hold is no reason to restart it");

    // The keys work again, and Refersion goes away at once.
    refersion.become_(Mood::Leaves);
    until_shown(&metrics, &["refersion_state{state=\"outage\"} 1", "worker_owned{account=\"acme\"} 0"]).await;
    refersion.become_(Mood::Up);

    until_shown(&metrics, &["worker_ended_total 10", "account_held{account=\"acme\"} 0"]).await;
    assert_eq!(refersion.applied(), [1; EVENTS]);
    is_clean(&queue, &metrics).await;
    running.stop().await;
}
