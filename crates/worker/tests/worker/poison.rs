//! An event that makes the worker panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use refersion_relay_model::{Class, Command};
use refersion_relay_queue::{Queue, Scan};
use refersion_relay_refersion::{Applied, Calls, Failure};
use refersion_relay_telemetry::Metrics;
use refersion_relay_worker::{Account, RefersionApi};

use crate::support::{PATIENCE, Running, account, identify, queue, store};

/// A destination with a bug that one event meets.
#[derive(Default)]
struct Buggy {
    applied: AtomicUsize,
}

#[async_trait]
impl RefersionApi for Buggy {
    async fn apply(&self, _: &Account, command: &Command, _: Arc<dyn Calls>) -> Result<Applied, Failure> {
        assert!(!command.email().expose().starts_with("poison"), "cannot stand {}", command.email().expose());
        self.applied.fetch_add(1, Ordering::Relaxed);
        Ok(Applied::Created)
    }

    async fn check_keys(&self, _: &Account, _: Arc<dyn Calls>) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test]
async fn an_event_that_makes_the_worker_panic_is_poison_and_the_worker_goes_on() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    for email in ["before@example.com", "poison@example.com", "after@example.com", "poison@example.com"] {
        store(&queue, &identify(email)).await;
    }

    let destination = Arc::new(Buggy::default());
    let running = Running::start(&queue, destination.clone(), vec![account()], &metrics);
    let all = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
        while metrics.ended() < 4 {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("all four events end");

    assert_eq!(destination.applied.load(Ordering::Relaxed), 2);
    let mut poison = Vec::new();
    queue.browse(Class::Poison, Scan { letters: 10 }, &mut |letter| poison.push(letter)).await.expect("letters");
    let deaths: Vec<_> = poison.iter().filter_map(|letter| letter.message.headers.death.as_ref()).collect();
    assert_eq!(deaths.iter().map(|death| death.reason.as_str()).collect::<Vec<_>>(), ["panicked", "panicked"]);
    assert!(deaths.iter().all(|death| !format!("{death:?}").contains("@example.com")), "{deaths:?}");
    running.stop().await;
}
