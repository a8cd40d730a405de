use std::cmp::Ordering;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use refersion_relay_model::AccountName;
use refersion_relay_rate_limit::RateLimit;
use refersion_relay_refersion::Operation;
use refersion_relay_telemetry::{Counted, Metrics};
use tokio::sync::{Mutex as Turns, Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::pacing::limit::{Begun, Limit, Sign};

/// The longest that a call takes by far. More calls than a bounded rate lets begin in this time are never needed.
const LONGEST_CALL: Duration = Duration::from_secs(10);

/// What an account's calls have to go through: so many at a time as its [`Limit`] says, and so many in a second as its
/// rate says. In the order in which they came.
pub(crate) struct CallLimiter {
    name: AccountName,
    /// As many permits as may be in use, but for those that are still to be taken away when they come back.
    permits: Semaphore,
    state: Mutex<State>,
    /// Only the first in line looks at the pace.
    turns: Turns<()>,
    changed: Notify,
    metrics: Metrics,
}

struct State {
    limit: Limit,
    /// In a second; without one, everything may begin at once.
    rate: Option<NonZeroU32>,
    pace: RateLimit,
    /// Permits there are, in use or not.
    permits: usize,
    in_use: usize,
}

/// How many calls an account has, and may have.
pub(crate) struct CallStatus {
    /// Under way.
    pub(crate) in_flight: usize,
    /// That may be.
    pub(crate) allowed: usize,
    /// That may begin in a second.
    pub(crate) per_second: Option<NonZeroU32>,
}

/// The right to one call at a time.
pub(crate) struct Permit<'a> {
    limiter: &'a CallLimiter,
    held: Option<SemaphorePermit<'a>>,
    _counted: Counted,
}

impl CallLimiter {
    /// `ceiling`: calls in flight at most. `rate`: calls in a second at most.
    pub(crate) fn new(name: AccountName, ceiling: usize, rate: Option<NonZeroU32>, metrics: Metrics) -> Self {
        let state = State { limit: Limit::new(ceiling), rate, pace: pace(rate), permits: 0, in_use: 0 };
        let limiter = Self {
            name,
            permits: Semaphore::new(0),
            state: Mutex::new(state),
            turns: Turns::new(()),
            changed: Notify::new(),
            metrics,
        };
        limiter.adjust(&mut limiter.lock());
        limiter
    }

    /// How it is now.
    pub(crate) fn status(&self) -> CallStatus {
        let state = self.lock();
        CallStatus { in_flight: state.in_use, allowed: state.permits, per_second: state.rate }
    }

    /// Waits for the right to call. Dropping it makes room for the next.
    pub(crate) async fn enter(&self) -> Permit<'_> {
        let permit = self.permits.acquire().await.expect("the semaphore is never closed");
        self.lock().in_use += 1;
        Permit { limiter: self, held: Some(permit), _counted: self.metrics.calling(&self.name) }
    }

    /// Waits until a call may begin by the pace. Returns whether it had to wait.
    pub(crate) async fn wait_for_turn(&self) -> bool {
        if self.lock().rate.is_none() {
            return false;
        }
        let _first = self.turns.lock().await;
        let mut waited = false;
        loop {
            let changed = self.changed.notified();
            let begun = self.lock().pace.admit(Instant::now().into_std());
            let Err(wait) = begun else { return waited };
            waited = true;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = changed => {}
            }
        }
    }

    /// A call begins now, of somebody who has a [`Permit`].
    pub(crate) fn begins(&self) -> Begun {
        let mut state = self.lock();
        let in_use = state.in_use;
        state.limit.begins(Instant::now(), in_use)
    }

    /// A call has ended.
    pub(crate) fn ended(&self, operation: Operation, begun: Begun, sign: Sign) {
        let mut state = self.lock();
        let in_use = state.in_use;
        state.limit.ended(operation, begun, Instant::now(), sign, in_use);
        self.adjust(&mut state);
    }

    /// Calls in a second at most, from now on.
    pub(crate) fn set_rate(&self, rate: Option<NonZeroU32>) {
        let mut state = self.lock();
        if state.rate != rate {
            (state.rate, state.pace) = (rate, pace(rate));
        }
        self.adjust(&mut state);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Forgets what it learnt: Refersion is back from an outage.
    pub(crate) fn restart(&self) {
        let mut state = self.lock();
        state.limit.restart(Instant::now());
        self.adjust(&mut state);
    }

    /// Makes as many permits as there may be. Those in use are taken away when they come back.
    fn adjust(&self, state: &mut State) {
        let allowed = state.allowed();
        match state.permits.cmp(&allowed) {
            Ordering::Less => {
                self.permits.add_permits(allowed - state.permits);
                state.permits = allowed;
            }
            Ordering::Equal => return,
            Ordering::Greater => state.permits -= self.permits.forget_permits(state.permits - allowed),
        }
        self.metrics.call_limit(&self.name, allowed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn allowed(&self) -> usize {
        let limit = self.limit.allowed();
        let Some(rate) = self.rate else { return limit };
        let useful = u64::from(rate.get()).saturating_mul(LONGEST_CALL.as_secs());
        limit.min(usize::try_from(useful).unwrap_or(usize::MAX))
    }
}

/// Spread evenly, but in steps of a tenth of a second: the clock of a busy machine is no more precise, and the rate would not be
/// reached.
fn pace(rate: Option<NonZeroU32>) -> RateLimit {
    let burst = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get() * (rate.get() / 10));
    RateLimit::with_burst(rate, burst)
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.lock();
        state.in_use -= 1;
        if state.allowed() < state.permits
            && let Some(permit) = self.held.take()
        {
            permit.forget();
            state.permits -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn limiter(ceiling: usize, rate: u32) -> CallLimiter {
        let name = AccountName::try_from("acme").unwrap();
        CallLimiter::new(name, ceiling, NonZeroU32::new(rate), Metrics::new())
    }

    /// A call of somebody inside, which takes no time.
    fn end(limiter: &CallLimiter, sign: Sign) {
        limiter.ended(Operation::New, limiter.begins(), sign);
    }

    /// Takes whatever is to be had.
    fn take(limiter: &CallLimiter) -> Vec<Permit<'_>> {
        std::iter::from_fn(|| limiter.enter().now_or_never()).collect()
    }

    fn shows(limiter: &CallLimiter, line: &str) -> bool {
        limiter.metrics.render().lines().any(|shown| shown.strip_prefix("refersion_relay_refersion_") == Some(line))
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_enter_as_the_limit_says_however_it_moves() {
        let limiter = limiter(32, 0);
        let mut inside = take(&limiter);
        assert_eq!(inside.len(), 4);
        end(&limiter, Sign::Good);
        tokio::time::advance(Duration::from_secs(1)).await;
        end(&limiter, Sign::Good);
        inside.extend(take(&limiter));
        assert_eq!(inside.len(), 5, "it grows only while it is used");
        assert!(shows(&limiter, r#"calls_in_flight{account="acme"} 5"#));

        end(&limiter, Sign::Bad);
        assert!(shows(&limiter, r#"call_limit{account="acme"} 2"#));
        inside.truncate(2);
        assert_eq!(take(&limiter).len(), 0, "what was in use is taken away when it comes back");
        inside.clear();
        assert_eq!(take(&limiter).len(), 2);
        limiter.restart();
        assert_eq!(take(&limiter).len(), 1);
        assert!(shows(&limiter, r#"calls_in_flight{account="acme"} 0"#));
    }

    #[tokio::test(start_paused = true)]
    async fn the_ceiling_counts_and_one_is_always_let_in() {
        let limiter = limiter(2, 0);
        assert_eq!(take(&limiter).len(), 2);
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(1)).await;
            end(&limiter, Sign::Bad);
        }
        assert_eq!(take(&limiter).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_rate_again_changes_nothing() {
        let limiter = limiter(32, 1);
        assert_eq!(limiter.wait_for_turn().now_or_never(), Some(false));
        limiter.set_rate(NonZeroU32::new(1));
        assert_eq!(limiter.wait_for_turn().now_or_never(), None, "it is not its turn yet");
        limiter.set_rate(NonZeroU32::new(2));
        assert_eq!(limiter.wait_for_turn().now_or_never(), Some(false), "a new one begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn less_than_two_in_a_tenth_of_a_second_come_one_at_a_time() {
        let limiter = limiter(32, 19);
        assert_eq!(limiter.wait_for_turn().now_or_never(), Some(false));
        assert_eq!(limiter.wait_for_turn().now_or_never(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_begin_at_the_pace_and_a_new_one_counts_at_once() {
        let limiter = limiter(32, 10);
        let began = Instant::now();
        for _ in 0..11 {
            limiter.wait_for_turn().await;
        }
        assert_eq!(began.elapsed(), Duration::from_secs(1));

        limiter.set_rate(NonZeroU32::new(1));
        limiter.wait_for_turn().await;
        let began = Instant::now();
        let wait = async {
            limiter.wait_for_turn().await;
            began.elapsed()
        };
        let change = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            limiter.set_rate(None);
        };
        let (waited, ()) = tokio::join!(wait, change);
        assert_eq!(waited, Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_enter_than_a_slow_pace_can_use() {
        let limiter = limiter(1_000, 1);
        let mut inside = take(&limiter);
        for _ in 0..1_000 {
            end(&limiter, Sign::Good);
            inside.extend(take(&limiter));
        }
        assert_eq!(inside.len(), 10);
    }
}
