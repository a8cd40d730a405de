use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use refersion_relay_model::{AccountName, Class};

/// Everything that is stored and that no configuration names: nobody works it, or nobody knows when it comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// What was found, in order, none of it without events.
    pub remnants: Vec<Remnant>,
    /// What could not be looked at, in a sentence each.
    pub unseen: Vec<String>,
}

/// Events that belong to something that is not configured any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remnant {
    /// What they belong to.
    pub of: Former,
    /// How many there are.
    pub events: u64,
}

/// Something that was configured once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Former {
    /// An account that was renamed or removed: nobody reads its work queue.
    Account(AccountName),
    /// A retry delay. Its events come back when it has passed.
    Tier(Duration),
    /// A prefix of names on the broker, below which nobody reads.
    Prefix(String),
    /// A place that only another release knows.
    Place(String),
}

/// What a management API shows of the queues that could be a relay's, below whatever prefix.
#[derive(Clone, Debug)]
pub enum Shown {
    /// Each of them, some seconds ago.
    Queues(Vec<StoredQueue>),
    /// It was not asked, or did not answer.
    Nothing {
        /// Why not, or what to do about it.
        why: String,
    },
}

/// What is in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredQueue {
    /// Its name.
    pub name: String,
    /// Messages, also those that somebody has in hand.
    pub messages: u64,
    /// Consumers, also those that stand by.
    pub consumers: u64,
}

/// What a configuration names, as far as places are made for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configured {
    pub(crate) accounts: BTreeSet<AccountName>,
    pub(crate) tiers: BTreeSet<Duration>,
}

/// What the name of a place says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// It exists for something that can be configured.
    For(Former),
    /// Every release has it.
    Fixed,
    /// Not by us.
    Unknown,
}

/// The longest delay that can be configured.
const LONGEST_TIER: Duration = Duration::from_hours(24);
/// The longest name of an unknown place that is shown.
const MOST_SHOWN: usize = 80;

impl Configured {
    /// Whether it is in use.
    pub(crate) fn names(&self, former: &Former) -> bool {
        match former {
            Former::Account(account) => self.accounts.contains(account),
            // Names say delays as people do, and two that are said alike share a place.
            Former::Tier(delay) => self.tiers.contains(delay),
            Former::Prefix(_) | Former::Place(_) => false,
        }
    }
}

impl LeftBehind {
    /// With what was counted, without what is empty.
    pub(crate) fn new(counted: BTreeMap<Former, u64>, unseen: Vec<String>) -> Self {
        let counted = counted.into_iter().filter(|(_, events)| 0 < *events);
        Self { remnants: counted.map(|(of, events)| Remnant { of, events }).collect(), unseen }
    }

    /// How many events there are of each kind, those with none too.
    pub fn by_kind(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Former::KINDS.into_iter().map(|kind| {
            let of_kind = self.remnants.iter().filter(move |remnant| remnant.of.kind() == kind);
            (kind, of_kind.map(|remnant| remnant.events).sum())
        })
    }
}

impl Former {
    /// Every kind, as metrics name it.
    pub const KINDS: [&'static str; 4] = ["account", "tier", "prefix", "place"];

    /// What it is, without its name.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Tier(_) => "tier",
            Self::Prefix(_) => "prefix",
            Self::Place(_) => "place",
        }
    }

    /// What the name of a place says, read as carefully as everything that was stored.
    pub(crate) fn named(place: &str) -> Named {
        let (kind, rest) = place.split_once('.').unwrap_or((place, ""));
        let former = match kind {
            "intake" | "unrouted" => return Named::Fixed,
            "dead" if rest.parse::<Class>().is_ok() => return Named::Fixed,
            "events" => AccountName::try_from(rest).ok().map(Self::Account),
            "retry" => tier(rest).map(Self::Tier),
            _ => None,
        };
        former.map_or(Named::Unknown, Named::For)
    }

    /// A place that is none of ours. Its name may be anything.
    pub(crate) fn place(name: &str) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
        let shown = name.len() <= MOST_SHOWN && name.chars().all(plain);
        Self::Place(if shown { name.to_owned() } else { "with a name that is not shown".to_owned() })
    }
}

fn tier(name: &str) -> Option<Duration> {
    let delay = humantime::parse_duration(name).ok()?;
    is_tier(delay).then_some(delay)
}

/// Whether a configuration could name this delay.
pub(crate) fn is_tier(delay: Duration) -> bool {
    !delay.is_zero() && delay <= LONGEST_TIER
}

/// What it means, and what to do.
impl fmt::Display for Remnant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, events } = self;
        let (events, wait, them) = match events {
            1 => ("1 event".to_owned(), "waits", "it"),
            many => (format!("{many} events"), "wait", "them"),
        };
        match of {
            Former::Account(account) => write!(
                f,
                "{events} {wait} in the work queue of account {account}, which is not configured, and nobody works {them}: \
                 configure an account of that name until nothing waits there"
            ),
            Former::Tier(delay) => {
                let delay = humantime::format_duration(*delay).to_string().replace(' ', "");
                write!(
                    f,
                    "{events} {wait} in the retry delay {delay}, which retry.tiers does not name: within {delay} {} by \
                     itself; name it until then if it is to be counted with the others",
                    if self.events == 1 { "it comes back" } else { "each comes back" }
                )
            }
            Former::Prefix(prefix) => write!(
                f,
                "{events} {wait} below the prefix {prefix}, and nobody reads there: start a relay with queue.prefix = \
                 \"{prefix}\" until nothing is left, or start the one again that it belongs to"
            ),
            Former::Place(name) => write!(
                f,
                "{events} {wait} in a place that this release does not know, {name}: run the release that made it until \
                 nothing is left there"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_places_say_what_they_are_for() {
        let former = |place: &str| match Former::named(place) {
            Named::For(former) => Some(former),
            Named::Fixed | Named::Unknown => None,
        };
        assert_eq!(former("events.acme"), Some(Former::Account(AccountName::try_from("acme").unwrap())));
        assert_eq!(former("retry.1m30s"), Some(Former::Tier(Duration::from_secs(90))));
        for fixed in ["intake", "unrouted", "dead.invalid", "dead.unrouted"] {
            assert_eq!(Former::named(fixed), Named::Fixed, "{fixed}");
        }
        let forged = [
            "events.",
            "events.n8.3",
            "events.Not A Name",
            "retry.",
            "retry.-1s",
            "retry.99999999y",
            "retry.0s",
            "dead.elsewhere",
            "",
            ".",
            "tally.0",
        ];
        for name in forged {
            assert_eq!(Former::named(name), Named::Unknown, "{name}");
        }
    }

    #[test]
    fn a_name_that_may_be_anything_is_not_shown() {
        assert_eq!(Former::place("dead.later"), Former::Place("dead.later".to_owned()));
        for name in ["peter@example.com", "a\nb", &"x".repeat(81)] {
            assert_eq!(Former::place(name), Former::Place("with a name that is not shown".to_owned()));
        }
    }

    #[test]
    fn what_is_left_behind_is_said_with_what_to_do() {
        let says = |of, events| Remnant { of, events }.to_string();
        let account = AccountName::try_from("acme").unwrap();
        assert!(
            says(Former::Account(account), 1)
                .starts_with("1 event waits in the work queue of account acme, which is not conf")
        );
        let tier = says(Former::Tier(Duration::from_mins(90)), 2);
        assert!(tier.contains("2 events wait in the retry delay 1h30m") && tier.contains("each comes back"), "{tier}");
        assert!(says(Former::Prefix("old".to_owned()), 3).contains("queue.prefix = \"old\""));
        let counted = BTreeMap::from([
            (Former::Tier(Duration::from_mins(1)), 3),
            (Former::Tier(Duration::from_mins(2)), 2),
            (Former::Tier(Duration::from_mins(3)), 0),
        ]);
        let found = LeftBehind::new(counted, Vec::new());
        assert_eq!(found.remnants.len(), 2);
        let kinds: Vec<_> = found.by_kind().collect();
        assert_eq!(kinds, [("account", 0), ("tier", 5), ("prefix", 0), ("place", 0)]);
    }
}
