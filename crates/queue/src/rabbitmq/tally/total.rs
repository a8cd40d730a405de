use std::collections::BTreeSet;
use std::time::Duration;

use lapin::Connection;
use lapin::options::ConfirmSelectOptions;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::counts::Counts;
use super::note::Note;
use super::notes::{last, last_marked, make, store};
use crate::left_behind::Former;
use crate::rabbitmq::history::History;
use crate::rabbitmq::marks::{Marks, lock};
use crate::rabbitmq::names::Names;
use crate::rabbitmq::reader::{Count, RESOURCE_LOCKED, answer, count, is};
use crate::rabbitmq::silence::{Asked, silent};
use crate::rabbitmq::topology::Topology;
use crate::rabbitmq::url::BrokerUrl;
use crate::{Backoff, Conservation, Group, QueueError, Stock, Tolerance};

/// So many slots in a row that are not there mean that there are no more.
const MISSING: u16 = 8;
/// How long another process may be setting the baseline.
const TURN_PATIENCE: Duration = Duration::from_secs(10);

/// What was taken for right at some moment. Everything is told from there on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    number: u64,
    difference: i64,
    uncertain: u64,
    deaths: u64,
    lost: u64,
}

/// What all processes together have stored.
#[derive(Default)]
struct Notes {
    total: Counts,
    in_hand: [u64; Group::ALL.len()],
    deaths: u64,
    lost: u64,
}

/// Adds up what every process has stored, and counts what is on the broker.
pub(crate) async fn sample(connection: &Connection, topology: &Topology) -> Result<Conservation, QueueError> {
    let names = &topology.names;
    let notes = notes(connection, names).await?;
    let baseline = last_baseline(connection, names).await?.unwrap_or_default();
    let history = History::read(connection, topology).await?;
    let mut stocks = Vec::new();
    for group in Group::ALL {
        let mut events = notes.in_hand[group.index()];
        for queue in queues(topology, group, &history) {
            events = events.saturating_add(count(connection, &queue).await?.ready);
        }
        let (entered, left) = (notes.total.entered[group.index()], notes.total.left[group.index()]);
        let difference = i128::from(events) + i128::from(left) - i128::from(entered);
        stocks.push(Stock { group, events, difference: i64::try_from(difference).unwrap_or(i64::MAX) });
    }
    let Counts { accepted, copies, delivered, ignored, dropped, uncertain, .. } = notes.total;
    let tolerance = Tolerance {
        uncertain: uncertain.saturating_sub(baseline.uncertain),
        deaths: notes.deaths.saturating_sub(baseline.deaths),
        lost: notes.lost.saturating_sub(baseline.lost),
        moving: 0,
    };
    let baseline = baseline.difference;
    Ok(Conservation { accepted, copies, delivered, ignored, dropped, stocks, tolerance, baseline })
}

/// Takes the sum as it is now for right.
pub(crate) async fn baseline(url: &BrokerUrl, connection: &Connection, topology: &Topology) -> Result<(), QueueError> {
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    let begin = Instant::now();
    while !has_turn(connection, topology).await? {
        if TURN_PATIENCE <= begin.elapsed() {
            return Err(QueueError::Away("another process is setting the baseline; try again".to_owned()));
        }
        sleep(backoff.next_wait()).await;
    }
    let found = sample(connection, topology).await?;
    write(url, connection, topology, &found).await
}

/// Takes the sum for right if nothing has happened since it was `before`, and the tolerance explains what is missing or too
/// much. The tolerance begins at zero again then. Returns the sum as it was; `None` if it is not the time.
pub(crate) async fn end_tolerance(
    url: &BrokerUrl,
    connection: &Connection,
    topology: &Topology,
    before: &Conservation,
) -> Result<Option<Conservation>, QueueError> {
    if !has_turn(connection, topology).await? || !all_answer(url, connection, topology).await? {
        return Ok(None);
    }
    // Only now, and what is looked at is what is written: somebody else may have done so just before.
    let found = sample(connection, topology).await?;
    if !found.is_settled_since(before) {
        return Ok(None);
    }
    write(url, connection, topology, &found).await?;
    Ok(Some(found))
}

/// Whether this connection is the one that may set a baseline, for as long as it lives.
async fn has_turn(connection: &Connection, topology: &Topology) -> Result<bool, QueueError> {
    let (names, holder) = (&topology.names, topology.names.baseline_holder());
    if Marks::has_one(connection, names, &holder).await? {
        return Ok(false);
    }
    match lock(connection, names, &holder).await {
        Ok(()) => Ok(true),
        // Another one was quicker.
        Err(error) if is(&error, RESOURCE_LOCKED) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether every place tells what is in it: one without a leader counts as empty, and so does one whose letters somebody
/// has in hand.
async fn all_answer(url: &BrokerUrl, connection: &Connection, topology: &Topology) -> Result<bool, QueueError> {
    let history = History::read(connection, topology).await?;
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

async fn write(
    url: &BrokerUrl,
    connection: &Connection,
    topology: &Topology,
    found: &Conservation,
) -> Result<(), QueueError> {
    let names = &topology.names;
    let before = last_baseline(connection, names).await?.unwrap_or_default();
    let difference = found.difference() + i128::from(found.baseline);
    let next = Baseline {
        number: before.number.saturating_add(1),
        difference: i64::try_from(difference).unwrap_or(i64::MAX),
        uncertain: found.tolerance.uncertain.saturating_add(before.uncertain),
        deaths: found.tolerance.deaths.saturating_add(before.deaths),
        lost: found.tolerance.lost.saturating_add(before.lost),
    };
    let queue = names.tally_baseline();
    make(url, connection, topology, &queue).await?;
    let channel = answer(connection.create_channel()).await?;
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    store(&channel, names, &queue, &serde_json::to_vec(&next).expect("numbers are JSON")).await?;
    Ok(answer(channel.close(200, "done".into())).await?)
}

async fn last_baseline(connection: &Connection, names: &Names) -> Result<Option<Baseline>, QueueError> {
    Ok(last(connection, names, &names.tally_baseline(), |baseline: &Baseline| baseline.number).await?)
}

async fn notes(connection: &Connection, names: &Names) -> Result<Notes, QueueError> {
    let mut notes = Notes::default();
    let mut missing = 0;
    let marks = Marks::ask(connection, names).await?;
    for slot in 0.. {
        // Slots are made one after the other and stay, but for one that could not be used.
        if !marks.has(&names.tally(slot)).await? {
            missing += 1;
            if missing == MISSING {
                break;
            }
            continue;
        }
        missing = 0;
        let last = last_marked(connection, names, &names.tally(slot), |note: &Note| note.number).await?;
        let Some(note) = last else { continue };
        let note = if marks.has(&names.tally_holder(slot)).await? { note } else { note.abandoned() };
        notes.total = notes.total.plus(&note.total);
        notes.in_hand = std::array::from_fn(|at| notes.in_hand[at].saturating_add(note.in_hand[at]));
        notes.deaths = notes.deaths.saturating_add(note.deaths);
        notes.lost = notes.lost.saturating_add(note.lost);
    }
    marks.end().await?;
    Ok(notes)
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
