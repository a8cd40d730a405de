use std::time::SystemTime;

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, IntGaugeVec};

use super::promptness::timestamp;
use super::{Metrics, gauge};
use crate::register::Register;

/// What shows how a process is: what it is for, whether it is ready, what it reads from files, and the room it has.
///
/// Memory, CPU, descriptors and the time of the start are Prometheus' usual `process_…`.
#[derive(Clone, Debug)]
pub(super) struct ProcessMetrics {
    build: IntGaugeVec,
    ready: IntGauge,
    reloaded: IntGaugeVec,
    certificate_expires: IntGaugeVec,
    queue_file: IntGaugeVec,
    queue_room: IntGaugeVec,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes events in and works them.
    Run,
    /// It takes events in.
    Ingest,
    /// It works events.
    Worker,
}

/// What a running process reads again when its files change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The configuration with the files of its secrets.
    Configuration,
    /// The certificate of the doors with its key.
    Certificate,
}

/// Where it is shown whether something was read again.
#[derive(Clone, Debug)]
pub struct ReloadState(IntGauge);

impl ReloadState {
    /// Whether what the files have is in force.
    pub fn set(&self, successful: bool) {
        self.0.set(i64::from(successful));
    }
}

impl ProcessMetrics {
    pub(super) fn new(add: &Register<'_>) -> Self {
        add.add_process(ProcessCollector::for_self());
        Self {
            build: add.gauges(
                "build_info",
                "Always 1; the version and what the process does are labels.",
                &["version", "role"],
            ),
            ready: add.gauge("ready", "1 while /health/ready says yes."),
            reloaded: add.gauges(
                "config_last_reload_successful",
                "0 while files have changed and cannot be used, by what is read from them.",
                &["what"],
            ),
            certificate_expires: add.gauges(
                "ingest_certificate_expiry_timestamp_seconds",
                "When the certificate of the doors expires.",
                &[],
            ),
            queue_file: add.gauges("queue_file_bytes", "Size of the files of the embedded queue, by file.", &["file"]),
            queue_room: add.gauges("queue_free_bytes", "What is free on the disk of the embedded queue.", &[]),
        }
    }
}

impl Metrics {
    /// Says what this process is for.
    pub fn role(&self, role: Role) {
        self.process.build.with_label_values(&[env!("CARGO_PKG_VERSION"), role.as_str()]).set(1);
    }

    /// Whether it takes or works events now.
    pub fn is_ready(&self, ready: bool) {
        self.process.ready.set(i64::from(ready));
    }

    /// Where it is shown whether files were read again. Without a failure, they were.
    #[must_use]
    pub fn reload_state(&self, what: Reloaded) -> ReloadState {
        let state = ReloadState(self.process.reloaded.with_label_values(&[what.as_str()]));
        state.set(true);
        state
    }

    /// When the certificate of the doors expires.
    pub fn certificate_expires(&self, at: SystemTime) {
        self.process.certificate_expires.with_label_values::<&str>(&[]).set(timestamp(at));
    }

    /// Sizes of the embedded queue's file and of its write-ahead log, and what is free on their disk, in bytes.
    pub fn queue_files(&self, database: u64, log: u64, free: u64) {
        self.process.queue_file.with_label_values(&["database"]).set(gauge(database));
        self.process.queue_file.with_label_values(&["log"]).set(gauge(log));
        self.process.queue_room.with_label_values::<&str>(&[]).set(gauge(free));
    }
}

impl Role {
    /// The word in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Ingest => "ingest",
            Self::Worker => "worker",
        }
    }
}

impl Reloaded {
    fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Certificate => "certificate",
        }
    }
}
