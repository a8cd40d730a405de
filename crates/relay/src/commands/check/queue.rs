use std::time::Duration;

use refersion_relay_queue::{BrokerState, Queue};
use refersion_relay_telemetry::Metrics;
use tokio::time::timeout;

use super::finding::Finding;
use super::{broker, embedded};
use crate::config::{Examined, QueueUrl};

/// How long each step may take: reaching the queue, comparing, leaving.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the queue is there, and as it should be.
pub(super) async fn findings(examined: &Examined, metrics: &Metrics) -> Vec<Finding> {
    if !examined.knows_queue() {
        let says = "was not looked at: where it is could not be read; mend queue.url_file and check again";
        return vec![Finding::warning("queue", says), Finding::warning("policies", says)];
    }
    match &examined.settings.queue_url {
        QueueUrl::RabbitMq(url) => broker::findings(url, examined, metrics).await,
        QueueUrl::Sqlite(path) => embedded::findings(path, examined, metrics).await,
    }
}

/// Waits until the queue is reached; what it says when it is not.
pub(super) async fn reached(queue: &dyn Queue) -> Result<(), String> {
    let mut state = queue.state();
    // A difference is told apart by whoever asks, in full; being away is not.
    let reached = timeout(PATIENCE, state.wait_for(|state| !matches!(state, BrokerState::Away { .. }))).await;
    let reached = reached.is_ok_and(|state| state.is_ok());
    if reached { Ok(()) } else { Err(queue.state().borrow().to_string()) }
}
