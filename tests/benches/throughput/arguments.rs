use clap::{Parser, ValueEnum};

use crate::programs::Program;

/// What is measured, and how much of it. Under `cargo bench` these stand behind `--`.
#[derive(Debug, Parser)]
#[command(name = "throughput")]
pub(crate) struct Arguments {
    /// Sections, with commas between them.
    #[arg(long, value_delimiter = ',', default_values = ["batch", "worker"])]
    only: Vec<Section>,
    /// Every section, for docs/performance.md.
    #[arg(long)]
    all: bool,
    /// Events in each measurement that counts them; a multiple of the batch.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) events: u32,
    /// Seconds of each measurement under a load that lasts.
    #[arg(long, default_value_t = 2)]
    pub(crate) seconds: u32,
    /// How often everything is measured; the medians count.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
    /// HTTP connections that send batches at the same time.
    #[arg(long, default_value_t = 8)]
    pub(crate) connections: u16,
    /// Events in each request. The bare publisher has as many in flight as all connections together.
    #[arg(long, default_value_t = 100)]
    pub(crate) batch: u16,
    /// Size of each event, in bytes; at least 300.
    #[arg(long, default_value_t = 400)]
    pub(crate) bytes: usize,
    /// Calls that a worker, the relay's or another, has under way at the same time.
    #[arg(long, default_value_t = 100)]
    pub(crate) in_flight: u16,
    /// Prints one line of JSON instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// What `cargo bench` adds, and runners of tests do not.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
    /// What this program is when it has started itself.
    #[command(subcommand)]
    pub(crate) program: Option<Program>,
}

/// A table of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// Batches over HTTP until they are confirmed, beside a bare publisher.
    Batch,
    /// A bare publisher's events, with more and more of what the relay's have.
    Publish,
    /// A full queue until everything is at Refersion, beside loops written by hand.
    Worker,
    /// The same in other languages and libraries; includes `worker`.
    Peers,
    /// Events over HTTP, one in each request, at several numbers of connections, beside a bare door.
    Single,
    /// From the sender to Refersion, at parts of what is possible.
    Latency,
    /// A Refersion that takes its time.
    Refersion,
    /// A file.
    Enqueue,
    /// One event in a hundred is traced, beside none.
    Traces,
    /// People are learnt, and identifies that say nothing new are left out.
    Directory,
}

impl Arguments {
    pub(crate) fn wants(&self, section: Section) -> bool {
        self.all || self.only.contains(&section)
    }

    /// Publishes that wait for their confirm at the same time.
    pub(crate) fn confirms(&self) -> usize {
        usize::from(self.connections) * usize::from(self.batch)
    }
}
