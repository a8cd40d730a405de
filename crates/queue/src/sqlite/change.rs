use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use refersion_relay_model::AccountName;
use tokio::time::{Instant, sleep};

use super::fault::Fault;
use super::gates::{self, CLOSING, Left};
use super::queue::Reader;
use super::writer::Writer;
use crate::Shards;

/// With more on the shards new events do not wait for them to be done.
const FEW: u64 = 1_000;
/// How often it is looked at whether a set is done.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// The same while new events wait for that.
const TRY_OFTEN: Duration = Duration::from_millis(20);
/// The time between waiting in vain and the next time, at least; twice as long each time.
const REST: Duration = Duration::from_secs(30);
const LONGEST_REST: Duration = Duration::from_mins(8);

/// Closes one set of shards after another, each as soon as nothing is left of what has come to it, until the last one is in
/// use. Can be dropped at any point.
pub(crate) async fn run(
    reader: &Reader,
    writer: &Writer,
    accounts: &Mutex<Vec<AccountName>>,
    configured: &Shards,
    works: &(dyn Fn() -> bool + Send + Sync),
) {
    let mut shards = writer.shards();
    let (mut rested_at, mut rest) = (Instant::now(), REST);
    loop {
        sleep(TRY_EVERY).await;
        let waiting = shards.wait_for(|shards| shards.draining().is_some()).await;
        let Some(set) = waiting.ok().and_then(|shards| shards.draining()) else {
            return std::future::pending().await; // the writer is gone, which is not for this to tell
        };
        let accounts = accounts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let change = Change { writer, accounts, configured, shards: set.count };
        match change.attempt(reader, works() && rested_at <= Instant::now()).await {
            Ok(Outcome::InVain) => {
                rested_at = Instant::now() + rest.mul_f64(1.0 + rand::random::<f64>());
                rest = LONGEST_REST.min(rest * 2);
            }
            Ok(Outcome::Closed | Outcome::NotYet) => {}
            Err(fault) => tracing::debug!(queue.error = %fault, "the shards could not be closed"),
        }
    }
}

struct Change<'a> {
    writer: &'a Writer,
    accounts: Vec<AccountName>,
    configured: &'a Shards,
    shards: u16,
}

enum Outcome {
    Closed,
    NotYet,
    /// New events waited for it in vain.
    InVain,
}

impl Change<'_> {
    /// `may_close`: whether new events may wait for it.
    async fn attempt(&self, reader: &Reader, may_close: bool) -> Result<Outcome, Fault> {
        let (shards, accounts) = (self.shards, self.accounts.clone());
        let left = reader.read(move |connection| gates::left(connection, shards, &accounts)).await?;
        match left {
            Left { waiting: 0, on_shards: 0 } if self.close().await? => return Ok(Outcome::Closed),
            Left { waiting: 0, on_shards } if on_shards < FEW && may_close => {}
            Left { .. } => return Ok(Outcome::NotYet),
        }
        self.writer.run(1, move |work| gates::begin_closing(work.connection, shards, SystemTime::now())).await?;
        let deadline = Instant::now() + CLOSING;
        while Instant::now() < deadline {
            if self.close().await? {
                return Ok(Outcome::Closed);
            }
            sleep(TRY_OFTEN).await;
        }
        Ok(Outcome::InVain)
    }

    async fn close(&self) -> Result<bool, Fault> {
        let (configured, shards, accounts) = (self.configured.clone(), self.shards, self.accounts.clone());
        let closing =
            self.writer.run(1, move |work| gates::close_if_done(work.connection, &configured, shards, &accounts));
        let closed = closing.await?;
        if closed {
            tracing::info!(shards, "everything on these shards is done: they are closed");
        }
        Ok(closed)
    }
}
