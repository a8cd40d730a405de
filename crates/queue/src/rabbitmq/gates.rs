use std::time::Duration;

use lapin::options::{ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use refersion_relay_telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::link::OpenError;
use super::reader::{Count, answer, exists};
use super::tally::store;
use super::topology::Topology;
use crate::{Gate, QueueError, Shards};

/// The times by which all processes agree on which shards are in use. They have to be the same everywhere, so nobody can
/// configure them; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct GatePace {
    /// How often each process looks at the gates.
    pub look_every: Duration,
    /// How long after the beginning of a look a publish may begin that relies on it.
    pub lease: Duration,
    /// How long after that a confirm is believed. What is confirmed later may have come when the gate was closed already,
    /// so nobody is told that it is stored: it is there and sent again, as after every confirm that did not come.
    pub believed: Duration,
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
            quiet: Duration::from_secs(4),
            empty_for: Duration::from_secs(1),
            patience: Duration::from_secs(8),
            try_every: Duration::from_secs(2),
            rest: Duration::from_secs(30),
        }
    }
}

/// What this process knows of the gates, and since when.
///
/// The gate of a set of shards is a queue. Empty, and without a consumer, it is open; with a consumer, whose process is
/// trying to close it, it is closing; with a message it is closed for ever. So a process that dies while it tries leaves
/// it open, and everybody sees all of it by declaring the queue, which fails at nothing.
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

    /// Makes the gates. That of an older set without any shards is closed at once: there was never anything on it.
    pub(super) async fn prepare(&self, connection: &Connection, topology: &Topology) -> Result<(), OpenError> {
        let away = |error: QueueError| OpenError::Away(error.to_string());
        for count in &topology.drain {
            let was_there = any_shard(connection, topology, *count).await.map_err(away)?;
            let channel = answer(connection.create_channel()).await?;
            let gate = topology.declare_gate(&channel, *count).await?;
            if !was_there && gate.ready == 0 {
                answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
                close(&channel, &topology.names.gate(*count)).await?;
            }
            answer(channel.close(200, "done".into())).await?;
        }
        let channel = answer(connection.create_channel()).await?;
        topology.declare_gate(&channel, topology.shards).await?;
        self.look(&channel, topology).await?;
        answer(channel.close(200, "done".into())).await?;
        self.shards.borrow().given_up().map_or(Ok(()), |why| Err(OpenError::Mismatch(why)))
    }

    /// Looks at the gates again and again. Ends with the reason for which the connection is of no use any more.
    pub(super) async fn watch(&self, connection: &Connection, topology: &Topology, gone: impl Fn()) -> String {
        let mut channel: Option<Channel> = None;
        loop {
            sleep(self.pace.look_every).await;
            // Not bounded in time: a broker that has blocked us answers when it goes on, and nobody relies on an old look.
            let looking = async {
                let open = match channel.take() {
                    Some(open) => open,
                    None => connection.create_channel().await?,
                };
                self.look(&open, topology).await?;
                Ok::<_, lapin::Error>(open)
            };
            match looking.await {
                Ok(open) => channel = Some(open),
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

    async fn look(&self, channel: &Channel, topology: &Topology) -> Result<(), lapin::Error> {
        let began = Instant::now();
        let mut gates = Vec::new();
        for count in topology.sets() {
            gates.push(gate(look(channel, &topology.names.gate(count)).await?));
        }
        let shards = self.shards.borrow().with(gates);
        self.saw(&shards, self.looked_at.borrow().is_none());
        self.looked_at.send_replace(Some(began));
        Ok(())
    }

    /// Says a change once.
    fn saw(&self, shards: &Shards, is_first: bool) {
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

/// What the queue of a gate says.
fn gate(count: Count) -> Gate {
    match count {
        Count { ready: 1.., .. } => Gate::Closed,
        Count { consumers: 1.., .. } => Gate::Closing,
        Count { .. } => Gate::Open,
    }
}

/// Asks for what is in a queue; an error, which closes the channel, if there is none of this name.
pub(super) async fn look(channel: &Channel, queue: &str) -> Result<Count, lapin::Error> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare(queue.into(), options, FieldTable::default()).await?.into())
}

/// Closes a gate for ever, on a channel with confirms.
pub(super) async fn close(channel: &Channel, gate: &str) -> Result<(), lapin::Error> {
    store(channel, gate, b"{}").await
}

async fn any_shard(connection: &Connection, topology: &Topology, count: u16) -> Result<bool, QueueError> {
    for shard in refersion_relay_model::Shard::all(count) {
        if exists(connection, &topology.names.shard(shard)).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Count = Count { ready: 0, consumers: 0 };

    #[test]
    fn a_gate_is_closed_by_a_message_whoever_consumes_it() {
        assert_eq!(gate(OPEN), Gate::Open);
        assert_eq!(gate(Count { consumers: 1, ..OPEN }), Gate::Closing);
        assert_eq!(gate(Count { ready: 1, ..OPEN }), Gate::Closed);
        assert_eq!(gate(Count { ready: 2, consumers: 1 }), Gate::Closed);
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

        gates.looked_at.send_replace(Some(now - pace.lease));
        assert!(gates.lease(Duration::ZERO).await.is_err());
        assert!(!gates.is_fresh());
    }
}
