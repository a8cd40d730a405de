use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{Backoff, BrokerState, Owned, Place, Queue, Room};

/// The terms in which one place is owned: one after another, for as long as somebody wants it, whatever becomes of the
/// queue meanwhile.
pub struct Terms {
    queue: Arc<dyn Queue>,
    place: Place,
    backoff: Backoff,
    is_first: bool,
}

impl Terms {
    /// Owns nothing yet.
    #[must_use]
    pub fn new(queue: Arc<dyn Queue>, place: Place) -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        Self { queue, place, backoff, is_first: true }
    }

    /// Owns the place once more, with this room, after a short wait if it is not the first time; release the last term
    /// before. `None` after `stop`.
    pub async fn next(&mut self, room: Room, stop: &CancellationToken) -> Option<Owned> {
        stop.run_until_cancelled(self.begin(room)).await
    }

    async fn begin(&mut self, room: Room) -> Owned {
        loop {
            if !std::mem::take(&mut self.is_first) {
                tokio::time::sleep(self.backoff.next_wait()).await;
            }
            // The queue's own supervisor says when it is away, once; here that is only waited for.
            let _ = self.queue.state().wait_for(BrokerState::is_up).await;
            match self.queue.own(self.place.clone(), room).await {
                Ok(owned) => {
                    self.backoff.reset();
                    return owned;
                }
                // The queue says that too, once for all places that it is in the way of.
                Err(error) => tracing::debug!(place = ?self.place, "cannot take up a place: {error}"),
            }
        }
    }
}
