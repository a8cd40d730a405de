use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// How long what was settled out of order waits for what came before it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(3);

/// What was settled of one channel's deliveries, and is not acknowledged yet. A broker numbers them from 1 on, without gaps.
///
/// An acknowledgement is written, and read by the broker, in the same time whatever it covers. So it covers as much as it can: all up to
/// a delivery, if all of that was settled. What is behind one that was not settled would need one each, so it may wait for that, but not
/// long; and where one has been waited for in vain, others do not wait for it again.
#[derive(Debug)]
pub(crate) struct AckBatch<T> {
    /// The last delivery that is known.
    last: u64,
    /// Those up to the last that were not settled.
    in_hand: BTreeSet<u64>,
    settled: BTreeMap<u64, (Instant, T)>,
    /// What has been waited for in vain.
    slow: Option<u64>,
}

/// One acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Acknowledgement<T> {
    pub(crate) tag: u64,
    /// What was settled, in the order of its deliveries. If it is several, that is all up to the tag that is not acknowledged yet.
    pub(crate) covered: Vec<T>,
}

impl<T> Default for AckBatch<T> {
    fn default() -> Self {
        Self { last: 0, in_hand: BTreeSet::new(), settled: BTreeMap::new(), slow: None }
    }
}

impl<T> AckBatch<T> {
    /// A delivery was settled. Each is once.
    pub(crate) fn settled(&mut self, tag: u64, now: Instant, what: T) {
        self.in_hand.extend(self.last + 1..tag);
        self.last = self.last.max(tag);
        self.in_hand.remove(&tag);
        self.settled.insert(tag, (now, what));
    }

    /// What to write now, in this order. `patient`: what is settled out of order may wait.
    pub(crate) fn take(&mut self, now: Instant, patient: bool) -> Vec<Acknowledgement<T>> {
        let first = self.in_hand.first().copied();
        let behind = first.map(|first| self.settled.split_off(&first)).unwrap_or_default();
        let before = std::mem::replace(&mut self.settled, behind);
        let mut taken = Vec::new();
        // It ends at one that is not acknowledged: of any other the broker would say that it does not know it.
        if let Some((&tag, _)) = before.last_key_value() {
            taken.push(Acknowledgement { tag, covered: before.into_values().map(|(_, what)| what).collect() });
        }
        if self.due().is_some_and(|due| due <= now) {
            self.slow = first;
        }
        if !patient || self.slow == first {
            let alone = std::mem::take(&mut self.settled).into_iter();
            taken.extend(alone.map(|(tag, (_, what))| Acknowledgement { tag, covered: vec![what] }));
        }
        taken
    }

    /// When to take what waits, whatever else is settled until then.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.settled.values().map(|(since, _)| *since + PATIENCE).min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn taken(unacknowledged: &mut AckBatch<u64>, now: Instant, patient: bool) -> Vec<(u64, Vec<u64>)> {
        unacknowledged.take(now, patient).into_iter().map(|ack| (ack.tag, ack.covered)).collect()
    }

    #[test]
    fn what_is_settled_without_a_gap_is_acknowledged_together_and_what_is_behind_one_after_a_while_alone() {
        let (mut unacknowledged, begin) = (AckBatch::default(), Instant::now());
        for tag in [2, 1, 3, 6, 5] {
            unacknowledged.settled(tag, begin, tag);
        }
        assert_eq!(taken(&mut unacknowledged, begin, true), [(3, vec![1, 2, 3])]);
        assert_eq!(unacknowledged.due(), Some(begin + PATIENCE));
        assert_eq!(taken(&mut unacknowledged, begin + PATIENCE, true), [(5, vec![5]), (6, vec![6])]);
        assert_eq!(unacknowledged.due(), None);

        unacknowledged.settled(7, begin + PATIENCE, 7);
        let again = taken(&mut unacknowledged, begin + PATIENCE, true);
        assert_eq!(again, [(7, vec![7])], "what is slow is waited for once");
        unacknowledged.settled(4, begin + PATIENCE, 4);
        assert_eq!(taken(&mut unacknowledged, begin + PATIENCE, true), [(4, vec![4])]);
        unacknowledged.settled(9, begin + PATIENCE, 9);
        assert_eq!(taken(&mut unacknowledged, begin + PATIENCE, true), [], "the next one may be quick");
        unacknowledged.settled(8, begin + PATIENCE, 8);
        assert_eq!(taken(&mut unacknowledged, begin + PATIENCE, true), [(9, vec![8, 9])]);
    }

    #[test]
    fn where_nobody_is_to_wait_nothing_does() {
        let (mut unacknowledged, begin) = (AckBatch::default(), Instant::now());
        unacknowledged.settled(3, begin, 3);
        unacknowledged.settled(1, begin, 1);
        assert_eq!(taken(&mut unacknowledged, begin, false), [(1, vec![1]), (3, vec![3])]);
        unacknowledged.settled(2, begin, 2);
        unacknowledged.settled(4, begin, 4);
        assert_eq!(taken(&mut unacknowledged, begin, false), [(4, vec![2, 4])], "the third is gone already");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Deliver,
        Settle(Index),
        Wait(u64),
        Take { patient: bool },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Deliver),
            4 => any::<Index>().prop_map(Step::Settle),
            1 => (0_u64..5).prop_map(Step::Wait),
            2 => any::<bool>().prop_map(|patient| Step::Take { patient }),
        ];
        prop::collection::vec(step, 0..400)
    }

    /// What the broker has out on a channel, and what its consumer has in hand.
    #[derive(Default)]
    struct Channel {
        delivered: u64,
        out: BTreeSet<u64>,
        in_hand: BTreeSet<u64>,
    }

    impl Channel {
        fn acknowledge(&mut self, tag: u64, covered: &[u64]) {
            assert!(self.out.contains(&tag), "{tag} is unknown");
            let gone: Vec<_> = if covered.len() == 1 { vec![tag] } else { self.out.range(..=tag).copied().collect() };
            assert_eq!(gone, covered);
            for tag in gone {
                assert!(!self.in_hand.contains(&tag), "{tag} is in hand");
                self.out.remove(&tag);
            }
        }

        fn waiting(&self) -> BTreeSet<u64> {
            self.out.difference(&self.in_hand).copied().collect()
        }
    }

    proptest! {
        #[test]
        fn exactly_what_was_settled_is_acknowledged_once_and_nothing_waits_for_long(steps in steps()) {
            let (mut channel, mut unacknowledged) = (Channel::default(), AckBatch::default());
            let (mut now, mut settled_at) = (Instant::now(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Deliver => {
                        channel.delivered += 1;
                        channel.out.insert(channel.delivered);
                        channel.in_hand.insert(channel.delivered);
                    }
                    Step::Settle(which) if !channel.in_hand.is_empty() => {
                        let tag = *channel.in_hand.iter().nth(which.index(channel.in_hand.len())).unwrap();
                        channel.in_hand.remove(&tag);
                        unacknowledged.settled(tag, now, tag);
                        settled_at.insert(tag, now);
                    }
                    Step::Settle(_) => {}
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                    Step::Take { patient } => {
                        for ack in unacknowledged.take(now, patient) {
                            channel.acknowledge(ack.tag, &ack.covered);
                        }
                        let waiting = channel.waiting();
                        prop_assert!(patient || waiting.is_empty());
                        prop_assert!(waiting.iter().all(|tag| now < settled_at[tag] + PATIENCE));
                        let first = channel.in_hand.first();
                        prop_assert!(waiting.iter().all(|tag| first.is_some_and(|first| first < tag)));
                        prop_assert_eq!(unacknowledged.due(), waiting.iter().map(|tag| settled_at[tag] + PATIENCE).min());
                    }
                }
            }
            for tag in std::mem::take(&mut channel.in_hand) {
                unacknowledged.settled(tag, now, tag);
            }
            for ack in unacknowledged.take(now, true) {
                channel.acknowledge(ack.tag, &ack.covered);
            }
            prop_assert!(channel.out.is_empty());
        }
    }
}
