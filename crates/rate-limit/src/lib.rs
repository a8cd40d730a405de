//! How often something may happen in a second. Knows neither what it is nor who does it.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Timers are no finer than this: who comes so much too late may catch up.
const GRAIN: Duration = Duration::from_millis(2);

/// A bound on how often something happens, by the generic cell rate algorithm. Pure: the clock is passed in.
///
/// It remembers one moment: when the next one would be if all were spread evenly. Time that passes unused is lost, but for what a
/// burst makes up for.
#[derive(Debug)]
pub struct RateLimit {
    /// From one to the next, spread evenly. Zero: there is no bound.
    interval: Duration,
    /// How far behind that moment may be.
    slack: Duration,
    /// `None`: nothing has happened yet.
    next: Option<Instant>,
}

impl RateLimit {
    /// One at a time, spread evenly. `per_second`: no bound without.
    #[must_use]
    pub fn even(per_second: Option<NonZeroU32>) -> Self {
        Self { interval: interval(per_second), slack: GRAIN, next: None }
    }

    /// As many at once as the rate has in a time of `burst`, and one in any case.
    #[must_use]
    pub fn with_burst(per_second: Option<NonZeroU32>, burst: Duration) -> Self {
        let interval = interval(per_second);
        Self { interval, slack: burst.saturating_sub(interval), next: None }
    }

    /// Lets one through, or says how long it would have to wait. One that is not let through changes nothing.
    ///
    /// # Errors
    /// The wait, which is not zero.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        let next = self.next(now);
        match next.saturating_duration_since(now) {
            Duration::ZERO => {
                self.next = Some(next + self.interval);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Lets so many through, all at once, and says how long to wait before. Whoever comes next waits for every one of them.
    pub fn reserve(&mut self, now: Instant, count: u32) -> Duration {
        let next = self.next(now);
        self.next = Some(next + self.interval.saturating_mul(count));
        next.saturating_duration_since(now)
    }

    fn next(&self, now: Instant) -> Instant {
        let earliest = now.checked_sub(self.slack).unwrap_or(now);
        self.next.map_or(earliest, |next| next.max(earliest))
    }
}

fn interval(per_second: Option<NonZeroU32>) -> Duration {
    per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn even(per_second: u32) -> RateLimit {
        RateLimit::even(NonZeroU32::new(per_second))
    }

    fn with_burst(per_second: u32, burst_ms: u64) -> RateLimit {
        RateLimit::with_burst(NonZeroU32::new(per_second), Duration::from_millis(burst_ms))
    }

    /// When they are let through, in milliseconds, if as many as possible try for so long.
    fn admitted(mut limit: RateLimit, ms: u64) -> Vec<u64> {
        let start = Instant::now();
        (0..ms)
            .flat_map(|ms| std::iter::repeat_n(ms, 100))
            .filter(|ms| limit.admit(start + Duration::from_millis(*ms)).is_ok())
            .collect()
    }

    #[test]
    fn without_a_burst_they_come_one_at_a_time() {
        assert_eq!(admitted(with_burst(1, 100), 4_500), [0, 1_000, 2_000, 3_000, 4_000]);
        assert_eq!(admitted(with_burst(10, 100), 450), [0, 100, 200, 300, 400]);
        assert_eq!(admitted(even(10), 450), [0, 98, 198, 298, 398]);
    }

    #[test]
    fn a_burst_comes_at_once_and_then_as_much_as_time_passes() {
        let begun = admitted(with_burst(500, 100), 10_000);
        let within = |from: u64, to: u64| begun.iter().filter(|at| (from..to).contains(*at)).count();
        assert!((5_000..=5_050).contains(&begun.len()), "{}", begun.len());
        assert_eq!(within(0, 1), 50);
        assert!((1..9_000).all(|from| within(from, from + 1_000) <= 501), "evenly");
    }

    #[test]
    fn a_long_pause_is_worth_a_burst_and_no_more() {
        let (mut limit, start) = (with_burst(10, 1_000), Instant::now());
        let mut burst = |at| (0..100).filter(|_| limit.admit(at).is_ok()).count();
        assert_eq!(burst(start), 10);
        assert_eq!(burst(start + Duration::from_millis(300)), 3);
        assert_eq!(burst(start + Duration::from_hours(1)), 10);
    }

    #[test]
    fn who_waits_as_long_as_was_said_is_let_through() {
        let (mut limit, start) = (with_burst(3, 1_000), Instant::now());
        assert_eq!((0..4).filter(|_| limit.admit(start).is_ok()).count(), 3);
        let wait = limit.admit(start).unwrap_err();
        assert!(!wait.is_zero() && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(limit.admit(start + wait), Ok(()));
    }

    #[test]
    fn those_that_are_reserved_are_as_far_apart_as_the_rate_says() {
        let (mut one, mut several, now) = (even(10), even(10), Instant::now());
        assert_eq!([1, 1, 1].map(|count| one.reserve(now, count).as_millis()), [0, 98, 198]);
        assert_eq!([3, 0, 2, 1].map(|count| several.reserve(now, count).as_millis()), [0, 298, 298, 498]);
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let (mut limit, now) = (RateLimit::even(None), Instant::now());
        assert!((0..1_000).all(|_| limit.admit(now).is_ok() && limit.reserve(now, 1_000).is_zero()));
    }
}
