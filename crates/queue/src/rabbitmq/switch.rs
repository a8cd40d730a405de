use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection;
use super::gates::{self, GatePace};
use super::marks::{Marks, lock};
use super::publisher::Publisher;
use super::reader::{RESOURCE_LOCKED, answer, count, is};
use super::seed;
use super::sweep::acknowledge;
use super::topology::Topology;
use super::url::BrokerUrl;
use crate::{Gate, Place, QueueError};

/// With more on the shards nobody tries: working it would take longer than new events should have to wait.
const FEW: u64 = 1_000;
/// More than are ever in a gate: one, or as many as opened it at once.
const SIGNS: u16 = 100;
/// How long what is in a gate may take to come.
const SIGN_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time between a try in vain and the next one. New events wait during each, so there are fewer and fewer.
const LONGEST_REST: Duration = Duration::from_mins(8);
/// Looking takes at most one part in so many of the time: there may be hundreds of shards behind a slow line.
const SHARE: u32 = 20;
/// How often everything is counted while a set is closing.
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// Closes one set of shards after another, each as soon as nothing is left of what has come to it, until the last one is
/// in use; then waits for another one to be. Ends after `stop`.
pub(super) async fn run(
    url: &BrokerUrl,
    publisher: &Publisher,
    works: &(dyn Fn() -> bool + Send + Sync),
    stop: &CancellationToken,
) {
    let (pace, mut shards) = (publisher.gates.pace, publisher.gates.shards());
    let (mut wait, mut rest) = (pace.try_every, pace.rest);
    while stop.run_until_cancelled(sleep(wait.mul_f64(1.0 + rand::random::<f64>() / 2.0))).await.is_some() {
        wait = pace.try_every;
        let was_closing = shards.borrow().draining().is_some_and(|set| set.gate == Gate::Closing);
        let waiting = shards.wait_for(|shards| shards.draining().is_some_and(|set| set.gate == Gate::Open));
        let Some(Ok(set)) = stop.run_until_cancelled(waiting).await.map(|found| found.map(|set| set.draining())) else {
            return;
        };
        let Some(set) = set else { continue };
        if was_closing {
            // Somebody else has tried in vain. Many who try one after another would keep new events from coming in.
            wait = rest;
            rest = LONGEST_REST.min(rest * 2);
            continue;
        }
        let began = Instant::now();
        let is_ripe = works() && is_ripe(publisher, set.count).await;
        wait = wait.max(began.elapsed() * SHARE);
        if !is_ripe {
            continue;
        }
        match attempt(url, publisher, set.count, stop).await {
            Ok(Outcome::Closed) => {}
            Ok(Outcome::Elsewhere) => tracing::debug!(shards = set.count, "another process is closing these shards"),
            Ok(Outcome::InVain) => {
                wait = rest;
                rest = LONGEST_REST.min(rest * 2);
                tracing::info!(shards = set.count, "events were still on the way to these shards: trying again later");
            }
            Err(error) => tracing::debug!(queue.error = %error, "the shards could not be closed"),
        }
    }
}

/// Whether a try is worth it: nothing waits that would not be done in a moment.
async fn is_ripe(publisher: &Publisher, shards: u16) -> bool {
    let Ok(link) = publisher.link() else { return false };
    Found::look(&link.connection, &publisher.topology, shards).await.is_ok_and(Found::is_ripe)
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The set is closed.
    Closed,
    /// Somebody else is at it, or was.
    Elsewhere,
    /// Something did not end in time.
    InVain,
}

async fn attempt(
    url: &BrokerUrl,
    publisher: &Publisher,
    shards: u16,
    stop: &CancellationToken,
) -> Result<Outcome, QueueError> {
    let connection = connection::connect(url, "shards").await.map_err(|error| QueueError::Away(error.to_string()))?;
    let mut sign = None;
    let trying = close(&connection, &publisher.topology, publisher.gates.pace, shards, &mut sign);
    let outcome = stop.run_until_cancelled(trying).await.unwrap_or(Ok(Outcome::InVain));
    // With the connection the consumer goes, and what it was given is back: the set is open again, unless it is closed.
    // Were only the consumer cancelled, as dropping it does, that would be in nobody's hand for a moment.
    connection::close(&connection).await;
    drop(sign);
    outcome
}

/// Everything happens over one connection. As long as the broker has not given it up, the gate is closing for everybody,
/// and nothing that was found empty fills again; afterwards nothing can be written over it.
async fn close(
    connection: &Connection,
    topology: &Topology,
    pace: GatePace,
    shards: u16,
    sign: &mut Option<(Channel, Consumer)>,
) -> Result<Outcome, QueueError> {
    let names = &topology.names;
    let holder = names.gate_holder(shards);
    if Marks::has_one(connection, names, &holder).await? {
        return Ok(Outcome::Elsewhere);
    }
    match lock(connection, names, &holder).await {
        Ok(()) => {}
        Err(error) if is(&error, RESOURCE_LOCKED) => return Ok(Outcome::Elsewhere),
        Err(error) => return Err(error.into()),
    }
    let channel = answer(connection.create_channel()).await?;
    // Whoever was here before may not be quite gone, and may have closed it.
    if gates::look(&channel, names, shards).await? != Some(Gate::Open) {
        return Ok(Outcome::Elsewhere);
    }
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    answer(channel.basic_qos(SIGNS, BasicQosOptions::default())).await?;
    let (gate, options) = (names.gate(shards), BasicConsumeOptions::default());
    let consumer = answer(channel.basic_consume(gate.into(), "".into(), options, FieldTable::default())).await?;
    let (_, consumer) = sign.insert((channel.clone(), consumer));
    let Ok(Some(Ok(first))) = timeout(SIGN_TIMEOUT, consumer.next()).await else { return Ok(Outcome::Elsewhere) };
    let mut last = first.delivery_tag;
    tracing::info!(shards, "closing these shards: new events wait for some seconds");
    // Whoever looked just before this may rely on it for so long.
    sleep(pace.believed + pace.look_every).await;
    if !stays_empty(connection, topology, pace, shards).await? {
        return Ok(Outcome::InVain);
    }
    reopen_last(&channel, topology, shards).await?;
    while let Some(Some(Ok(more))) = consumer.next().now_or_never() {
        last = more.delivery_tag;
    }
    // The set is neither open nor closed for a moment: nothing is published then.
    answer(acknowledge(channel.clone(), last, SIGNS)).await?;
    seed::close(&channel, names, shards).await?;
    tracing::info!(shards, "everything on these shards is done: they are closed");
    Ok(Outcome::Closed)
}

/// Opens the last set, if it was in use before and no other set is open when this one is closed. An error, so that this one
/// is not, where that is not certain: without an open set nothing could be published any more.
async fn reopen_last(channel: &Channel, topology: &Topology, shards: u16) -> Result<(), QueueError> {
    let (names, last) = (&topology.names, topology.shards);
    for other in topology.sets().filter(|other| *other != shards) {
        let gate = gates::look(channel, names, other).await?;
        let gate = gate.ok_or_else(|| QueueError::Away(format!("the gate of {other} shards says nothing")))?;
        if gate != Gate::Closed {
            return Ok(());
        }
    }
    answer(channel.queue_purge(names.closed(last).into(), QueuePurgeOptions::default())).await?;
    Ok(seed::open(channel, names, last).await?)
}

/// Waits until everything has been empty for long enough; `false` when that takes too long, or cannot be.
async fn stays_empty(
    connection: &Connection,
    topology: &Topology,
    pace: GatePace,
    shards: u16,
) -> Result<bool, QueueError> {
    let deadline = Instant::now() + pace.patience;
    let mut empty_since = None;
    loop {
        let began = Instant::now();
        match Found::look(connection, topology, shards).await?.state() {
            State::Empty => {
                if pace.empty_for <= began - *empty_since.get_or_insert(began) {
                    return Ok(true);
                }
            }
            State::Busy => empty_since = None,
            State::Waiting => return Ok(false),
        }
        if deadline <= Instant::now() {
            return Ok(false);
        }
        sleep(COUNT_EVERY.min(pace.look_every)).await;
    }
}

/// What there is of events that are on a set of shards, or can come back to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    /// In tiers and behind held accounts.
    waiting: u64,
    /// On the shards.
    ready: u64,
    /// Of the shards and of the held accounts: each may have events in hand.
    consumers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is anywhere.
    Empty,
    /// Something is being worked.
    Busy,
    /// Something waits, and will for some time.
    Waiting,
}

impl Found {
    /// Counts the tiers first and last: an event goes from them to a shard, and from a shard's worker to them.
    async fn look(connection: &Connection, topology: &Topology, shards: u16) -> Result<Self, QueueError> {
        let mut found = Self::default();
        found.add_tiers(connection, topology).await?;
        for shard in refersion_relay_model::Shard::all(shards) {
            let counted = count(connection, &topology.names.shard(shard)).await?;
            found.ready += counted.ready;
            found.consumers += counted.consumers;
        }
        for account in topology.accounts.get() {
            let counted = count(connection, &topology.names.queue(&Place::Held(account))).await?;
            found.waiting += counted.ready;
            found.consumers += counted.consumers;
        }
        found.add_tiers(connection, topology).await?;
        Ok(found)
    }

    async fn add_tiers(&mut self, connection: &Connection, topology: &Topology) -> Result<(), QueueError> {
        for tier in &topology.tiers {
            self.waiting += count(connection, &topology.names.retry(*tier)).await?.ready;
        }
        Ok(())
    }

    fn is_ripe(self) -> bool {
        self.waiting == 0 && self.ready < FEW
    }

    fn state(self) -> State {
        match self {
            Self { waiting: 1.., .. } => State::Waiting,
            Self { waiting: 0, ready: 0, consumers: 0 } => State::Empty,
            Self { .. } => State::Busy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_nowhere_and_in_nobodys_hand_is_done() {
        assert_eq!(Found::default().state(), State::Empty);
        assert_eq!(Found { consumers: 1, ..Found::default() }.state(), State::Busy);
        assert_eq!(Found { ready: 1, ..Found::default() }.state(), State::Busy);
        assert_eq!(Found { waiting: 1, ready: 1, consumers: 1 }.state(), State::Waiting);
    }

    #[test]
    fn nobody_tries_while_much_is_to_be_done() {
        assert!(Found { ready: FEW - 1, consumers: 8, ..Found::default() }.is_ripe());
        assert!(!Found { ready: FEW, ..Found::default() }.is_ripe());
        assert!(!Found { waiting: 1, ..Found::default() }.is_ripe());
    }
}
