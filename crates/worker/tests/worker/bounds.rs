//! What bounds an attempt in time, and what an account does that Refersion wants fewer calls of.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use refersion_relay_model::Command;
use refersion_relay_queue::Room;
use refersion_relay_refersion::{Applied, Calls, Failure};
use refersion_relay_telemetry::Metrics;
use refersion_relay_worker::{Account, RefersionApi, RetryPolicy, WorkerSettings};

use crate::support::{Running, account, identify, queue, settings, store, until_shown};

/// Its attempts about slow@example.com take calls without end, but for the last one.
struct Endless {
    attempts: AtomicUsize,
    last: usize,
}

#[async_trait]
impl RefersionApi for Endless {
    async fn apply(&self, _: &Account, command: &Command, calls: Arc<dyn Calls>) -> Result<Applied, Failure> {
        let slow = command.email().expose().starts_with("slow");
        if slow && self.attempts.fetch_add(1, Ordering::SeqCst) + 1 < self.last {
            loop {
                calls.begin().await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(Applied::Created)
    }

    async fn check_keys(&self, _: &Account, _: Arc<dyn Calls>) -> Result<(), Failure> {
        Ok(())
    }
}

fn bounded(max_age: Duration) -> WorkerSettings {
    let retry = RetryPolicy { max_age, ..settings().retry };
    WorkerSettings { longest_stay: Duration::from_millis(500), retry, ..settings() }
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_called_off_uncharged_and_made_again_later() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    let destination = Arc::new(Endless { attempts: AtomicUsize::new(0), last: 3 });
    let running = Running::start_with(bounded(Duration::from_hours(1)), &queue, destination, vec![account()], &metrics);

    store(&queue, &identify("slow@example.com")).await;
    store(&queue, &identify("slow@example.com").replace("Test", "Later")).await;

    let ended = [
        r#"attempts_failed_total{failure="unfinished"} 2"#,
        r#"events_delivered_total{how="created"} 2"#,
        "attempts_charged_total 0",
        "order_violations_total 0",
    ];
    until_shown(&metrics, &ended).await;
    running.stop().await;
}

#[tokio::test]
async fn an_event_whose_attempts_never_get_done_ends_with_its_age() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    let destination = Arc::new(Endless { attempts: AtomicUsize::new(0), last: usize::MAX });
    let running = Running::start_with(bounded(Duration::from_secs(1)), &queue, destination, vec![account()], &metrics);

    store(&queue, &identify("slow@example.com")).await;
    store(&queue, &identify("other@example.com")).await;

    until_shown(
        &metrics,
        &[r#"events_dead_lettered_total{class="exhausted",reason="age"} 1"#, "attempts_charged_total 0"],
    )
    .await;
    running.stop().await;
}

/// Wants fewer calls, without a word for how long, until it has been asked so often.
struct Limiting {
    asked: AtomicUsize,
    until: usize,
}

#[async_trait]
impl RefersionApi for Limiting {
    async fn apply(&self, _: &Account, _: &Command, _: Arc<dyn Calls>) -> Result<Applied, Failure> {
        if self.asked.fetch_add(1, Ordering::SeqCst) < self.until {
            return Err(Failure::Limited { retry_after: None });
        }
        Ok(Applied::Created)
    }

    async fn check_keys(&self, _: &Account, _: Arc<dyn Calls>) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test]
async fn a_rate_limit_without_a_time_pauses_the_account_and_is_charged_to_no_event() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    let destination = Arc::new(Limiting { asked: AtomicUsize::new(0), until: 3 });
    let retry = RetryPolicy { max_attempts: 1, max_age: Duration::ZERO, ..settings().retry };
    let settings = WorkerSettings { retry, ..settings() };
    let running = Running::start_with(settings, &queue, destination, vec![account()], &metrics);

    store(&queue, &identify("one@example.com")).await;
    store(&queue, &identify("two@example.com")).await;

    until_shown(&metrics, &[r#"account_paused{account="acme"} 1"#]).await;
    until_shown(&metrics, &[r#"attempts_failed_total{failure="limited"} 3"#, "attempts_charged_total 0"]).await;
    until_shown(&metrics, &[r#"events_delivered_total{how="created"} 2"#]).await;
    running.stop().await;
}

/// Limits whatever is about alone@example.com, and nothing else.
struct LimitingOne;

#[async_trait]
impl RefersionApi for LimitingOne {
    async fn apply(&self, _: &Account, command: &Command, _: Arc<dyn Calls>) -> Result<Applied, Failure> {
        if command.email().expose().starts_with("alone") {
            return Err(Failure::Limited { retry_after: None });
        }
        Ok(Applied::Created)
    }

    async fn check_keys(&self, _: &Account, _: Arc<dyn Calls>) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test]
async fn an_event_that_alone_is_limited_goes_out_of_the_way_and_charges_nobody() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    let retry = RetryPolicy { in_hand: Duration::from_mins(1), ..settings().retry };
    let settings = WorkerSettings { retry, ..settings() };
    let running = Running::start_with(settings, &queue, Arc::new(LimitingOne), vec![account()], &metrics);

    store(&queue, &identify("alone@example.com")).await;
    until_shown(&metrics, &[r#"account_paused{account="acme"} 1"#]).await;
    store(&queue, &identify("other@example.com")).await;

    until_shown(&metrics, &[r#"events_delivered_total{how="created"} 1"#, "attempts_charged_total 0"]).await;
    running.stop().await;
}

/// Remembers whom it was called for, and waits a little each time.
#[derive(Default)]
struct Remembering {
    called: Mutex<Vec<String>>,
}

#[async_trait]
impl RefersionApi for Remembering {
    async fn apply(&self, _: &Account, command: &Command, _: Arc<dyn Calls>) -> Result<Applied, Failure> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let Command::Create(affiliate) = command else { panic!("{command:?}") };
        let called = format!("{} {}", affiliate.email.expose(), affiliate.first_name.expose());
        self.called.lock().unwrap().push(called);
        Ok(Applied::Created)
    }

    async fn check_keys(&self, _: &Account, _: Arc<dyn Calls>) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test]
async fn what_is_too_much_for_the_process_is_given_back_and_worked_later_each_once_and_in_order() {
    const EVENTS: usize = 60;
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    let padding = "x".repeat(100_000);
    for number in 0..EVENTS {
        let body = format!(
            r#"{{"type":"identify","padding":"{padding}","traits":{{"name":"N{number} Last","email":"p{}@example.com"}}}}"#,
            number % 5
        );
        store(&queue, &body).await;
    }
    let destination = Arc::new(Remembering::default());
    let settings = WorkerSettings { in_hand: 500_000, room: Room { events: 32 }, ..settings() };

    let running = Running::start_with(settings, &queue, destination.clone(), vec![account()], &metrics);

    until_shown(&metrics, &[r#"events_delivered_total{how="created"} 60"#, "order_violations_total 0"]).await;
    running.stop().await;
    let called = destination.called.lock().unwrap();
    for person in 0..5 {
        let email = format!("p{person}@example.com ");
        let names: Vec<_> = called.iter().filter_map(|call| call.strip_prefix(&email)).collect();
        let expected: Vec<_> = (person..EVENTS).step_by(5).map(|number| format!("N{number}")).collect();
        assert_eq!(names, expected);
    }
    assert!(!metrics.render().contains("worker_redeliveries_total 0"), "nothing was given back");
}
