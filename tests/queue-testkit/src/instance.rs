//! A queue as one process has it, and what the tests do with it.

use std::sync::Arc;

use refersion_relay_model::Class;
use refersion_relay_queue::{BrokerState, Letter, Message, Owned, Place, Queue, Room, Scan};
use tokio::time::timeout;

use crate::events::body;
use crate::waiting::{PATIENCE, eventually};

pub const ROOM: Room = Room { events: 100 };
pub const EVERYTHING: Scan = Scan { letters: usize::MAX };

/// One process's way to a queue.
pub struct Instance<Q: ?Sized = dyn Queue> {
    pub queue: Arc<Q>,
}

impl<Q: Queue + ?Sized + 'static> Instance<Q> {
    pub async fn until(&self, what: &str, wanted: impl FnMut(&BrokerState) -> bool) -> BrokerState {
        let mut state = self.queue.state();
        let seen = timeout(PATIENCE, state.wait_for(wanted)).await.map(|state| state.unwrap().clone());
        seen.unwrap_or_else(|_| panic!("not {what} within {} s: {}", PATIENCE.as_secs(), *state.borrow()))
    }

    pub async fn until_up(&self) {
        self.until("up", BrokerState::is_up).await;
    }

    /// Publishes and insists that everything is stored.
    #[track_caller]
    pub fn store(&self, place: &Place, messages: impl IntoIterator<Item = Message>) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        let batch: Vec<_> = messages.into_iter().map(|message| (place.clone(), message)).collect();
        let queue = self.queue.clone();
        async move {
            for result in queue.publish(batch).await {
                assert_eq!(result, Ok(()), "at {caller}");
            }
        }
    }

    pub async fn own(&self, place: &Place) -> Owned {
        self.queue.own(place.clone(), ROOM).await.unwrap()
    }

    pub async fn depth(&self, place: &Place) -> u64 {
        self.queue.depth(place).await.unwrap().ready
    }

    pub async fn until_depth(&self, place: &Place, depth: u64) {
        eventually(&format!("a depth of {depth} at {place:?}"), async || {
            (self.depth(place).await == depth).then_some(())
        })
        .await;
    }

    /// The first letters of a class, and how many there are in all.
    pub async fn browse(&self, class: Class, scan: Scan) -> (u64, Vec<Letter>) {
        let mut letters = Vec::new();
        let browsed = self.queue.browse(class, scan, &mut |letter| letters.push(letter)).await.unwrap();
        assert_eq!(browsed.seen, letters.len() as u64);
        (browsed.total, letters)
    }

    /// The bodies of a class, in order.
    pub async fn bodies(&self, class: Class) -> Vec<String> {
        let (_, letters) = self.browse(class, EVERYTHING).await;
        letters.iter().map(|letter| body(&letter.message)).collect()
    }
}
