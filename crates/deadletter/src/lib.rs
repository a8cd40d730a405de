//! What a person does with dead letters: list them, read one, send them again.
//!
//! It decides nothing about events: a replay is an ordinary copy to the work queues, and the worker judges it anew. No
//! personal data leaves it unless the caller asks for bodies.

mod entry;
mod replay;

use std::collections::HashMap;
use std::sync::Arc;

use refersion_relay_model::{AccountName, Class, Fingerprint};
use refersion_relay_queue::{Letter, LetterId, Queue, QueueError, Scan};

pub use entry::{Bodies, Entry};
pub use replay::{Plan, Replayed, Selection};

/// The dead letters of one queue.
pub struct DeadLetters {
    queue: Arc<dyn Queue>,
    shards: u16,
    fingerprints: HashMap<AccountName, Fingerprint>,
}

/// What a listing saw.
#[derive(Debug, Default)]
pub struct Listing {
    /// The letters, oldest first within each class.
    pub letters: Vec<Letter>,
    /// How many letters there are in the classes asked for.
    pub total: u64,
}

impl DeadLetters {
    /// `fingerprints`: of the configured accounts, so that a replayed event finds the same shard as a new one.
    #[must_use]
    pub fn new(queue: Arc<dyn Queue>, shards: u16, fingerprints: HashMap<AccountName, Fingerprint>) -> Self {
        Self { queue, shards, fingerprints }
    }

    /// Reads the first letters of each class. They stay where they are.
    pub async fn list(&self, classes: &[Class], scan: Scan) -> Result<Listing, QueueError> {
        let mut listing = Listing::default();
        for class in classes {
            let browsed = self.queue.browse(*class, scan).await?;
            listing.total += browsed.total;
            listing.letters.extend(browsed.letters);
        }
        Ok(listing)
    }

    /// Finds one letter among the first of each class.
    pub async fn find(&self, id: &LetterId, classes: &[Class], scan: Scan) -> Result<Option<Letter>, QueueError> {
        for class in classes {
            let browsed = self.queue.browse(*class, scan).await?;
            if let Some(letter) = browsed.letters.into_iter().find(|letter| letter.id == *id) {
                return Ok(Some(letter));
            }
        }
        Ok(None)
    }
}
