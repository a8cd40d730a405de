use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use refersion_relay_queue::Backoff;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::outage::history::History;

/// The first wait after a 429 that does not say how long to wait, and the longest. Each is drawn around these.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(2);

/// The times in which an account leaves Refersion alone, because that asked for it.
pub(crate) struct Pauses {
    inner: Mutex<Inner>,
    /// Until when there is a pause, if there was any.
    until: watch::Sender<Option<Instant>>,
}

struct Inner {
    past: History,
    /// Grows with each 429 that does not say how long to wait.
    backoff: Backoff,
    /// When a wait was drawn last.
    drawn: Option<Instant>,
}

impl Pauses {
    pub(crate) fn new() -> Self {
        let (backoff, past) = (Backoff::new(FIRST, LONGEST), History::default());
        Self { inner: Mutex::new(Inner { past, backoff, drawn: None }), until: watch::Sender::new(None) }
    }

    /// There is a pause of so long from now on, if none is longer. Returns whether there was none.
    pub(crate) fn begin(&self, pause: Duration) -> bool {
        let mut inner = self.lock();
        let (now, until) = (Instant::now(), Instant::now() + pause);
        let current = self.until.borrow().filter(|current| now <= *current);
        let begins = current.unwrap_or(now);
        if begins < until {
            let clock = SystemTime::now();
            inner.past.add(clock + (begins - now), clock + pause);
            self.until.send_replace(Some(until));
        }
        current.is_none()
    }

    /// How long the pause still takes.
    pub(crate) fn left(&self) -> Option<Duration> {
        let until = *self.until.borrow();
        until.and_then(|until| until.checked_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Waits until the pause still takes longer than `patience`.
    pub(crate) async fn until_longer_than(&self, patience: Duration) {
        let is_longer = |until: &Option<Instant>| until.is_some_and(|until| Instant::now() + patience < until);
        let _ = self.until.subscribe().wait_for(is_longer).await;
    }

    /// An attempt that began then got a 429 that does not say how long to wait. All those beside one another are one sign.
    pub(crate) fn limited(&self, began: Instant) -> Option<Duration> {
        let mut inner = self.lock();
        if inner.drawn.is_some_and(|drawn| began <= drawn) {
            return None;
        }
        inner.drawn = Some(Instant::now());
        Some(inner.backoff.next_wait())
    }

    /// An attempt that began then got another answer.
    pub(crate) fn not_limited(&self, began: Instant) {
        let mut inner = self.lock();
        if inner.drawn.is_some_and(|drawn| drawn < began) {
            inner.drawn = None;
            inner.backoff.reset();
        }
    }

    /// For how long there was a pause between `first` and `now`.
    pub(crate) fn between(&self, first: SystemTime, now: SystemTime) -> Duration {
        self.lock().past.between(first, now)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn limits_without_a_time_are_waited_out_for_longer_and_longer_until_something_is_answered() {
        let pauses = Pauses::new();
        let mut waits = Vec::new();
        for _ in 0..20 {
            tokio::time::advance(SECOND).await;
            waits.push(pauses.limited(Instant::now()).expect("a new sign"));
            tokio::time::advance(SECOND).await;
        }
        assert!(waits[0] <= FIRST.mul_f64(1.5), "{waits:?}");
        assert!(waits[10..].iter().all(|wait| LONGEST.mul_f64(0.5) <= *wait), "{waits:?}");

        pauses.not_limited(Instant::now());
        tokio::time::advance(SECOND).await;
        assert!(pauses.limited(Instant::now()).expect("a new sign") <= FIRST.mul_f64(1.5));
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_side_by_side_are_one_sign() {
        let pauses = Pauses::new();
        let began = Instant::now();
        tokio::time::advance(SECOND).await;
        assert!(pauses.limited(began).is_some());
        assert_eq!(pauses.limited(began), None);
        pauses.not_limited(began);
        tokio::time::advance(SECOND).await;
        // What was answered well had begun before: the wait grows on.
        let longest: Duration = (0..20).filter_map(|_| pauses.limited(Instant::now() + SECOND)).max().expect("a sign");
        assert!(FIRST.mul_f64(1.5) < longest, "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_that_overlap_are_counted_once() {
        let pauses = Pauses::new();
        let first = SystemTime::now();
        assert!(pauses.begin(10 * SECOND));
        assert!(!pauses.begin(5 * SECOND));
        assert!(!pauses.begin(20 * SECOND));
        let between = pauses.between(first - SECOND, first + 60 * SECOND);
        assert!(20 * SECOND <= between && between < 21 * SECOND, "{between:?}");
        assert_eq!(pauses.left(), Some(20 * SECOND));
    }
}
