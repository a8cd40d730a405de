use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The places that cannot be taken up though the broker is there, by their queues, with the reason. Each is tried again every few
/// seconds, and one reason, a limit of connections for example, can keep all of them from being taken up: it is said once.
#[derive(Default)]
pub(crate) struct Untaken {
    reasons: Mutex<BTreeMap<String, String>>,
}

impl Untaken {
    /// A place could not be taken up. `true`: nobody has said that reason yet.
    pub(crate) fn is_new(&self, queue: &str, why: &str) -> bool {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = reasons.values().all(|said| said != why);
        reasons.insert(queue.to_owned(), why.to_owned());
        is_new
    }

    /// A place was taken up. `true`: it is the last one of those that could not be.
    pub(crate) fn is_last(&self, queue: &str) -> bool {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.remove(queue).is_some() && reasons.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_new_once_for_all_places_and_again_when_all_were_taken_up() {
        let untaken = Untaken::default();
        assert!(!untaken.is_last("a"), "it never was among them");
        let new = ["a", "b", "a", "b"].map(|queue| untaken.is_new(queue, "2 connections"));
        assert_eq!(new, [true, false, false, false]);
        assert!(untaken.is_new("b", "gone"));
        assert_eq!(["a", "b", "b"].map(|queue| untaken.is_last(queue)), [false, true, false]);
        assert!(untaken.is_new("a", "2 connections"));
    }
}
