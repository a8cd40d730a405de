use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How many acknowledgements of one channel a broker passes on to a quorum queue while that has not confirmed the first of them. It
/// keeps the others back, and forgets them when the channel is closed: then what was acknowledged comes again.
const PASSED_ON: usize = 32;
/// How long a queue may take to confirm one. It says so to nobody else.
const CONFIRMED_WITHIN: Duration = Duration::from_millis(500);

/// What was acknowledged over a channel.
#[derive(Debug, Default)]
pub(crate) struct AckBacklog(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    deliveries: u64,
    /// When those were written that may be kept back, and one more.
    last: VecDeque<Instant>,
}

impl AckBacklog {
    /// One more was written, for so many deliveries.
    pub(crate) fn add(&self, deliveries: usize) {
        self.lock().add(deliveries, Instant::now());
    }

    /// How many deliveries were acknowledged.
    pub(crate) fn deliveries(&self) -> u64 {
        self.lock().deliveries
    }

    /// Waits until none is kept back, as far as anybody can know. Then the channel can be closed.
    pub(crate) async fn until_passed_on(&self) {
        let when = self.lock().passed_on();
        if let Some(when) = when {
            sleep_until(when).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, deliveries: usize, now: Instant) {
        self.deliveries += deliveries as u64;
        self.last.push_back(now);
        if PASSED_ON + 1 < self.last.len() {
            self.last.pop_front();
        }
    }

    /// When all but as many as are passed on at once are confirmed. `None`: there are no more than that.
    fn passed_on(&self) -> Option<Instant> {
        let first = self.last.front().filter(|_| PASSED_ON < self.last.len())?;
        Some(*first + CONFIRMED_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_acknowledgements_are_waited_for_by_nobody_and_of_many_all_but_the_last_few() {
        let (mut inner, begin, second) = (Inner::default(), Instant::now(), Duration::from_secs(1));
        for _ in 0..PASSED_ON {
            inner.add(1, begin);
            assert_eq!(inner.passed_on(), None);
        }
        inner.add(1, begin + second);
        assert_eq!(inner.passed_on(), Some(begin + CONFIRMED_WITHIN), "long ago by then");
        for _ in 0..PASSED_ON {
            inner.add(1, begin + second);
        }
        assert_eq!(inner.passed_on(), Some(begin + second + CONFIRMED_WITHIN));
        assert_eq!(inner.deliveries, 2 * PASSED_ON as u64 + 1);
    }
}
