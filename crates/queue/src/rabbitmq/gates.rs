use std::collections::HashMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use refersion_relay_model::Shard;
use refersion_relay_telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::cause::Cause;
use super::link::OpenError;
use super::marks::mark;
use super::names::Names;
use super::reader::{Count, answer, exists, silence_of};
use super::seed;
use super::silence::{Asked, SILENT_AFTER, is_silent};
use super::topology::Topology;
use super::url::BrokerUrl;
use crate::{Gate, Shards};

/// The times by which all processes agree on which shards are in use. They have to be the same everywhere, so nobody can
/// configure them; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct GatePace {
    /// How often each process looks at the gates.
    pub look_every: Duration,
    /// How long after the beginning of a look a publish may begin that relies on it.
    pub lease: Duration,
    /// How long after that a confirm is believed by itself. What is confirmed later may have come when the gate was closed
    /// already, so it takes one more look before anybody is told that it is stored.
    pub believed: Duration,
    /// After how long the connection is given up over a gate that says nothing: somebody may have deleted what was in it.
    pub unknown_for: Duration,
    /// How long nothing has to be on a shard of a closing set before its worker gives it up. Longer than a lease and the
    /// time between two looks: nothing new comes any more.
    pub quiet: Duration,
    /// How long everything has to be found empty. Longer than an event needs from a tier to its shard: the broker counts
    /// it nowhere on the way.
    pub empty_for: Duration,
    /// How long a set may be closing after the last confirm that is believed. Nothing new is taken meanwhile.
    pub patience: Duration,
    /// How often it is looked at whether a try would do.
    pub try_every: Duration,
    /// The time between a try in vain and the next one, at least; twice as long each time.
    pub rest: Duration,
}

impl Default for GatePace {
    fn default() -> Self {
        Self {
            look_every: Duration::from_secs(1),
            lease: Duration::from_secs(3),
            believed: Duration::from_secs(5),
            unknown_for: Duration::from_secs(10),
            quiet: Duration::from_secs(4),
            empty_for: Duration::from_secs(1),
            patience: Duration::from_secs(8),
            try_every: Duration::from_secs(2),
            rest: Duration::from_secs(30),
        }
    }
}

/// How many shards are asked for at a time.
const ASKED: usize = 32;
/// How long it may take until it is known which shards are in use. Each answer has its own bound.
const PREPARED_IN: Duration = Duration::from_secs(5);
/// How soon a gate is looked at again that says nothing.
const AGAIN: Duration = Duration::from_millis(50);

/// What this process knows of the gates, and since when.
///
/// The gate of a set of shards is a queue with a message in it, which lies there as long as the set is open. Somebody who tries
/// to close the set has the message in hand, so that it is back when his process dies; to close it he puts it away, and leaves
/// another one in a second queue. So each state shows as something that is there: of a quorum queue whose leader does not
/// answer within 250 ms a broker says that it is empty, and has no consumers either.
pub(crate) struct Gates {
    pub(crate) pace: GatePace,
    shards: watch::Sender<Shards>,
    looked_at: watch::Sender<Option<Instant>>,
    metrics: Metrics,
}

/// The right to publish new events to a set of shards, by what was seen a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// How many shards are in use.
    pub(crate) shards: u16,
    looked_at: Instant,
    believed: Duration,
}

impl Lease {
    /// Whether a confirm that comes now came in time.
    pub(crate) fn is_believed(&self, now: Instant) -> bool {
        now < self.looked_at + self.believed
    }
}

impl Gates {
    pub(crate) fn new(shards: Shards, pace: GatePace, metrics: Metrics) -> Self {
        Self { pace, shards: watch::Sender::new(shards), looked_at: watch::Sender::new(None), metrics }
    }

    pub(crate) fn shards(&self) -> watch::Receiver<Shards> {
        self.shards.subscribe()
    }

    /// Waits until it is known which shards are in use, at most for so long. An error where none takes new events.
    pub(crate) async fn lease(&self, patience: Duration) -> Result<Lease, String> {
        if !self.is_fresh() {
            let mut looked_at = self.looked_at.subscribe();
            let _ = timeout(patience, looked_at.wait_for(|at| self.relies_on(*at).is_some())).await;
        }
        let unknown = || "the broker does not say which shards are in use".to_owned();
        let looked_at = self.relies_on(*self.looked_at.borrow()).ok_or_else(unknown)?;
        // What is known by now is no older than that.
        let shards = self.shards.borrow().grant()?;
        Ok(Lease { shards, looked_at, believed: self.pace.believed })
    }

    /// Whether something that was published under a lease and is confirmed by now may be taken for stored there. A broker can
    /// take its time: what comes late counts if a look that begins now finds the same set open.
    pub(crate) async fn vouch(&self, lease: Lease, patience: Duration) -> bool {
        let now = Instant::now();
        if lease.is_believed(now) {
            return true;
        }
        let mut looked_at = self.looked_at.subscribe();
        let looked = timeout(patience, looked_at.wait_for(|at| at.is_some_and(|at| now <= at))).await;
        let found = looked.is_ok_and(|found| found.is_ok());
        found && self.shards.borrow().grant() == Ok(lease.shards)
    }

    /// Whether it is known which shards are in use.
    pub(crate) fn is_fresh(&self) -> bool {
        self.relies_on(*self.looked_at.borrow()).is_some()
    }

    /// When a look began, if a publish that begins now may rely on it.
    fn relies_on(&self, looked_at: Option<Instant>) -> Option<Instant> {
        looked_at.filter(|at| at.elapsed() < self.pace.lease)
    }

    /// Waits until there is a set that takes new events, as far as is known.
    pub(crate) async fn until_open(&self) {
        let open = |shards: &Shards| shards.in_use().is_some_and(|set| set.gate == Gate::Open);
        // The sender is this one.
        let _ = self.shards.subscribe().wait_for(open).await;
    }

    /// Makes the gates, and begins with what they say.
    pub(super) async fn prepare(
        &self,
        url: &BrokerUrl,
        connection: &Connection,
        topology: &Topology,
    ) -> Result<(), OpenError> {
        let channel = answer(connection.create_channel()).await?;
        topology.declare_gates(&channel).await?;
        let mut were_used = HashMap::new();
        let (since, mut why) = (Instant::now(), "the broker does not say which shards are in use".to_owned());
        loop {
            let began = Instant::now();
            let seen = see(&channel, topology).await?;
            let are_known = seen.iter().all(Option::is_some);
            if are_known && self.saw(&seen, began) {
                break;
            }
            for (count, _) in topology.sets().zip(&seen).filter(|(_, seen)| seen.is_none()) {
                let was_used = match were_used.get(&count) {
                    Some(was_used) => *was_used,
                    None => count == topology.shards || any_shard(connection, topology, count).await?,
                };
                were_used.insert(count, was_used);
                if let Err(error) = seed::begin(url, &topology.names, count, was_used).await {
                    tracing::debug!(queue.error = %error, "the gate of {count} shards is not known");
                    why = Cause::of(&error).to_string();
                }
            }
            sleep(AGAIN).await;
            let began = Instant::now();
            if self.saw(&see(&channel, topology).await?, began) {
                break;
            }
            if PREPARED_IN <= since.elapsed() {
                // Who asked before may be stuck with that: RabbitMQ 4 takes a minute to say that a queue has no leader.
                let silent = silent_gate(url, topology).await;
                return Err(OpenError::Away(silent.map_or(why, |queue| Cause::of(&silence_of(&queue)).to_string())));
            }
        }
        answer(channel.close(200, "done".into())).await?;
        self.shards.borrow().given_up().map_or(Ok(()), |why| Err(OpenError::Mismatch(why)))
    }

    /// Looks at the gates again and again. Ends with the reason for which the connection is of no use any more.
    pub(super) async fn watch(&self, connection: &Connection, topology: &Topology, gone: impl Fn()) -> String {
        let mut channel: Option<Channel> = None;
        let mut unknown_since = None;
        let since = Instant::now();
        let mut are_marked = false;
        loop {
            sleep(self.pace.look_every).await;
            // Not bounded in time: a broker that has blocked us answers when it goes on, and nobody relies on an old look.
            let looking = async {
                let open = match channel.take() {
                    Some(open) => open,
                    None => connection.create_channel().await?,
                };
                let began = Instant::now();
                let seen = see(&open, topology).await?;
                let is_known = self.saw(&seen, began);
                if !are_marked && topology.settles_in <= since.elapsed() && seen.iter().all(Option::is_some) {
                    are_marked = true; // once: what cannot be marked is no reason to give up what works
                    for queue in topology.gate_names() {
                        mark(&open, &topology.names, &queue).await?;
                    }
                }
                Ok::<_, lapin::Error>((open, is_known))
            };
            match looking.await {
                Ok((open, true)) => {
                    channel = Some(open);
                    unknown_since = None;
                }
                Ok((open, false)) => {
                    channel = Some(open);
                    if self.pace.unknown_for <= unknown_since.get_or_insert_with(Instant::now).elapsed() {
                        return "the broker does not say which shards are in use".to_owned();
                    }
                }
                Err(error) => {
                    // Somebody has deleted a gate, or the connection is lost, which others say.
                    tracing::debug!(queue.error = %error, "the gates of the shards could not be looked at");
                    gone();
                }
            }
            if let Some(why) = self.shards.borrow().given_up() {
                return why;
            }
        }
    }

    /// Remembers what was seen from `began` on; `false`: that does not say which set is in use.
    fn saw(&self, seen: &[Option<Gate>], began: Instant) -> bool {
        let concluded = conclude(&self.shards.borrow(), seen);
        let Some(shards) = concluded else { return false };
        let is_first = self.looked_at.borrow().is_none();
        self.say(&shards, is_first);
        self.looked_at.send_replace(Some(began));
        true
    }

    /// Says a change once.
    fn say(&self, shards: &Shards, is_first: bool) {
        let in_use = shards.in_use().map(|set| set.count);
        for set in shards.sets() {
            self.metrics.shards_in_use(set.count, in_use == Some(set.count));
        }
        let before = self.shards.send_replace(shards.clone());
        if before.in_use() != shards.in_use() || (is_first && 1 < shards.sets().len()) {
            tracing::info!("{shards}");
        }
        if shards.draining().is_none() && (before.draining().is_some() || is_first) && 1 < shards.sets().len() {
            tracing::info!("the older shards are drained: queue.drain is not needed any more");
        }
    }
}

/// What is known after a look. `None`: of the set that is next in the order of use nothing was seen.
fn conclude(before: &Shards, seen: &[Option<Gate>]) -> Option<Shards> {
    (*seen.iter().find(|gate| **gate != Some(Gate::Closed)).unwrap_or(&Some(Gate::Closed)))?;
    let gates = before.sets().iter().zip(seen).map(|(set, seen)| seen.unwrap_or(set.gate));
    Some(before.with(gates))
}

/// A gate that answers nobody, if there is one.
async fn silent_gate(url: &BrokerUrl, topology: &Topology) -> Option<String> {
    for name in topology.gate_names() {
        let asked = Asked { name, is_single_active: false };
        if is_silent(url, &asked, SILENT_AFTER).await.unwrap_or(false) {
            return Some(asked.name);
        }
    }
    None
}

async fn see(channel: &Channel, topology: &Topology) -> Result<Vec<Option<Gate>>, lapin::Error> {
    let mut seen = Vec::new();
    for count in topology.sets() {
        seen.push(look(channel, &topology.names, count).await?);
    }
    Ok(seen)
}

/// Looks at the gate of a set of shards; `None` when nothing is to be seen. An error, which closes the channel, if there is no gate.
pub(super) async fn look(channel: &Channel, names: &Names, shards: u16) -> Result<Option<Gate>, lapin::Error> {
    let count = async |queue: String| {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
        Ok::<_, lapin::Error>(Count::from(queue))
    };
    Ok(match count(names.gate(shards)).await? {
        Count { consumers: 1.., .. } => Some(Gate::Closing),
        Count { ready: 1.., .. } => Some(Gate::Open),
        Count { .. } => (0 < count(names.closed(shards)).await?.ready).then_some(Gate::Closed),
    })
}

/// Whether a set of shards was ever there. Many are asked for at a time: there may be a thousand, behind a slow line.
async fn any_shard(connection: &Connection, topology: &Topology, count: u16) -> Result<bool, OpenError> {
    let names: Vec<_> = Shard::all(count).map(|shard| topology.names.shard(shard)).collect();
    let asked = stream::iter(names).map(async |name| exists(connection, &name).await).buffer_unordered(ASKED);
    let answers: Vec<bool> = asked.try_collect().await?;
    Ok(answers.contains(&true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_decides_nothing() {
        use Gate::{Closed, Closing, Open};
        let before = Shards::new(&[2], 3).with([Open, Closed]);
        let concluded = |seen| conclude(&before, seen).map(|shards| [shards.sets()[0].gate, shards.sets()[1].gate]);
        assert_eq!(concluded(&[Some(Closing), Some(Open)]), Some([Closing, Open]));
        assert_eq!(concluded(&[Some(Closing), None]), Some([Closing, Closed]), "as it was known before");
        assert_eq!(concluded(&[Some(Closed), Some(Closed)]), Some([Closed, Closed]));
        assert_eq!(concluded(&[None, Some(Open)]), None);
        assert_eq!(concluded(&[Some(Closed), None]), None);
    }

    #[tokio::test]
    async fn a_lease_ends_with_the_look_it_comes_from() {
        let pace = GatePace::default();
        let gates = Gates::new(Shards::new(&[2], 3), pace, Metrics::new());
        assert!(gates.lease(Duration::ZERO).await.unwrap_err().contains("does not say"), "never looked");
        assert!(!gates.is_fresh());

        let now = Instant::now();
        gates.looked_at.send_replace(Some(now));
        let lease = gates.lease(Duration::ZERO).await.unwrap();
        assert_eq!((lease.shards, gates.is_fresh()), (2, true));
        assert!(lease.is_believed(now + pace.believed - Duration::from_millis(1)));
        assert!(!lease.is_believed(now + pace.believed), "by then everybody who looked earlier has ended");

        assert!(gates.vouch(lease, Duration::ZERO).await);
        let late = Lease { looked_at: now - pace.believed, ..lease };
        assert!(!gates.vouch(late, Duration::ZERO).await, "nobody has looked since");
        for (gate, vouched) in [(Gate::Open, true), (Gate::Closing, false), (Gate::Closed, false)] {
            let look = async {
                gates.shards.send_replace(Shards::new(&[2], 3).with([gate, Gate::Open]));
                gates.looked_at.send_replace(Some(Instant::now()));
            };
            let (found, ()) = tokio::join!(gates.vouch(late, Duration::from_secs(5)), look);
            assert_eq!(found, vouched, "{gate:?}");
        }

        gates.looked_at.send_replace(Some(now - pace.lease));
        assert!(gates.lease(Duration::ZERO).await.is_err());
        assert!(!gates.is_fresh());
    }
}
