//! What was ever configured, as the processes remember it on the broker for one another.
//!
//! AMQP cannot list queues: who does not know a name does not see what is in it. So every process adds what it is
//! configured with to one note, which is read by whoever asks what is left behind, or adds everything up. A name is
//! forgotten when it is not configured and its queues are not there any more.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::Connection;
use lapin::options::{BasicAckOptions, BasicGetOptions, ConfirmSelectOptions};
use refersion_relay_model::AccountName;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::marks::{Marks, lock};
use super::names::Names;
use super::reader::{RESOURCE_LOCKED, answer, exists, is};
use super::tally::{last, make, store};
use super::topology::Topology;
use super::url::BrokerUrl;
use crate::left_behind::{Configured, Former, is_tier};
use crate::{Backoff, QueueError};

/// How many names of a kind are remembered. Whoever can write to the relay's queues can make up names.
const MOST: usize = 10_000;
/// How long another process may be changing the note.
const PATIENCE: Duration = Duration::from_secs(10);

/// The note. Read as carefully as everything from a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// Rises with every note; of several the last one counts.
    number: u64,
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
    pub(crate) async fn read(connection: &Connection, topology: &Topology) -> Result<Self, lapin::Error> {
        let note = last(connection, &topology.names, &topology.names.history(), |note: &Note| note.number).await?;
        let configured = topology.configured();
        let former = note.iter().flat_map(Note::former).filter(|former| !configured.names(former)).collect();
        Ok(Self { former, is_written: note.is_some() })
    }

    /// The queues of what was configured and is not any more.
    pub(crate) fn queues(&self, names: &Names) -> impl Iterator<Item = (&Former, Vec<String>)> {
        self.former.iter().map(|former| (former, queues(names, former)))
    }
}

/// Adds what is configured here. One process at a time does so; `Away`: another one took too long.
pub(crate) async fn remember(url: &BrokerUrl, connection: &Connection, topology: &Topology) -> Result<(), QueueError> {
    let (names, queue) = (&topology.names, topology.names.history());
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    let begin = Instant::now();
    loop {
        let holder = names.history_holder();
        if Marks::has_one(connection, names, &holder).await? && begin.elapsed() < PATIENCE {
            sleep(backoff.next_wait()).await;
            continue;
        }
        match lock(connection, names, &holder).await {
            Ok(()) => break,
            Err(error) if is(&error, RESOURCE_LOCKED) && begin.elapsed() < PATIENCE => {
                sleep(backoff.next_wait()).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let has_notes = make(url, connection, topology, &queue).await?;
    let found = if has_notes { last(connection, names, &queue, |note: &Note| note.number).await? } else { None };
    let known = found.clone().unwrap_or_default();
    let configured = topology.configured();
    let mut next = known.clone();
    for former in known.former().filter(|former| !configured.names(former)) {
        if !is_there(connection, names, &former).await? {
            next.forget(&former);
        }
    }
    next.add(&configured);
    if found.is_some() && next == known {
        return Ok(());
    }
    next.number = known.number.saturating_add(1);
    write(connection, names, &queue, &next).await?;
    Ok(())
}

/// Whether there is a queue that events of it can be in.
async fn is_there(connection: &Connection, names: &Names, former: &Former) -> Result<bool, lapin::Error> {
    for queue in queues(names, former) {
        if exists(connection, &queue).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn write(connection: &Connection, names: &Names, queue: &str, note: &Note) -> Result<(), lapin::Error> {
    let channel = answer(connection.create_channel()).await?;
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    store(&channel, names, queue, &serde_json::to_vec(note).expect("names and numbers are JSON")).await?;
    // Somebody may be reading them at this moment; then what is outdated goes with the next note.
    while let Some(got) = answer(channel.basic_get(queue.into(), BasicGetOptions::default())).await? {
        let is_outdated = match serde_json::from_slice::<Note>(&got.delivery.data) {
            Ok(found) => found.number < note.number,
            Err(_) => true,
        };
        if is_outdated {
            answer(channel.basic_ack(got.delivery.delivery_tag, BasicAckOptions::default())).await?;
        }
    }
    answer(channel.close(200, "done".into())).await
}

/// Where the events of something are.
pub(crate) fn queues(names: &Names, former: &Former) -> Vec<String> {
    match former {
        Former::Account(account) => vec![names.work(account)],
        Former::Tier(delay) => vec![names.retry(*delay)],
        Former::Prefix(_) | Former::Place(_) => Vec::new(),
    }
}

impl Note {
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
        let text = r#"{"number":1,"accounts":["acme","Not A Name"],"tiers":[0,60000,99999999999999999],"x":1}"#;
        let mut note: Note = serde_json::from_str(text).unwrap();
        let acme = Former::Account(AccountName::try_from("acme").unwrap());
        let minute = Former::Tier(Duration::from_mins(1));
        assert_eq!(note.former().collect::<Vec<_>>(), [acme.clone(), minute.clone()]);
        for former in [acme, minute] {
            note.forget(&former);
        }
        assert_eq!(note.former().count(), 0);
        for broken in ["", "[]", r#"{"number":-1}"#, r#"{"number":1,"accounts":[],"tiers":[-1]}"#] {
            assert!(serde_json::from_str::<Note>(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn there_is_a_bound_on_what_is_remembered() {
        let mut known: BTreeSet<_> = (0..MOST - 1).collect();
        fill(&mut known, [MOST, MOST + 1].into_iter());
        assert_eq!(known.len(), MOST);
    }
}
