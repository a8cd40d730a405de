use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use lru::LruCache;
use refersion_relay_model::AccountName;

/// How many events are remembered. About 2 MiB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// What a process remembers of the last events that passed it, for who asks about one of them.
///
/// An event is known by its account and its message id, of which only a hash is kept. What was not seen for long is forgotten, and
/// everything with the process.
#[derive(Debug)]
pub struct Recent<T> {
    hash: RandomState,
    memory: Mutex<LruCache<u64, T>>,
    since: SystemTime,
}

impl<T: Clone> Recent<T> {
    /// Remembers `what` of an event, instead of what it remembered of it before.
    pub fn remember(&self, account: &AccountName, message_id: &str, what: T) {
        let key = self.hash.hash_one((account.as_str(), message_id));
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).put(key, what);
    }

    /// What it remembers of an event.
    pub fn find(&self, account: &AccountName, message_id: &str) -> Option<T> {
        let key = self.hash.hash_one((account.as_str(), message_id));
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).peek(&key).cloned()
    }

    /// Since when it has seen every event.
    pub fn since(&self) -> SystemTime {
        self.since
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        let memory = Mutex::new(LruCache::new(REMEMBERED));
        Self { hash: RandomState::new(), memory, since: SystemTime::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thing_is_remembered_of_the_last_events_of_each_account() {
        let recent = Recent::default();
        let account = |name: &str| AccountName::try_from(name).unwrap();
        recent.remember(&account("acme"), "m1", 1);
        recent.remember(&account("acme"), "m1", 2);
        assert_eq!(recent.find(&account("acme"), "m1"), Some(2));
        assert_eq!(recent.find(&account("other"), "m1"), None);
        for n in 0..REMEMBERED.get() {
            recent.remember(&account("acme"), &n.to_string(), 3);
        }
        assert_eq!(recent.find(&account("acme"), "m1"), None);
        assert_eq!(recent.find(&account("acme"), "0"), Some(3));
    }
}
