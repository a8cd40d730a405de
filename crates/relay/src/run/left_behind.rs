use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use refersion_relay_broker_doctor::ManagementUrl;
use refersion_relay_model::AccountName;
use refersion_relay_queue::{
    BrokerState, BrokerUrl, Former, LeftBehind, Queue, QueueError, RabbitMq, Remnant, Shown, Sqlite,
};
use refersion_relay_telemetry::Metrics;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often it is looked again. What is left behind waits for a person, so there is no hurry.
const EVERY: Duration = Duration::from_mins(1);

/// Where what no configuration names is looked for.
#[derive(Clone)]
pub(crate) enum Store {
    /// Its rows tell exactly.
    Embedded(Arc<Sqlite>),
    /// It tells what is remembered, and the rest to who may use its management API.
    Broker(Arc<RabbitMq>, Option<ManagementUrl>),
}

impl Store {
    async fn look(&self) -> Result<LeftBehind, QueueError> {
        match self {
            Self::Embedded(queue) => queue.left_behind().await,
            Self::Broker(queue, api) => queue.left_behind(shown(api.as_ref(), queue.url()).await).await,
        }
    }

    /// What is configured now may be left behind one day.
    async fn remember(&self) -> Result<(), QueueError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Broker(queue, _) => queue.remember().await,
        }
    }

    async fn until_up(&self) {
        let mut state = match self {
            Self::Embedded(queue) => queue.state(),
            Self::Broker(queue, _) => queue.state(),
        };
        let _ = state.wait_for(BrokerState::is_up).await;
    }
}

/// What the management API shows, where it is known.
pub(crate) async fn shown(api: Option<&ManagementUrl>, broker: &BrokerUrl) -> Shown {
    match api {
        Some(api) => api.shown(broker).await,
        None => Shown::Nothing { why: "set queue.management_url".to_owned() },
    }
}

/// Shows events that belong to nothing that is configured: each find once in the log, and all of them in a metric. Looks
/// when the queue is first reached, whenever the accounts have changed, and every minute.
pub(crate) async fn watch(
    store: Store,
    mut accounts: watch::Receiver<BTreeSet<AccountName>>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let watching = async {
        let (mut said, mut has_changed, mut is_new) = (BTreeSet::new(), true, true);
        loop {
            store.until_up().await;
            let remembered = if is_new { store.remember().await } else { Ok(()) };
            if let (Err(error), true) = (&remembered, has_changed) {
                tracing::warn!(
                    queue.error = %error,
                    "what is configured could not be remembered on the broker; until that works, what is left of it may not be found"
                );
            }
            if is_new && remembered.is_ok() {
                tracing::debug!("what is configured is remembered");
            }
            is_new = remembered.is_err();
            match store.look().await {
                Ok(found) => say(&found, &mut said, &metrics),
                Err(error) => tracing::debug!(queue.error = %error, "what is left behind was not looked at"),
            }
            has_changed = tokio::select! {
                Ok(()) = accounts.changed() => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            is_new |= has_changed;
        }
    };
    stop.run_until_cancelled(watching).await;
}

fn say(found: &LeftBehind, said: &mut BTreeSet<Former>, metrics: &Metrics) {
    for (kind, events) in found.by_kind() {
        metrics.left_behind(kind, events);
    }
    for remnant in &found.remnants {
        if !said.contains(&remnant.of) {
            tracing::error!("left behind: {remnant}");
        }
    }
    // What comes back is said again.
    *said = found.remnants.iter().map(|Remnant { of, .. }| of.clone()).collect();
}
