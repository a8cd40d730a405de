use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use refersion_relay_model::{Class, Event, Subject};
use refersion_relay_queue::{Action, Letter, LetterId, Message, Place, QueueError, Scan};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::DeadLetters;

/// Which dead letters are meant.
#[derive(Clone, Debug)]
pub struct Selection {
    /// In these classes.
    pub classes: Vec<Class>,
    /// Only these; `None` is all of the classes.
    pub ids: Option<HashSet<LetterId>>,
}

/// What a replay would do, before it does anything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// Letters in the classes.
    pub total: u64,
    /// Letters that were looked at for the counts below.
    pub scanned: u64,
    /// Of those, letters that are selected.
    pub selected: u64,
    /// Selected letters by class.
    pub by_class: BTreeMap<String, u64>,
    /// Selected letters by account.
    pub by_account: BTreeMap<String, u64>,
    /// Selected letters by type.
    pub by_type: BTreeMap<String, u64>,
    /// Selected letters by reason.
    pub by_reason: BTreeMap<String, u64>,
    /// The selected ids that were not among the scanned letters.
    pub not_found: Vec<String>,
}

/// What a replay did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Letters that were there when it began.
    pub total: u64,
    /// Letters it looked at.
    pub seen: u64,
    /// Letters that are on the work queues again.
    pub replayed: u64,
    /// Selected letters that name no account, and so cannot be sent again.
    pub without_account: u64,
    /// Selected ids that were not sent again.
    pub not_found: Vec<String>,
}

impl Selection {
    fn selects(&self, letter: &Letter) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(&letter.id))
    }
}

impl DeadLetters {
    /// Looks at the first letters of each class and counts what a replay would take.
    pub async fn plan(&self, selection: &Selection, scan: Scan) -> Result<Plan, QueueError> {
        let listing = self.list(&selection.classes, scan).await?;
        let scanned = listing.letters.len() as u64;
        let mut plan = Plan { total: listing.total, scanned, ..Plan::default() };
        let mut missing = selection.ids.clone().unwrap_or_default();
        for letter in listing.letters.iter().filter(|letter| selection.selects(letter)) {
            let headers = &letter.message.headers;
            missing.remove(&letter.id);
            plan.selected += 1;
            let count = |counts: &mut BTreeMap<String, u64>, key: &str| *counts.entry(key.to_owned()).or_default() += 1;
            count(&mut plan.by_class, letter.class.as_str());
            count(&mut plan.by_account, headers.account.as_ref().map_or("", |account| account.as_str()));
            count(&mut plan.by_type, &headers.kind);
            count(&mut plan.by_reason, headers.death.as_ref().map_or("", |death| &death.reason));
        }
        plan.not_found = missing.iter().map(ToString::to_string).collect();
        plan.not_found.sort();
        Ok(plan)
    }

    /// Sends the selected letters again: the same message id, attempts from zero, the next generation. Takes what was
    /// there when it began; a letter is gone only after its copy is confirmed.
    pub async fn replay(&self, selection: &Selection, stop: &CancellationToken) -> Result<Replayed, QueueError> {
        let mut done = Replayed::default();
        let open = Arc::new(Mutex::new(selection.ids.clone()));
        for class in &selection.classes {
            let (without_account, selection, open) = (Arc::new(AtomicU64::new(0)), selection.clone(), open.clone());
            if stop.is_cancelled()
                || open.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(HashSet::is_empty)
            {
                break;
            }
            let (fingerprints, shards) = (self.fingerprints.clone(), self.shards);
            let skipped = without_account.clone();
            let sweeper = Box::new(move |letter: &Letter| {
                if !selection.selects(letter) {
                    return Action::Keep;
                }
                let message = &letter.message;
                let Some(account) = &message.headers.account else {
                    skipped.fetch_add(1, Ordering::Relaxed);
                    return Action::Keep;
                };
                if let Some(ids) = open.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                    ids.remove(&letter.id);
                }
                let subject = subject(message, fingerprints.get(account));
                Action::Move(Place::Shard(subject.shard(account, shards)), Box::new(message.headers.replayed()))
            });
            let swept = self.queue.sweep(*class, sweeper, stop.clone()).await?;
            done.total += swept.total;
            done.seen += swept.seen;
            done.replayed += swept.acted;
            done.without_account += without_account.load(Ordering::Relaxed);
        }
        let open = open.lock().unwrap_or_else(PoisonError::into_inner);
        done.not_found = open.iter().flatten().map(ToString::to_string).collect();
        done.not_found.sort();
        Ok(done)
    }
}

/// Whom a letter is about, computed from its body as a door would.
fn subject(message: &Message, fingerprint: Option<&refersion_relay_model::Fingerprint>) -> Subject {
    let id = &message.headers.message_id;
    let Ok(event) = Event::parse(&message.body) else { return Subject::of_message(id) };
    let own = fingerprint.map(|fingerprint| fingerprint.message_id(&event, &message.body));
    Subject::of(&event, own.as_ref().map_or(id, |own| own.as_str()))
}
