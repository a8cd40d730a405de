use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use refersion_relay_model::Class;
use refersion_relay_queue::LetterId;

/// The Refersion destination for Twilio Segment: events in, affiliates out, nothing lost on the way.
#[derive(Debug, Parser)]
#[command(name = "refersion-relay", version, disable_help_subcommand = true)]
#[command(arg_required_else_help = false, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// The configuration, a TOML file.
    #[arg(long, global = true, env = "RELAY_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  refersion-relay demo                       see it work; needs no configuration
  refersion-relay check --config relay.toml  is everything as it should be?
  refersion-relay run --config relay.toml
  refersion-relay dlq list --config relay.toml

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.";

const CHECK_MORE: &str = "\
Prints the values in force, without any secret, and then a line for each finding: ok, WARN (allowed, or could not be \
looked at) or FAIL. Queues and exchanges that are missing on the broker are declared.

Exit codes: 0 nothing has failed, 1 something has, 2 the configuration cannot be used.";

const DLQ_EXAMPLES: &str = "\
Examples:
  refersion-relay dlq list --class rejected
  refersion-relay dlq show 8913e6f54361ff13 --show-body
  refersion-relay dlq replay --class rejected        shows the plan
  refersion-relay dlq replay --class rejected --yes  does it

Classes: malformed, invalid, rejected, exhausted, poison, unrouted.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  refersion-relay dlq replay 8913e6f54361ff13        shows the plan for one letter
  refersion-relay dlq replay 8913e6f54361ff13 --yes  does it
  refersion-relay dlq replay --class exhausted --yes";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  refersion-relay simulate --key pub_1.sec_1
  refersion-relay simulate --fault '{\"operation\":\"new\",\"times\":3,\"fault\":{\"kind\":\"status\",\"status\":503}}'

Point refersion.base_url at the address that it prints.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show it at work: a private RabbitMQ, a simulated Refersion, sample events, a report.
    Demo(DemoArgs),
    /// Take events in over HTTP and work them, in one process.
    Run(RoleArgs),
    /// Take events in over HTTP and put them on the queue; work none.
    Ingest(RoleArgs),
    /// Work the events on the queue; take none in.
    Worker(RoleArgs),
    /// List, show and replay dead letters: events that could not be delivered.
    #[command(arg_required_else_help = false, after_help = DLQ_EXAMPLES)]
    Dlq {
        #[command(subcommand)]
        command: DlqCommand,
    },
    /// Check the configuration, its files, the broker, its policies, the keys and the clock.
    #[command(after_help = CHECK_MORE)]
    Check(CheckArgs),
    /// Serve a simulated Refersion, with faults on demand.
    #[command(after_help = SIMULATE_EXAMPLES)]
    Simulate(SimulateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// Where to serve metrics and health, instead of the configured ops.listen.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) ops_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Print the report as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Print the values and findings as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List dead letters, oldest first within each class.
    List(ListArgs),
    /// Show one dead letter.
    Show(ShowArgs),
    /// Send dead letters to the work queues again; shows a plan, and acts only with --yes.
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only letters of this class; may be given several times.
    #[arg(long, value_name = "CLASS")]
    pub(crate) class: Vec<Class>,
    /// How many letters of each class to read, from the oldest.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) scan: usize,
    /// Show the events themselves, which are personal data.
    #[arg(long)]
    pub(crate) show_body: bool,
    /// Print the letters as one JSON array.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The letter's id, as dlq list shows it.
    #[arg(value_name = "ID")]
    pub(crate) id: LetterId,
    /// Look only at this class; may be given several times.
    #[arg(long, value_name = "CLASS")]
    pub(crate) class: Vec<Class>,
    /// How many letters of each class to read, from the oldest.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) scan: usize,
    /// Show the event itself, which is personal data.
    #[arg(long)]
    pub(crate) show_body: bool,
    /// Print the letter as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
pub(crate) struct ReplayArgs {
    /// Letters' ids, as dlq list shows them; without any, all letters of the class.
    #[arg(value_name = "ID", group = "what")]
    pub(crate) ids: Vec<LetterId>,
    /// The same as an option; may be given several times.
    #[arg(long, value_name = "ID", group = "what")]
    pub(crate) id: Vec<LetterId>,
    /// Only letters of this class; may be given several times.
    #[arg(long, value_name = "CLASS", group = "what")]
    pub(crate) class: Vec<Class>,
    /// How many letters of each class the plan reads, from the oldest.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) scan: usize,
    /// Do it, instead of only showing the plan.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print the plan and what was done as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
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
    /// A fault rule, as POST /_simulator/faults takes it; may be given several times.
    #[arg(long, value_name = "JSON")]
    pub(crate) fault: Vec<String>,
}
