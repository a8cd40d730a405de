use std::sync::Arc;
use std::time::Duration;

use lapin::{Channel, Connection};
use tokio::sync::{Mutex, SetOnce};
use tokio::time::timeout;

use super::counts::{State, Tally};
use super::fold::{Entry, Step};
use super::journal::{append, is_unrouted};
use crate::rabbitmq::connection;
use crate::rabbitmq::marks::mark;
use crate::rabbitmq::reader::{confirming, io_error};
use crate::rabbitmq::topology::Topology;
use crate::rabbitmq::url::BrokerUrl;

/// How long a new publishing connection waits for its process to be in the journal. Then it is used all the same: what is
/// counted is written down as soon as that is possible, and no event waits for it.
const REGISTERS_IN: Duration = Duration::from_secs(5);

/// Appends what this process counts to the journal.
///
/// Over a connection of its own: an alarm blocks one that publishes, and a worker that only delivers goes on without.
pub(crate) struct Appender {
    url: BrokerUrl,
    tally: Arc<Tally>,
    topology: Topology,
    writer: String,
    /// It has registered, or tried to.
    begun: SetOnce<()>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    steps: Steps,
    line: Option<Line>,
}

/// A connection with this process's mark.
struct Line {
    connection: Connection,
    /// For entries, and nothing else. `None` after a failure: what comes later is no answer to the next one.
    channel: Option<Channel>,
}

/// What is not in the journal yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// An entry is just being appended.
    Unknown,
    Nothing,
    /// Something has changed, by so many movements.
    Movements(u64),
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
            let mut progress = self.progress.lock().await;
            if progress.line.as_ref().is_some_and(Line::is_connected) {
                Ok(())
            } else {
                self.advance(&mut progress, false).await
            }
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

    /// Appends what has changed since the last entry. One that is not known to be stored is repeated first.
    pub(super) async fn append(&self) -> Result<(), lapin::Error> {
        self.advance(&mut *self.progress.lock().await, false).await
    }

    /// Appends the last entry. After it there is no connection any more.
    pub(super) async fn append_last(&self) -> Result<(), lapin::Error> {
        let mut progress = self.progress.lock().await;
        self.advance(&mut progress, true).await?;
        progress.leave().await;
        Ok(())
    }

    pub(super) fn waiting(&self) -> Waiting {
        let Ok(progress) = self.progress.try_lock() else { return Waiting::Unknown };
        let (state, stored) = (self.tally.state(), &progress.steps.stored);
        if state == *stored && progress.line.as_ref().is_some_and(Line::is_connected) {
            Waiting::Nothing
        } else {
            Waiting::Movements(state.counts.since(&stored.counts).movements())
        }
    }

    async fn advance(&self, progress: &mut Progress, last: bool) -> Result<(), lapin::Error> {
        let advanced = self.try_advance(progress, last).await;
        // One that the broker has blocked is written to when it goes on, and is this process's mark meanwhile.
        if advanced.is_err() && !progress.line.as_ref().is_some_and(Line::is_blocked) {
            progress.leave().await;
        }
        advanced
    }

    async fn try_advance(&self, progress: &mut Progress, last: bool) -> Result<(), lapin::Error> {
        loop {
            if !progress.line.as_ref().is_some_and(Line::is_connected) {
                progress.line = Some(self.connect().await?);
            }
            let Progress { steps, line: Some(line) } = progress else { return Ok(()) };
            if line.is_blocked() {
                return Ok(());
            }
            let step = steps.next(&self.writer, self.tally.state(), last);
            let is_enough = step.last || !last;
            line.append(&self.topology, &Entry::Step(Box::new(step))).await?;
            steps.appended();
            if is_enough {
                return Ok(());
            }
        }
    }

    async fn connect(&self) -> Result<Line, lapin::Error> {
        let connection = connection::connect(&self.url, "tally").await.map_err(|error| io_error(error.to_string()))?;
        let names = &self.topology.names;
        match mark(&connection, names, &names.tally_writer(&self.writer)).await {
            Ok(()) => Ok(Line { connection, channel: None }),
            Err(error) => {
                connection::close(&connection).await;
                Err(error)
            }
        }
    }
}

impl Progress {
    async fn leave(&mut self) {
        if let Some(line) = self.line.take() {
            connection::close(&line.connection).await;
        }
    }
}

impl Line {
    fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    fn is_blocked(&self) -> bool {
        self.is_connected() && self.connection.status().blocked()
    }

    async fn append(&mut self, topology: &Topology, entry: &Entry) -> Result<(), lapin::Error> {
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => confirming(&self.connection).await?,
        };
        match append(&channel, &topology.names, entry).await {
            // Somebody has deleted the journal, or what binds it.
            Err(error) if is_unrouted(&error) => {
                topology.declare_tally(&channel).await?;
                append(&channel, &topology.names, entry).await?;
            }
            appended => appended?,
        }
        self.channel = Some(channel);
        Ok(())
    }
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
            let State { in_hand, .. } = state;
            let step =
                Step { writer: writer.to_owned(), number: self.number, counts, in_hand, largest: self.largest, last };
            (step, state)
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
