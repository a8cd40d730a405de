use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// How many calls an account may begin in a second. Pure: the clock is passed in.
///
/// Calls are spread evenly. A tenth of a second's worth, or one if that is less, may come at once: more precise than that
/// the clock of a busy machine is not, and the rate would not be reached.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// In a second; without one, everything may begin at once.
    rate: Option<NonZeroU32>,
    /// When the next call would begin if all were spread evenly.
    even: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(rate: Option<NonZeroU32>) -> Self {
        Self { rate, even: None }
    }

    /// The rate from now on.
    pub(crate) fn change(&mut self, rate: Option<NonZeroU32>) {
        if self.rate != rate {
            *self = Self::new(rate);
        }
    }

    /// Whether there is a rate at all.
    pub(crate) fn is_bounded(&self) -> bool {
        self.rate.is_some()
    }

    /// Begins a call, or says from when on it may.
    pub(crate) fn begin(&mut self, now: Instant) -> Result<(), Instant> {
        let Some(rate) = self.rate else { return Ok(()) };
        let every = Duration::from_secs(1) / rate.get();
        let ahead = every * (rate.get() / 10).saturating_sub(1);
        let even = self.even.map_or(now, |even| even.max(now));
        if now + ahead < even {
            return Err(even.checked_sub(ahead).unwrap_or(even));
        }
        self.even = Some(even + every);
        Ok(())
    }

    /// How many calls can be of any use at a time if each takes up to `longest`; the others would only wait.
    pub(crate) fn useful(&self, longest: Duration) -> Option<usize> {
        let rate = self.rate?.get();
        let useful = u64::from(rate).saturating_mul(longest.as_secs().max(1));
        Some(usize::try_from(useful).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When calls begin, in milliseconds, if as many as possible do for so long.
    fn begun(rate: u32, ms: u64) -> Vec<u64> {
        let mut pace = Pace::new(NonZeroU32::new(rate));
        let start = Instant::now();
        let mut begun = Vec::new();
        for ms in 0..ms {
            while pace.begin(start + Duration::from_millis(ms)).is_ok() {
                begun.push(ms);
            }
        }
        begun
    }

    #[test]
    fn a_slow_rate_is_one_at_a_time() {
        assert_eq!(begun(1, 4_500), [0, 1_000, 2_000, 3_000, 4_000]);
        assert_eq!(begun(10, 450), [0, 100, 200, 300, 400]);
    }

    #[test]
    fn a_fast_rate_is_kept_without_bursts_of_more_than_a_tenth_of_a_second() {
        let begun = begun(500, 10_000);
        let within = |from: u64, to: u64| begun.iter().filter(|at| (from..to).contains(*at)).count();
        assert!((5_000..=5_050).contains(&begun.len()), "{}", begun.len());
        assert_eq!(within(0, 1), 50);
        assert!((1..9_000).all(|from| within(from, from + 1_000) <= 501), "evenly");
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let mut pace = Pace::new(NonZeroU32::new(10));
        let start = Instant::now();
        assert_eq!(pace.begin(start), Ok(()));
        let later = start + Duration::from_mins(1);
        assert_eq!(pace.begin(later), Ok(()));
        assert_eq!(pace.begin(later), Err(later + Duration::from_millis(100)));
    }

    #[test]
    fn a_new_rate_counts_at_once_and_the_same_one_changes_nothing() {
        let (mut pace, now) = (Pace::new(NonZeroU32::new(1)), Instant::now());
        assert_eq!(pace.begin(now), Ok(()));
        pace.change(NonZeroU32::new(1));
        assert!(pace.begin(now).is_err());
        pace.change(None);
        assert!((0..1_000).all(|_| pace.begin(now).is_ok()));
        assert_eq!((pace.is_bounded(), pace.useful(Duration::from_secs(10))), (false, None));
        pace.change(NonZeroU32::new(2));
        assert_eq!((pace.is_bounded(), pace.useful(Duration::from_secs(10))), (true, Some(20)));
    }
}
