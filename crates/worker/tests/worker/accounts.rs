//! An account that goes while its events are worked, and comes back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use refersion_relay_model::Command;
use refersion_relay_queue::{Place, Queue};
use refersion_relay_refersion::{Applied, Calls, Failure};
use refersion_relay_telemetry::Metrics;
use refersion_relay_worker::{Account, RefersionApi};
use tokio::sync::{Semaphore, mpsc};

use crate::support::{PATIENCE, Running, account, identify, queue, store, until_shown};

/// Tells of each call, and lets the first one about peter go on when it is told to.
struct Slow {
    calls: mpsc::UnboundedSender<&'static str>,
    go_on: Arc<Semaphore>,
    first: Mutex<bool>,
    /// What the first one is answered with, if not done.
    pause: Option<Duration>,
}

#[async_trait]
impl RefersionApi for Slow {
    async fn apply(&self, _: &Account, command: &Command, _: Arc<dyn Calls>) -> Result<Applied, Failure> {
        let call = match (command, command.email().expose()) {
            (_, "other@example.com") => "another person",
            (Command::Create(_), _) => "identify",
            (_, _) => "delete",
        };
        self.calls.send(call).expect("the test listens");
        if call == "identify" && std::mem::take(&mut *self.first.lock().expect("nobody panicked")) {
            self.go_on.acquire().await.expect("never closed").forget();
            if let Some(pause) = self.pause {
                return Err(Failure::Limited { retry_after: Some(pause) });
            }
        }
        Ok(Applied::Created)
    }

    async fn check_keys(&self, _: &Account, _: Arc<dyn Calls>) -> Result<(), Failure> {
        Ok(())
    }
}

async fn next(calls: &mut mpsc::UnboundedReceiver<&'static str>) -> &'static str {
    tokio::time::timeout(PATIENCE, calls.recv()).await.expect("one more call").expect("the worker lives")
}

#[tokio::test]
async fn an_account_that_is_back_at_once_goes_on_in_order() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    let ((calls, mut seen), go_on) = (mpsc::unbounded_channel(), Arc::new(Semaphore::new(0)));
    let destination = Slow { calls, go_on: go_on.clone(), first: Mutex::new(true), pause: None };
    let running = Running::start(&queue, Arc::new(destination), vec![account()], &metrics);
    store(&queue, &identify("peter@example.com")).await;
    store(&queue, r#"{"type":"delete","email":"peter@example.com"}"#).await;
    assert_eq!(next(&mut seen).await, "identify");

    running.accounts.replace(Vec::new());
    running.accounts.replace(vec![account()]);
    store(&queue, &identify("peter@example.com").replace("Test", "New")).await;
    store(&queue, &identify("other@example.com")).await;
    assert_eq!(next(&mut seen).await, "another person", "the account is looked after again");
    go_on.add_permits(1);

    assert_eq!([next(&mut seen).await, next(&mut seen).await], ["delete", "identify"]);
    running.stop().await;
}

#[tokio::test]
async fn an_account_that_is_asked_to_slow_down_after_it_has_gone_is_not_shown_as_paused() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    let ((calls, mut seen), go_on) = (mpsc::unbounded_channel(), Arc::new(Semaphore::new(0)));
    let pause = Some(Duration::from_mins(10));
    let destination = Slow { calls, go_on: go_on.clone(), first: Mutex::new(true), pause };
    let running = Running::start(&queue, Arc::new(destination), vec![account()], &metrics);
    store(&queue, &identify("peter@example.com")).await;
    assert_eq!(next(&mut seen).await, "identify");

    running.accounts.replace(Vec::new());
    go_on.add_permits(1);

    until_shown(&metrics, &[r#"worker_owned{account="acme"} 0"#, "worker_in_hand 0"]).await;
    let depth = queue.depth(&Place::Work(account().name)).await.expect("a depth");
    assert_eq!(depth.ready, 1, "its event waits unread");
    until_shown(&metrics, &[r#"account_paused{account="acme"} 0"#, r#"account_held{account="acme"} 0"#]).await;
    running.stop().await;
}
