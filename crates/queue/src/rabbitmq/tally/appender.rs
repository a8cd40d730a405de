use std::sync::Arc;
use std::time::Duration;

use lapin::Connection;
use tokio::sync::{Mutex, SetOnce};
use tokio::time::timeout;

use super::counts::{State, Tally};
use super::fold::{Entry, Step};
use super::journal::{append, is_unrouted};
use crate::rabbitmq::topology::marks::mark;
use crate::rabbitmq::topology::topology::Topology;
use crate::rabbitmq::wire::connection;
use crate::rabbitmq::wire::queue_counts::count;
use crate::rabbitmq::wire::requests::{answer, confirming, io_error};
use crate::rabbitmq::wire::url::BrokerUrl;

/// How long a new publishing connection waits for its process to be in the journal. Then it is used all the same: what is
/// counted is written down as soon as that is possible, and no event waits for it.
const REGISTERS_IN: Duration = Duration::from_secs(5);

/// Appends what this process counts to the journal.
///
/// Over a connection of its own, which has its mark: an alarm blocks one that publishes, and a worker that only delivers goes on
/// without.
pub(crate) struct Appender {
    url: BrokerUrl,
    tally: Arc<Tally>,
    topology: Topology,
    writer: String,
    /// It has registered, or tried to.
    begun: SetOnce<()>,
    progress: Mutex<(Steps, Option<Connection>)>,
}

impl Appender {
    pub(crate) fn new(url: BrokerUrl, tally: Arc<Tally>, topology: Topology) -> Self {
        let writer = format!("{:032x}", rand::random::<u128>());
        Self { url, tally, topology, writer, begun: SetOnce::new(), progress: Mutex::default() }
    }

    /// Has this process in the journal before it moves anything: what one counts that dies before its first entry is missing,
    /// and nobody knows. For a new publishing connection; one that was lost may have been the only one.
    pub(crate) async fn register(&self) {
        let registering = async {
            let is_connected = self.progress.lock().await.1.as_ref().is_some_and(is_connected);
            if is_connected { Ok(()) } else { self.append(false).await.map(drop) }
        };
        match timeout(REGISTERS_IN, registering).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(queue.error = %error, "this process is not in the journal of counts yet"),
            Err(_) => tracing::debug!("this process is not in the journal of counts yet: the broker does not answer"),
        }
        let _ = self.begun.set(()); // it may be the second time
    }

    /// Waits until this process has registered, or has tried to. `false`: the broker was not reached in time.
    pub(crate) async fn has_begun(&self) -> bool {
        timeout(REGISTERS_IN, self.begun.wait()).await.is_ok()
    }

    /// How many movements are not in the journal yet, and the most that one entry has had; `None` when nothing has changed.
    pub(crate) async fn unwritten(&self) -> Option<(u64, u64)> {
        let (steps, connection) = &*self.progress.lock().await;
        let state = self.tally.state();
        let is_written = state == steps.stored && connection.as_ref().is_some_and(is_connected);
        (!is_written).then(|| (state.counts.since(&steps.stored.counts).movements(), steps.largest))
    }

    /// Appends what has changed since the last entry, or the `last` one. What is not known to be stored is repeated first. Returns
    /// how many entries there are in the journal.
    pub(super) async fn append(&self, last: bool) -> Result<u64, lapin::Error> {
        let (steps, connection) = &mut *self.progress.lock().await;
        let appended = self.try_append(steps, connection, last).await;
        // One that the broker has blocked is written to when it goes on, and is this process's mark meanwhile.
        let is_blocked = connection.as_ref().is_some_and(|connection| connection.status().blocked());
        if (last || (appended.is_err() && !is_blocked))
            && let Some(connection) = connection.take()
        {
            connection::close(&connection).await;
        }
        appended
    }

    async fn try_append(
        &self,
        steps: &mut Steps,
        connection: &mut Option<Connection>,
        last: bool,
    ) -> Result<u64, lapin::Error> {
        let connection = match connection {
            Some(connection) if is_connected(connection) => connection,
            _ => connection.insert(self.connect().await?),
        };
        if connection.status().blocked() {
            return Ok(0);
        }
        // What comes late over another channel is no answer to this.
        let channel = confirming(connection).await?;
        loop {
            let step = steps.next(&self.writer, self.tally.state(), last);
            let (is_enough, entry) = (step.last || !last, Entry::Step(Box::new(step)));
            match append(&channel, &self.topology.names, &entry).await {
                // Somebody has deleted the journal, or what binds it.
                Err(error) if is_unrouted(&error) => {
                    self.topology.declare_tally(&channel).await?;
                    append(&channel, &self.topology.names, &entry).await?;
                }
                appended => appended?,
            }
            steps.appended();
            if is_enough {
                break;
            }
        }
        answer(channel.close(200, "done".into())).await?;
        Ok(count(connection, &self.topology.names.tally()).await?.ready)
    }

    async fn connect(&self) -> Result<Connection, lapin::Error> {
        let connection =
            connection::connect_to_publish(&self.url, "tally").await.map_err(|error| io_error(error.to_string()))?;
        let names = &self.topology.names;
        let marked = mark(&connection, names, &names.tally_writer(&self.writer)).await;
        if marked.is_err() {
            connection::close(&connection).await;
        }
        marked.map(|()| connection)
    }
}

fn is_connected(connection: &Connection) -> bool {
    connection.status().connected()
}

/// The steps of one writer, one after the other.
#[derive(Debug, Default)]
pub(super) struct Steps {
    number: u64,
    /// What all entries say that are certainly stored.
    stored: State,
    largest: u64,
    /// What may be stored, and what all entries say then.
    pending: Option<(Step, State)>,
}

impl Steps {
    /// What to append: what is pending, as it is, else what has changed.
    pub(super) fn next(&mut self, writer: &str, state: State, last: bool) -> Step {
        let (step, _) = self.pending.get_or_insert_with(|| {
            let counts = state.counts.since(&self.stored.counts);
            self.largest = self.largest.max(counts.movements());
            let (number, largest) = (self.number, self.largest);
            (Step { writer: writer.to_owned(), number, counts, in_hand: state.in_hand, largest, last }, state)
        });
        step.clone()
    }

    /// What was to be appended is stored.
    pub(super) fn appended(&mut self) {
        if let Some((step, state)) = self.pending.take() {
            (self.number, self.stored) = (step.number + 1, state);
        }
    }
}
