use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{Ending, Group};

/// A number for each kind of places, by [`Group::index`].
pub(crate) type ByGroup = [u64; GROUPS];

/// How many kinds of places there are.
const GROUPS: usize = Group::ALL.len();

/// What has flowed since some beginning. Numbers of one process, or of many together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) copies: u64,
    pub(crate) delivered: u64,
    pub(crate) ignored: u64,
    pub(crate) dropped: u64,
    /// Publishes and acknowledgements of which nobody knows whether they happened.
    pub(crate) uncertain: u64,
    #[serde(deserialize_with = "by_group")]
    pub(crate) entered: ByGroup,
    #[serde(deserialize_with = "by_group")]
    pub(crate) left: ByGroup,
}

impl Counts {
    pub(crate) fn plus(&self, more: &Self) -> Self {
        self.with(more, u64::saturating_add)
    }

    /// What has flowed since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    fn with(&self, other: &Self, both: impl Fn(u64, u64) -> u64) -> Self {
        let groups = |one: &ByGroup, other: &ByGroup| std::array::from_fn(|at| both(one[at], other[at]));
        Self {
            accepted: both(self.accepted, other.accepted),
            copies: both(self.copies, other.copies),
            delivered: both(self.delivered, other.delivered),
            ignored: both(self.ignored, other.ignored),
            dropped: both(self.dropped, other.dropped),
            uncertain: both(self.uncertain, other.uncertain),
            entered: groups(&self.entered, &other.entered),
            left: groups(&self.left, &other.left),
        }
    }

    /// How many times an event came somewhere or went from somewhere.
    pub(crate) fn movements(&self) -> u64 {
        self.entered.iter().chain(&self.left).fold(0, |sum, moved| sum.saturating_add(*moved))
    }
}

/// Reads one number for each kind of places. Who counted before a kind was there has written fewer, and nothing was there then.
pub(crate) fn by_group<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByGroup, D::Error> {
    let numbers = Vec::<u64>::deserialize(deserializer)?;
    if GROUPS < numbers.len() {
        return Err(de::Error::custom("more kinds of places than there are"));
    }
    let mut groups = [0; GROUPS];
    groups[..numbers.len()].copy_from_slice(&numbers);
    Ok(groups)
}

/// What this process has counted since it began, and what it has in hand.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    state: Mutex<State>,
}

/// At one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) counts: Counts,
    /// Deliveries that are not settled.
    pub(crate) in_hand: ByGroup,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_can_be_told_apart_again() {
        let at_work = |events| std::array::from_fn(|at| if at == Group::Work.index() { events } else { 0 });
        let first = Counts { accepted: 2, uncertain: 1, entered: at_work(2), ..Counts::default() };
        let second = Counts { delivered: 1, left: at_work(1), ..Counts::default() };
        let both = first.plus(&second);
        assert_eq!((both.accepted, both.delivered, both.uncertain, both.movements()), (2, 1, 1, 3));
        assert_eq!((both.since(&second), both.since(&first)), (first, second));
    }
}
