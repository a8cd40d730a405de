use std::time::Duration;

use refersion_relay_model::Shard;
use refersion_relay_queue::Room;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The shards to own, or to stand by for.
    pub shards: Vec<Shard>,
    /// Unsettled events in hand, for each shard.
    pub room: Room,
    /// When an event is tried again.
    pub retry: RetryPolicy,
    /// What is done while Refersion is out.
    pub outage: OutageSettings,
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
    /// How long it takes until twice as many calls may be in flight after an outage.
    pub ramp_step: Duration,
}

impl Default for OutageSettings {
    fn default() -> Self {
        Self {
            patience: Duration::from_mins(2),
            probe_at_least: Duration::from_secs(1),
            probe_at_most: Duration::from_secs(3),
            ramp_step: Duration::from_millis(500),
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
    /// Time an event waits for its account before it becomes a dead letter.
    pub max_held: Duration,
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

    /// The delay to wait out a pause: the shortest tier that covers it, else the longest.
    #[must_use]
    pub fn covering(&self, pause: Duration) -> Duration {
        let covering = self.tiers.iter().filter(|tier| pause <= **tier).min();
        *covering.or(self.tiers.iter().max()).expect("there is at least one tier")
    }
}
