use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::counts::{State, Tally};
use super::fold::{Entry, Step};
use super::journal::{append, is_unrouted};
use crate::rabbitmq::marks::mark;
use crate::rabbitmq::reader::answer;
use crate::rabbitmq::topology::Topology;

/// How long a new publishing connection waits for its entry. Without it, it is used all the same: what is counted is written
/// down as soon as that is possible, and no event waits for it.
const REGISTERS_IN: Duration = Duration::from_secs(5);

/// Appends what this process counts to the journal, over the publishing connection of the moment.
pub(crate) struct Appender {
    tally: Arc<Tally>,
    topology: Topology,
    writer: String,
    has_begun: AtomicBool,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    steps: Steps,
    /// Of the publishing connection, and for nothing else.
    channel: Option<Channel>,
    /// Whether something was appended over that connection.
    is_registered: bool,
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
    pub(crate) fn new(tally: Arc<Tally>, topology: Topology) -> Self {
        let writer = format!("{:032x}", rand::random::<u128>());
        Self { tally, topology, writer, has_begun: AtomicBool::new(false), progress: Mutex::default() }
    }

    /// Whether this process has said that it is there.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// Says over a new publishing connection that this process is there: by a mark, and by an entry, so that its end is known.
    pub(crate) async fn register(&self, connection: &Connection) -> Result<(), lapin::Error> {
        let names = &self.topology.names;
        mark(connection, names, &names.tally_writer(&self.writer)).await?;
        let appending = async {
            // Something may be on its way still over the connection before.
            let mut progress = self.progress.lock().await;
            (progress.channel, progress.is_registered) = (None, false);
            self.advance(&mut progress, connection, false).await
        };
        match timeout(REGISTERS_IN, appending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(queue.error = %error, "this process is not registered yet"),
            Err(_) => tracing::debug!("this process is not registered yet: the broker does not answer"),
        }
        self.has_begun.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Appends what has changed since the last entry. One that is not known to be stored is repeated first.
    pub(super) async fn append(&self, connection: &Connection) -> Result<(), lapin::Error> {
        self.advance(&mut *self.progress.lock().await, connection, false).await
    }

    /// Appends the last entry.
    pub(super) async fn append_last(&self, connection: &Connection) -> Result<(), lapin::Error> {
        self.advance(&mut *self.progress.lock().await, connection, true).await
    }

    pub(super) fn waiting(&self) -> Waiting {
        let Ok(progress) = self.progress.try_lock() else { return Waiting::Unknown };
        let (state, stored) = (self.tally.state(), &progress.steps.stored);
        if state == *stored && progress.is_registered {
            Waiting::Nothing
        } else {
            Waiting::Movements(state.counts.since(&stored.counts).movements())
        }
    }

    async fn advance(&self, progress: &mut Progress, connection: &Connection, last: bool) -> Result<(), lapin::Error> {
        loop {
            let step = progress.steps.next(&self.writer, self.tally.state(), last);
            let is_last_of_all = step.last;
            let entry = Entry::Step(step.clone());
            // Back only if all went well: what comes later over another one is no answer to the next entry.
            let channel = match progress.channel.take().filter(|channel| channel.status().connected()) {
                Some(channel) => channel,
                None => open(connection).await?,
            };
            match append(&channel, &self.topology.names, &entry).await {
                Err(error) if is_unrouted(&error) => {
                    self.topology.declare_tally(&channel).await?;
                    append(&channel, &self.topology.names, &entry).await?;
                }
                appended => appended?,
            }
            progress.steps.appended();
            (progress.channel, progress.is_registered) = (Some(channel), true);
            if is_last_of_all || !last {
                return Ok(());
            }
        }
    }
}

async fn open(connection: &Connection) -> Result<Channel, lapin::Error> {
    let channel = answer(connection.create_channel()).await?;
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
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
    pub(super) fn next(&mut self, writer: &str, state: State, last: bool) -> &Step {
        let (step, _) = self.pending.get_or_insert_with(|| {
            let counts = state.counts.since(&self.stored.counts);
            self.largest = self.largest.max(counts.movements());
            let State { in_hand, .. } = state;
            let step = Step {
                writer: writer.to_owned(),
                number: self.number,
                counts,
                in_hand,
                largest_step: self.largest,
                last,
            };
            (step, state)
        });
        step
    }

    /// What was to be appended is stored.
    pub(super) fn appended(&mut self) {
        if let Some((step, state)) = self.pending.take() {
            (self.number, self.stored) = (step.number + 1, state);
        }
    }
}
