use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use refersion_relay_directory::{DirectoryError, Doubt, Learnt, LookedUp, Rows};
use refersion_relay_model::{Command, DeadReason, Email, Envelope, Event, PersonId, Subject, completed};
use refersion_relay_queue::{Backoff, Headers, Message, Place, rfc3339_seconds};
use refersion_relay_refersion::Applied;
use refersion_relay_telemetry::Resolved;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attempt::past_time::past;
use crate::attempt::work::{FIRST_WAIT, LONGEST_WAIT, sleep};
use crate::context::Context;
use crate::directory::{DirectoryHandle, Taught, Whose};
use crate::event::in_hand::InHand;
use crate::event::outcome::Outcome;
use crate::event::reading::Job;

/// How long an event waits in hand for the directory, or for the queue. Then it lets others go first.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a delete waits in hand for an identify of before, which may be in another lane. Thousands of deletes may come at once.
const SOON: Duration = Duration::from_secs(2);

/// The directory, as a worker uses it: identifies teach it, deletes that name only an id ask it, and deletes that were carried out
/// erase from it.
pub(crate) struct People {
    directory: DirectoryHandle,
    /// How long a delete waits for its person to become known.
    wait: Duration,
    /// Whether it could not be used the last time.
    is_failing: AtomicBool,
}

impl People {
    pub(crate) fn new(directory: DirectoryHandle, wait: Duration) -> Self {
        Self { directory, wait, is_failing: AtomicBool::new(false) }
    }

    pub(crate) fn rows(&self) -> Option<Rows> {
        self.directory.rows()
    }

    /// Something was taught or erased.
    fn was_taught(&self) {
        if self.directory.is_local() {
            self.tell(None);
        }
    }

    /// Somebody has answered a question.
    fn has_answered(&self) {
        if !self.directory.is_local() {
            self.tell(None);
        }
    }

    fn has_failed(&self, error: &DirectoryError) {
        // That nothing can be sent elsewhere is the queue's to say.
        if self.directory.is_local() || matches!(error, DirectoryError::Unanswered(_)) {
            self.tell(Some(error));
        }
    }

    /// Said once, and once more when it can be used again.
    fn tell(&self, failure: Option<&DirectoryError>) {
        match (failure, self.is_failing.swap(failure.is_some(), Ordering::Relaxed)) {
            (Some(error), false) => tracing::warn!(%error, "the directory cannot be used: events that need it wait"),
            (None, true) => tracing::info!("the directory can be used again"),
            (Some(_), true) | (None, false) => {}
        }
    }
}

/// What an event has to wait for could not be done now.
pub(crate) enum NotNow {
    /// It waits elsewhere, and others go on.
    Later(Outcome),
    /// Nothing more is begun.
    Leave,
}

impl Context {
    /// Remembers whose address an identify names, if its door vouches for it.
    pub(crate) async fn teach(
        &self,
        job: &Job,
        command: &Command,
        in_hand: &InHand,
        leave: &CancellationToken,
    ) -> Result<(), NotNow> {
        let (Some(people), Some(person), Command::Create(affiliate)) = (&self.people, &job.person, command) else {
            return Ok(());
        };
        let (whose, headers) = (whose(job), &in_hand.delivery.message.headers);
        // Whoever replays it says that it is so now.
        let accepted = if job.is_replay { SystemTime::now() } else { headers.received_at };
        if !headers.vouched {
            self.ask(people, in_hand, leave, || people.directory.notice(whose, person, accepted)).await?;
            return Ok(());
        }
        let lesson = || people.directory.learn(whose, person, &affiliate.email, accepted);
        let taught = self.ask(people, in_hand, leave, lesson).await?;
        if taught != Taught::Known {
            people.was_taught();
        }
        match taught {
            Taught::Known => self.metrics.directory_lesson(Learnt::Known.as_str()),
            Taught::Stored(learnt) => self.metrics.directory_lesson(learnt.as_str()),
            Taught::Sent => {}
        }
        Ok(())
    }

    /// Takes notice of what a call has done: of an address whose affiliate was deactivated nothing is known any more, and an affiliate
    /// that was created is there, whenever its event was accepted.
    pub(crate) async fn applied(
        &self,
        job: &Job,
        command: &Command,
        applied: Applied,
        in_hand: &InHand,
        leave: &CancellationToken,
    ) -> Result<(), NotNow> {
        let Some(people) = &self.people else { return Ok(()) };
        match (command, &job.person) {
            (Command::Deactivate(email), _) => {
                let headers = &in_hand.delivery.message.headers;
                let accepted = if job.is_replay { SystemTime::now() } else { headers.received_at };
                let done = SystemTime::now();
                self.ask(people, in_hand, leave, || people.directory.erase(whose(job), email, accepted, done)).await?;
                people.was_taught();
            }
            (Command::Create(_), Some(person)) if applied == Applied::Created => {
                self.ask(people, in_hand, leave, || people.directory.notice(whose(job), person, SystemTime::now()))
                    .await?;
            }
            (Command::Create(_), _) => {}
        }
        Ok(())
    }

    /// Puts ordinary deletes in the place of one that names only an id: one for each address that is known of the person. They are
    /// stored before this one is settled.
    pub(crate) async fn complete(
        &self,
        job: &Job,
        person: &PersonId,
        in_hand: &InHand,
        headers: &mut Headers,
        leave: &CancellationToken,
    ) -> Result<Outcome, NotNow> {
        let incomplete = |error: String| Ok(Outcome::dead(DeadReason::Incomplete, error));
        let Some(people) = &self.people else {
            return incomplete("it names nobody by address, and this worker has no directory".to_owned());
        };
        let account = &job.account_state.name;
        // Who is identified after the delete is not meant by it; a person who replays it means who is there now.
        let until = if job.is_replay { SystemTime::now() } else { headers.received_at };
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let looking = || people.directory.look_up(account, person, until);
            let found = self.ask(people, in_hand, leave, looking).await?;
            people.has_answered();
            let since = match found {
                LookedUp::Addresses(addresses) => return self.replace(job, &addresses, in_hand, leave).await,
                LookedUp::Uncertain(doubt) => {
                    self.metrics.directory_resolved(Resolved::Uncertain);
                    return incomplete(uncertain(doubt).to_owned());
                }
                LookedUp::Erased => {
                    self.metrics.directory_resolved(Resolved::Already);
                    return Ok(Outcome::Delivered(Applied::AlreadyInactive));
                }
                LookedUp::Unknown { since } => since,
            };
            // An identify of before may be in another lane, or in a retry queue.
            let now = SystemTime::now();
            let first = past(headers.first_failed_at, now).unwrap_or(now);
            let (age, wait) = (now.duration_since(first).unwrap_or_default(), backoff.next_wait());
            headers.first_failed_at = Some(first);
            if age + wait <= SOON.min(self.retry.in_hand).min(people.wait) {
                in_hand.tracked.waits(wait);
                if !sleep(wait, leave).await {
                    return Err(NotNow::Leave);
                }
                continue;
            }
            headers.attempts = headers.attempts.saturating_add(1);
            if age < people.wait {
                return Ok(Outcome::Retry(self.retry.tier(age)));
            }
            self.metrics.directory_resolved(Resolved::Unknown);
            return incomplete(unknown(person, since));
        }
    }

    /// Stores an ordinary delete for each of these addresses.
    async fn replace(
        &self,
        job: &Job,
        addresses: &[Email],
        in_hand: &InHand,
        leave: &CancellationToken,
    ) -> Result<Outcome, NotNow> {
        let deletes = addresses.iter().map(|email| delete(job, in_hand, email)).collect::<Result<Vec<_>, _>>();
        let deletes = match deletes {
            Ok(deletes) => deletes,
            Err(error) => return Ok(Outcome::dead(DeadReason::Incomplete, error)),
        };
        // Those that are stored twice are copies of each other.
        let storing = || async { self.queue.publish(deletes.clone()).await.into_iter().collect::<Result<(), _>>() };
        self.until_done(in_hand, leave, storing, |_| {}, |_| false).await?;
        self.metrics.directory_resolved(Resolved::Completed);
        Ok(Outcome::Completed)
    }

    async fn ask<T, F: Future<Output = Result<T, DirectoryError>>>(
        &self,
        people: &People,
        in_hand: &InHand,
        leave: &CancellationToken,
        asking: impl Fn() -> F,
    ) -> Result<T, NotNow> {
        let failed = |error: &DirectoryError| {
            self.metrics.directory_failed();
            people.has_failed(error);
        };
        // Who has waited for an answer in vain need not ask again at once.
        let is_final = |error: &DirectoryError| matches!(error, DirectoryError::Unanswered(_));
        self.until_done(in_hand, leave, asking, failed, is_final).await
    }

    /// Tries something for a short time.
    async fn until_done<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        in_hand: &InHand,
        leave: &CancellationToken,
        doing: impl Fn() -> F,
        failed: impl Fn(&E),
        is_final: impl Fn(&E) -> bool,
    ) -> Result<T, NotNow> {
        let began = Instant::now();
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let done = leave.run_until_cancelled(doing()).await.ok_or(NotNow::Leave)?;
            let error = match done {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            failed(&error);
            let wait = backoff.next_wait();
            if is_final(&error) || PATIENCE < began.elapsed() + wait {
                return Err(NotNow::Later(Outcome::Aside(self.retry.out_of_the_way())));
            }
            in_hand.tracked.waits(wait);
            if !sleep(wait, leave).await {
                return Err(NotNow::Leave);
            }
        }
    }
}

fn whose(job: &Job) -> Whose<'_> {
    Whose { account: &job.account_state.name, stay: job.account_state.stay() }
}

/// The same delete with this address: received now, because only now is it known whom it is about and whom it comes after.
fn delete(job: &Job, in_hand: &InHand, email: &Email) -> Result<(Place, Message), String> {
    let Message { body, headers } = &in_hand.delivery.message;
    let body = Bytes::from(completed(body, email).map_err(|error| error.to_string())?);
    // As it was read itself: its type may stand beside it.
    let envelope = Envelope::default().with_word(&headers.kind);
    let event = Event::parse_in(&body, &envelope).map_err(|error| error.to_string())?;
    let subject = job.account_state.account().fingerprint.subject(&Subject::of(&event, &headers.message_id));
    let headers = Headers {
        subject: Some(subject),
        received_at: SystemTime::now(),
        attempts: 0,
        first_failed_at: None,
        due_at: None,
        ..headers.clone()
    };
    Ok((Place::Work(job.account_state.name.clone()), Message { body, headers }))
}

fn uncertain(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::Shared => "another userId has the same address, so it is not certain whom this delete means",
        Doubt::Several => {
            "several addresses are known for this anonymousId, so it is not certain whom this delete means"
        }
    }
}

fn unknown(person: &PersonId, since: SystemTime) -> String {
    let since = rfc3339_seconds(since);
    let day = since.split('T').next().unwrap_or_default();
    format!(
        "no address is known for this {}: the directory knows those who were identified since {day}",
        person.kind().as_str()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_the_letter_learns_since_when_people_are_known() {
        let since = SystemTime::UNIX_EPOCH + Duration::from_hours(20_000 * 24);
        assert_eq!(
            unknown(&PersonId::user("secret"), since),
            "no address is known for this userId: the directory knows those who were identified since 2024-10-04"
        );
    }
}
