use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::Connection;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::counts::Counts;
use super::ledger::State;
use super::slot::{Slot, is_at_fault};
use crate::rabbitmq::connection;
use crate::rabbitmq::publisher::Publisher;
use crate::rabbitmq::reader::{NOT_FOUND, is, is_silence};
use crate::rabbitmq::url::BrokerUrl;

/// How often what was counted is stored, if anything was.
const EVERY: Duration = Duration::from_secs(3);
/// So many movements are stored sooner. What is not stored is missing when the process dies, and the first note is what its
/// death is known by.
const MANY: u64 = 50;
/// How often it is looked at whether there are so many.
const LOOK: Duration = Duration::from_millis(100);
/// The least time between two notes.
const PAUSE: Duration = Duration::from_millis(300);
/// How often a slot is opened for one note: again when it turns out that another note should have been gone on from.
const TRIES: usize = 2;
/// So many failures in a row are told. A missing right, say, is mended by nobody who does not hear of it.
const SAID_AFTER: u32 = 3;
/// How long a slot is left alone that did not work. It can have been the broker that was slow.
const AVOID_FOR: Duration = Duration::from_mins(1);

/// Stores what this process counts, for as long as it runs. One that counts nothing needs no slot.
pub(crate) struct Storing {
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Storing {
    /// Begins; needs a tokio runtime.
    pub(crate) fn start(url: BrokerUrl, publisher: Arc<Publisher>) -> Self {
        let stop = CancellationToken::new();
        let writer = format!("{:032x}", rand::random::<u128>());
        let keeping = Keeping {
            url,
            publisher,
            writer,
            stored: Counts::default(),
            stored_elsewhere: Counts::default(),
            written: State::default(),
            slot: None,
            last: None,
            unusable: BTreeMap::new(),
        };
        let task = Mutex::new(Some(tokio::spawn(keeping.run(stop.clone()))));
        Self { stop, task }
    }

    /// Stores the last numbers. The publisher has to be open still.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Drop for Storing {
    /// As in a process that dies: what was counted since the last note is missing.
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

struct Keeping {
    url: BrokerUrl,
    publisher: Arc<Publisher>,
    writer: String,
    /// What is known to be in a note, of whatever slot.
    stored: Counts,
    /// The same, before there was anything in the slot it has now.
    stored_elsewhere: Counts,
    /// What the last note says.
    written: State,
    /// A connection of its own, and the slot that is this connection's.
    slot: Option<(Connection, Slot)>,
    /// The slot it had last.
    last: Option<u16>,
    /// Slots that did not work, and when that was found out.
    unusable: BTreeMap<u16, Instant>,
}

/// Whether it is time for a note. `unstored`: movements that are in none. `last`: how long ago one was last tried.
fn is_due(unstored: u64, is_first: bool, last: Duration, failed: bool) -> bool {
    let many = if is_first { 1 } else { MANY };
    EVERY <= last || (!failed && many <= unstored && (is_first || PAUSE <= last))
}

impl Keeping {
    async fn run(mut self, stop: CancellationToken) {
        let (mut tried, mut failures) = (Instant::now(), 0_u32);
        loop {
            let closing = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let unstored = self.publisher.tally.state().counts.since(&self.stored).movements();
            if !closing && !is_due(unstored, self.last.is_none(), tried.elapsed(), 0 < failures) {
                continue;
            }
            let stored = self.store(closing).await;
            tried = Instant::now();
            match stored {
                Ok(()) => {
                    if SAID_AFTER <= failures {
                        tracing::info!("what was counted can be stored again");
                    }
                    failures = 0;
                }
                // The numbers stay here until they can be stored.
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures == SAID_AFTER {
                        tracing::warn!(
                            queue.error = %error,
                            "what was counted cannot be stored on the broker: check --conservation shows a difference until it can"
                        );
                    } else {
                        tracing::debug!(queue.error = %error, "what was counted could not be stored");
                    }
                    self.leave().await;
                }
            }
            if closing {
                return self.leave().await;
            }
        }
    }

    async fn store(&mut self, closing: bool) -> Result<(), lapin::Error> {
        let state = self.publisher.tally.state();
        if state == self.written && (!closing || self.last.is_none()) {
            return Ok(());
        }
        // One that is away is being reached already, and its waits grow there.
        if !self.publisher.state().borrow().is_up() {
            return Ok(());
        }
        for _ in 0..TRIES {
            if self.slot.is_none() {
                self.claim().await?;
            }
            let written = self.write(&state, closing).await;
            // A note that nobody confirmed may be there: only the same slot tells, and if it is silent then it is left.
            if let Err(error) = &written
                && is_at_fault(error)
                && !is_silence(error)
            {
                self.avoid();
            }
            if written? {
                return Ok(());
            }
            self.leave().await; // and open it again
        }
        Err(std::io::Error::other("notes come to light that were in somebody's hand").into())
    }

    /// Writes a note. `false`: it does not count, nor do those before it in this slot.
    async fn write(&mut self, state: &State, closing: bool) -> Result<bool, lapin::Error> {
        let Some((_, slot)) = &mut self.slot else { return Ok(false) };
        let note = slot.note.next(&self.writer, state, &self.publisher.tally.held(), &self.stored, closing);
        slot.put(note).await?;
        let before = (self.stored, self.written);
        // Whatever becomes of what is outdated: in another slot it is not to be counted again.
        (self.stored, self.written) = (state.counts, *state);
        let tidied = slot.tidy().await;
        match &tidied {
            // Nothing took the note.
            Err(error) if is(error, NOT_FOUND) => (self.stored, self.written) = before,
            Ok(false) => (self.stored, self.written) = (self.stored_elsewhere, State::default()),
            Ok(true) | Err(_) => {}
        }
        tidied
    }

    async fn claim(&mut self) -> Result<(), lapin::Error> {
        self.unusable.retain(|_, since| since.elapsed() < AVOID_FOR);
        let connection = connection::connect(&self.url, "tally").await;
        let connection = connection.map_err(|error| std::io::Error::other(error.to_string()))?;
        match Slot::claim(&connection, &self.publisher.topology.names, self.last, &self.unusable).await {
            Ok(slot) => {
                self.last = Some(slot.index);
                self.stored_elsewhere = self.stored;
                self.slot = Some((connection, slot));
                Ok(())
            }
            Err((index, error)) => {
                if let Some(index) = index
                    && connection.status().connected()
                {
                    self.unusable.insert(index, Instant::now());
                }
                connection::close(&connection).await;
                Err(error)
            }
        }
    }

    /// Where the connection is fine, it is the slot that fails, and another one will do.
    fn avoid(&mut self) {
        if let Some((connection, slot)) = &self.slot
            && connection.status().connected()
        {
            self.unusable.insert(slot.index, Instant::now());
            self.last = None;
        }
    }

    /// Lets the slot go, with its connection.
    async fn leave(&mut self) {
        if let Some((connection, _)) = self.slot.take() {
            connection::close(&connection).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_due_in_time_and_sooner_when_much_is_in_none() {
        let ms = Duration::from_millis;
        assert!(is_due(1, true, ms(0), false), "the first one counts for who has a slot");
        assert!(!is_due(0, true, ms(2_999), false) && !is_due(MANY - 1, false, ms(2_999), false));
        assert!(is_due(MANY - 1, false, EVERY, false), "in hand, perhaps, without a movement");
        assert!(is_due(MANY, false, PAUSE, false) && !is_due(MANY, false, ms(299), false));
        assert!(!is_due(MANY, false, ms(2_999), true) && is_due(0, false, EVERY, true), "what failed has time");
    }
}
