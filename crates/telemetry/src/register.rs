use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::histogram_buckets::BUCKETS;

/// The prefix of every metric.
const PREFIX: &str = "refersion_relay";

/// Registers metrics under the prefix. A name that is taken is a bug of ours, found by the first test that runs.
pub(crate) struct Register<'a>(pub(crate) &'a Registry);

impl Register<'_> {
    pub(crate) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(opts(name, help)).expect(BUG))
    }

    pub(crate) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(opts(name, help), labels).expect(BUG))
    }

    pub(crate) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::with_opts(opts(name, help)).expect(BUG))
    }

    pub(crate) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(opts(name, help), labels).expect(BUG))
    }

    pub(crate) fn seconds(&self, name: &str, help: &str) -> Histogram {
        self.add(Histogram::with_opts(buckets(name, help)).expect(BUG))
    }

    pub(crate) fn seconds_by(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.add(HistogramVec::new(buckets(name, help), labels).expect(BUG))
    }

    pub(crate) fn histogram(&self, name: &str, help: &str, steps: &[f64]) -> Histogram {
        self.add(Histogram::with_opts(buckets(name, help).buckets(steps.to_vec())).expect(BUG))
    }

    /// Prometheus' usual metrics of a process, which have no prefix.
    pub(crate) fn add_process(&self, process: ProcessCollector) {
        self.0.register(Box::new(process)).expect(BUG);
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> C {
        self.0.register(Box::new(collector.clone())).expect(BUG);
        collector
    }
}

const BUG: &str = "metric names and labels are constants of ours";

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("{PREFIX}_{name}"), help)
}

fn buckets(name: &str, help: &str) -> HistogramOpts {
    let opts = HistogramOpts::new(format!("{PREFIX}_{name}"), help);
    opts.buckets(BUCKETS.to_vec())
}
