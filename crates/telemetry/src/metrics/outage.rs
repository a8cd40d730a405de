use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};

use super::Metrics;
use crate::register::Register;

/// What a worker shows of Refersion's outages.
#[derive(Clone, Debug)]
pub(super) struct OutageMetrics {
    refersion_state: IntGaugeVec,
    outages: IntCounterVec,
    outage_seconds: IntCounter,
    probes: IntCounterVec,
    charged: IntCounter,
    spared: IntCounter,
}

/// How Refersion is, as far as a worker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefersionState {
    /// It answers.
    Up,
    /// It does not: nothing is worked.
    Outage,
    /// It answers again: calls come back slowly.
    Ramping,
}

impl OutageMetrics {
    pub(super) fn new(add: &Register<'_>) -> Self {
        let metrics = Self {
            refersion_state: add.gauges(
                "refersion_state",
                "1 for how Refersion is as far as this worker knows, 0 for the others.",
                &["state"],
            ),
            outages: add.counters(
                "refersion_outages_total",
                "Outages of Refersion that began, by trouble.",
                &["trouble"],
            ),
            outage_seconds: add.counter("refersion_outage_seconds_total", "Time in which Refersion was out."),
            probes: add.counters(
                "refersion_probes_total",
                "Calls to find out whether Refersion is there, by result.",
                &["result"],
            ),
            charged: add.counter("attempts_charged_total", "Failed attempts that were charged to their event."),
            spared: add.counter("attempts_spared_total", "Attempts that failed by an outage of Refersion, uncharged."),
        };
        for proper in [true, false] {
            metrics.probes.with_label_values(&[probe_result(proper)]);
        }
        metrics
    }
}

impl Metrics {
    /// How Refersion is from now on.
    pub fn refersion_is(&self, now: RefersionState) {
        for state in RefersionState::ALL {
            self.outage.refersion_state.with_label_values(&[state.as_str()]).set(i64::from(state == now));
        }
    }

    /// An outage of Refersion began. `trouble` is one of a closed set.
    pub fn outage_began(&self, trouble: &'static str) {
        self.outage.outages.with_label_values(&[trouble]).inc();
    }

    /// Refersion was out for so many seconds more.
    pub fn outage_lasted(&self, seconds: u64) {
        self.outage.outage_seconds.inc_by(seconds);
    }

    /// A probe ended, with a proper answer or without.
    pub fn probed(&self, proper: bool) {
        self.outage.probes.with_label_values(&[probe_result(proper)]).inc();
    }

    /// A failed attempt counts against its event.
    pub fn attempt_charged(&self) {
        self.outage.charged.inc();
    }

    /// An attempt failed because Refersion was out, and counts against nobody.
    pub fn attempt_spared(&self) {
        self.outage.spared.inc();
    }
}

impl RefersionState {
    const ALL: [Self; 3] = [Self::Up, Self::Outage, Self::Ramping];

    /// The word in labels and in health.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Outage => "outage",
            Self::Ramping => "ramping",
        }
    }
}

fn probe_result(proper: bool) -> &'static str {
    if proper { "answered" } else { "failed" }
}
