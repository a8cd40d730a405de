//! What a person does with dead letters: count them, list them, read one, send them again, drop them, write them down.
//!
//! It decides nothing about events: a replay is an ordinary copy to the work queues, and the worker judges it anew. No
//! personal data leaves it unless the caller asks for bodies. Nothing in it grows with the number of letters.

mod entry;
mod export;
mod filter;
mod stats;
mod visible;
mod operation;

use std::collections::HashMap;
use std::sync::Arc;

use refersion_relay_model::{AccountName, Class, Fingerprint};
use refersion_relay_queue::{Browsed, Letter, LetterId, Place, Queue, QueueError, Scan};

pub use entry::{Bodies, Entry};
pub use export::{Export, Lines};
pub use filter::{Filter, Selection};
pub use operation::{LetterOperation, SweepError, SweepOptions, SweepReport};
pub use stats::{Age, ClassStats, LetterStats, WhenBusy};
pub use visible::visible;

/// The dead letters of one queue.
pub struct DeadLetters {
    queue: Arc<dyn Queue>,
    fingerprints: HashMap<AccountName, Fingerprint>,
}

impl DeadLetters {
    /// `fingerprints`: of the configured accounts, so that letters of one person are told from those of others.
    #[must_use]
    pub fn new(queue: Arc<dyn Queue>, fingerprints: HashMap<AccountName, Fingerprint>) -> Self {
        Self { queue, fingerprints }
    }

    /// How many letters there are in these classes.
    pub async fn count(&self, classes: &[Class]) -> Result<u64, QueueError> {
        let mut letters = 0;
        for class in classes {
            letters += self.queue.depth(&Place::Dead(*class)).await?.ready;
        }
        Ok(letters)
    }

    /// Shows the selected ones among the first letters of each class to `visit`, oldest first. They stay where they are.
    /// Returns how many there are and how many were looked at.
    pub async fn list(
        &self,
        selection: &Selection,
        scan: Scan,
        visit: &mut (dyn FnMut(Letter) + Send),
    ) -> Result<Browsed, QueueError> {
        let mut all = Browsed::default();
        for class in &selection.classes {
            let mut selected = |letter: Letter| {
                if selection.filter.matches(&letter) {
                    visit(letter);
                }
            };
            let browsed = self.queue.browse(*class, scan, &mut selected).await?;
            all.total += browsed.total;
            all.seen += browsed.seen;
        }
        Ok(all)
    }

    /// Finds one letter among the first of each class.
    pub async fn find(&self, id: &LetterId, classes: &[Class], scan: Scan) -> Result<Option<Letter>, QueueError> {
        let mut found = None;
        for class in classes {
            let mut visit = |letter: Letter| {
                if letter.id == *id {
                    found.get_or_insert(letter);
                }
            };
            self.queue.browse(*class, scan, &mut visit).await?;
            if found.is_some() {
                break;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use bytes::Bytes;
    use refersion_relay_queue::{Death, Headers, Message};

    use super::*;

    pub(crate) fn at() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)
    }

    /// A letter of the second generation, dead at [`at`].
    pub(crate) fn letter(message_id: &str, change: impl FnOnce(&mut Headers)) -> Letter {
        let account = AccountName::try_from("acme").expect("a name");
        let received_at = at() - Duration::from_mins(1);
        let mut headers = Headers::received(message_id, "identify", account, "0123".to_owned(), received_at);
        let (reason, class) = ("refused".to_owned(), Class::Rejected);
        headers.death = Some(Death { class, reason, status: Some(422), error: None, dead_at: Some(at()) });
        headers.generation = 2;
        change(&mut headers);
        let id = "00112233445566aa".parse().expect("16 hex digits");
        Letter { id, class, message: Message { body: Bytes::from_static(b"{}"), headers } }
    }
}
