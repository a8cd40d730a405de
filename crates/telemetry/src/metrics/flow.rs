use prometheus::core::Collector;
use prometheus::proto::MetricFamily;

use super::Metrics;

/// What has passed through this process so far, and what waits on its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Events that were durable before their sender heard so.
    pub accepted: u64,
    /// Events whose effect has happened.
    pub delivered: u64,
    /// Events that became dead letters, at a door or in a worker.
    pub dead: u64,
    /// Events on the queue that are still to be worked, whoever took them in, as they were last counted.
    pub waiting: u64,
}

impl Metrics {
    /// A reading. Each number is right; together they are of several moments while events flow.
    #[must_use]
    pub fn flow(&self) -> Flow {
        Flow {
            accepted: sum(&self.accepted),
            delivered: sum(&self.delivered),
            dead: sum(&self.dead_lettered),
            waiting: sum(&self.ready) + sum(&self.retrying) + sum(&self.held),
        }
    }
}

/// Over all labels. One of the two kinds of value is there, and the other is zero.
fn sum(metric: &impl Collector) -> u64 {
    let families = metric.collect();
    let metrics = families.iter().flat_map(MetricFamily::get_metric);
    let total: f64 = metrics.map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of events, far below 2^53")]
    let total = total.max(0.0) as u64;
    total
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use refersion_relay_model::{AccountName, DeadReason};

    use super::*;
    use crate::Door;

    #[test]
    fn a_reading_adds_up_every_door_way_reason_and_place() {
        let metrics = Metrics::new();
        assert_eq!(metrics.flow(), Flow::default());
        metrics.accepted(Door::Destination, 2);
        metrics.accepted(Door::Intake, 3);
        metrics.delivered("created");
        metrics.delivered("deactivated");
        metrics.dead_lettered(DeadReason::Refused);
        metrics.dead_lettered_at_door(DeadReason::Incomplete);
        let account = |name: &str| AccountName::try_from(name).unwrap();
        metrics.ready(&account("acme"), 10);
        metrics.ready(&account("other"), 20);
        metrics.retrying("30s", 4);
        metrics.held(&account("acme"), 5);
        metrics.answered(Door::Destination, 202, Duration::ZERO);

        assert_eq!(metrics.flow(), Flow { accepted: 5, delivered: 2, dead: 2, waiting: 39 });
    }
}
