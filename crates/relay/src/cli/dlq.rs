use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use refersion_relay_deadletter::{Filter, Selection};
use refersion_relay_model::{AccountName, Class};
use refersion_relay_queue::{InFlight, LetterId, Scan};

const REPLAY_EXAMPLES: &str = "\
Examples:
  refersion-relay dlq replay 8913e6f54361ff13        shows the plan for one letter
  refersion-relay dlq replay 8913e6f54361ff13 --yes  does it
  refersion-relay dlq replay --class exhausted --yes";

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Count dead letters: exact totals, and what is known of those looked at.
    Stats(StatsArgs),
    /// List dead letters, oldest first within each class.
    List(ListArgs),
    /// Show one dead letter.
    Show(ShowArgs),
    /// Send dead letters to the work queues again. Shows a plan; acts only with --yes.
    ///
    /// Letters of class unverified ask for what their senders had no right to. They are left out unless that class, or the
    /// letter's id, is named.
    ///
    /// Passes over each letter of the class once, so it takes as long as the class is large. What is not meant goes to the
    /// tail, and so keeps its order.
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ActArgs),
    /// Delete dead letters for good. Shows a plan; acts only with --yes.
    ///
    /// Passes over each letter of the class once, so it takes as long as the class is large. What is not meant goes to the
    /// tail, and so keeps its order.
    Drop(ActArgs),
    /// Write dead letters down, one JSON document a line. This is personal data. The letters stay.
    ///
    /// Passes over each letter of the class once, so it takes as long as the class is large.
    Export(ExportArgs),
}

impl DlqCommand {
    /// Which letters are meant, where a filter says it.
    pub(crate) fn filter_mut(&mut self) -> Option<&mut FilterArgs> {
        match self {
            Self::Stats(args) => Some(&mut args.filter),
            Self::List(args) => Some(&mut args.filter),
            Self::Replay(args) | Self::Drop(args) => Some(&mut args.filter),
            Self::Export(args) => Some(&mut args.filter),
            Self::Show(_) => None,
        }
    }
}

/// Which letters are meant: those that agree with every option given. Of one given several times, one value has to agree.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// The letters, as `dlq list` names them.
    #[arg(value_name = "ID")]
    ids: Vec<LetterId>,
    /// The same, as an option.
    #[arg(long, value_name = "ID")]
    id: Vec<LetterId>,
    /// In this class.
    #[arg(long, value_name = "CLASS")]
    class: Vec<Class>,
    /// Dead for this reason, as `dlq list` shows it.
    #[arg(long, value_name = "REASON")]
    reason: Vec<String>,
    /// Of this account.
    #[arg(long, value_name = "ACCOUNT", value_parser = account)]
    account: Vec<AccountName>,
    /// Of this type: identify, delete, …
    #[arg(long = "type", value_name = "TYPE")]
    kind: Vec<String>,
    /// With this message id, as its sender wrote it or as `dlq list` shows it.
    #[arg(long, value_name = "ID")]
    pub(crate) message_id: Vec<String>,
    /// Replayed so many times before.
    #[arg(long, value_name = "N")]
    generation: Vec<u32>,
    /// Dead for at least so long, such as "1h 30m".
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Dead for at most so long, such as "2days".
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    newer_than: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// How many letters of each class to read, from the oldest; at most 65535, as no more can be in hand at once.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..))]
    scan: u16,
}

/// How to pass over the letters.
#[derive(Debug, Args)]
pub(crate) struct WalkArgs {
    /// Letters in hand at a time, 1 to 1000. More is faster, and up to so many may be there twice after a kill -9 or a
    /// lost machine, instead of one. Memory grows with it too: by about the size of so many letters.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) in_flight: InFlight,
    /// Act on so many letters in a second at most.
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<NonZeroU32>,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) scan: ScanArgs,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) scan: ScanArgs,
    /// Show what the events say. This is personal data.
    #[arg(long)]
    pub(crate) show_body: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The letter, as `dlq list` names it.
    #[arg(value_name = "ID")]
    pub(crate) id: LetterId,
    /// Where to look; all classes otherwise.
    #[arg(long, value_name = "CLASS")]
    class: Vec<Class>,
    #[command(flatten)]
    pub(crate) scan: ScanArgs,
    /// Show what the event says. This is personal data.
    #[arg(long)]
    pub(crate) show_body: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How letters are replayed or dropped.
#[derive(Debug, Args)]
pub(crate) struct ActArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Do it.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) walk: WalkArgs,
    #[command(flatten)]
    pub(crate) scan: ScanArgs,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Only the events themselves, one a line, as they can be enqueued again.
    #[arg(long)]
    pub(crate) events: bool,
    /// Write to this file, which only its owner may read then; otherwise to stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) walk: WalkArgs,
}

impl FilterArgs {
    /// What is meant, with ages counted back from `now`.
    pub(crate) fn selection(&self, now: SystemTime) -> Selection {
        let back = |age: Duration| now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let filter = Filter {
            ids: self.ids.iter().chain(&self.id).cloned().collect(),
            reasons: self.reason.clone(),
            accounts: self.account.clone(),
            types: self.kind.clone(),
            message_ids: self.message_id.clone(),
            generations: self.generation.clone(),
            dead_before: self.older_than.map(back),
            dead_after: self.newer_than.map(back),
        };
        Selection { classes: classes(&self.class), filter, spares_unverified: false }
    }

    /// The same for what sends letters again: those whose senders had no right are meant only where their class is named.
    pub(crate) fn selection_to_send(&self, now: SystemTime) -> Selection {
        let spares_unverified = !self.class.contains(&Class::Unverified);
        Selection { spares_unverified, ..self.selection(now) }
    }

    /// Whether nothing was said, which means every letter there is.
    pub(crate) fn means_everything(&self) -> bool {
        self.class.is_empty() && self.selection(SystemTime::UNIX_EPOCH).filter.is_empty()
    }
}

impl ShowArgs {
    pub(crate) fn classes(&self) -> Vec<Class> {
        classes(&self.class)
    }
}

impl ScanArgs {
    pub(crate) fn scan(&self) -> Scan {
        Scan { letters: self.scan.into() }
    }
}

/// In the order of `Class`, and each once: a class given twice must not be passed over twice.
fn classes(wanted: &[Class]) -> Vec<Class> {
    Class::ALL.into_iter().filter(|class| wanted.is_empty() || wanted.contains(class)).collect()
}

fn account(name: &str) -> Result<AccountName, String> {
    AccountName::try_from(name).map_err(|error| error.to_string())
}
