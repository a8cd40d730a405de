use std::time::{Duration, SystemTime};

/// A time that has passed, as far as this machine's clock knows; `None` for one that lies ahead.
///
/// What an event carries was written by the clock as it was then. If that was set back since, the event would wait for as
/// long again as it was wrong.
pub(crate) fn past(at: Option<SystemTime>, now: SystemTime) -> Option<SystemTime> {
    at.filter(|at| *at <= now)
}

/// How long ago a time was. One that lies ahead says only that it was before this process, which is there for `lived`.
pub(crate) fn since(at: SystemTime, now: SystemTime, lived: Duration) -> Duration {
    now.duration_since(at).unwrap_or(lived)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_time_that_lies_ahead_is_not_waited_for() {
        let now = NOW + HOUR * 10;
        assert_eq!(past(Some(now - HOUR), now), Some(now - HOUR));
        assert_eq!(past(Some(now), now), Some(now));
        assert_eq!(past(Some(now + HOUR * 1_000), now), None);
        assert_eq!(since(now - HOUR * 2, now, HOUR), HOUR * 2);
        assert_eq!(since(now + HOUR * 1_000, now, HOUR * 3), HOUR * 3);
    }
}
