use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counts::Counts;
use crate::{Ending, Group};

/// What this process has counted since it began, and what it has in hand.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    state: Mutex<State>,
}

/// At one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) counts: Counts,
    /// Deliveries that are not settled, by [`Group::index`].
    pub(crate) in_hand: [u64; Group::ALL.len()],
}

impl Tally {
    pub(crate) fn state(&self) -> State {
        *self.lock()
    }

    /// An event came in from outside, and is stored.
    pub(crate) fn accepted(&self, to: Group) {
        let mut state = self.lock();
        state.counts.accepted += 1;
        state.counts.entered[to.index()] += 1;
    }

    /// A copy is stored. What comes from nowhere is accepted by that.
    pub(crate) fn copied(&self, from: Option<Group>, to: Group) {
        match from {
            None => self.accepted(to),
            Some(_) => self.lock().counts.entered[to.index()] += 1,
        }
    }

    /// The original of a stored copy is gone.
    pub(crate) fn left(&self, from: Option<Group>) {
        if let Some(from) = from {
            self.lock().counts.left[from.index()] += 1;
        }
    }

    /// The original of a stored copy is still there.
    pub(crate) fn stayed(&self, from: Option<Group>) {
        if from.is_some() {
            self.lock().counts.copies += 1;
        }
    }

    /// An event has ended. One from the intake was never accepted, so that it ended is nobody's business.
    pub(crate) fn ended(&self, from: Option<Group>, ending: Ending) {
        let Some(from) = from else { return };
        let mut state = self.lock();
        state.counts.left[from.index()] += 1;
        match ending {
            Ending::Delivered => state.counts.delivered += 1,
            Ending::Ignored => state.counts.ignored += 1,
        }
    }

    /// A person deleted a dead letter.
    pub(crate) fn dropped(&self, from: Group) {
        let mut state = self.lock();
        state.counts.left[from.index()] += 1;
        state.counts.dropped += 1;
    }

    /// So many publishes or acknowledgements may have happened or not.
    pub(crate) fn uncertain(&self, events: u64) {
        self.lock().counts.uncertain += events;
    }

    /// A delivery is in hand until this is dropped.
    pub(crate) fn in_hand(self: &Arc<Self>, group: Option<Group>) -> InHand {
        if let Some(group) = group {
            self.lock().in_hand[group.index()] += 1;
        }
        InHand { tally: self.clone(), group }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A delivery that is not settled.
pub(crate) struct InHand {
    tally: Arc<Tally>,
    group: Option<Group>,
}

impl Drop for InHand {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            self.tally.lock().in_hand[group.index()] -= 1;
        }
    }
}
