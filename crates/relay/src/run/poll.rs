use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use refersion_relay_model::{AccountName, Class};
use refersion_relay_queue::{Conservation, Place, Queue};
use refersion_relay_telemetry::Metrics;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{QueueUrl, Settings};
use crate::run::queue_files::QueueFiles;

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
    let mut files = match &settings.queue_url {
        QueueUrl::Sqlite(path) => Some(QueueFiles::new(path.clone())),
        QueueUrl::RabbitMq(_) => None,
    };
    let mut before: Option<Conservation> = None;
    let mut counted = BTreeSet::new();
    for round in 1.. {
        let configured = accounts.borrow().clone();
        // What waits for an account that has gone is left behind, and shown as that.
        for gone in counted.difference(&configured) {
            metrics.ready_is_gone(gone);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = count(queue.as_ref(), &settings, &configured, &metrics) => {}
        }
        counted = configured;
        if let Some(files) = &mut files {
            files.show(&metrics).await;
        }
        if round % ROUNDS_UNTIL_SUM == 0 {
            tokio::select! {
                () = stop.cancelled() => return,
                sum = queue.conservation() => {
                    let now = sum.ok().inspect(|sum| show(sum, before.as_ref(), is_embedded(&settings), &metrics));
                    if let (Some(before), Some(now)) = (&before, &now) {
                        end_tolerance(queue.as_ref(), before, now).await;
                    }
                    before = now;
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// A sum of a broker is of several moments under load, so it takes one from before to compare it with.
fn show(sum: &Conservation, before: Option<&Conservation>, is_exact: bool, metrics: &Metrics) {
    let sum = if is_exact { Some(sum.clone()) } else { before.map(|before| sum.clone().moving_since(before)) };
    if let Some(sum) = sum {
        let difference = i64::try_from(sum.difference()).unwrap_or(i64::MAX);
        metrics.conservation(difference, sum.tolerance.events(), sum.tolerance.moving);
    }
}

/// What died or was cut off widens the tolerance, in which later losses would hide. When a whole minute passes without
/// anything, what is missing or too much is known exactly, and explained by that.
async fn end_tolerance(queue: &dyn Queue, before: &Conservation, now: &Conservation) {
    if !now.is_settled_since(before) {
        return;
    }
    match queue.end_tolerance(now).await {
        Ok(Some(sum)) => {
            let difference = sum.difference();
            let said = format!(
                "conservation: nothing has moved for a minute, and the difference is {difference:+} events; by {} it is \
                 explained, and taken for right: the tolerance of {} has ended",
                sum.tolerance,
                sum.tolerance.events(),
            );
            if difference == 0 {
                tracing::info!("{said}");
            } else {
                tracing::warn!("{said}");
            }
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(queue.error = %error, "the tolerance of conservation could not be ended"),
    }
}

fn is_embedded(settings: &Settings) -> bool {
    matches!(settings.queue_url, QueueUrl::Sqlite(_))
}

async fn count(queue: &dyn Queue, settings: &Settings, accounts: &BTreeSet<AccountName>, metrics: &Metrics) {
    // What cannot be counted now keeps its last value; that the queue is away is another metric.
    for account in accounts {
        if let Ok(depth) = queue.depth(&Place::Work(account.clone())).await {
            metrics.ready(account, depth.ready);
            if is_embedded(settings) {
                metrics.oldest(account, depth.oldest);
            }
        }
    }
    // A tier has the events of all accounts.
    if let Some(account) = accounts.first() {
        for tier in &settings.retry.tiers {
            if let Ok(depth) = queue.depth(&Place::Later(account.clone(), *tier)).await {
                let delay = humantime::format_duration(*tier).to_string().replace(' ', "");
                metrics.retrying(&delay, depth.ready);
            }
        }
    }
    for class in Class::ALL {
        if let Ok(depth) = queue.depth(&Place::Dead(class)).await {
            metrics.dead_letters(class, depth.ready);
        }
    }
}
