use serde::{Deserialize, Serialize};

use super::counts::{Counts, by_group};
use super::ledger::State;
use crate::Group;

/// The least that a death may have hidden: publishes that were confirmed and not counted yet.
const LEAST_LOST: u64 = 100;

/// What is kept in a slot: the sum of all processes that have had it. Read as carefully as everything from a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    /// Rises with every note of the slot; of several notes the last one counts.
    pub(crate) number: u64,
    /// Who wrote it.
    pub(crate) writer: String,
    /// Whether that process has ended in good order, so that nothing is missing.
    pub(crate) closed: bool,
    pub(crate) total: Counts,
    /// How much of that is the writer's.
    pub(crate) own: Counts,
    /// What the writer has in hand.
    #[serde(deserialize_with = "by_group")]
    pub(crate) in_hand: [u64; Group::ALL.len()],
    /// The most that a writer of this slot has counted between two notes.
    pub(crate) largest_step: u64,
    /// Writers that ended without a word.
    pub(crate) deaths: u64,
    /// How much they may have counted after their last notes.
    pub(crate) lost: u64,
}

impl Note {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and a word are JSON")
    }

    /// As it is when its writer is gone: nothing is in hand any more, and what it may not have stored is counted.
    pub(crate) fn abandoned(self) -> Self {
        if self.closed || self.writer.is_empty() {
            return Self { in_hand: [0; Group::ALL.len()], ..self };
        }
        let lost = self.largest_step.saturating_mul(2).max(LEAST_LOST);
        Self {
            closed: true,
            in_hand: [0; Group::ALL.len()],
            deaths: self.deaths.saturating_add(1),
            lost: self.lost.saturating_add(lost),
            ..self
        }
    }

    /// The next note of `writer`, which has `state` now and had `stored` in whatever slot it wrote to last.
    pub(crate) fn next(&self, writer: &str, state: &State, stored: &Counts, closed: bool) -> Self {
        let is_own = self.writer == writer;
        // The answer to its last note may have been lost, so its own note can know more than it does.
        let (before, base) =
            if is_own { (stored.later(&self.own), self.clone()) } else { (*stored, self.clone().abandoned()) };
        let step = state.counts.since(&before);
        Self {
            number: base.number.saturating_add(1),
            writer: writer.to_owned(),
            closed,
            total: base.total.plus(&step),
            own: state.counts,
            in_hand: state.in_hand,
            // Of its predecessors too: it has just begun, and is likely to have as much to do.
            largest_step: base.largest_step.max(step.movements()),
            deaths: base.deaths,
            lost: base.lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(delivered: u64) -> State {
        let mut state = State::default();
        state.counts.delivered = delivered;
        state.counts.left[0] = delivered;
        state.in_hand[0] = 3;
        state
    }

    #[test]
    fn a_slot_has_the_sum_of_everybody_who_had_it() {
        let none = Counts::default();
        let first = Note::default().next("a", &state(5), &none, false);
        let closed = first.next("a", &state(7), &none, true);
        let second = closed.next("b", &state(10), &none, false);
        assert_eq!((closed.total.delivered, second.total.delivered, second.number), (7, 17, 3));
        assert_eq!((second.deaths, second.largest_step, second.in_hand[0]), (0, 10, 3));
        let small = Note::default().next("a", &state(1), &none, false).abandoned();
        assert_eq!((small.deaths, small.lost), (1, LEAST_LOST));
        assert_eq!(Note::parse(&second.to_bytes()), Some(second));
    }

    #[test]
    fn who_ends_without_a_word_may_have_counted_more() {
        let none = Counts::default();
        let first = Note::default().next("a", &state(500), &none, false);
        let second = first.next("b", &state(1), &none, false);
        assert_eq!((second.total.delivered, second.deaths, second.lost), (501, 1, 1_000));
        let third = second.next("c", &state(1), &none, false);
        assert_eq!((third.deaths, third.lost), (2, 2_000), "it could have had as much to do as the one before");
        assert_eq!(third.clone().abandoned().in_hand, [0; 8]);
    }

    #[test]
    fn a_note_whose_answer_was_lost_is_not_counted_twice() {
        let none = Counts::default();
        let first = Note::default().next("a", &state(5), &none, false);
        // It does not know that this was stored.
        let again = first.next("a", &state(6), &none, false);
        assert_eq!(again.total.delivered, 6);
        // In another slot it goes on with what it knows to be stored.
        let elsewhere = Note::default().next("a", &state(8), &state(6).counts, false);
        assert_eq!((elsewhere.total.delivered, elsewhere.own.delivered), (2, 8));
        assert_eq!(elsewhere.next("a", &state(9), &none, true).total.delivered, 3);
    }

    #[test]
    fn a_note_from_before_there_was_the_last_kind_of_places_counts_nothing_there() {
        let mut now = Note::default().next("a", &state(5), &Counts::default(), false);
        let mut before = serde_json::to_value(&now).unwrap();
        now.total.entered[1] = 7;
        for place in ["/in_hand", "/total/entered", "/total/left", "/own/entered", "/own/left"] {
            let numbers = before.pointer_mut(place).unwrap().as_array_mut().unwrap();
            numbers.truncate(7);
            if place == "/total/entered" {
                numbers[1] = 7.into();
            }
        }
        assert_eq!(Note::parse(before.to_string().as_bytes()), Some(now));
        before["in_hand"] = vec![0; 9].into();
        assert_eq!(Note::parse(before.to_string().as_bytes()), None);
    }

    #[test]
    fn what_is_no_note_is_none() {
        for text in ["", "{}", "[]", r#"{"number":-1}"#, r#"{"number":1,"more":2}"#] {
            assert_eq!(Note::parse(text.as_bytes()), None, "{text}");
        }
    }
}
