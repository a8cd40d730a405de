use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Histogram, IntGaugeVec};
use refersion_relay_model::AccountName;

use super::{Door, Metrics, gauge};
use crate::register::Register;

/// The steps of an event's age, in seconds: from what a call takes to the age at which an event is given up.
const AGES: [f64; 14] =
    [0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0];

/// What shows whether events come, and whether they are done in time.
#[derive(Clone, Debug)]
pub(super) struct PromptnessMetrics {
    last_accepted: IntGaugeVec,
    age: Histogram,
    oldest: IntGaugeVec,
}

impl PromptnessMetrics {
    pub(super) fn new(add: &Register<'_>) -> Self {
        let metrics = Self {
            last_accepted: add.gauges(
                "events_last_accepted_timestamp_seconds",
                "When this process last accepted an event, 0 if it never has, by door.",
                &["door"],
            ),
            age: add.histogram("event_age_seconds", "From acceptance of an event to its end, without replays.", &AGES),
            oldest: add.gauges(
                "queue_oldest_timestamp_seconds",
                "When the event was accepted that waits first in a work queue, 0 if none waits, by account.",
                &["account"],
            ),
        };
        for door in Door::ALL {
            metrics.last_accepted.with_label_values(&[door.as_str()]);
        }
        metrics
    }

    pub(super) fn accepted(&self, door: Door) {
        self.last_accepted.with_label_values(&[door.as_str()]).set(timestamp(SystemTime::now()));
    }
}

impl Metrics {
    /// An event that was accepted so long ago was delivered, ignored, or became a dead letter.
    pub fn ended_at_age(&self, age: Duration) {
        self.promptness.age.observe(age.as_secs_f64());
    }

    /// When the event was accepted that waits first in an account's work queue; `None` if none waits.
    pub fn oldest(&self, account: &AccountName, accepted_at: Option<SystemTime>) {
        let since_1970 = accepted_at.map_or(0, timestamp);
        self.promptness.oldest.with_label_values(&[account.as_str()]).set(since_1970);
    }

    /// An account's work queue is not worked any more.
    pub(super) fn oldest_is_gone(&self, account: &AccountName) {
        // What never was there needs not go.
        let _ = self.promptness.oldest.remove_label_values(&[account.as_str()]);
    }
}

/// Seconds since 1970.
pub(super) fn timestamp(time: SystemTime) -> i64 {
    gauge(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}
