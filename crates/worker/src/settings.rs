use std::time::Duration;

use refersion_relay_queue::Room;

use crate::event::outcome::Aside;
use crate::order::subject_queue::Behind;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Unsettled events in hand, for each account.
    pub room: Room,
    /// Bytes in hand, for all accounts together: more are given back.
    pub in_hand: usize,
    /// When an event is tried again.
    pub retry: RetryPolicy,
    /// How long after an event was taken in hand an attempt at it may still begin a call.
    pub longest_stay: Duration,
    /// What is done while Refersion is out.
    pub outage: OutageSettings,
    /// For how long what Refersion was told is taken for what it has: identifies that say the same cost no call. `None`: never.
    pub skip_unchanged: Option<Duration>,
}

impl WorkerSettings {
    /// `in_hand` in operation: room for more than a hundred accounts with a full room of ordinary events each, or for two
    /// with the largest there are.
    pub const IN_HAND: usize = 512 * 1_024 * 1_024;

    /// `longest_stay` in operation: enough for the longest search at one call a second, twice, and well before RabbitMQ takes
    /// away what was not acknowledged for 30 minutes, even if the last call takes as long as one may.
    pub const LONGEST_STAY: Duration = Duration::from_mins(20);
}

/// What is done while Refersion is out. Not configured: the defaults are right wherever the API is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutageSettings {
    /// How long what is in hand stays in hand; then the queue gets it back.
    pub patience: Duration,
    /// The shortest time from the beginning of one probe to that of the next.
    pub probe_at_least: Duration,
    /// The longest. Refersion's return is noticed within this, even where the probes before it still hang.
    pub probe_at_most: Duration,
}

impl Default for OutageSettings {
    fn default() -> Self {
        Self {
            patience: Duration::from_mins(2),
            probe_at_least: Duration::from_secs(1),
            probe_at_most: Duration::from_secs(3),
        }
    }
}

/// When an event is tried again, and when no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long after its first failure an event keeps its place while it waits.
    pub in_hand: Duration,
    /// The delays after that, in order; the last one is repeated. Never empty.
    pub tiers: Vec<Duration>,
    /// Charged attempts before an event becomes a dead letter.
    pub max_attempts: u32,
    /// Time since the first charged failure before an event becomes a dead letter.
    pub max_age: Duration,
}

impl RetryPolicy {
    /// The delay for an event whose first failure was `age` ago: the first tier whose end it has not reached yet.
    ///
    /// The age alone says which tier comes next, so a crash between two of them loses nothing.
    #[must_use]
    pub fn tier(&self, age: Duration) -> Duration {
        let mut end = self.in_hand;
        let next = self.tiers.iter().find(|tier| {
            end = end.saturating_add(**tier);
            age < end
        });
        *next.or(self.tiers.last()).expect("there is at least one tier")
    }

    /// Where an event waits that would keep all others of its account from being tried.
    pub(crate) fn out_of_the_way(&self) -> Aside {
        Aside::Tier(*self.tiers.iter().min().expect("there is at least one tier"))
    }

    /// Where an event waits that is behind others of its subject. As long as those are away, it is too, and perhaps twice as
    /// long, so that it does not come back over and over for nothing. When they are on the queue it goes to its end, unless
    /// working them takes longer than a tier.
    pub(crate) fn aside(&self, behind: Behind) -> Aside {
        let within = |limit: Duration| self.tiers.iter().copied().filter(|tier| *tier <= limit).max();
        let tier = match behind.waits {
            Some(waits) => within(waits.saturating_mul(2).max(behind.works)),
            None => within(behind.works),
        };
        match (tier, behind.waits) {
            (Some(tier), _) => Aside::Tier(tier),
            (None, None) => Aside::Round,
            (None, Some(_)) => self.out_of_the_way(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[track_caller]
    fn check(waits: Option<Duration>, works: Duration, expected: Aside) {
        let policy = RetryPolicy {
            in_hand: Duration::ZERO,
            tiers: vec![10 * MINUTE, MINUTE, 60 * MINUTE],
            max_attempts: 40,
            max_age: 24 * 60 * MINUTE,
        };
        assert_eq!(policy.aside(Behind { waits, works }), expected);
    }

    #[test]
    fn an_event_is_away_about_as_long_as_those_before_it() {
        let second = Duration::from_secs(1);
        check(Some(Duration::ZERO), Duration::ZERO, Aside::Tier(MINUTE));
        check(Some(59 * second), Duration::ZERO, Aside::Tier(MINUTE));
        check(Some(61 * second), Duration::ZERO, Aside::Tier(MINUTE));
        check(Some(5 * MINUTE), Duration::ZERO, Aside::Tier(10 * MINUTE));
        check(Some(59 * MINUTE), Duration::ZERO, Aside::Tier(60 * MINUTE));
        check(Some(20 * 60 * MINUTE), Duration::ZERO, Aside::Tier(60 * MINUTE));
        check(Some(second), 11 * MINUTE, Aside::Tier(10 * MINUTE));
    }

    #[test]
    fn behind_events_that_are_on_the_queue_it_goes_round_until_that_takes_a_tier() {
        check(None, Duration::ZERO, Aside::Round);
        check(None, Duration::from_secs(59), Aside::Round);
        check(None, MINUTE, Aside::Tier(MINUTE));
        check(None, 9 * MINUTE, Aside::Tier(MINUTE));
        check(None, 11 * MINUTE, Aside::Tier(10 * MINUTE));
    }
}
