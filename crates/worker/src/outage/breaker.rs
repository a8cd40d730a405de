use std::time::Duration;

use tokio::time::Instant;

use crate::settings::OutageSettings;

/// How long a failure waits for the answers of other calls before it is worth a probe: a busy worker soon knows by itself.
const DOUBT: Duration = Duration::from_millis(250);

/// Whether Refersion itself is there, as far as the calls of this process tell. Pure: time and chance are passed in.
///
/// A failure that can be Refersion's says nothing alone: the event may be at fault, or Refersion. It is decided by a call
/// that began *after* the failure, of any account. If one is answered properly, Refersion is up; while nobody calls, a
/// probe does. A probe without a proper answer begins an outage, and the next proper answer of any call ends it.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: OutageSettings,
    phase: Phase,
    proper: Option<Proper>,
    doubt: Option<Doubt>,
    /// When the last outage ended.
    over: Option<Instant>,
    /// The earliest time of the next probe.
    next_probe: Option<Instant>,
}

/// What the process does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything may call.
    Up,
    /// Nothing may call but probes.
    Out { since: Instant, trouble: Trouble },
}

/// The trouble that Refersion, or the way to it, is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It does not answer.
    NoAnswer,
    /// It answers that it cannot.
    Unavailable,
    /// Something answers that is not Refersion.
    Unclear,
}

/// What is known of Refersion at the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It answered a call that began after the attempt had failed.
    Up,
    /// It was out during the attempt, or turned out to be right after it.
    Out,
}

/// What has changed by what was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    Nothing,
    /// A doubt is over, or there is a new one.
    Doubt,
    /// An outage began.
    Began(Trouble),
    /// An outage that began then is over.
    Ended(Instant),
}

/// The calls that were answered properly.
#[derive(Clone, Copy, Debug)]
struct Proper {
    /// The latest beginning of one.
    began: Instant,
    /// The latest answer.
    answered: Instant,
}

/// Failures of which nobody knows yet whose they are.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: Instant,
    last: Instant,
}

impl Breaker {
    pub(crate) fn new(settings: OutageSettings) -> Self {
        Self { settings, phase: Phase::Up, proper: None, doubt: None, over: None, next_probe: None }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// When what is in hand has to be given back, in an outage.
    pub(crate) fn patience_ends(&self) -> Option<Instant> {
        match self.phase {
            Phase::Out { since, .. } => Some(since + self.settings.patience),
            Phase::Up => None,
        }
    }

    /// A call that began at `began` was answered properly.
    pub(crate) fn answered(&mut self, began: Instant, now: Instant) -> Change {
        let latest = self.proper.map_or(began, |proper| proper.began.max(began));
        self.proper = Some(Proper { began: latest, answered: now });
        if let Phase::Out { since, .. } = self.phase {
            self.phase = Phase::Up;
            (self.over, self.doubt) = (Some(now), None);
            return Change::Ended(since);
        }
        let Some(doubt) = &mut self.doubt else { return Change::Nothing };
        if doubt.last < began {
            self.doubt = None;
        } else {
            doubt.since = doubt.since.max(began);
        }
        Change::Doubt
    }

    /// An attempt from `began` to `now` failed in a way that can be Refersion's.
    pub(crate) fn failed(&mut self, began: Instant, now: Instant) -> Change {
        if matches!(self.phase, Phase::Out { .. }) || self.overlaps(began) {
            return Change::Nothing;
        }
        let since = self.doubt.map_or(now, |doubt| doubt.since);
        // Of two that failed at once the earlier one may be heard of last.
        let last = self.doubt.map_or(now, |doubt| doubt.last.max(now));
        self.doubt = Some(Doubt { since, last });
        Change::Doubt
    }

    /// What is known of an attempt that failed; `None` while it is in doubt.
    pub(crate) fn judge(&self, began: Instant, failed: Instant) -> Option<Known> {
        if matches!(self.phase, Phase::Out { .. }) || self.overlaps(began) {
            Some(Known::Out)
        } else if self.proper.is_some_and(|proper| failed < proper.began) {
            Some(Known::Up)
        } else {
            None
        }
    }

    /// When to probe, if there is anything to be found out.
    pub(crate) fn probe_due(&self) -> Option<Instant> {
        let wanted = match (self.phase, self.doubt) {
            (Phase::Out { since, .. }, _) => since,
            (Phase::Up, Some(doubt)) => doubt.since + DOUBT,
            (Phase::Up, None) => return None,
        };
        Some(self.next_probe.map_or(wanted, |next| next.max(wanted)))
    }

    /// A probe begins, whatever becomes of those before it. `draw`: from 0 to 1, where in its bounds the next interval is.
    pub(crate) fn probing(&mut self, now: Instant, draw: f64) {
        let (least, most) = (self.settings.probe_at_least, self.settings.probe_at_most);
        self.next_probe = Some(now + least + most.saturating_sub(least).mul_f64(draw));
    }

    /// A probe that began at `began` had no proper answer.
    pub(crate) fn probe_failed(&mut self, began: Instant, trouble: Trouble) -> Change {
        // What was answered since it began knows better.
        let stale = self.proper.is_some_and(|proper| began < proper.answered);
        match (self.phase, self.doubt) {
            (Phase::Up, Some(doubt)) if !stale => self.begin(doubt.since, trouble),
            (Phase::Up | Phase::Out { .. }, _) => Change::Nothing,
        }
    }

    fn begin(&mut self, since: Instant, trouble: Trouble) -> Change {
        self.phase = Phase::Out { since, trouble };
        self.doubt = None;
        Change::Began(trouble)
    }

    /// Whether an attempt that began then saw some of the last outage.
    fn overlaps(&self, began: Instant) -> bool {
        self.over.is_some_and(|over| began < over)
    }
}

impl Trouble {
    /// Every trouble, in the order of this enum.
    pub const ALL: [Self; 3] = [Self::NoAnswer, Self::Unavailable, Self::Unclear];

    /// The word in labels, in the log and in health.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAnswer => "no_answer",
            Self::Unavailable => "unavailable",
            Self::Unclear => "unclear",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An outage's course, told in milliseconds.
    struct Course {
        breaker: Breaker,
        start: Instant,
    }

    impl Course {
        fn new() -> Self {
            Self { breaker: Breaker::new(OutageSettings::default()), start: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn answered(&mut self, began: u64, now: u64) -> Change {
            self.breaker.answered(self.at(began), self.at(now))
        }

        fn failed(&mut self, began: u64, now: u64) -> Change {
            self.breaker.failed(self.at(began), self.at(now))
        }

        fn judge(&self, began: u64, failed: u64) -> Option<Known> {
            self.breaker.judge(self.at(began), self.at(failed))
        }

        /// When the next probe is due, in milliseconds.
        fn due(&self) -> Option<u128> {
            self.breaker.probe_due().map(|due| (due - self.start).as_millis())
        }

        fn probing(&mut self, now: u64, draw: f64) {
            self.breaker.probing(self.at(now), draw);
        }

        fn probe_failed(&mut self, began: u64) -> Change {
            self.breaker.probe_failed(self.at(began), Trouble::Unavailable)
        }

        /// In an outage, since the second 1.
        fn out() -> Self {
            let mut course = Self::new();
            course.failed(900, 1_000);
            course.probing(1_250, 0.0);
            assert_eq!(course.probe_failed(1_250), Change::Began(Trouble::Unavailable));
            course
        }

        /// Over an outage, since the second 5.
        fn back() -> Self {
            let mut course = Self::out();
            assert_eq!(course.answered(4_900, 5_000), Change::Ended(course.at(1_000)));
            course
        }
    }

    #[test]
    fn a_failure_is_in_doubt_until_a_call_that_began_later_is_answered() {
        let mut course = Course::new();
        course.answered(0, 50);
        assert_eq!(course.failed(10, 100), Change::Doubt);

        // The answer to a call from before may have been on its way already.
        course.answered(90, 150);
        assert_eq!(course.judge(10, 100), None);
        course.answered(101, 160);

        assert_eq!(course.judge(10, 100), Some(Known::Up));
        assert_eq!(course.due(), None, "nothing is to be found out any more");
    }

    #[test]
    fn where_nobody_else_calls_a_probe_decides() {
        for (answers, known) in [(true, Known::Up), (false, Known::Out)] {
            let mut course = Course::new();
            course.failed(0, 100);
            assert_eq!(course.due(), Some(350));
            course.probing(350, 0.5);
            let change = if answers { course.answered(350, 400) } else { course.probe_failed(350) };

            assert_eq!(change == Change::Doubt, answers);
            assert_eq!(course.judge(0, 100), Some(known));
        }
    }

    #[test]
    fn probes_keep_their_distance_in_doubt_and_in_an_outage() {
        let mut course = Course::new();
        course.failed(0, 100);
        course.probing(350, 0.0);
        course.answered(350, 360);
        course.failed(400, 500);
        assert_eq!(course.due(), Some(1_350), "a second at least");
        course.probing(1_350, 1.0);
        assert_eq!(course.probe_failed(1_350), Change::Began(Trouble::Unavailable));
        assert_eq!(course.due(), Some(4_350), "three seconds at most, however long the one before takes");
    }

    #[test]
    fn a_probe_that_fails_late_says_nothing_against_a_later_answer() {
        let mut course = Course::back();
        course.answered(5_100, 5_260);
        course.failed(5_250, 5_300);
        assert_eq!(course.probe_failed(4_000), Change::Nothing, "it hung while Refersion was out");
        assert_eq!(course.probe_failed(5_550), Change::Began(Trouble::Unavailable));
    }

    #[test]
    fn a_probe_that_fails_when_nobody_is_in_doubt_any_more_is_no_outage() {
        let mut course = Course::new();
        course.failed(0, 100);
        course.probing(350, 0.0);
        course.answered(120, 10_000);
        assert_eq!(course.probe_failed(350), Change::Nothing);
        assert_eq!(course.breaker.phase(), Phase::Up);
    }

    #[test]
    fn an_attempt_that_saw_an_outage_is_not_charged_even_if_it_fails_after_it() {
        let mut course = Course::back();
        course.answered(5_000, 5_100);
        assert_eq!(course.failed(900, 10_900), Change::Nothing, "it hung all the time");
        course.answered(11_000, 11_100);
        assert_eq!(course.judge(900, 10_900), Some(Known::Out));
        assert_eq!(course.judge(5_000, 10_999), Some(Known::Up));
    }

    #[test]
    fn any_proper_answer_ends_an_outage() {
        let mut course = Course::out();
        assert_eq!(course.answered(500, 3_000), Change::Ended(course.at(1_000)));
        assert_eq!(course.answered(500, 3_001), Change::Nothing);
    }

    #[test]
    fn a_failure_after_an_outage_is_in_doubt_like_any_other() {
        let mut course = Course::back();
        assert_eq!(course.failed(5_100, 5_200), Change::Doubt);
        assert_eq!(course.probe_failed(5_450), Change::Began(Trouble::Unavailable));
    }

    #[test]
    fn what_is_in_hand_is_given_back_two_minutes_after_the_first_failure() {
        assert_eq!(Course::back().breaker.patience_ends(), None);
        let course = Course::out();
        assert_eq!(course.breaker.patience_ends(), Some(course.at(121_000)));
    }
}
