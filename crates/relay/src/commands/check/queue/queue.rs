use std::time::Duration;

use refersion_relay_queue::{Ledger, Queue};
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;
use serde_json::Value;
use tokio::time::timeout;

use super::broker;
use super::embedded;
use crate::cli::CheckArgs;
use crate::commands::check::finding::Finding;
use crate::config::{Examined, QueueUrl};

/// How long each step may take: reaching the queue, comparing, leaving.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What was found.
pub(crate) struct Looked {
    pub(crate) findings: Vec<Finding>,
    /// Of a queue that keeps one.
    pub(crate) ledger: Option<Ledger>,
    /// If it was asked for.
    pub(crate) conservation: Option<Value>,
}

/// Whether the queue is there, and as it should be.
pub(crate) async fn look(examined: &Examined, args: &CheckArgs, metrics: &Metrics, parts: &Parts) -> Looked {
    if !examined.knows_queue() {
        let says = "was not looked at: where it is could not be read; mend queue.url_file and check again";
        let findings = ["queue", "policies"].map(|what| Finding::warning(what, says).following("queue.url")).into();
        return Looked { findings, ledger: None, conservation: None };
    }
    match &examined.settings.queue_url {
        QueueUrl::RabbitMq(url) => broker::look(url, examined, args, metrics, parts).await,
        QueueUrl::Sqlite(path) => embedded::look(path, examined, args, metrics, parts).await,
    }
}

/// Waits until the queue is reached; what it says when it is not.
pub(crate) async fn reached(queue: &dyn Queue) -> Result<(), String> {
    let mut state = queue.state();
    // A difference is told apart by whoever asks, in full; being away is not.
    let reached = timeout(PATIENCE, state.wait_for(|state| !state.is_away())).await;
    let reached = reached.is_ok_and(|state| state.is_ok());
    if reached { Ok(()) } else { Err(queue.state().borrow().to_string()) }
}
