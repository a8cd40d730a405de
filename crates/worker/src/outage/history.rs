use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// How many are remembered. At the shortest possible distance these are hours of nothing but coming and going.
const REMEMBERED: usize = 1_000;

/// The times in which Refersion was out, or an account paused, so that they do not make an event older. Bounded: the oldest is
/// forgotten first.
/// They are this process's own: after a restart, what was before it counts.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<(SystemTime, SystemTime)>);

impl History {
    /// It was so from `begin` to `end`, which is later than all before.
    pub(crate) fn add(&mut self, begin: SystemTime, end: SystemTime) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((begin, end));
    }

    /// How long it was so between `first` and `now`.
    pub(crate) fn between(&self, first: SystemTime, now: SystemTime) -> Duration {
        let within = self.0.iter().rev().take_while(|(_, end)| first < *end);
        within.map(|(begin, end)| (*end).min(now).duration_since((*begin).max(first)).unwrap_or_default()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn only_the_time_within_counts() {
        let mut history = History::default();
        assert_eq!(history.between(at(0), at(100)), Duration::ZERO);
        history.add(at(10), at(20));
        history.add(at(50), at(55));

        let seconds = |first, now| history.between(at(first), at(now)).as_secs();
        assert_eq!((seconds(0, 100), seconds(15, 100), seconds(20, 100), seconds(60, 100)), (15, 10, 5, 0));
        assert_eq!((seconds(0, 12), seconds(0, 5), seconds(11, 12)), (2, 0, 1));
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut history = History::default();
        for n in 0..=REMEMBERED as u64 {
            history.add(at(10 * n), at(10 * n + 1));
        }
        assert_eq!(history.between(at(0), at(1_000_000)).as_secs(), REMEMBERED as u64);
    }
}
