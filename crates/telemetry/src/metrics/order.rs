use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::{Metrics, gauge};
use crate::register::Register;

/// What a worker shows of the order of events.
#[derive(Clone, Debug)]
pub(super) struct OrderMetrics {
    order_entries: IntGauge,
    order_subjects: IntGauge,
    parked: IntCounterVec,
    order_given_up: IntCounterVec,
    order_violations: IntCounter,
}

/// Where an event goes that has to let earlier ones of its subject go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parked {
    /// Into a retry queue.
    Tier,
    /// To the end of its work queue.
    Round,
}

/// Why an event was let go without a place among the events of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderGivenUp {
    /// There was no room to remember it.
    Full,
    /// It did not come back in time.
    Expired,
    /// It was away when this worker took its work queue.
    HandOver,
}

impl OrderMetrics {
    pub(super) fn new(add: &Register<'_>) -> Self {
        let metrics = Self {
            order_entries: add.gauge("order_entries", "Events outside the worker's hand whose places it remembers."),
            order_subjects: add.gauge("order_subjects", "Subjects that have such events."),
            parked: add.counters(
                "events_parked_total",
                "Moves of events that had to let earlier ones of their subject go first, by where they went.",
                &["to"],
            ),
            order_given_up: add.counters(
                "order_given_up_total",
                "Events whose places among those of their subject were given up, by reason.",
                &["reason"],
            ),
            order_violations: add.counter(
                "order_violations_total",
                "Events that were delivered after one of their subject that had been accepted later.",
            ),
        };
        for to in [Parked::Tier, Parked::Round] {
            metrics.parked.with_label_values(&[to.as_str()]);
        }
        for reason in [OrderGivenUp::Full, OrderGivenUp::Expired, OrderGivenUp::HandOver] {
            metrics.order_given_up.with_label_values(&[reason.as_str()]);
        }
        metrics
    }
}

impl Metrics {
    /// The places of so many events of so many subjects are remembered.
    pub fn order_remembered(&self, events: usize, subjects: usize) {
        self.order.order_entries.set(gauge(events as u64));
        self.order.order_subjects.set(gauge(subjects as u64));
    }

    /// An event let others go first.
    pub fn parked(&self, to: Parked) {
        self.order.parked.with_label_values(&[to.as_str()]).inc();
    }

    /// The places of so many events were given up.
    pub fn order_given_up(&self, reason: OrderGivenUp, events: u64) {
        if 0 < events {
            self.order.order_given_up.with_label_values(&[reason.as_str()]).inc_by(events);
        }
    }

    /// An event was delivered after one of its subject that had been accepted later.
    pub fn order_violated(&self) {
        self.order.order_violations.inc();
    }
}

impl Parked {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tier => "tier",
            Self::Round => "queue",
        }
    }
}

impl OrderGivenUp {
    fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Expired => "expired",
            Self::HandOver => "hand_over",
        }
    }
}
