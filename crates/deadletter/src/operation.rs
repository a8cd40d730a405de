use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::num::NonZeroU32;
use std::time::Instant;

use async_trait::async_trait;
use refersion_relay_model::{AccountName, Envelope, Event, Fingerprint, MAX_EVENT_BYTES, Subject};
use refersion_relay_queue::{Action, Fate, InFlight, Letter, LetterId, LetterVisitor, Message, Place, QueueError};
use refersion_relay_rate_limit::RateLimit;
use serde::Serialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::filter::is_unverified;
use crate::{DeadLetters, Export, Selection};

/// What is done with the selected letters.
pub enum LetterOperation<'a> {
    /// They are sent again: the same message id, attempts from zero, the next generation.
    Replay,
    /// They are deleted for good.
    Drop,
    /// They are written down, and stay.
    Export(Export<'a>),
}

/// How it is done.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// Letters in hand at a time.
    pub in_flight: InFlight,
    /// Letters it is done with in a second, at most.
    pub rate: Option<NonZeroU32>,
    /// Ends it in good order.
    pub stop: CancellationToken,
}

/// How far it came. A letter counts when what became of it is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    /// Letters that were there when it began, in the classes it came to.
    pub total: u64,
    /// Letters it looked at.
    pub seen: u64,
    /// Selected letters that were replayed, dropped or written.
    pub acted: u64,
    /// Selected letters that name no account, and so could not be sent again. They stayed.
    pub without_account: u64,
    /// Selected letters with more bytes than an event may have, which so could not be sent again. They stayed.
    pub too_large: u64,
    /// Letters that were left out, since nothing shows that their sender had the right to what they ask for. They stayed.
    pub left_out: u64,
    /// Selected letters that say another type than they were taken for, and so were not written as events unless their ids were named.
    pub misleading: u64,
    /// Selected letters that are no JSON, and so could not be written as events.
    pub not_json: u64,
    /// Selected ids with which nothing was done.
    pub not_found: Vec<String>,
}

/// Why a walk ended early, beside being told to.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The queue has something against it.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The output takes nothing more.
    #[error("cannot write")]
    Output(#[source] io::Error),
}

impl DeadLetters {
    /// Passes over every letter of the classes once and carries the operation out on those that are selected. `watch` hears of every
    /// letter. What was done is told however it ends.
    pub async fn walk(
        &self,
        operation: LetterOperation<'_>,
        selection: &Selection,
        options: &SweepOptions,
        watch: &mut (dyn FnMut(&SweepReport) + Send),
    ) -> (SweepReport, Result<(), SweepError>) {
        let mut walk = Walk {
            selection,
            operation,
            rate: RateLimit::even(options.rate),
            stop: options.stop.child_token(),
            fingerprints: &self.fingerprints,
            numbers: RandomState::new(),
            done: SweepReport::default(),
            open: selection.filter.ids.clone(),
            failure: None,
            watch,
        };
        let mut ended = Ok(());
        // An export moves nothing for good, and says what it leaves out.
        let moves = matches!(walk.operation, LetterOperation::Replay | LetterOperation::Drop);
        for class in selection.classes.iter().filter(|class| !(moves && selection.passes_by(**class))) {
            let all_found = !selection.filter.ids.is_empty() && walk.open.is_empty();
            if walk.stop.is_cancelled() || all_found || ended.is_err() {
                break;
            }
            let stop = walk.stop.clone();
            let swept = self.queue.sweep(*class, options.in_flight, &mut walk, &stop).await;
            ended = swept.map(|_| ()).map_err(SweepError::from);
        }
        let flushed = match &mut walk.operation {
            LetterOperation::Export(export) => export.flush().await,
            LetterOperation::Replay | LetterOperation::Drop => Ok(()),
        };
        walk.done.not_found = walk.open.iter().map(ToString::to_string).collect();
        let written = walk.failure.map_or(flushed, Err).map_err(SweepError::Output);
        (walk.done, ended.and(written))
    }
}

struct Walk<'a, 'b> {
    selection: &'a Selection,
    operation: LetterOperation<'b>,
    rate: RateLimit,
    stop: CancellationToken,
    fingerprints: &'a HashMap<AccountName, Fingerprint>,
    /// Gives each person a number.
    numbers: RandomState,
    done: SweepReport,
    open: BTreeSet<LetterId>,
    failure: Option<io::Error>,
    watch: &'a mut (dyn FnMut(&SweepReport) + Send),
}

#[async_trait]
impl LetterVisitor for Walk<'_, '_> {
    fn begin(&mut self, letters: u64) {
        self.done.total += letters;
    }

    async fn judge(&mut self, letter: &Letter) -> Action {
        if !self.selection.matches(letter) {
            self.done.left_out += u64::from(self.selection.leaves_out(letter));
            return Action::Keep;
        }
        let action = match (&self.operation, &letter.message.headers.account) {
            (LetterOperation::Replay, None) => {
                self.done.without_account += 1;
                return Action::Keep;
            }
            (LetterOperation::Replay, Some(_)) if is_too_large(letter) => {
                self.done.too_large += 1;
                return Action::Keep;
            }
            (LetterOperation::Replay, Some(account)) => {
                let subject = subject(&letter.message, self.fingerprints.get(account));
                let subject = self.numbers.hash_one((account, subject));
                let mut headers = Box::new(letter.message.headers.replayed());
                // Whoever names such a letter means it.
                headers.create_only &= !is_unverified(letter);
                Action::Move { place: Place::Work(account.clone()), headers, subject }
            }
            (LetterOperation::Export(export), _)
                if export.misleads(letter) && !self.selection.filter.ids.contains(&letter.id) =>
            {
                self.done.misleading += 1;
                return Action::Keep;
            }
            (LetterOperation::Drop, _) => Action::Drop,
            (LetterOperation::Export(_), _) => Action::Keep,
        };
        if !self.has_turn().await {
            return Action::Keep;
        }
        if let LetterOperation::Export(export) = &mut self.operation {
            match export.write(letter).await {
                Ok(true) => self.done.acted += 1,
                Ok(false) => self.done.not_json += 1,
                Err(error) => {
                    self.failure = Some(error);
                    self.stop.cancel();
                    return Action::Keep;
                }
            }
        }
        self.open.remove(&letter.id);
        action
    }

    fn settled(&mut self, fate: Fate) {
        self.done.seen += 1;
        self.done.acted += u64::from(fate != Fate::Kept);
        (self.watch)(&self.done);
    }
}

impl Walk<'_, '_> {
    /// Waits for the next turn; `false`: it is over before.
    async fn has_turn(&mut self) -> bool {
        let wait = self.rate.reserve(Instant::now(), 1);
        if wait.is_zero() {
            return !self.stop.is_cancelled();
        }
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = sleep(wait) => true,
        }
    }
}

/// Whether no work queue may have it: what a worker has in hand is bounded by its events and their size.
pub(crate) fn is_too_large(letter: &Letter) -> bool {
    MAX_EVENT_BYTES < letter.message.body.len()
}

/// Whom a letter is about, computed from its body as a door would.
fn subject(message: &Message, fingerprint: Option<&Fingerprint>) -> Subject {
    let id = &message.headers.message_id;
    let envelope = Envelope::default().with_word(&message.headers.kind);
    let Ok(event) = Event::parse_in(&message.body, &envelope) else { return Subject::of_message(id) };
    let own = fingerprint.map(|fingerprint| fingerprint.message_id(&event, &message.body));
    Subject::of(&event, own.as_ref().map_or(id, |own| own.as_str()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use refersion_relay_model::Class;

    use super::*;
    use crate::Filter;
    use crate::tests::letter;

    #[tokio::test]
    async fn letters_of_one_person_go_one_after_another_whatever_their_headers_say() {
        let selection =
            Selection { classes: vec![Class::Rejected], filter: Filter::default(), spares_unverified: true };
        let mut walk = Walk {
            selection: &selection,
            operation: LetterOperation::Replay,
            rate: RateLimit::even(None),
            stop: CancellationToken::new(),
            fingerprints: &HashMap::new(),
            numbers: RandomState::new(),
            done: SweepReport::default(),
            open: BTreeSet::new(),
            failure: None,
            watch: &mut |_| (),
        };
        let mut subjects = Vec::new();
        for (subject, email) in [(Some("0123"), "peter"), (None, "Peter"), (None, "paul")] {
            let mut letter = letter("m", |headers| headers.subject = subject.map(ToOwned::to_owned));
            letter.message.body = Bytes::from(format!(r#"{{"type":"delete","email":"{email}@example.com"}}"#));
            match walk.judge(&letter).await {
                Action::Move { subject, place, .. } => {
                    assert_eq!(place, Place::Work(letter.message.headers.account.unwrap()));
                    subjects.push(subject);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(subjects[0] == subjects[1] && subjects[1] != subjects[2], "{subjects:?}");
    }
}
