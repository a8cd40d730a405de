use std::sync::Arc;
use std::time::Duration;

use refersion_relay_broker_doctor::{Gravity, ManagementUrl, PolicyHarm, PolicyReport};
use refersion_relay_queue::{BrokerState, Queue, RabbitMq};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long looking may take. The management API hears of a new queue's policies some seconds late.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks once, when the broker is reached, at the policies that would undo what the relay promises, and says in the log
/// what it found. Nothing waits for it, and nothing is decided by it.
pub(crate) async fn look(queue: Arc<RabbitMq>, api: Option<ManagementUrl>, stop: CancellationToken) {
    let Some(api) = api else {
        tracing::info!(
            "RabbitMQ's policies were not looked at: AMQP does not show them; set queue.management_url to its management API"
        );
        return;
    };
    let looking = async {
        // The queues are declared by then, so that there is something for policies to be in force on.
        let mut state = queue.state();
        let _ = state.wait_for(BrokerState::is_up).await;
        match timeout(PATIENCE, api.policies(queue.url(), queue.prefix(), &queue.queue_names())).await {
            Ok(Ok(report)) => say(&report),
            Ok(Err(error)) => {
                tracing::warn!("RabbitMQ's policies were not looked at: {error}; see queue.management_url");
            }
            Err(_) => {
                let waited = PATIENCE.as_secs();
                tracing::warn!(
                    "RabbitMQ's policies were not looked at: the management API took longer than {waited} s"
                );
            }
        }
    };
    stop.run_until_cancelled(looking).await;
}

fn say(report: &PolicyReport) {
    let PolicyReport { queues, not_shown, not_told, harms } = report;
    for PolicyHarm { policy, setting, queues, does, gravity } in harms {
        let queues = queues.join(", ");
        match gravity {
            Gravity::Breaks => tracing::error!(
                "{policy} undoes what the relay promises, {setting} on {queues}: {does}; change it, or keep it off these queues"
            ),
            Gravity::Limits => tracing::warn!("{policy} is in force, {setting} on {queues}: {does}"),
        }
    }
    let unseen: Vec<_> = not_shown.iter().chain(not_told).map(String::as_str).collect();
    if !unseen.is_empty() {
        tracing::warn!("RabbitMQ's policies were not looked at for {}; `check` says more", unseen.join(", "));
    } else if harms.is_empty() {
        tracing::info!("no policy of RabbitMQ does harm to the {queues} queues");
    }
}
