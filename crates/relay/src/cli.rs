use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

mod directory;
mod dlq;

pub(crate) use directory::{DirectoryCommand, LearnArgs, PeopleArgs};
pub(crate) use dlq::{ActArgs, DlqCommand, ExportArgs, ListArgs, ShowArgs, StatsArgs, WalkArgs};

/// The Refersion destination for Twilio Segment: events in, affiliates out, nothing lost on the way.
#[derive(Debug, Parser)]
#[command(name = "refersion-relay", version, subcommand_required = true)]
#[command(arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// The configuration, a TOML file.
    #[arg(long, global = true, env = "RELAY_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  refersion-relay demo                       see it work; needs nothing else
  refersion-relay init                       make relay.toml and the files of its secrets
  refersion-relay check --config relay.toml  is everything as it should be?
  refersion-relay run --config relay.toml
  refersion-relay dlq list --config relay.toml

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.";

const DEMO_MORE: &str = "\
Needs nothing but this program, takes a few seconds, and leaves nothing behind. Every port is a free one of this machine.

Examples:
  refersion-relay demo
  refersion-relay demo --keep                what was printed last can be tried then
  refersion-relay demo --keep=/tmp/relay --json

Exit codes: 0 every expectation of the report held, 1 one did not, or it was interrupted.";

const CHECK_MORE: &str = "\
Prints a line for each finding: FAIL first, then WARN (allowed, or could not be looked at), then ok; what only follows \
from a FAIL is left out. The last line counts them. Queues and exchanges that are missing on the broker are declared.

Exit codes: 0 nothing has failed, 1 something has, 2 the configuration cannot be used.";

const EXPLAIN_MORE: &str = "\
Looks at the file of an embedded queue, or at the dead letters on RabbitMQ, and asks processes what they remember: what is in \
their hand, and what became of the last 16384 events. RabbitMQ cannot be asked for a single event in a queue, so there it says \
what follows from the rest, and what cannot be known.

Examples:
  refersion-relay explain 9e1f8f4c-7d5b-4c0a-8a3e-2f6b1d0c9e8f
  refersion-relay explain m1 --ops 10.0.0.5:9090 --ops 10.0.0.6:9090

Exit codes: 0 something is known of it, 1 nothing is.";

const INIT_MORE: &str = "\
Writes the file that --config or RELAY_CONFIG names, or relay.toml: every key with its default. The secrets are in files \
beside it that only you can read, in the folder secrets. A write key is made up. Nothing is overwritten.

Examples:
  refersion-relay init
  refersion-relay init --account acme --public-key pub_0123 --secret-key-file - < secret-key
  refersion-relay init --account acme --public-key pub_0123 --secret-key-file /run/secrets/acme --config /etc/refersion-relay/relay.toml";

const DLQ_EXAMPLES: &str = "\
Examples:
  refersion-relay dlq list --class rejected
  refersion-relay dlq show 8913e6f54361ff13 --show-body
  refersion-relay dlq replay --class rejected        shows the plan
  refersion-relay dlq replay --class rejected --yes  does it

Classes: malformed, invalid, unverified, rejected, exhausted, poison, unrouted.";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  refersion-relay simulate --key pub_1.sec_1
  refersion-relay simulate --fault '{\"operation\":\"new\",\"times\":3,\"fault\":{\"kind\":\"status\",\"status\":503}}'

Point refersion.base_url at the address that it prints.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show it at work: an embedded queue, a simulated Refersion, sample events, a report.
    #[command(after_help = DEMO_MORE)]
    Demo(DemoArgs),
    /// Take events in over HTTP and work them, in one process.
    Run(RoleArgs),
    /// Take events in over HTTP and put them on the queue; work none.
    Ingest(RoleArgs),
    /// Work the events on the queue; take none in.
    Worker(RoleArgs),
    /// Put events from a file into the queue.
    Enqueue(EnqueueArgs),
    /// Count, read, send again, drop and export dead letters: events that could not be delivered.
    #[command(arg_required_else_help = true, after_help = DLQ_EXAMPLES)]
    Dlq {
        #[command(subcommand)]
        command: DlqCommand,
    },
    /// Show, forget and learn which addresses belong to whom, where the directory is on.
    #[command(arg_required_else_help = true)]
    Directory {
        #[command(subcommand)]
        command: DirectoryCommand,
    },
    /// Where one event is now, and what happened to it.
    #[command(after_help = EXPLAIN_MORE)]
    Explain(ExplainArgs),
    /// Check the configuration, its files, the broker, its policies, the keys and the clock.
    #[command(after_help = CHECK_MORE)]
    Check(CheckArgs),
    /// Ask a process on this machine whether it is ready; exit code 0 if it is.
    Health(HealthArgs),
    /// Write a configuration and the files of its secrets. Asks at a terminal; elsewhere it takes options.
    #[command(after_help = INIT_MORE)]
    Init(InitArgs),
    /// Serve a simulated Refersion, with faults on demand.
    #[command(after_help = SIMULATE_EXAMPLES)]
    Simulate(SimulateArgs),
    /// Print what a shell needs to complete the command line.
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page, or write a page for each command.
    Man {
        /// Where to write refersion-relay.1 and a page for each command.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print the version.
    Version,
}

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Where the process serves metrics and health, instead of the configured ops.listen.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) ops_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// As its sender wrote it, or as the log and `dlq` show it.
    #[arg(value_name = "MESSAGE_ID")]
    pub(crate) message_id: String,
    /// Where processes serve metrics and health; may be given several times. Without it, the configured ops.listen.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) ops: Vec<SocketAddr>,
    /// Print everything that is known as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// What the account is called here: a-z, 0-9, - and _.
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// The merchant's public key at Refersion.
    #[arg(long, value_name = "KEY")]
    pub(crate) public_key: Option<String>,
    /// A file that has the merchant's secret key at Refersion, which is then read from there; - is standard input, which
    /// is kept in a file of its own.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// Where to serve metrics and health, instead of the configured ops.listen.
    #[arg(long, value_name = "IP:PORT")]
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
    /// Where lines that are no events are kept, as they are; added to what is there. Only its owner may read it then.
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

Exit code 1 when it was interrupted, when the file cannot be read to its end (what is before is stored, and where to go on \
is said), or when a line is no event (--rejects keeps such lines).";

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep the queue and its configuration, in DIR or in a temporary folder, to try the other commands on.
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    #[expect(clippy::option_option, reason = "not given, given alone, or given with a value, as clap has it")]
    pub(crate) keep: Option<Option<PathBuf>>,
    /// Print the report as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own, as clap has them")]
pub(crate) struct CheckArgs {
    /// Print the values in force as well, without any secret.
    #[arg(long)]
    pub(crate) values: bool,
    /// Print the values and findings as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also add up every event: what was accepted is what has ended and what is there. On RabbitMQ it takes 11 s longer.
    #[arg(long)]
    pub(crate) conservation: bool,
    /// Take the sum as it is now for right: differences and tolerances are counted from here on.
    #[arg(long, requires = "conservation")]
    pub(crate) new_baseline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8090")]
    pub(crate) listen: SocketAddr,
    /// A key pair to let in; may be given several times. Without any, every pair is let in.
    #[arg(long, value_name = "PUBLIC.SECRET")]
    pub(crate) key: Vec<String>,
    /// How many affiliates are on a page of search and list.
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_has_no_complaint_about_the_command_line() {
        Cli::command().debug_assert();
    }
}
