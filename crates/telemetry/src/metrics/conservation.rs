use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use super::{Counted, Metrics, gauge};
use crate::register::Register;

/// What shows whether everything is where it should be: places, and the sum of all events.
#[derive(Clone, Debug)]
pub(super) struct WholeMetrics {
    moves_stuck: IntGaugeVec,
    declared_again: IntCounter,
    left_behind: IntGaugeVec,
    conservation_difference: IntGauge,
    conservation_tolerance: IntGauge,
    conservation_moving: IntGauge,
}

/// Where an event has to go when it is settled by moving it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MoveTo {
    /// A work queue.
    Work,
    /// A retry queue.
    Tier,
    /// Among the dead letters.
    Dead,
}

impl WholeMetrics {
    pub(super) fn new(add: &Register<'_>) -> Self {
        let metrics = Self {
            moves_stuck: add.gauges(
                "queue_moves_stuck",
                "Events that wait, unsettled, for a place that takes no copy of them, by its kind.",
                &["to"],
            ),
            declared_again: add.counter(
                "queue_declared_again_total",
                "Queues and exchanges that were gone from the broker and were declared again.",
            ),
            left_behind: add.gauges(
                "left_behind_events",
                "Events that belong to nothing that is configured, by what they belonged to.",
                &["kind"],
            ),
            conservation_difference: add.gauge(
                "conservation_difference",
                "Events accounted for beyond those accepted; below zero, events that are missing.",
            ),
            conservation_tolerance: add.gauge(
                "conservation_tolerance",
                "By how much the difference may be wrong: what has moved meanwhile, lost connections, dead processes.",
            ),
            conservation_moving: add
                .gauge("conservation_moving", "Of the tolerance, what has moved while the numbers were gathered."),
        };
        for to in MoveTo::ALL {
            metrics.moves_stuck.with_label_values(&[to.as_str()]);
        }
        metrics
    }
}

impl Metrics {
    /// So many events belong to something of a kind that is not configured any more.
    pub fn left_behind(&self, kind: &str, events: u64) {
        self.whole.left_behind.with_label_values(&[kind]).set(gauge(events));
    }

    /// Every event was added up. `moving` is the part of `tolerance` that was in motion meanwhile.
    pub fn conservation(&self, difference: i64, tolerance: u64, moving: u64) {
        self.whole.conservation_difference.set(difference);
        self.whole.conservation_tolerance.set(gauge(tolerance));
        self.whole.conservation_moving.set(gauge(moving));
    }

    /// An event cannot be moved to a place of this kind; dropping the guard says that it was, or that its term ended.
    #[must_use]
    pub fn stuck_on_the_way_to(&self, to: MoveTo) -> Counted {
        Counted::up(&self.whole.moves_stuck.with_label_values(&[to.as_str()]))
    }

    /// So many queues and exchanges were gone and are there again.
    pub fn declared_again(&self, count: u64) {
        self.whole.declared_again.inc_by(count);
    }
}

impl MoveTo {
    const ALL: [Self; 3] = [Self::Work, Self::Tier, Self::Dead];

    fn as_str(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Tier => "tier",
            Self::Dead => "dead",
        }
    }
}
