use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// How long a quiet time is made up for by a burst.
const BURST: Duration = Duration::from_secs(1);

/// Lets so many through in a second, and after a pause as many at once.
///
/// It remembers one moment: up to when what was let through is paid for.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// The time that one of them takes.
    each: Duration,
    paid_until: Mutex<Option<Instant>>,
}

impl Bucket {
    /// `None`: no limit, which is what zero means.
    pub(crate) fn new(per_second: u32) -> Option<Self> {
        let each = BURST.checked_div(per_second)?;
        Some(Self { each, paid_until: Mutex::new(None) })
    }

    /// Lets one through, or says how long it would have to wait.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let mut paid_until = self.paid_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let next = paid_until.map_or(now, |until| until.max(now)) + self.each;
        match next.checked_duration_since(now + BURST) {
            Some(wait) if !wait.is_zero() => Err(wait),
            Some(_) | None => {
                *paid_until = Some(next);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 100 are let through at once.
    fn burst(bucket: &Bucket) -> usize {
        (0..100).filter(|_| bucket.take().is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_goes_through_at_once_and_then_as_much_as_time_passes() {
        let bucket = Bucket::new(10).unwrap();
        assert_eq!(burst(&bucket), 10);
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!(burst(&bucket), 3);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(burst(&bucket), 10, "a long pause is worth a second");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_as_long_as_was_said_is_let_through() {
        let bucket = Bucket::new(3).unwrap();
        assert_eq!(burst(&bucket), 3);
        let wait = bucket.take().unwrap_err();
        assert!(wait <= BURST, "{wait:?}");
        tokio::time::advance(wait).await;
        assert_eq!(bucket.take(), Ok(()));
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(Bucket::new(0).is_none());
    }
}
