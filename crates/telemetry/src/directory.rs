use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::Metrics;
use crate::register::Register;

/// What a worker does with the directory.
#[derive(Clone, Debug)]
pub(crate) struct DirectoryMetrics {
    rows: IntGaugeVec,
    lessons: IntCounterVec,
    resolved: IntCounterVec,
    failures: IntCounter,
    waiting: IntGauge,
}

const UNREADABLE: &str = "unreadable";

/// What became of a delete that names only an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolved {
    /// Ordinary deletes have taken its place.
    Completed,
    /// Its person had been deleted before.
    Already,
    /// It is not certain whose the known addresses are.
    Uncertain,
    /// Nobody knew its person for as long as it may wait.
    Unknown,
}

impl Resolved {
    const ALL: [Self; 4] = [Self::Completed, Self::Already, Self::Uncertain, Self::Unknown];

    fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Already => "already",
            Self::Uncertain => "uncertain",
            Self::Unknown => "unknown",
        }
    }
}

impl DirectoryMetrics {
    pub(crate) fn new(add: &Register<'_>) -> Self {
        let metrics = Self {
            rows: add.gauges("directory_rows", "Rows of the directory, by what they remember.", &["what"]),
            lessons: add.counters(
                "directory_lessons_total",
                "Identifies that the directory could learn from, by what they brought.",
                &["what"],
            ),
            resolved: add.counters(
                "directory_resolved_total",
                "Deletes that named only an id, by what became of them.",
                &["how"],
            ),
            failures: add.counter("directory_failures_total", "Times that the directory could not be read or written."),
            waiting: add.gauge("directory_waiting", "Messages that wait for whoever keeps the directory."),
        };
        for what in ["new", "another", "known", "erased", UNREADABLE] {
            metrics.lessons.with_label_values(&[what]);
        }
        for what in ["address", "erased"] {
            metrics.rows.with_label_values(&[what]);
        }
        for how in Resolved::ALL {
            metrics.resolved.with_label_values(&[how.as_str()]);
        }
        metrics
    }
}

impl Metrics {
    /// An identify taught the directory; `what` is one of a closed set.
    pub fn directory_lesson(&self, what: &'static str) {
        self.directory.lessons.with_label_values(&[what]).inc();
    }

    /// So many requests to whoever keeps the directory could not be read.
    pub fn directory_unreadable(&self, requests: u64) {
        self.directory.lessons.with_label_values(&[UNREADABLE]).inc_by(requests);
    }

    /// A delete that named only an id is settled.
    pub fn directory_resolved(&self, how: Resolved) {
        self.directory.resolved.with_label_values(&[how.as_str()]).inc();
    }

    /// The directory could not be used.
    pub fn directory_failed(&self) {
        self.directory.failures.inc();
    }

    /// So many messages wait for whoever keeps the directory.
    pub fn directory_waiting(&self, messages: u64) {
        self.directory.waiting.set(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    /// How much the directory holds: addresses, and people who were deleted a short time ago.
    pub fn directory_holds(&self, addresses: u64, erased: u64) {
        for (what, rows) in [("address", addresses), ("erased", erased)] {
            self.directory.rows.with_label_values(&[what]).set(i64::try_from(rows).unwrap_or(i64::MAX));
        }
    }
}
