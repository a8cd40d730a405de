use std::time::{Duration, SystemTime};

/// The `Date` of one of Refersion's answers, between the moments at which we had asked and had the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Our time before the request.
    pub asked_at: SystemTime,
    /// Our time after the answer's headers.
    pub answered_at: SystemTime,
    /// Refersion's time in between, cut to whole seconds (RFC 9110, section 6.6.1).
    pub date: SystemTime,
}

/// How far our clock is from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// Not further than the reading can tell.
    None,
    /// Ours is later, by at least this.
    Ahead(Duration),
    /// Ours is earlier, by at least this.
    Behind(Duration),
}

/// What the date was cut by, at most.
const CUT: Duration = Duration::from_secs(1);

impl ClockReading {
    /// Compares the clocks. Neither the time that the answer took nor the cut of the date counts as an offset.
    #[must_use]
    pub fn offset(&self) -> Offset {
        if let Ok(ahead) = self.asked_at.duration_since(self.date + CUT) {
            Offset::Ahead(ahead)
        } else if let Ok(behind) = self.date.duration_since(self.answered_at) {
            Offset::Behind(behind)
        } else {
            Offset::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(asked_ms: u64, answered_ms: u64, date_s: u64) -> Offset {
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        ClockReading { asked_at: at(asked_ms), answered_at: at(answered_ms), date: at(date_s * 1_000) }.offset()
    }

    #[test]
    fn a_slow_answer_and_a_date_in_whole_seconds_are_no_offset() {
        assert_eq!(offset(100_900, 101_100, 100), Offset::None);
        assert_eq!(offset(100_900, 101_100, 101), Offset::None);
        assert_eq!(offset(100_000, 109_000, 104), Offset::None);
    }

    #[test]
    fn a_date_outside_of_the_call_is_an_offset() {
        assert_eq!(offset(107_500, 107_600, 100), Offset::Ahead(Duration::from_millis(6_500)));
        assert_eq!(offset(100_000, 100_500, 107), Offset::Behind(Duration::from_millis(6_500)));
    }
}
