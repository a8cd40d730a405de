use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::order::event_key::{Digest, EventKey};

/// How many refused events of an account are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
/// In how many rounds with keys that passed their probe an event is refused and nothing delivered until others go first.
const PATIENCE: u64 = 3;

/// Tells keys that do not work from an event that is refused although they do: something before Refersion may answer a 403
/// to what one event says. Such an event would have its account held over and over, and nothing would come of either.
pub(crate) struct Refusals(Mutex<Memory>);

struct Memory {
    /// Events of the account that were delivered.
    delivered: u64,
    /// How often a probe said that the keys work.
    passed: u64,
    /// The last time of these at which an event was told that it is in the way: only one is at a time. Were all the keys
    /// fit for a probe only, everything would be called for, one after another.
    made_way: u64,
    /// How many of both there were when an event was first refused.
    refused: LruCache<Digest, (u64, u64)>,
}

/// Why an event was refused, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Its account's keys do not work, or nobody knows better.
    ForItsKeys,
    /// It is the first one again and again, and nobody knows what would become of others.
    InTheWay,
    /// It was refused before, and others have been delivered since then.
    ForItself,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Memory { delivered: 0, passed: 0, made_way: 0, refused: LruCache::new(REMEMBERED) }))
    }

    /// An event of the account was delivered: its keys work.
    pub(crate) fn delivered(&self) {
        self.lock().delivered += 1;
    }

    /// A probe was answered: the keys seem to work.
    pub(crate) fn keys_pass(&self) {
        self.lock().passed += 1;
    }

    /// How many events were delivered so far.
    pub(crate) fn count(&self) -> u64 {
        self.lock().delivered
    }

    /// An event was refused with a 401 or 403.
    pub(crate) fn refused(&self, event: &EventKey) -> Refused {
        let mut memory = self.lock();
        let memory = &mut *memory;
        let (delivered, passed, made_way) = (memory.delivered, memory.passed, memory.made_way);
        let first = memory.refused.get_or_insert_mut(event.event, || (delivered, passed));
        if first.0 < delivered {
            Refused::ForItself
        } else if first.1 + PATIENCE <= passed && made_way < passed {
            first.1 = passed;
            memory.made_way = passed;
            Refused::InTheWay
        } else {
            Refused::ForItsKeys
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> [EventKey; 2] {
        [1, 2].map(|n| EventKey { subject: [0, 0], event: [0, n], accepted_ms: 0, is_minted: false })
    }

    #[test]
    fn an_event_that_is_refused_again_while_others_are_delivered_is_refused_for_itself() {
        let ([one, other], refusals) = (two(), Refusals::new());
        refusals.delivered();
        assert_eq!([&one, &other].map(|event| refusals.refused(event)), [Refused::ForItsKeys; 2]);
        assert_eq!(refusals.refused(&one), Refused::ForItsKeys, "nothing works, so it is the keys");
        refusals.delivered();
        assert_eq!([&one, &one, &other].map(|event| refusals.refused(event)), [Refused::ForItself; 3]);
    }

    #[test]
    fn an_event_that_is_always_the_first_to_be_refused_lets_others_go_first() {
        let ([one, other], refusals) = (two(), Refusals::new());
        let mut rounds = Vec::new();
        for _ in 0..7 {
            rounds.push([&one, &other].map(|event| refusals.refused(event) == Refused::InTheWay));
            refusals.keys_pass();
        }
        let (no, first, second) = ([false, false], [true, false], [false, true]);
        assert_eq!(rounds, [no, no, no, first, second, no, first], "one at a time");
        refusals.delivered();
        assert_eq!(refusals.refused(&one), Refused::ForItself);
    }
}
