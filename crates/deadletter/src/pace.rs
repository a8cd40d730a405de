use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// A bound on how often something happens. Time that passes unused is not caught up with.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    next: Option<Instant>,
}

/// Timers are no finer than this: whoever comes so much too late may catch up.
const GRAIN: Duration = Duration::from_millis(2);

impl Pace {
    /// `per_second`: unbounded without.
    #[must_use]
    pub fn new(per_second: Option<NonZeroU32>) -> Self {
        let interval = per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
        Self { interval, next: None }
    }

    /// How long to wait for the next turn, which is taken with it.
    pub fn turn(&mut self, now: Instant) -> Duration {
        self.turns(now, 1)
    }

    /// How long to wait for so many at once. Whatever comes next waits for every one of them.
    pub fn turns(&mut self, now: Instant, count: u32) -> Duration {
        let turn = self.next.map_or(now, |next| next.max(now.checked_sub(GRAIN).unwrap_or(now)));
        self.next = Some(turn + self.interval.saturating_mul(count));
        turn.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_far_apart_as_the_rate_says() {
        let (now, mut pace) = (Instant::now(), Pace::new(NonZeroU32::new(10)));
        let waits: Vec<_> = (0..4).map(|_| pace.turn(now).as_millis()).collect();
        assert_eq!(waits, [0, 100, 200, 300]);
    }

    #[test]
    fn several_at_once_take_as_many_turns() {
        let (now, mut pace) = (Instant::now(), Pace::new(NonZeroU32::new(10)));
        let waits: Vec<_> = [3, 0, 2, 1].map(|count| pace.turns(now, count).as_millis()).to_vec();
        assert_eq!(waits, [0, 300, 300, 500]);
    }

    #[test]
    fn a_pause_is_not_caught_up_with() {
        let (now, mut pace) = (Instant::now(), Pace::new(NonZeroU32::new(10)));
        pace.turn(now);
        let later = now + Duration::from_mins(1);
        assert_eq!(pace.turn(later), Duration::ZERO);
        assert!(pace.turn(later) >= Duration::from_millis(98));
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let (now, mut pace) = (Instant::now(), Pace::new(None));
        assert!((0..1_000).all(|_| pace.turn(now) == Duration::ZERO));
    }
}
