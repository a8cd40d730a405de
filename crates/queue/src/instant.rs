use std::time::{Duration, SystemTime};

/// The end of the year 9999, the last one that RFC 3339 can write, in milliseconds since 1970.
const LAST_MS: u64 = 253_402_300_799_999;

/// A time that was stored, if it can be right. What a queue or a file says may be anything.
pub(crate) fn believed(at: SystemTime) -> Option<SystemTime> {
    (at == writable(at)).then_some(at)
}

/// As `2026-01-31T12:00:00.123Z`. What lies before 1970 or after 9999 is written as the nearest time that can be.
#[must_use]
pub fn rfc3339_millis(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(writable(at)).to_string()
}

/// As `2026-01-31T12:00:00Z`, in the same way.
#[must_use]
pub fn rfc3339_seconds(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(writable(at)).to_string()
}

/// `humantime` panics at what it cannot write.
fn writable(at: SystemTime) -> SystemTime {
    let last = SystemTime::UNIX_EPOCH + Duration::from_millis(LAST_MS);
    at.clamp(SystemTime::UNIX_EPOCH, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i128) -> SystemTime {
        let by = Duration::from_secs(u64::try_from(seconds.abs()).unwrap());
        if seconds < 0 { SystemTime::UNIX_EPOCH - by } else { SystemTime::UNIX_EPOCH + by }
    }

    #[test]
    fn every_time_can_be_written() {
        let cases = [
            (at(0), "1970-01-01T00:00:00Z"),
            (at(253_402_300_799), "9999-12-31T23:59:59Z"),
            (at(253_402_300_800), "9999-12-31T23:59:59Z"),
            (at(i128::from(i64::MAX)), "9999-12-31T23:59:59Z"),
            (at(-1), "1970-01-01T00:00:00Z"),
        ];
        for (time, expected) in cases {
            assert_eq!(rfc3339_seconds(time), expected);
            assert_eq!(rfc3339_millis(time)[..19], expected[..19]);
        }
    }

    #[test]
    fn only_what_can_be_right_is_believed() {
        let last = at(253_402_300_799);
        assert_eq!((believed(at(0)), believed(last)), (Some(at(0)), Some(last)));
        assert_eq!((believed(at(-1)), believed(at(253_402_300_800))), (None, None));
    }
}
