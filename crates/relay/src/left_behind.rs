use std::sync::Arc;

use refersion_relay_queue::{BrokerState, Queue, Sqlite};
use tokio_util::sync::CancellationToken;

/// Looks once, when the file is open, for events on shards of another number, which nobody works. On RabbitMQ
/// only the management API shows them to who does not know the number; see `policies`.
pub(crate) async fn look(queue: Arc<Sqlite>, stop: CancellationToken) {
    let looking = async {
        let mut state = queue.state();
        let _ = state.wait_for(BrokerState::is_up).await;
        match queue.left_behind().await {
            Ok(left) => left.into_iter().for_each(|(shards, events)| tracing::error!("{}", says(shards, events))),
            Err(error) => tracing::debug!(queue.error = %error, "older shards were not looked at"),
        }
    };
    stop.run_until_cancelled(looking).await;
}

/// What it means, and what to do.
pub(crate) fn says(shards: u16, events: u64) -> String {
    format!("nobody works {events} events that wait on {shards} shards: name {shards} in queue.drain, and start again")
}
