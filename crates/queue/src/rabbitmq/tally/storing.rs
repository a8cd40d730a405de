use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::appender::Waiting;
use super::journal::Journal;
use crate::QueueError;
use crate::rabbitmq::publisher::Publisher;
use crate::rabbitmq::reader::count;
use crate::rabbitmq::url::BrokerUrl;

/// How often what was counted is appended, if anything was.
const EVERY: Duration = Duration::from_secs(3);
/// So many movements are appended sooner. What is not appended is missing when the process dies.
const MANY: u64 = 50;
/// How often it is looked at whether there are so many.
const LOOK: Duration = Duration::from_millis(100);
/// The least time between two entries.
const PAUSE: Duration = Duration::from_millis(300);
/// So many failures in a row are told. A missing right, say, is mended by nobody who does not hear of it.
const SAID_AFTER: u32 = 3;
/// How long the last entry may take, with all tries.
const CLOSES_IN: Duration = Duration::from_secs(5);
/// How often the entries are counted. Readers fold the journal, and this is for where nobody reads it.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// So many entries are folded.
const FOLDED_FROM: u64 = 400;

/// Appends what this process counts to the journal, for as long as it runs.
pub(crate) struct Storing {
    publisher: Arc<Publisher>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Storing {
    /// Begins; needs a tokio runtime.
    pub(crate) fn start(url: BrokerUrl, publisher: Arc<Publisher>) -> Self {
        let stop = CancellationToken::new();
        let keeping = Keeping { url, publisher: publisher.clone(), counted_at: None };
        let keeping = publisher.parts.supervise("queue/tally", &stop, keeping.run(stop.clone()));
        let task = Mutex::new(Some(tokio::spawn(keeping)));
        Self { publisher, stop, task }
    }

    /// Whether something was counted that is not in the journal yet.
    pub(crate) fn has_unstored(&self) -> bool {
        self.publisher.appender.waiting() != Waiting::Nothing
    }

    /// Appends the last numbers. The publisher has to be open still.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Drop for Storing {
    /// As in a process that dies: what was counted since the last entry is missing.
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

struct Keeping {
    url: BrokerUrl,
    publisher: Arc<Publisher>,
    counted_at: Option<Instant>,
}

/// Whether it is time for an entry. `last`: how long ago one was last tried, and `failures`: how often in vain since one was
/// stored.
fn is_due(movements: u64, last: Duration, failures: u32) -> bool {
    let pause = EVERY.min(PAUSE * 2_u32.saturating_pow(failures));
    EVERY <= last || (MANY <= movements && pause <= last)
}

impl Keeping {
    async fn run(mut self, stop: CancellationToken) {
        let (mut tried, mut failures) = (None::<Instant>, 0_u32);
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.close().await,
                () = sleep(LOOK) => {}
            }
            // One that is away is being reached already, and its waits grow there.
            if !self.is_up() {
                continue;
            }
            self.fold_if_much(COUNT_EVERY).await;
            let Waiting::Movements(movements) = self.publisher.appender.waiting() else { continue };
            if !is_due(movements, tried.map_or(Duration::MAX, |tried| tried.elapsed()), failures) {
                continue;
            }
            let appended = self.publisher.appender.append().await;
            tried = Some(Instant::now());
            match appended {
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
                }
            }
        }
    }

    async fn close(mut self) {
        let closing = async {
            // That the connection is lost turns out only now, say, and there is no other time.
            while self.is_up() {
                match self.publisher.appender.append_last().await {
                    Ok(()) => return self.fold_if_much(Duration::ZERO).await,
                    Err(error) => tracing::debug!(queue.error = %error, "what was counted last could not be stored"),
                }
                sleep(LOOK).await;
            }
        };
        let _ = timeout(CLOSES_IN, closing).await;
    }

    fn is_up(&self) -> bool {
        self.publisher.state().borrow().is_up()
    }

    /// Folds the journal if there is much in it, and nobody reads it just now. It is counted so often at most.
    async fn fold_if_much(&mut self, every: Duration) {
        if self.counted_at.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        self.counted_at = Some(Instant::now());
        let topology = &self.publisher.topology;
        let folding = async {
            let link = self.publisher.link()?;
            if FOLDED_FROM < count(&link.connection, &topology.names.tally()).await?.ready
                && let Some(journal) = Journal::open(&self.url, topology, Duration::ZERO).await?
            {
                journal.end().await;
            }
            Ok::<_, QueueError>(())
        };
        if let Err(error) = folding.await {
            tracing::debug!(queue.error = %error, "the journal of counts could not be folded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_due_in_time_and_sooner_when_much_is_in_none() {
        let ms = Duration::from_millis;
        assert!(!is_due(0, ms(2_999), 0) && !is_due(MANY - 1, ms(2_999), 0));
        assert!(is_due(MANY - 1, EVERY, 0) && is_due(0, EVERY, 0), "in hand, perhaps, without a movement");
        assert!(is_due(MANY, PAUSE, 0) && !is_due(MANY, ms(299), 0));
        assert!(!is_due(MANY, ms(599), 1) && is_due(MANY, ms(600), 1), "what failed has time");
        assert!(!is_due(MANY, ms(2_999), 100) && is_due(0, EVERY, 100));
    }
}
