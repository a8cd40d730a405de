//! Events that were delivered several times and never settled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use refersion_relay_model::{AccountName, Class, Command};
use refersion_relay_queue::{Place, Queue, RabbitMq, Room, Scan};
use refersion_relay_refersion::{Applied, Calls, Failure};
use refersion_relay_telemetry::Metrics;
use refersion_relay_worker::{Account, RefersionApi};
use tokio::sync::Notify;
use tokio::time::{interval, timeout};

use crate::support::{PATIENCE, Running, account, identify, queue, store, store_for, until_shown};

/// A destination whose calls never end: those for one person, or all.
#[derive(Default)]
struct Hanging {
    all: AtomicBool,
    /// Ends one of them.
    let_go: Notify,
    called: Mutex<Vec<String>>,
}

impl Hanging {
    fn called(&self) -> Vec<String> {
        self.called.lock().unwrap().clone()
    }

    fn forget(&self) {
        self.called.lock().unwrap().clear();
    }

    async fn until_called(&self, count: usize) {
        let called = async {
            let mut ticks = interval(Duration::from_millis(20));
            while self.called().len() < count {
                ticks.tick().await;
            }
        };
        timeout(PATIENCE, called).await.unwrap_or_else(|_| panic!("not {count} calls: {:?}", self.called()));
    }
}

#[async_trait]
impl RefersionApi for Hanging {
    async fn apply(&self, _: &Account, command: &Command, _: Arc<dyn Calls>) -> Result<Applied, Failure> {
        let email = command.email().expose().to_owned();
        let hangs = self.all.load(Ordering::SeqCst) || email.starts_with("culprit");
        self.called.lock().unwrap().push(email);
        if hangs {
            self.let_go.notified().await;
        }
        Ok(Applied::Created)
    }

    async fn check_keys(&self, _: &Account, _: Arc<dyn Calls>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Starts a worker and ends it with everything in hand when it has called so many times more, as often as asked.
async fn crash(queue: &Arc<RabbitMq>, destination: &Arc<Hanging>, metrics: &Metrics, times: usize, calls: usize) {
    for _ in 0..times {
        let before = destination.called().len();
        let running = Running::start(queue, destination.clone(), vec![account()], metrics);
        destination.until_called(before + calls).await;
        running.crash().await;
    }
}

#[tokio::test]
async fn an_event_that_kills_its_workers_is_found_and_nothing_else_is_given_up_with_it() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    for email in ["first@example.com", "culprit@example.com", "third@example.com", "fourth@example.com"] {
        store(&queue, &identify(email)).await;
    }
    let destination = Arc::new(Hanging::default());
    // Nobody can say which of the four it was.
    destination.all.store(true, Ordering::SeqCst);
    crash(&queue, &destination, &metrics, 3, 4).await;
    destination.all.store(false, Ordering::SeqCst);
    destination.forget();

    // From now on the first of its process is worked alone, and is done; the next one is first after that.
    crash(&queue, &destination, &metrics, 1, 2).await;
    crash(&queue, &destination, &metrics, 3, 1).await;
    let calls = destination.called();
    assert_eq!(calls[0], "first@example.com");
    assert_eq!((calls.len(), &calls[1..]), (5, vec!["culprit@example.com".to_owned(); 4].as_slice()));
    let running = Running::start(&queue, destination.clone(), vec![account()], &metrics);

    destination.until_called(7).await;

    assert_eq!(destination.called()[5..], ["third@example.com", "fourth@example.com"]);
    let mut poison = Vec::new();
    queue.browse(Class::Poison, Scan { letters: 10 }, &mut |letter| poison.push(letter)).await.expect("letters");
    assert_eq!(poison.len(), 1);
    let death = poison[0].message.headers.death.as_ref().expect("a letter");
    assert_eq!(death.reason, "delivery_limit");
    assert!(death.error.as_ref().is_some_and(|error| error.starts_with("3 workers ended")), "{death:?}");
    running.stop().await;
}

#[tokio::test]
async fn events_are_worked_side_by_side_again_behind_those_that_are_worked_alone() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    store(&queue, &identify("culprit@example.com")).await;
    let destination = Arc::new(Hanging::default());
    crash(&queue, &destination, &metrics, 3, 1).await;
    for number in 0..4 {
        store(&queue, &identify(&format!("new{number}@example.com"))).await;
    }
    destination.forget();
    let running = Running::start(&queue, destination.clone(), vec![account()], &metrics);
    destination.until_called(1).await;
    let more = timeout(Duration::from_millis(500), destination.until_called(2)).await;
    assert!(more.is_err(), "beside the culprit: {:?}", destination.called());
    destination.all.store(true, Ordering::SeqCst);

    destination.let_go.notify_one();

    destination.until_called(5).await; // none of the last four ends
    running.crash().await;
}

#[tokio::test]
async fn a_hundred_returns_in_good_order_speak_against_nobody() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    for number in 0..10 {
        store(&queue, &identify(&format!("person{number}@example.com"))).await;
    }
    for _ in 0..100 {
        let place = Place::Work(account().name);
        let mut owned = queue.own(place, Room { events: 10 }).await.expect("the queue");
        let delivery = timeout(PATIENCE, owned.next()).await.expect("in time").expect("an event");
        drop(delivery);
        owned.release().await;
    }
    let destination = Arc::new(Hanging::default());

    let running = Running::start(&queue, destination.clone(), vec![account()], &metrics);

    until_shown(&metrics, &["worker_ended_total 10", r#"events_delivered_total{how="created"} 10"#]).await;
    running.stop().await;
}

#[tokio::test]
async fn nothing_of_another_account_is_worked_beside_an_event_that_is_worked_alone() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    let other = Account { name: AccountName::try_from("other").expect("a name"), ..account() };
    let accounts = || vec![account(), other.clone()];
    queue.admit(&[account().name, other.name.clone()]).await.expect("both have work queues");
    store(&queue, &identify("culprit@example.com")).await;
    let destination = Arc::new(Hanging::default());
    crash(&queue, &destination, &metrics, 3, 1).await;
    destination.forget();
    let running = Running::start(&queue, destination.clone(), accounts(), &metrics);
    destination.until_called(1).await;

    store_for(&*queue, &other, &identify("innocent@example.com")).await;
    let beside = timeout(Duration::from_millis(500), destination.until_called(2)).await;
    assert!(beside.is_err(), "{:?}", destination.called());
    destination.let_go.notify_one();

    destination.until_called(2).await;
    assert_eq!(destination.called()[1], "innocent@example.com");
    running.stop().await;
}

/// A destination that wants no calls for a while, as long as it is asked to.
#[derive(Default)]
struct Pausing {
    is_open: AtomicBool,
    called: Mutex<usize>,
}

#[async_trait]
impl RefersionApi for Pausing {
    async fn apply(&self, _: &Account, _: &Command, _: Arc<dyn Calls>) -> Result<Applied, Failure> {
        *self.called.lock().unwrap() += 1;
        if self.is_open.load(Ordering::SeqCst) {
            return Ok(Applied::Created);
        }
        Err(Failure::Limited { retry_after: Some(Duration::from_mins(1)) })
    }

    async fn check_keys(&self, _: &Account, _: Arc<dyn Calls>) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test]
async fn workers_that_outlive_an_event_alone_speak_for_it_however_many_they_are() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    store(&queue, &identify("innocent@example.com")).await;
    let destination = Arc::new(Pausing::default());
    // Three until it is suspected, and twice as many as an event that kills its workers gets.
    for round in 1..=9 {
        let running = Running::start(&queue, destination.clone(), vec![account()], &metrics);
        until_shown(&metrics, &[&format!(r#"attempts_failed_total{{failure="limited"}} {round}"#)]).await;
        running.crash().await;
    }
    destination.is_open.store(true, Ordering::SeqCst);

    let running = Running::start(&queue, destination.clone(), vec![account()], &metrics);

    until_shown(&metrics, &["worker_ended_total 1", r#"events_delivered_total{how="created"} 1"#]).await;
    assert_eq!(*destination.called.lock().unwrap(), 10);
    running.stop().await;
}
