use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use refersion_relay_model::AccountName;
use refersion_relay_telemetry::Recent;

use crate::event::outcome::{Aside, Defect, Outcome};
use crate::order::event_key::Digest;

/// What a worker knows of single events: those in its hand, and what became of the last ones. For who asks about one of them; nothing
/// is decided by it.
#[derive(Default)]
pub struct Trail {
    past: Recent<Past>,
    in_hand: Mutex<InHandSteps>,
}

#[derive(Default)]
struct InHandSteps {
    /// By the order in which they were taken.
    steps: BTreeMap<u64, Arc<Step>>,
    last: u64,
}

/// What became of an event when it left this worker's hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// When.
    pub at: SystemTime,
    /// What it was settled by.
    pub what: PastOutcome,
    /// Attempts that counted.
    pub attempts: u32,
    /// How often it had been replayed.
    pub generation: u32,
    /// The last failure, a word from a closed set.
    pub failure: Option<&'static str>,
}

/// How an event was settled, in few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastOutcome {
    /// Its effect happened, in this way.
    Delivered(&'static str),
    /// Ordinary deletes, with its id and the addresses that were found, have taken its place.
    Completed,
    /// It was not for Refersion, for this reason.
    Ignored(&'static str),
    /// It was a copy of an event that had ended.
    Copy,
    /// It went into a retry queue, because it failed, until then.
    Retry(SystemTime),
    /// It went away until earlier events of its subject have ended: into a retry queue until then, or round its work queue.
    Aside(Option<SystemTime>),
    /// It became a dead letter, for this reason.
    Dead(&'static str),
}

/// An event in this worker's hand, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Whose it is.
    pub account: AccountName,
    /// As it is shown.
    pub message_id: String,
    /// Since when it is in hand.
    pub since: SystemTime,
    /// What is done with it.
    pub doing: Doing,
    /// Attempts that counted.
    pub attempts: u32,
    /// How often it was replayed.
    pub generation: u32,
    /// The last failure, a word from a closed set.
    pub failure: Option<&'static str>,
    /// The message id of the earlier event about the same subject that has to end before.
    pub behind: Option<String>,
}

/// What is done with an event in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It waits for those before it.
    InLane,
    /// It waits until it may call: for its account, for Refersion, for the queue, or for room among the calls.
    Admission,
    /// It is being carried out at Refersion, since then.
    Calling(SystemTime),
    /// It failed, and is tried again then.
    Waiting(SystemTime),
}

/// An event in hand. What is done with it is written here.
pub(crate) struct Step {
    account: AccountName,
    message_id: String,
    since: SystemTime,
    generation: u32,
    /// Once it was read and has an effect.
    subject: OnceLock<Digest>,
    now: Mutex<Now>,
}

#[derive(Clone, Copy)]
struct Now {
    doing: Doing,
    attempts: u32,
    failure: Option<&'static str>,
}

/// An event in hand, for as long as it is.
pub(crate) struct Tracked {
    trail: Arc<Trail>,
    number: u64,
    step: Arc<Step>,
}

impl Trail {
    /// An event is in hand from now on.
    pub(crate) fn track(
        self: &Arc<Self>,
        account: &AccountName,
        message_id: &str,
        attempts: u32,
        generation: u32,
    ) -> Tracked {
        let step = Arc::new(Step {
            account: account.clone(),
            message_id: message_id.to_owned(),
            since: SystemTime::now(),
            generation,
            subject: OnceLock::new(),
            now: Mutex::new(Now { doing: Doing::InLane, attempts, failure: None }),
        });
        let mut in_hand = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        in_hand.last += 1;
        let number = in_hand.last;
        in_hand.steps.insert(number, step.clone());
        Tracked { trail: self.clone(), number, step }
    }

    /// Those in hand that have one of these message ids.
    #[must_use]
    pub fn in_hand(&self, message_ids: &BTreeSet<&str>) -> Vec<Present> {
        let in_hand = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        let found = in_hand.steps.iter().filter(|(_, step)| message_ids.contains(step.message_id.as_str()));
        let found = found.map(|(number, step)| {
            let Now { doing, attempts, failure } = step.now();
            let is_before = |earlier: &&Arc<Step>| {
                earlier.account == step.account
                    && step.subject.get().is_some()
                    && earlier.subject.get() == step.subject.get()
            };
            let behind = in_hand.steps.range(..number).map(|(_, earlier)| earlier).find(is_before);
            Present {
                account: step.account.clone(),
                message_id: step.message_id.clone(),
                since: step.since,
                doing,
                attempts,
                generation: step.generation,
                failure,
                behind: behind.map(|earlier| earlier.message_id.clone()),
            }
        });
        found.collect()
    }

    /// What became of an event of an account when it left this worker's hand last.
    #[must_use]
    pub fn past(&self, account: &AccountName, message_id: &str) -> Option<Past> {
        self.past.find(account, message_id)
    }

    /// Since when this worker remembers events.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.past.since()
    }
}

impl Tracked {
    /// It was read, and is about this subject.
    pub(crate) fn is_about(&self, subject: Digest) {
        let _ = self.step.subject.set(subject); // read twice, it is the same
    }

    pub(crate) fn is(&self, doing: Doing) {
        self.step.now.lock().unwrap_or_else(PoisonError::into_inner).doing = doing;
    }

    /// It waits so long for its next attempt.
    pub(crate) fn waits(&self, wait: Duration) {
        self.is(Doing::Waiting(SystemTime::now() + wait));
    }

    /// An attempt failed; so many have counted.
    pub(crate) fn failed(&self, failure: &'static str, attempts: u32) {
        let mut now = self.step.now.lock().unwrap_or_else(PoisonError::into_inner);
        (now.failure, now.attempts) = (Some(failure), attempts);
    }

    /// It was settled by this outcome.
    pub(crate) fn left(&self, outcome: &Outcome, at: SystemTime) {
        let what = match outcome {
            Outcome::Delivered(applied) => PastOutcome::Delivered(applied.as_str()),
            Outcome::Known => PastOutcome::Delivered("known"),
            Outcome::Completed => PastOutcome::Completed,
            Outcome::Ignored(why) => PastOutcome::Ignored(why.as_str()),
            Outcome::Copy => PastOutcome::Copy,
            Outcome::Retry(delay) => PastOutcome::Retry(at + *delay),
            Outcome::Aside(Aside::Tier(delay)) => PastOutcome::Aside(Some(at + *delay)),
            Outcome::Aside(Aside::Round) => PastOutcome::Aside(None),
            Outcome::Dead(Defect { reason, .. }) => PastOutcome::Dead(reason.as_str()),
        };
        let Now { attempts, failure, .. } = self.step.now();
        let Step { account, message_id, generation, .. } = &*self.step;
        // A copy says nothing about the event that it is one of.
        if outcome == &Outcome::Copy && self.trail.past(account, message_id).is_some() {
            return;
        }
        let past = Past { at, what, attempts, generation: *generation, failure };
        self.trail.past.remember(account, message_id, past);
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.trail.in_hand.lock().unwrap_or_else(PoisonError::into_inner).steps.remove(&self.number);
    }
}

impl Step {
    fn now(&self) -> Now {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use refersion_relay_refersion::Applied;

    use super::*;

    fn account() -> AccountName {
        AccountName::try_from("acme").unwrap()
    }

    #[test]
    fn an_event_in_hand_is_behind_the_first_one_about_its_subject() {
        let trail = Arc::<Trail>::default();
        let track = |id: &str, subject| {
            let tracked = trail.track(&account(), id, 0, 0);
            tracked.is_about([0, subject]);
            tracked
        };
        let (first, _other, _second, _third) = (track("m1", 1), track("m2", 2), track("m3", 1), track("m4", 1));
        let in_hand = |id: &str| trail.in_hand(&BTreeSet::from([id]));
        let behind = |id: &str| in_hand(id).first().and_then(|present| present.behind.clone());
        assert_eq!((behind("m1"), behind("m2")), (None, None));
        assert_eq!(behind("m4").as_deref(), Some("m1"));
        drop(first);
        assert_eq!(behind("m4").as_deref(), Some("m3"));
        assert!(in_hand("m1").is_empty());
    }

    #[test]
    fn a_copy_does_not_hide_what_became_of_its_original() {
        let trail = Arc::<Trail>::default();
        let (at, delivered) = (SystemTime::UNIX_EPOCH, Outcome::Delivered(Applied::Created));
        let original = trail.track(&account(), "m1", 0, 0);
        original.failed("no_answer", 1);
        original.left(&delivered, at);
        trail.track(&account(), "m1", 0, 0).left(&Outcome::Copy, at);

        let past = trail.past(&account(), "m1").unwrap();

        assert_eq!(past.what, PastOutcome::Delivered("created"));
        assert_eq!((past.attempts, past.failure), (1, Some("no_answer")));
    }
}
