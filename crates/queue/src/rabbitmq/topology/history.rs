//! What was ever configured, as the processes remember it in the journal for one another.
//!
//! AMQP cannot list queues: who does not know a name does not see what is in it. So every process adds what it is
//! configured with, which is read by whoever asks what is left behind, or adds everything up. A name is forgotten when it is
//! not configured and its queues are not there any more.

use std::collections::BTreeSet;
use std::time::Duration;

use refersion_relay_model::AccountName;
use serde::{Deserialize, Serialize};

use super::names::Names;
use super::topology::Topology;
use crate::QueueError;
use crate::port::left_behind::{Configured, Former, is_tier};
use crate::rabbitmq::tally::{Journal, Sum};
use crate::rabbitmq::wire::queue_counts::exists;

/// How many names of a kind are remembered. Whoever can write to the relay's queues can make up names.
const MOST: usize = 10_000;

/// Names, as they are written down. Read as carefully as everything from a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    accounts: BTreeSet<String>,
    /// In milliseconds.
    tiers: BTreeSet<u64>,
}

/// What was configured when a process last said so, without what is configured here and now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) former: BTreeSet<Former>,
    /// Whether anybody has ever written it.
    pub(crate) is_written: bool,
}

impl History {
    pub(crate) fn of(sum: &Sum, topology: &Topology) -> Self {
        let configured = topology.configured();
        let former = sum.known.iter().flat_map(Known::former).filter(|former| !configured.names(former)).collect();
        Self { former, is_written: sum.known.is_some() }
    }

    /// The queues of what was configured and is not any more.
    pub(crate) fn queues(&self, names: &Names) -> impl Iterator<Item = (&Former, Vec<String>)> {
        self.former.iter().map(|former| (former, queues(names, former)))
    }
}

/// Adds what is configured here, and takes away what is nowhere any more.
pub(crate) async fn remember(journal: &mut Journal, topology: &Topology) -> Result<(), QueueError> {
    let mut known = journal.sum.known.clone().unwrap_or_default();
    for (former, queues) in History::of(&journal.sum, topology).queues(&topology.names) {
        if !is_any_there(journal, &queues).await? {
            known.forget(former);
        }
    }
    known.add(&topology.configured());
    if journal.sum.known.as_ref() != Some(&known) {
        journal.sum.known = Some(known);
        journal.fold().await?;
    }
    Ok(())
}

async fn is_any_there(journal: &Journal, queues: &[String]) -> Result<bool, lapin::Error> {
    for queue in queues {
        if exists(&journal.connection, queue).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where the events of something are.
pub(crate) fn queues(names: &Names, former: &Former) -> Vec<String> {
    match former {
        Former::Account(account) => vec![names.work(account)],
        Former::Tier(delay) => vec![names.retry(*delay)],
        Former::Prefix(_) | Former::Place(_) => Vec::new(),
    }
}

impl Known {
    /// What in it can be true.
    fn former(&self) -> impl Iterator<Item = Former> + '_ {
        let accounts = self.accounts.iter().filter_map(|name| AccountName::try_from(name.as_str()).ok());
        let tiers = self.tiers.iter().map(|millis| Duration::from_millis(*millis)).filter(|delay| is_tier(*delay));
        accounts.map(Former::Account).chain(tiers.map(Former::Tier))
    }

    fn add(&mut self, configured: &Configured) {
        fill(&mut self.accounts, configured.accounts.iter().map(ToString::to_string));
        fill(&mut self.tiers, configured.tiers.iter().map(|tier| millis(*tier)));
    }

    fn forget(&mut self, former: &Former) {
        match former {
            Former::Account(account) => drop(self.accounts.remove(account.as_str())),
            Former::Tier(delay) => drop(self.tiers.remove(&millis(*delay))),
            Former::Prefix(_) | Former::Place(_) => {}
        }
    }
}

fn fill<T: Ord>(known: &mut BTreeSet<T>, more: impl Iterator<Item = T>) {
    for one in more {
        if known.len() < MOST {
            known.insert(one);
        }
    }
}

fn millis(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_true_is_left_out_and_what_is_gone_is_forgotten() {
        let text = r#"{"accounts":["acme","Not A Name"],"tiers":[0,60000,99999999999999999]}"#;
        let mut known: Known = serde_json::from_str(text).unwrap();
        let acme = Former::Account(AccountName::try_from("acme").unwrap());
        let minute = Former::Tier(Duration::from_mins(1));
        assert_eq!(known.former().collect::<Vec<_>>(), [acme.clone(), minute.clone()]);
        for former in [acme, minute] {
            known.forget(&former);
        }
        assert_eq!(known.former().count(), 0);
        for broken in ["", "[]", r#"{"accounts":[]}"#, r#"{"accounts":[],"tiers":[-1]}"#] {
            assert!(serde_json::from_str::<Known>(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn there_is_a_bound_on_what_is_remembered() {
        let mut known: BTreeSet<_> = (0..MOST - 1).collect();
        fill(&mut known, [MOST, MOST + 1].into_iter());
        assert_eq!(known.len(), MOST);
    }
}
