use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::account::pauses::Pauses;

/// Whether an account's work queue may be read. One for each account in a worker.
pub(crate) struct Gate {
    state: watch::Sender<GateState>,
    /// Since when it is so.
    since: Mutex<SystemTime>,
    pauses: Pauses,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GateState {
    /// The account can be worked for, as far as is known.
    Open,
    /// Its keys were refused. Only a probe may call.
    Held,
    /// It is not configured any more, and nobody may call.
    Gone,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let since = Mutex::new(SystemTime::now());
        Self { state: watch::Sender::new(GateState::Open), since, pauses: Pauses::new() }
    }

    pub(crate) fn state(&self) -> GateState {
        *self.state.borrow()
    }

    /// Since when it is in this state.
    pub(crate) fn since(&self) -> SystemTime {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begins(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
    }

    /// The keys were refused. Returns whether that is news; of an account that is gone it is not.
    pub(crate) fn hold(&self) -> bool {
        self.advance(GateState::Open, GateState::Held)
    }

    /// The keys work again. Returns whether the account was held.
    pub(crate) fn release(&self) -> bool {
        self.advance(GateState::Held, GateState::Open)
    }

    /// The account is not configured any more. Returns whether that is news.
    pub(crate) fn leave(&self) -> bool {
        let is_news = self.state.send_replace(GateState::Gone) != GateState::Gone;
        if is_news {
            self.begins();
        }
        is_news
    }

    /// The account is configured again. Returns whether it was gone.
    pub(crate) fn come_back(&self) -> bool {
        self.advance(GateState::Gone, GateState::Open)
    }

    /// Goes from one state to the next, unless something else has happened meanwhile. Returns whether it went.
    fn advance(&self, from: GateState, to: GateState) -> bool {
        self.state.send_if_modified(|state| {
            let goes = *state == from;
            if goes {
                *state = to;
                self.begins();
            }
            goes
        })
    }

    pub(crate) async fn until(&self, is_so: impl Fn(GateState) -> bool) {
        let _ = self.state.subscribe().wait_for(|state| is_so(*state)).await;
    }

    /// Refersion wants to be left alone for so long. Returns whether that is news.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        self.pauses.begin(pause)
    }

    /// Refersion wants fewer calls, and has not said for how long: so said the answer to an attempt that began at `began`.
    /// Returns for how long the account pauses; `None` where that has been decided since.
    pub(crate) fn slow_down(&self, began: Instant) -> Option<Duration> {
        self.pauses.limited(began)
    }

    /// An attempt that began at `began` was not answered so.
    pub(crate) fn not_limited(&self, began: Instant) {
        self.pauses.not_limited(began);
    }

    /// For how long the account paused between `first` and `now`.
    pub(crate) fn paused_between(&self, first: SystemTime, now: SystemTime) -> Duration {
        self.pauses.between(first, now)
    }

    /// How much longer Refersion wants to be left alone.
    pub(crate) fn paused(&self) -> Option<Duration> {
        self.pauses.left()
    }

    /// Waits until the account does not pause.
    pub(crate) async fn until_unpaused(&self) {
        while let Some(left) = self.paused() {
            tokio::time::sleep(left).await;
        }
    }

    /// Waits until the account pauses for longer than `patience`.
    pub(crate) async fn until_paused_for(&self, patience: Duration) {
        self.pauses.until_longer_than(patience).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_refusal_that_comes_late_does_not_bring_an_account_back() {
        let gate = Gate::new();
        assert!(gate.leave() && !gate.leave() && !gate.hold() && !gate.release());
        assert_eq!(gate.state(), GateState::Gone);
        assert!(gate.come_back() && !gate.come_back());
        assert_eq!(gate.state(), GateState::Open);
    }

    #[test]
    fn a_hold_is_news_once_and_ends_once() {
        let gate = Gate::new();
        assert!(gate.hold() && !gate.hold());
        assert!(gate.until(|state| state == GateState::Open).now_or_never().is_none());
        assert!(gate.release() && !gate.release());
        assert!(gate.until(|state| state == GateState::Open).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_by_itself_and_the_longer_one_counts() {
        let gate = Gate::new();
        assert!(gate.pause(Duration::from_secs(10)));
        assert!(!gate.pause(Duration::from_secs(5)));
        assert_eq!(gate.paused(), Some(Duration::from_secs(10)));
        assert!(gate.until_paused_for(Duration::from_secs(10)).now_or_never().is_none());
        assert!(gate.until_paused_for(Duration::from_secs(9)).now_or_never().is_some());
        let began = Instant::now();
        gate.until_unpaused().await;
        assert_eq!((began.elapsed(), gate.paused()), (Duration::from_secs(10), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_grows_is_heard_of() {
        let gate = Gate::new();
        gate.pause(Duration::from_secs(10));
        let mut waiting = std::pin::pin!(gate.until_paused_for(Duration::from_mins(2)));
        assert!(waiting.as_mut().now_or_never().is_none());
        gate.pause(Duration::from_mins(3));
        assert!(waiting.now_or_never().is_some());
    }
}
