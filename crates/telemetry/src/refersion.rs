use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};
use refersion_relay_model::AccountName;

use crate::register::Register;
use crate::{Counted, Metrics};

/// What a worker knows of Refersion, and does about it.
#[derive(Clone, Debug)]
pub(crate) struct RefersionMetrics {
    calls_in_flight: IntGaugeVec,
    call_limit: IntGaugeVec,
    state: IntGaugeVec,
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
}

impl RefersionMetrics {
    pub(crate) fn new(add: &Register<'_>) -> Self {
        let metrics = Self {
            calls_in_flight: add.gauges(
                "refersion_calls_in_flight",
                "Attempts at events that are calling Refersion now, by account.",
                &["account"],
            ),
            call_limit: add.gauges(
                "refersion_call_limit",
                "Calls that may be in flight at a time, by account.",
                &["account"],
            ),
            state: add.gauges(
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

    /// Declares what is counted by account.
    pub(crate) fn declare(&self, account: &AccountName) {
        self.calls_in_flight.with_label_values(&[account.as_str()]);
        self.call_limit.with_label_values(&[account.as_str()]);
    }
}

impl Metrics {
    /// An attempt at an event of this account may call; dropping the guard ends it.
    #[must_use]
    pub fn calling(&self, account: &AccountName) -> Counted {
        Counted::up(&self.refersion.calls_in_flight.with_label_values(&[account.as_str()]))
    }

    /// So many calls of an account may be in flight.
    pub fn call_limit(&self, account: &AccountName, calls: usize) {
        self.refersion.call_limit.with_label_values(&[account.as_str()]).set(i64::try_from(calls).unwrap_or(i64::MAX));
    }

    /// How Refersion is from now on.
    pub fn refersion_is(&self, now: RefersionState) {
        for state in RefersionState::ALL {
            self.refersion.state.with_label_values(&[state.as_str()]).set(i64::from(state == now));
        }
    }

    /// An outage of Refersion began. `trouble` is one of a closed set.
    pub fn outage_began(&self, trouble: &'static str) {
        self.refersion.outages.with_label_values(&[trouble]).inc();
    }

    /// Refersion was out for so many seconds more.
    pub fn outage_lasted(&self, seconds: u64) {
        self.refersion.outage_seconds.inc_by(seconds);
    }

    /// A probe ended, with a proper answer or without.
    pub fn probed(&self, proper: bool) {
        self.refersion.probes.with_label_values(&[probe_result(proper)]).inc();
    }

    /// A failed attempt counts against its event.
    pub fn attempt_charged(&self) {
        self.refersion.charged.inc();
    }

    /// An attempt failed because Refersion was out, and counts against nobody.
    pub fn attempt_spared(&self) {
        self.refersion.spared.inc();
    }
}

impl RefersionState {
    const ALL: [Self; 2] = [Self::Up, Self::Outage];

    /// The word in labels and in health.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Outage => "outage",
        }
    }
}

fn probe_result(proper: bool) -> &'static str {
    if proper { "answered" } else { "failed" }
}
