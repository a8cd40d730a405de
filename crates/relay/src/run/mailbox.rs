use std::sync::Arc;
use std::time::Duration;

use refersion_relay_queue::RabbitMq;
use refersion_relay_telemetry::Metrics;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(5);

/// Shows how much waits for whoever keeps the directory.
pub(crate) async fn depth(queue: Arc<RabbitMq>, metrics: Metrics, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let looking = async {
            // What cannot be counted now keeps its last value.
            if let Ok(depth) = queue.mailbox_depth().await {
                metrics.directory_waiting(depth.messages);
            }
            tokio::time::sleep(EVERY).await;
        };
        let _ = stop.run_until_cancelled(looking).await;
    }
}
