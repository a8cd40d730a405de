use std::time::Duration;

use refersion_relay_queue::{Delivery, Note};
use tokio::sync::{RwLock, RwLockReadGuard};

/// So many processes that died while they worked nothing but one event died of it.
const GIVE_UP_AFTER: u32 = 3;
/// How long everything else in the process may take to come to rest. Longer than a call takes; after a start, which is when
/// it matters, nothing else has begun.
const REST: Duration = Duration::from_mins(1);

/// Keeps what is worked alone apart from everything else that a process works.
#[derive(Default)]
pub(crate) struct Isolation {
    /// Read by whoever makes an attempt, written by who has to be the only one.
    beside: RwLock<()>,
}

/// What came of something that was done alone.
pub(crate) enum Alone<'a, T> {
    /// The process is still there, and so is the note that it would have died under, if one could be made.
    Survived(T, Option<Note<'a>>),
    /// Nothing was done: so many processes died of it.
    Died(u32),
    /// Nothing was done: the delivery belongs to somebody else by now.
    Lost,
}

impl Isolation {
    /// Waits until nothing is worked alone, and keeps it so.
    pub(crate) async fn beside_others(&self) -> RwLockReadGuard<'_, ()> {
        self.beside.read().await
    }

    /// Does something that may end the process, while nothing else is worked in it, and notes that before. The note stays if the
    /// process dies. Who survives erases it.
    ///
    /// So a note is a death, whatever else the delivery came back for: a queue counts a return in good order, for a hold or an
    /// outage, like a crash.
    pub(crate) async fn alone<'a, T>(&self, delivery: &'a Delivery, work: impl Future<Output = T>) -> Alone<'a, T> {
        let Ok(_alone) = tokio::time::timeout(REST, self.beside.write()).await else {
            // Something else is being worked for very long. It would share the blame, so there is no note.
            return Alone::Survived(work.await, None);
        };
        match delivery.note().await {
            Ok(note) if note.earlier() < GIVE_UP_AFTER => Alone::Survived(work.await, Some(note)),
            Ok(note) => Alone::Died(note.earlier()),
            Err(_) => Alone::Lost,
        }
    }
}
