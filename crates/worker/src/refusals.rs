use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::mark::{Digest, Mark};

/// How many refused events of an account are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Tells keys that do not work from an event that is refused although they do: something before Refersion may answer a 403
/// to what one event says. Such an event would have its account held over and over, and nothing would come of either.
pub(crate) struct Refusals(Mutex<Memory>);

struct Memory {
    /// Events of the account that were delivered.
    delivered: u64,
    /// How many of them there were when an event was first refused.
    refused: LruCache<Digest, u64>,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Memory { delivered: 0, refused: LruCache::new(REMEMBERED) }))
    }

    /// An event of the account was delivered: its keys work.
    pub(crate) fn delivered(&self) {
        self.lock().delivered += 1;
    }

    /// How many events were delivered so far.
    pub(crate) fn count(&self) -> u64 {
        self.lock().delivered
    }

    /// An event was refused with a 401 or 403. Whether it is the event's own doing: it was refused before, and others have
    /// been delivered since then.
    pub(crate) fn is_its_own(&self, event: &Mark) -> bool {
        let mut memory = self.lock();
        let delivered = memory.delivered;
        *memory.refused.get_or_insert(event.event, || delivered) < delivered
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_refused_again_while_others_are_delivered_is_refused_for_itself() {
        let [one, other] = [1, 2].map(|n| Mark { subject: [0, 0], event: [0, n], accepted_ms: 0, is_minted: false });
        let refusals = Refusals::new();
        refusals.delivered();
        assert!(!refusals.is_its_own(&one) && !refusals.is_its_own(&other));
        assert!(!refusals.is_its_own(&one), "nothing works, so it is the keys");
        refusals.delivered();
        assert!(refusals.is_its_own(&one) && refusals.is_its_own(&one) && refusals.is_its_own(&other));
    }
}
