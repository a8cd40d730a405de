use serde::{Deserialize, Deserializer, Serialize, de};

use crate::Group;

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
    /// By [`Group::index`].
    #[serde(deserialize_with = "by_group")]
    pub(crate) entered: [u64; GROUPS],
    #[serde(deserialize_with = "by_group")]
    pub(crate) left: [u64; GROUPS],
}

impl Counts {
    pub(crate) fn plus(&self, more: &Self) -> Self {
        self.with(more, u64::saturating_add)
    }

    /// What has flowed since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    /// The later one of two states of one process: its counts only grow.
    pub(crate) fn later(&self, other: &Self) -> Self {
        self.with(other, u64::max)
    }

    fn with(&self, other: &Self, both: impl Fn(u64, u64) -> u64) -> Self {
        let groups = |one: &[u64; GROUPS], other: &[u64; GROUPS]| std::array::from_fn(|at| both(one[at], other[at]));
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
pub(crate) fn by_group<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u64; GROUPS], D::Error> {
    let numbers = Vec::<u64>::deserialize(deserializer)?;
    if GROUPS < numbers.len() {
        return Err(de::Error::custom("more kinds of places than there are"));
    }
    let mut groups = [0; GROUPS];
    groups[..numbers.len()].copy_from_slice(&numbers);
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_can_be_told_apart_again() {
        let first = Counts { accepted: 2, uncertain: 1, entered: [2, 0, 0, 0, 0, 0, 0, 0], ..Counts::default() };
        let second = Counts { delivered: 1, left: [1, 0, 0, 0, 0, 0, 0, 0], ..Counts::default() };
        let both = first.plus(&second);
        assert_eq!((both.accepted, both.delivered, both.uncertain, both.movements()), (2, 1, 1, 3));
        assert_eq!((both.since(&second), both.since(&first)), (first, second));
    }
}
