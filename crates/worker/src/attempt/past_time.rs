use std::time::SystemTime;

/// A time that has passed, as far as this machine's clock knows; `None` for one that lies ahead.
///
/// What an event carries was written by the clock as it was then. If that was set back since, the event would wait for as
/// long again as it was wrong.
pub(crate) fn past(at: Option<SystemTime>, now: SystemTime) -> Option<SystemTime> {
    at.filter(|at| *at <= now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_time_that_lies_ahead_is_not_waited_for() {
        let now = NOW + HOUR * 10;
        assert_eq!(past(Some(now - HOUR), now), Some(now - HOUR));
        assert_eq!(past(Some(now), now), Some(now));
        assert_eq!(past(Some(now + HOUR * 1_000), now), None);
    }
}
