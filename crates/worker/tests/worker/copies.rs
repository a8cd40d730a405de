//! What has ended before waits for nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use refersion_relay_model::Command;
use refersion_relay_refersion::{Applied, CallResult, Calls, Failure, Operation};
use refersion_relay_telemetry::Metrics;
use refersion_relay_worker::{Account, RefersionApi, WorkerSettings};

use crate::support::{Running, account, queue, settings, store, until_shown};

/// Fails the second time, as something that can succeed later.
#[derive(Default)]
struct FailsTheSecond {
    calls: AtomicU32,
}

#[async_trait]
impl RefersionApi for FailsTheSecond {
    async fn apply(&self, _: &Account, _: &Command, calls: Arc<dyn Calls>) -> Result<Applied, Failure> {
        calls.begin().await;
        let is_second = self.calls.fetch_add(1, Ordering::Relaxed) == 1;
        let failure = is_second.then_some(Failure::Unavailable { status: 500, retry_after: None });
        let took = Duration::ZERO;
        calls.ended(CallResult {
            operation: Operation::New,
            took,
            proper: failure.is_none(),
            failure: failure.as_ref(),
        });
        failure.map_or(Ok(Applied::Created), Err)
    }

    async fn check_keys(&self, _: &Account, calls: Arc<dyn Calls>) -> Result<(), Failure> {
        calls.begin().await;
        calls.ended(CallResult { operation: Operation::Search, took: Duration::ZERO, proper: true, failure: None });
        Ok(())
    }
}

fn event(id: &str) -> String {
    let traits = r#"{"name":"Test Person","email":"person@example.com"}"#;
    format!(r#"{{"type":"identify","messageId":"{id}","traits":{traits}}}"#)
}

#[tokio::test]
async fn a_copy_does_not_go_behind_what_came_after_its_original() {
    let metrics = Metrics::new();
    let queue = queue(&metrics).await;
    let mut settings: WorkerSettings = settings();
    settings.retry.in_hand = Duration::ZERO;
    settings.retry.tiers = vec![Duration::from_secs(1)];
    let refersion = Arc::<FailsTheSecond>::default();
    let running = Running::start_with(settings, &queue, refersion.clone(), vec![account()], &metrics);
    store(&queue, &event("first")).await;
    until_shown(&metrics, &["worker_ended_total 1"]).await;
    store(&queue, &event("second")).await;
    until_shown(&metrics, &["retries_total{wait=\"tier\"} 1"]).await;

    // Its sender did not hear the first answer.
    store(&queue, &event("first")).await;

    until_shown(&metrics, &["events_copies_total 1", "worker_ended_total 3", "worker_in_hand 0"]).await;
    until_shown(&metrics, &["events_parked_total{to=\"tier\"} 0", "events_parked_total{to=\"queue\"} 0"]).await;
    assert_eq!(refersion.calls.load(Ordering::Relaxed), 3);
    running.stop().await;
}
