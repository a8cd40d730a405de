use std::collections::BTreeSet;

use super::counts::Counts;
use super::fold::{Baseline, Entry};
use super::journal::Journal;
use crate::port::left_behind::Former;
use crate::rabbitmq::topology::history::History;
use crate::rabbitmq::topology::topology::Topology;
use crate::rabbitmq::wire::queue_counts::{Count, count};
use crate::rabbitmq::wire::silence::{Asked, silent};
use crate::rabbitmq::wire::url::BrokerUrl;
use crate::{Conservation, Group, QueueError, Stock, Tolerance};

/// Adds up what every process has counted, and counts what is on the broker.
pub(crate) async fn sample(journal: &Journal, topology: &Topology) -> Result<Conservation, QueueError> {
    let (sum, history) = (journal.now(), History::of(&journal.sum, topology));
    let (in_hand, baseline) = (sum.in_hand(), sum.baseline);
    let Counts { accepted, copies, delivered, ignored, dropped, uncertain, entered, left } = sum.counts;
    let mut stocks = Vec::new();
    for group in Group::ALL {
        let mut events = in_hand[group.index()];
        for queue in queues(topology, group, &history) {
            events = events.saturating_add(count(&journal.connection, &queue).await?.ready);
        }
        let difference = i128::from(events) + i128::from(left[group.index()]) - i128::from(entered[group.index()]);
        stocks.push(Stock { group, events, difference: i64::try_from(difference).unwrap_or(i64::MAX) });
    }
    let tolerance = Tolerance {
        uncertain: uncertain.saturating_sub(baseline.uncertain),
        deaths: sum.deaths.saturating_sub(baseline.deaths),
        lost: sum.lost.saturating_sub(baseline.lost),
        moving: 0,
    };
    let baseline = baseline.difference;
    Ok(Conservation { accepted, copies, delivered, ignored, dropped, stocks, tolerance, baseline })
}

/// Takes the sum as it is now for right.
pub(crate) async fn baseline(journal: &Journal, topology: &Topology) -> Result<(), QueueError> {
    let found = sample(journal, topology).await?;
    rebase(journal, &found).await
}

/// Takes the sum for right if nothing has happened since it was `before`, and the tolerance explains what is missing or too
/// much. The tolerance begins at zero again then. Returns the sum as it was; `None` if it is not the time.
pub(crate) async fn end_tolerance(
    url: &BrokerUrl,
    journal: &Journal,
    topology: &Topology,
    before: &Conservation,
) -> Result<Option<Conservation>, QueueError> {
    if !all_answer(url, journal, topology).await? {
        return Ok(None);
    }
    // What is looked at is what is written: somebody else may have done so just before.
    let found = sample(journal, topology).await?;
    if !found.is_settled_since(before) {
        return Ok(None);
    }
    rebase(journal, &found).await?;
    Ok(Some(found))
}

/// Whether every place tells what is in it: one without a leader counts as empty, and so does one whose letters somebody
/// has in hand.
async fn all_answer(url: &BrokerUrl, journal: &Journal, topology: &Topology) -> Result<bool, QueueError> {
    let (connection, history) = (&journal.connection, History::of(&journal.sum, topology));
    let mut uncertain = Vec::new();
    for group in Group::ALL {
        for queue in queues(topology, group, &history) {
            let Count { ready, consumers } = count(connection, &queue).await?;
            if 0 < consumers && matches!(group, Group::Dead(_)) {
                return Ok(false);
            }
            if ready == 0 && consumers == 0 {
                let is_single_active = topology.names.is_worked(&queue);
                uncertain.push(Asked { name: queue, is_single_active });
            }
        }
    }
    Ok(silent(url, connection, uncertain.into_iter()).await.is_empty())
}

async fn rebase(journal: &Journal, found: &Conservation) -> Result<(), QueueError> {
    let before = journal.sum.baseline;
    let difference = found.difference() + i128::from(found.baseline);
    let next = Baseline {
        number: before.number.saturating_add(1),
        difference: i64::try_from(difference).unwrap_or(i64::MAX),
        uncertain: found.tolerance.uncertain.saturating_add(before.uncertain),
        deaths: found.tolerance.deaths.saturating_add(before.deaths),
        lost: found.tolerance.lost.saturating_add(before.lost),
    };
    Ok(journal.append(&Entry::Baseline(next)).await?)
}

/// Every queue of a kind, those of what is not configured any more among them.
fn queues(topology: &Topology, group: Group, history: &History) -> BTreeSet<String> {
    let names = &topology.names;
    let former = history.queues(names).filter(|(former, _)| match former {
        Former::Account(_) | Former::Tier(_) => group == Group::Work,
        Former::Prefix(_) | Former::Place(_) => false,
    });
    let former = former.flat_map(|(_, queues)| queues);
    let configured: Vec<_> = match group {
        Group::Work => {
            let accounts = topology.accounts.get().into_iter().map(|account| names.work(&account));
            accounts.chain(topology.tiers.iter().map(|tier| names.retry(*tier))).collect()
        }
        Group::Dead(class) => vec![names.dead(class)],
    };
    former.chain(configured).collect()
}
