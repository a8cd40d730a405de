use std::time::{Duration, SystemTime};

use refersion_relay_queue::rfc3339_seconds;
use refersion_relay_refersion::{ClockReading, Offset};

use super::finding::Finding;

const WARN: Duration = Duration::from_secs(5);
const FAIL: Duration = Duration::from_mins(1);
/// 2026-01-01T00:00:00Z: this program is younger.
const EARLIEST: Duration = Duration::from_hours(20_454 * 24);

/// Whether this machine's clock is right, as far as Refersion's answers tell. Ages of events and the dates in
/// `Retry-After` are reckoned by it.
pub(crate) fn judge(now: SystemTime, readings: &[ClockReading], answered: bool) -> Finding {
    let what = "clock";
    if now < SystemTime::UNIX_EPOCH + EARLIEST {
        let says = format!("it is {} here, before this program was written: set the clock", rfc3339_seconds(now));
        return Finding::failed(what, says);
    }
    // Each is a lower bound, so the largest is the best.
    let largest = readings.iter().map(ClockReading::offset).max_by_key(|offset| match offset {
        Offset::None => Duration::ZERO,
        Offset::Ahead(by) | Offset::Behind(by) => *by,
    });
    let (by, direction) = match largest {
        None => {
            let why =
                if answered { "no answer of Refersion's had a date" } else { "there was no answer from Refersion" };
            let says = format!("was not compared: {why}; see that something like NTP sets it");
            return Finding::warning(what, says);
        }
        Some(Offset::None) => (Duration::ZERO, ""),
        Some(Offset::Ahead(by)) => (by, "ahead of"),
        Some(Offset::Behind(by)) => (by, "behind"),
    };
    let says = format!(
        "{} s {direction} Refersion's; events age and waits end by it: set it, by NTP for example",
        by.as_secs_f64().round()
    );
    if FAIL < by {
        Finding::failed(what, says)
    } else if WARN < by {
        Finding::warning(what, says)
    } else {
        Finding::ok(what, format!("agrees with Refersion's to {} s", WARN.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    const NOW: Duration = Duration::from_hours(500_000);

    fn reading(offset_s: i64) -> ClockReading {
        let now = SystemTime::UNIX_EPOCH + NOW;
        let by = Duration::from_secs(offset_s.unsigned_abs());
        let date = if offset_s < 0 { now + by } else { now - by };
        ClockReading { asked_at: now, answered_at: now, date }
    }

    #[track_caller]
    fn judged(readings: &[ClockReading]) -> (Level, String) {
        let finding = judge(SystemTime::UNIX_EPOCH + NOW, readings, true);
        (finding.level, finding.says)
    }

    #[test]
    fn an_offset_up_to_5_s_is_fine_up_to_60_s_a_warning_and_beyond_a_failure() {
        // A date is cut to whole seconds, so a clock that is ahead shows a second less.
        for (offset_s, level) in [(0, Level::Ok), (6, Level::Ok), (7, Level::Warning), (61, Level::Warning)] {
            assert_eq!(judged(&[reading(offset_s)]).0, level, "{offset_s}");
        }
        assert_eq!(judged(&[reading(62)]).0, Level::Failed);
        for (offset_s, level) in [(-5, Level::Ok), (-6, Level::Warning), (-60, Level::Warning), (-61, Level::Failed)] {
            assert_eq!(judged(&[reading(offset_s)]).0, level, "{offset_s}");
        }
    }

    #[test]
    fn the_direction_and_the_size_are_named() {
        let (_, ahead) = judged(&[reading(3_601)]);
        assert!(ahead.starts_with("3600 s ahead of"), "{ahead}");
        let (_, behind) = judged(&[reading(0), reading(-3_600)]);
        assert!(behind.starts_with("3600 s behind"), "{behind}");
    }

    #[test]
    fn a_clock_that_was_not_compared_is_a_warning_that_says_why() {
        let (level, says) = judged(&[]);
        assert!(level == Level::Warning && says.contains("had a date"), "{says}");
        let away = judge(SystemTime::UNIX_EPOCH + NOW, &[], false);
        assert!(away.level == Level::Warning && away.says.contains("no answer"), "{away}");
    }

    #[test]
    fn a_clock_that_was_never_set_fails_whatever_refersion_says() {
        let finding = judge(SystemTime::UNIX_EPOCH + Duration::from_mins(1), &[], false);
        assert_eq!(finding.level, Level::Failed);
        assert!(finding.says.contains("1970-01-01T00:01:00Z"), "{finding}");
    }
}
