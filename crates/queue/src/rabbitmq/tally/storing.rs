use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::journal::Journal;
use crate::rabbitmq::publish::publisher::Publisher;
use crate::rabbitmq::wire::url::BrokerUrl;

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
/// So many entries are folded by who appends to them. Readers do so with fewer; this is for where nobody reads.
const FOLDED_FROM: u64 = 400;

/// Appends what this process counts to the journal, for as long as it runs.
pub(crate) struct Storing {
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Storing {
    /// Begins; needs a tokio runtime.
    pub(crate) fn start(url: BrokerUrl, publisher: Arc<Publisher>) -> Self {
        let stop = CancellationToken::new();
        let keeping = publisher.parts.clone().supervise("queue/tally", &stop, run(url, publisher, stop.clone()));
        let task = Mutex::new(Some(tokio::spawn(keeping)));
        Self { stop, task }
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

async fn run(url: BrokerUrl, publisher: Arc<Publisher>, stop: CancellationToken) {
    // One that is away is being reached already, and its waits grow there.
    let is_up = || publisher.state().borrow().is_up();
    let (mut tried, mut failures) = (None::<Instant>, 0);
    while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
        let unwritten = if is_up() { publisher.appender.unwritten().await } else { None };
        let last = tried.map_or(Duration::MAX, |tried| tried.elapsed());
        if !unwritten.is_some_and(|(movements, largest)| is_due(movements, largest, last, failures)) {
            continue;
        }
        let appended = append(&url, &publisher, false).await;
        tried = Some(Instant::now());
        match appended {
            Ok(()) if SAID_AFTER <= failures => tracing::info!("what was counted can be stored again"),
            Ok(()) => {}
            // The numbers stay here until they can be stored.
            Err(ref error) if failures + 1 == SAID_AFTER => tracing::warn!(
                queue.error = %error,
                "what was counted cannot be stored on the broker: check --conservation shows a difference until it can"
            ),
            Err(ref error) => tracing::debug!(queue.error = %error, "what was counted could not be stored"),
        }
        failures = if appended.is_ok() { 0 } else { failures.saturating_add(1) };
    }
    let closing = async {
        // That the connection is lost turns out only now, say, and there is no other time.
        while is_up() && append(&url, &publisher, true).await.is_err() {
            sleep(LOOK).await;
        }
    };
    let _ = timeout(CLOSES_IN, closing).await;
}

/// Whether it is time for an entry of so many movements. `largest`: the most that one has had, which says how many may be missing
/// when this process dies. `last`: how long ago one was last tried, and `failures`: how often in vain since one was stored.
fn is_due(movements: u64, largest: u64, last: Duration, failures: u32) -> bool {
    let pause = EVERY.min(PAUSE * 2_u32.saturating_pow(failures));
    let are_more_than_ever = largest.saturating_add(largest / 2) < movements && failures == 0;
    EVERY <= last || (MANY <= movements && (pause <= last || are_more_than_ever))
}

/// Appends an entry. Folds the journal then, if there is much in it and nobody reads it just now.
async fn append(url: &BrokerUrl, publisher: &Publisher, last: bool) -> Result<(), lapin::Error> {
    if FOLDED_FROM < publisher.appender.append(last).await? {
        match Journal::open(url, &publisher.topology, Duration::ZERO).await {
            Ok(Some(journal)) => journal.end().await,
            Ok(None) => {}
            Err(error) => tracing::debug!(queue.error = %error, "the journal of counts could not be folded"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_due_in_time_and_sooner_when_much_is_in_none() {
        let ms = Duration::from_millis;
        let is_due = |movements, last, failures| is_due(movements, 1_000, last, failures);
        assert!(!is_due(0, ms(2_999), 0) && !is_due(MANY - 1, ms(2_999), 0));
        assert!(is_due(MANY - 1, EVERY, 0) && is_due(0, EVERY, 0), "in hand, perhaps, without a movement");
        assert!(is_due(MANY, PAUSE, 0) && !is_due(MANY, ms(299), 0));
        assert!(is_due(1_501, ms(1), 0) && !is_due(1_500, ms(1), 0), "a death would hide more than is known");
        assert!(!is_due(1_501, ms(599), 1) && is_due(MANY, ms(600), 1), "what failed has time");
        assert!(!is_due(MANY, ms(2_999), 100) && is_due(0, EVERY, 100));
    }
}
