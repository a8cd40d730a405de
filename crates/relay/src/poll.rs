use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use refersion_relay_model::{AccountName, Class};
use refersion_relay_queue::{Place, Queue};
use refersion_relay_telemetry::Metrics;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::parts;

const EVERY: Duration = Duration::from_secs(5);

/// Shows in the metrics how much waits where. Nothing is decided by these numbers.
pub(crate) async fn depths(
    queue: Arc<dyn Queue>,
    settings: Settings,
    accounts: watch::Receiver<BTreeSet<AccountName>>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => return,
            () = count(queue.as_ref(), &settings, &accounts, &metrics) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn count(
    queue: &dyn Queue,
    settings: &Settings,
    accounts: &watch::Receiver<BTreeSet<AccountName>>,
    metrics: &Metrics,
) {
    // What cannot be counted now keeps its last value; that the queue is away is another metric.
    for shard in parts::shards(settings) {
        if let Ok(depth) = queue.depth(&Place::Shard(shard)).await {
            metrics.ready(shard, depth.ready);
        }
    }
    for class in Class::ALL {
        if let Ok(depth) = queue.depth(&Place::Dead(class)).await {
            metrics.dead_letters(class, depth.ready);
        }
    }
    let accounts = accounts.borrow().clone();
    for account in accounts {
        if let Ok(depth) = queue.depth(&Place::Held(account.clone())).await {
            metrics.held(&account, depth.ready);
        }
    }
}
