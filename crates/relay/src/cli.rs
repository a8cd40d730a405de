use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod dlq;

pub(crate) use dlq::{
    DlqCommand, DropArgs, ExportArgs, FilterArgs, ListArgs, ReplayArgs, ScanArgs, ShowArgs, StatsArgs, WalkArgs,
};

/// Segment events in, Refersion affiliates out, nothing lost on the way.
#[derive(Debug, Parser)]
#[command(name = "refersion-relay", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// The configuration file (TOML).
    #[arg(long, global = true, env = "RELAY_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process: a private broker, a simulated Refersion, sample events, a report.
    Demo(DemoArgs),
    /// Take events in and work them, in one process.
    Run(RoleArgs),
    /// Only take events in.
    Ingest(RoleArgs),
    /// Only work events.
    Worker(RoleArgs),
    /// Put events from a file into the queue.
    Enqueue(EnqueueArgs),
    /// Count, read, send again, drop and export dead letters.
    Dlq {
        #[command(subcommand)]
        command: DlqCommand,
    },
    /// Check the configuration, the broker and the keys, and show the effective values.
    Check(CheckArgs),
    /// A stand-in for Refersion, with faults on demand.
    Simulate(SimulateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// Where metrics and health are served, instead of the configured `ops.listen`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ops_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(after_help = ENQUEUE_HELP)]
pub(crate) struct EnqueueArgs {
    /// One event as JSON on each line, plain or gzip; - is standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Whose events they are; needed where several accounts are configured.
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// Events a second at most.
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<NonZeroU32>,
    /// Lines at the beginning that are left out, because they are durable already.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) skip: u64,
    /// Where lines that are no events are kept, as they are; added to what is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) rejects: Option<PathBuf>,
    /// Print what was done as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

const ENQUEUE_HELP: &str = "\
An interrupted run says how far the file is durable, and --skip goes on from there:
  refersion-relay enqueue events.ndjson.gz --account acme
  refersion-relay enqueue events.ndjson.gz --account acme --skip 420000

Exit code 1 when it was interrupted, or when a line is no event (--rejects keeps such lines).";

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Print the report as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    pub(crate) listen: SocketAddr,
    /// A key pair that is let in, as public.secret; may be given several times. Without any, every pair is let in.
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Vec<String>,
    /// Rows on a page of search and list.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) page_size: usize,
    /// How long every call takes, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(crate) latency_ms: u64,
    /// A fault rule as JSON, as `POST /_simulator/faults` takes it (docs/simulator.md has all of them); may be given
    /// several times. For example `{"times":3,"fault":{"kind":"status","status":503}}`.
    #[arg(long, value_name = "JSON")]
    pub(crate) fault: Vec<String>,
}
