use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use refersion_relay_model::{AccountName, Class};
use refersion_relay_queue::{Conservation, Place, Queue};
use refersion_relay_telemetry::Metrics;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::parts;

const EVERY: Duration = Duration::from_secs(5);
/// Every so many rounds everything is added up. On RabbitMQ that is several round trips for each process.
const ROUNDS_UNTIL_SUM: u64 = 12;

/// Shows in the metrics how much waits where. Nothing is decided by these numbers.
pub(crate) async fn depths(
    queue: Arc<dyn Queue>,
    settings: Settings,
    accounts: watch::Receiver<BTreeSet<AccountName>>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut before: Option<Conservation> = None;
    for round in 1.. {
        tokio::select! {
            () = stop.cancelled() => return,
            () = count(queue.as_ref(), &settings, &accounts, &metrics) => {}
        }
        if round % ROUNDS_UNTIL_SUM == 0 {
            tokio::select! {
                () = stop.cancelled() => return,
                sum = queue.conservation() => before = sum.ok().inspect(|sum| show(sum, before.as_ref(), &metrics)),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// A sum that is not there yet cannot be compared with the one before, and under load it is of several moments.
fn show(sum: &Conservation, before: Option<&Conservation>, metrics: &Metrics) {
    if let Some(before) = before {
        let sum = sum.clone().moving_since(before);
        metrics.conservation(i64::try_from(sum.difference()).unwrap_or(i64::MAX), sum.tolerance.events());
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
