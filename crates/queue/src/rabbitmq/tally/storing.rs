use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::Connection;
use tokio::sync::SetOnce;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::counts::Counts;
use super::ledger::State;
use super::notes::is_unrouted;
use super::slot::{Slot, is_at_fault};
use crate::rabbitmq::connection;
use crate::rabbitmq::publisher::Publisher;
use crate::rabbitmq::reader::{ACCESS_REFUSED, NOT_FOUND, is, is_silence};
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
/// Somebody who wants this process registered waits no longer than that.
const REGISTERS_IN: Duration = Duration::from_secs(10);
/// How long the last note may take, with all tries.
const CLOSES_IN: Duration = Duration::from_secs(5);
/// How long a slot is left alone that did not work. It can have been the broker that was slow.
const AVOID_FOR: Duration = Duration::from_mins(1);

/// Stores what this process counts, for as long as it runs. One that counts nothing needs no slot.
pub(crate) struct Storing {
    registering: Arc<Registering>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// A process is registered once a note of it is in a slot: by that its death is known.
#[derive(Default)]
pub(crate) struct Registering {
    /// Since when somebody wants it to be.
    wanted: SetOnce<Instant>,
    /// It is, or cannot be.
    over: SetOnce<()>,
    /// Whether something was counted that is in no note.
    has_unstored: AtomicBool,
}

impl Registering {
    /// Has this process registered before it counts anything: what one counts that dies before its first note is missing, and
    /// nobody knows. Where nothing can be stored that is not waited for long.
    pub(crate) async fn registered(&self) {
        let _ = self.wanted.set(Instant::now()); // somebody else may have said so
        let since = *self.wanted.wait().await;
        if timeout_at(since + REGISTERS_IN, self.over.wait()).await.is_err() {
            self.is_over();
        }
    }

    /// Whether something was counted that is in no note yet.
    pub(crate) fn has_unstored(&self) -> bool {
        self.has_unstored.load(Ordering::Relaxed)
    }

    fn is_over(&self) {
        let _ = self.over.set(()); // again and again
    }
}

impl Storing {
    /// Begins; needs a tokio runtime.
    pub(crate) fn start(url: BrokerUrl, publisher: Arc<Publisher>) -> Self {
        let stop = CancellationToken::new();
        let writer = format!("{:032x}", rand::random::<u128>());
        let registering = Arc::<Registering>::default();
        let parts = publisher.parts.clone();
        let keeping = Keeping {
            registering: registering.clone(),
            url,
            publisher,
            writer,
            stored: Counts::default(),
            stored_elsewhere: Counts::default(),
            written: State::default(),
            slot: None,
            is_refused: false,
            last: None,
            unusable: BTreeMap::new(),
        };
        let keeping = parts.supervise("queue/tally", &stop, keeping.run(stop.clone()));
        let task = Mutex::new(Some(tokio::spawn(keeping)));
        Self { registering, stop, task }
    }

    pub(crate) fn registering(&self) -> Arc<Registering> {
        self.registering.clone()
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
        self.registering.is_over();
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

struct Keeping {
    registering: Arc<Registering>,
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
    /// Whether the right to have a slot was missing when one was last claimed.
    is_refused: bool,
    /// The slot it had last.
    last: Option<u16>,
    /// Slots that did not work, and when that was found out.
    unusable: BTreeMap<u16, Instant>,
}

/// Whether it is time for a note. `unstored`: movements that are in none. `last`: how long ago one was last tried, and
/// `failures`: how often in vain since one was stored.
fn is_due(unstored: u64, is_first: bool, last: Duration, failures: u32) -> bool {
    let many = if is_first { 1 } else { MANY };
    let pause = EVERY.min(PAUSE * 2_u32.saturating_pow(failures));
    EVERY <= last || (many <= unstored && pause <= last)
}

impl Keeping {
    async fn run(mut self, stop: CancellationToken) {
        let (mut tried, mut failures) = (None::<Instant>, 0_u32);
        let mut is_wanted = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.close().await,
                _ = self.registering.wanted.wait(), if !is_wanted => {}
                () = sleep(LOOK) => {}
            }
            is_wanted = self.registering.wanted.initialized();
            let unstored = self.publisher.tally.state().counts.since(&self.stored).movements();
            self.registering.has_unstored.store(0 < unstored, Ordering::Relaxed);
            // Without a slot nobody knows that it lives, so its death would not be noticed either.
            let is_first = !self.has_slot();
            let unstored = if self.has_to_claim() { unstored.max(1) } else { unstored };
            let last = tried.map_or(Duration::MAX, |tried| tried.elapsed());
            if !is_due(unstored, is_first, last, failures) {
                continue;
            }
            let stored = self.store(false).await;
            tried = Some(Instant::now());
            if self.is_refused || (self.has_slot() && stored.is_ok()) {
                self.registering.is_over();
            }
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
                    // One that the broker has blocked is written to when it goes on, and stays this process's.
                    if !self.is_blocked() {
                        self.leave().await;
                    }
                }
            }
        }
    }

    /// Stores the last note.
    async fn close(mut self) {
        let storing = async {
            while let Err(error) = self.store(true).await {
                tracing::debug!(queue.error = %error, "what was counted last could not be stored");
                if self.is_refused {
                    return;
                }
                // That its connection is lost turns out only now, say, and there is no other time.
                self.leave().await;
                sleep(LOOK).await;
            }
        };
        let _ = timeout(CLOSES_IN, storing).await;
        self.registering.is_over();
        self.leave().await;
    }

    fn has_slot(&self) -> bool {
        self.slot.as_ref().is_some_and(|(connection, _)| connection.status().connected())
    }

    fn is_blocked(&self) -> bool {
        self.slot.as_ref().is_some_and(|(connection, _)| connection.status().blocked())
    }

    /// Whether it needs a slot though it has nothing to store: it is to register, or would be taken for dead.
    fn has_to_claim(&self) -> bool {
        let is_to_have_one = self.registering.wanted.initialized() || self.last.is_some();
        is_to_have_one && !self.has_slot() && !self.is_refused
    }

    async fn store(&mut self, closing: bool) -> Result<(), lapin::Error> {
        let state = self.publisher.tally.state();
        let suffices = if closing { self.last.is_none() } else { !self.has_to_claim() };
        if state == self.written && suffices {
            return Ok(());
        }
        // One that is away is being reached already, and its waits grow there.
        if !self.publisher.state().borrow().is_up() || self.is_blocked() {
            return Ok(());
        }
        for _ in 0..TRIES {
            if !self.has_slot() {
                self.leave().await;
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
        Err(std::io::Error::other("nothing takes notes, or some come to light that were in somebody's hand").into())
    }

    /// Writes a note. `false`: it does not count, or nothing took it, and the slot has to be opened again.
    async fn write(&mut self, state: &State, closing: bool) -> Result<bool, lapin::Error> {
        let Some((_, slot)) = &mut self.slot else { return Ok(false) };
        let note = slot.note.next(&self.writer, state, &self.stored, closing);
        match slot.put(note).await {
            Err(error) if is_unrouted(&error) => return Ok(false),
            put => put?,
        }
        let before = (self.stored, self.written);
        // Whatever becomes of what is outdated: in another slot it is not to be counted again.
        (self.stored, self.written) = (state.counts, *state);
        let tidied = slot.tidy().await;
        match &tidied {
            // The note is gone with its queue.
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
        match Slot::claim(&self.url, &connection, &self.publisher.topology, self.last, &self.unusable).await {
            Ok(slot) => {
                self.is_refused = false;
                self.last = Some(slot.index);
                self.stored_elsewhere = self.stored;
                self.slot = Some((connection, slot));
                Ok(())
            }
            Err((index, error)) => {
                self.is_refused = is(&error, ACCESS_REFUSED);
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
        assert!(is_due(1, true, PAUSE, 0), "the first one counts for who has a slot");
        assert!(!is_due(0, true, ms(2_999), 0) && !is_due(MANY - 1, false, ms(2_999), 0));
        assert!(is_due(MANY - 1, false, EVERY, 0), "in hand, perhaps, without a movement");
        assert!(is_due(MANY, false, PAUSE, 0) && !is_due(MANY, false, ms(299), 0));
        assert!(!is_due(MANY, false, ms(599), 1) && is_due(MANY, false, ms(600), 1), "what failed has time");
        assert!(!is_due(MANY, false, ms(2_999), 100) && is_due(0, false, EVERY, 100));
    }
}
