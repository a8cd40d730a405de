use clap::Parser;

/// How much is measured. Under `cargo bench` they stand behind `--`.
#[derive(Debug, Parser)]
#[command(name = "throughput")]
pub(crate) struct Arguments {
    /// Events in each measurement; a multiple of the batch.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) events: u32,
    /// How often everything is measured; the medians count.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
    /// HTTP connections that send at the same time.
    #[arg(long, default_value_t = 8)]
    pub(crate) connections: u16,
    /// Events in each request. The bare loop has as many in flight as all connections together.
    #[arg(long, default_value_t = 100)]
    pub(crate) batch: u16,
    /// Size of each event, in bytes; at least 300.
    #[arg(long, default_value_t = 400)]
    pub(crate) bytes: usize,
    /// What `cargo bench` adds, and runners of tests do not.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

impl Arguments {
    /// Publishes that wait for their confirm at the same time.
    pub(crate) fn in_flight(&self) -> usize {
        usize::from(self.connections) * usize::from(self.batch)
    }
}
