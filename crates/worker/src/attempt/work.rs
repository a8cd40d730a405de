use std::sync::Arc;
use std::time::{Duration, SystemTime};

use refersion_relay_model::{Command, DeadReason, Judgement, PersonId};
use refersion_relay_queue::{Backoff, BrokerState, Headers};
use refersion_relay_refersion::{Applied, Failure};
use refersion_relay_telemetry::Wait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::accounts::AccountState;
use crate::account::gate::GateState;
use crate::account::refusals::Refused;
use crate::attempt::attempt::{Attempt, CalledOff};
use crate::attempt::decide::{Decision, Failed, decide, trouble, unfinished};
use crate::attempt::isolated::Alone;
use crate::attempt::past_time::past;
use crate::attempt::people::NotNow;
use crate::attempt::unchanged::{Telling, Unchanged};
use crate::context::Context;
use crate::event::in_hand::InHand;
use crate::event::outcome::{Aside, Outcome};
use crate::event::reading::Job;
use crate::event::trail::Doing;
use crate::order::order::Standing;
use crate::outage::breaker::Known;
use crate::pacing::call_limiter::Permit;

/// The first wait of an event that keeps its place, and the longest.
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(500);
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long after it was taken in hand an event may still wait: for its turn to call, or for another attempt. An attempt that has
/// begun may go on until `longest_stay`. RabbitMQ closes the channel after 30 minutes.
const LONGEST_WAITING: Duration = Duration::from_mins(9);
/// How often an event is limited in hand, by an account that pauses each time, until others go first.
const LIMITS_IN_HAND: u32 = 3;
/// The least time for `learn`: enough for a probe, and far below what a broker allows.
const LEAST_STAY: Duration = Duration::from_secs(30);

/// Whether an event may call.
enum Admitted<'a> {
    Call(Permit<'a>),
    /// Others of its subject come first.
    Aside(Aside),
    /// It has ended meanwhile.
    Copy,
    /// It has to go back to where it was.
    Leave,
}

/// What was found out about a failed attempt.
#[derive(Clone, Copy)]
struct Knowledge {
    refersion: Known,
    /// Why its keys were refused, if they were.
    refused: Option<Refused>,
}

/// How working an event ended.
pub(crate) enum Conclusion {
    /// Settle it like this.
    Settle { outcome: Outcome, headers: Box<Headers> },
    /// Leave it unsettled; it comes again.
    Leave,
}

/// What an event asks for.
enum ToDo<'a> {
    /// A call.
    Apply(&'a Command),
    /// To find out whom it is about.
    Complete(&'a PersonId),
}

/// How an attempt ended.
enum Attempted {
    Applied(Applied),
    Failed(Failure),
    CalledOff(CalledOff),
    /// It was not made: so many processes died of it.
    Died(u32),
}

impl Context {
    /// Works one event until it has an outcome, keeping its place for as long as it may.
    /// Begins nothing more when `leave` is cancelled.
    pub(crate) async fn work(
        &self,
        job: &Job,
        standing: Option<&Standing>,
        in_hand: &InHand,
        leave: &CancellationToken,
    ) -> Conclusion {
        let mut headers = Box::new(arrived(&in_hand.delivery.message.headers, SystemTime::now()));
        let settle = |outcome, headers| Conclusion::Settle { outcome, headers };
        let command = match self.to_be_done(job) {
            Ok(ToDo::Apply(command)) => command,
            Ok(ToDo::Complete(person)) => {
                return match self.complete(job, person, in_hand, &mut headers, leave).await {
                    Ok(outcome) | Err(NotNow::Later(outcome)) => settle(outcome, headers),
                    Err(NotNow::Leave) => Conclusion::Leave,
                };
            }
            Err(outcome) => return settle(outcome, headers),
        };
        match self.teach(job, command, in_hand, leave).await {
            Ok(()) => {}
            Err(NotNow::Later(outcome)) => return settle(outcome, headers),
            Err(NotNow::Leave) => return Conclusion::Leave,
        }
        self.count_omitted(command);
        let telling = self.unchanged.as_ref().map(|unchanged| {
            let telling = Unchanged::telling(&self.hasher, job, command);
            (unchanged, telling)
        });
        if let Some((unchanged, telling)) = telling
            && let Some(outcome) = self.known(job, standing, unchanged, telling)
        {
            return settle(outcome, headers);
        }
        let taken_at = in_hand.taken_at;
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut limits = 0;
        loop {
            let stay = || LONGEST_WAITING.saturating_sub(taken_at.elapsed());
            in_hand.tracked.is(Doing::Admission);
            let admitted = self.in_time(self.admit(job, standing), stay(), leave).await;
            let permit = match admitted.unwrap_or(Admitted::Leave) {
                Admitted::Call(permit) => permit,
                Admitted::Aside(aside) => return settle(Outcome::Aside(aside), headers),
                Admitted::Copy => return settle(Outcome::Copy, headers),
                Admitted::Leave => return Conclusion::Leave,
            };
            in_hand.tracked.is(Doing::Calling(SystemTime::now()));
            if let Some((unchanged, telling)) = telling {
                unchanged.forget(telling);
            }
            let (began, attempted) = self.attempt(job, command, in_hand, leave).await;
            drop(permit);
            let failure = match attempted {
                Attempted::Applied(applied) => {
                    job.account_state.delivered(began);
                    self.count_omitted_by_update(command, applied);
                    if let Some((unchanged, telling)) = telling {
                        unchanged.told(telling, command, applied);
                    }
                    return match self.applied(job, command, applied, in_hand, leave).await {
                        Ok(()) => settle(Outcome::Delivered(applied), headers),
                        // It is done again, which is harmless.
                        Err(NotNow::Later(outcome)) => settle(outcome, headers),
                        Err(NotNow::Leave) => Conclusion::Leave,
                    };
                }
                Attempted::Failed(failure) => failure,
                Attempted::CalledOff(CalledOff::Elsewhere) => continue,
                Attempted::CalledOff(CalledOff::Late) => {
                    return settle(self.unfinished(job, taken_at, began, &mut headers), headers);
                }
                Attempted::Died(times) => return settle(Outcome::deadly(times), headers),
            };
            // If nothing was learnt, the attempt is not charged either.
            let known = self.in_time(self.learn(job, began, &failure), stay().max(LEAST_STAY), leave).await;
            let Some(knowledge) = known else { return Conclusion::Leave };
            let decision = self.charge(job, &failure, knowledge, backoff.next_wait(), stay(), &mut headers);
            in_hand.tracked.failed(failure.as_str(), headers.attempts);
            match decision {
                Decision::Wait(wait) => {
                    in_hand.tracked.waits(wait);
                    self.metrics.retried(Wait::InHand);
                    if !sleep(wait, leave).await {
                        return Conclusion::Leave;
                    }
                }
                Decision::Pause(pause) => self.pause(job, pause),
                Decision::SlowDown => {
                    if let Some(aside) = self.slow_down(job, began, &mut limits) {
                        return settle(Outcome::Aside(aside), headers);
                    }
                }
                Decision::AwaitRefersion => {
                    self.metrics.attempt_spared();
                    backoff.reset();
                }
                // The queue gets it back, with everything else in hand.
                Decision::Hold => {
                    self.hold(&job.account_state, failure.status());
                    return Conclusion::Leave;
                }
                Decision::Settle(outcome) => return settle(outcome, headers),
            }
        }
    }

    /// Waits until the event may call: the queue can take what its outcome may need, nothing keeps its account from calling, and
    /// there is a permit. Whether it is its turn is asked once, with the permit in hand.
    async fn admit<'a>(&self, job: &'a Job, standing: Option<&Standing>) -> Admitted<'a> {
        let gate = &job.account_state.gate;
        let mut state = self.queue.state();
        loop {
            if state.wait_for(BrokerState::is_up).await.is_err() {
                return Admitted::Leave;
            }
            gate.until(|state| state == GateState::Open).await;
            self.monitor.until_back().await;
            gate.until_unpaused().await;
            let permit = job.account_state.limiter.enter().await;
            // Waiting for it may have taken long.
            let may_call = gate.state() == GateState::Open && gate.paused().is_none();
            if !may_call || self.monitor.is_out() || !state.borrow().is_up() {
                continue;
            }
            if let Some(Err(behind)) = standing.map(Standing::begin_turn) {
                return Admitted::Aside(self.retry.aside(behind));
            }
            // Not before: another event of the subject, which has to come first, may stand between the two.
            if self.recently_done.is_copy_in_its_turn(&job.event_key) {
                return Admitted::Copy;
            }
            return Admitted::Call(permit);
        }
    }

    /// The outcome of an identify that says what Refersion has been told before; `None`: it has to be told. A replay always is,
    /// because somebody wants it.
    fn known(
        &self,
        job: &Job,
        standing: Option<&Standing>,
        unchanged: &Unchanged,
        telling: Telling,
    ) -> Option<Outcome> {
        let is_create = matches!(job.judgement, Judgement::Work(Command::Create(_)));
        if !is_create || job.is_replay || !unchanged.is_known(telling) {
            return None;
        }
        if let Some(Err(behind)) = standing.map(Standing::begin_turn) {
            return Some(Outcome::Aside(self.retry.aside(behind)));
        }
        if self.recently_done.is_copy_in_its_turn(&job.event_key) {
            return Some(Outcome::Copy);
        }
        unchanged.is_known(telling).then_some(Outcome::Known)
    }

    /// What an event asks for, or its outcome where that needs no call.
    fn to_be_done<'a>(&self, job: &'a Job) -> Result<ToDo<'a>, Outcome> {
        if self.recently_done.is_copy(&job.event_key) {
            return Err(Outcome::Copy);
        }
        let to_do = match &job.judgement {
            Judgement::Work(command) => ToDo::Apply(command),
            Judgement::Complete(person) => ToDo::Complete(person),
            Judgement::Ignore(why) => return Err(Outcome::Ignored(*why)),
            Judgement::Refuse(missing) => return Err(Outcome::incomplete(job.kind, missing)),
        };
        match &to_do {
            // Its sender was judged by something else: a dead letter of those that nobody could read, say.
            ToDo::Apply(Command::Deactivate(_)) | ToDo::Complete(_) if job.create_only => {
                Err(Outcome::dead(DeadReason::Unsigned, "its sender may only create, and this is a delete"))
            }
            ToDo::Apply(Command::Create(_) | Command::Deactivate(_)) | ToDo::Complete(_) => Ok(to_do),
        }
    }

    /// Makes one attempt, which begins no call when the event has been in hand for too long. Returns when it began and how it
    /// ended.
    async fn attempt(
        &self,
        job: &Job,
        command: &Command,
        in_hand: &InHand,
        leave: &CancellationToken,
    ) -> (Instant, Attempted) {
        let until = in_hand.taken_at + self.longest_stay;
        let attempt = Arc::new(
            Attempt::at_event(self.monitor.clone(), job.account_state.clone(), leave.clone(), until)
                .traced(&self.traces, &in_hand.span),
        );
        let account = job.account();
        let applying = async {
            tokio::select! {
                biased;
                applied = self.destination.apply(&account, command, attempt.clone()) => match applied {
                    Ok(applied) => Attempted::Applied(applied),
                    Err(failure) => Attempted::Failed(failure),
                },
                why = attempt.called_off() => Attempted::CalledOff(why),
            }
        };
        if !in_hand.is_suspect {
            let _beside = self.isolation.beside_others().await;
            return (attempt.began(), applying.await);
        }
        let attempted = match self.isolation.alone(&in_hand.delivery, applying).await {
            Alone::Survived(attempted, note) => {
                job.account_state.outlive();
                if let Some(note) = note {
                    note.erase_with_earlier().await;
                }
                attempted
            }
            Alone::Died(times) => Attempted::Died(times),
            Alone::Lost => Attempted::CalledOff(CalledOff::Elsewhere),
        };
        (attempt.began(), attempted)
    }

    /// Decides about an event whose attempt took too long. It is older from then on if it had most of its time for itself, and
    /// did not wait in hand behind others.
    fn unfinished(&self, job: &Job, taken_at: Instant, began: Instant, headers: &mut Headers) -> Outcome {
        self.metrics.attempt_failed("unfinished");
        tracing::debug!(
            account = %job.account_state.name,
            message.id = headers.message_id.as_str(),
            seconds = began.elapsed().as_secs(),
            "an attempt took too long and was called off"
        );
        let now = SystemTime::now();
        if self.longest_stay / 2 < began - taken_at {
            return Outcome::Aside(self.retry.out_of_the_way());
        }
        let first = past(headers.first_failed_at, now).unwrap_or(now);
        headers.first_failed_at = Some(first);
        unfinished(first, self.idle_between(job, first, now), began.elapsed(), &self.retry, now)
    }

    /// For how long nothing could be called for an event: Refersion was out, or its account paused.
    fn idle_between(&self, job: &Job, first: SystemTime, now: SystemTime) -> Duration {
        self.monitor.out_between(first, now).saturating_add(job.account_state.gate.paused_between(first, now))
    }

    /// Decides about a failed attempt, and charges it to the event if it counts.
    fn charge(
        &self,
        job: &Job,
        failure: &Failure,
        Knowledge { refersion, refused }: Knowledge,
        wait: Duration,
        may_stay: Duration,
        headers: &mut Headers,
    ) -> Decision {
        if refused == Some(Refused::InTheWay) {
            return Decision::Settle(Outcome::Aside(self.retry.out_of_the_way()));
        }
        let is_its_own = refused == Some(Refused::ForItself);
        let (attempts, first_failed_at, now) = (headers.attempts, headers.first_failed_at, SystemTime::now());
        let out = first_failed_at.map(|first| self.idle_between(job, first, now)).unwrap_or_default();
        let failed = Failed { failure, attempts, first_failed_at, out, refersion, wait, may_stay, is_its_own };
        let decision = decide(&failed, &self.retry, now);
        if decision.is_charged() {
            self.metrics.attempt_charged();
            headers.attempts = attempts.saturating_add(1);
            headers.first_failed_at = past(first_failed_at, now).or(Some(now));
        }
        decision
    }

    /// Waits for something without which the event cannot go on. `None` when it has to be left where it is: unlike a wait
    /// of its own, this is no reason to send it to a tier.
    async fn in_time<T>(&self, wait: impl Future<Output = T>, stay: Duration, leave: &CancellationToken) -> Option<T> {
        tokio::select! {
            biased;
            () = leave.cancelled() => None,
            done = wait => Some(done),
            () = tokio::time::sleep(stay) => None,
        }
    }

    /// What is known after a failed attempt. Takes until something else was called, or a probe was.
    async fn learn(&self, job: &Job, began: Instant, failure: &Failure) -> Knowledge {
        self.metrics.attempt_failed(failure.as_str());
        if matches!(failure, Failure::Rejected(_)) {
            job.account_state.gate.not_limited(began);
        }
        let refersion = match trouble(failure) {
            Some(_) => self.monitor.judge(began, Instant::now()).await,
            None => Known::Up,
        };
        let is_refused = matches!(failure, Failure::Unauthorized { .. });
        Knowledge { refersion, refused: is_refused.then(|| job.account_state.refusals.refused(&job.event_key)) }
    }

    /// The account pauses. After so many `limits` in hand the event goes aside: it is always the first to be asked for after a
    /// pause, and if something before Refersion limits it for what it says, no other of its account would ever be.
    fn slow_down(&self, job: &Job, began: Instant, limits: &mut u32) -> Option<Aside> {
        *limits += 1;
        if let Some(pause) = job.account_state.gate.slow_down(began) {
            self.pause(job, pause);
        }
        (LIMITS_IN_HAND <= *limits).then(|| self.retry.out_of_the_way())
    }

    fn pause(&self, job: &Job, pause: Duration) {
        // The answer may come after the account has gone.
        if job.account_state.gate.pause(pause) && job.account_state.gate.state() != GateState::Gone {
            let seconds = pause.as_secs();
            tracing::warn!(account = %job.account_state.name, seconds, "Refersion asked for fewer calls: this account pauses");
            self.metrics.account_paused(&job.account_state.name, true);
        }
    }

    pub(crate) fn hold(&self, account_state: &AccountState, status: Option<u16>) {
        if account_state.gate.hold() {
            self.metrics.account_held(&account_state.name, true);
            tracing::error!(
                account = %account_state.name,
                refersion.status = status,
                "Refersion refuses this account's keys: its events are held until they work again"
            );
        }
    }

    fn count_omitted(&self, command: &Command) {
        if let Command::Create(affiliate) = command {
            affiliate.omitted.iter().for_each(|field| self.metrics.omitted(*field));
        }
    }

    fn count_omitted_by_update(&self, command: &Command, applied: Applied) {
        if let (Command::Create(affiliate), Applied::Updated | Applied::Unchanged) = (command, applied)
            && let Some(field) = affiliate.omitted_by_update()
        {
            self.metrics.omitted(field);
        }
    }
}

/// What an event waited for longer than its tier, in its work queue, does not age it: nobody read that, or others came first.
fn arrived(headers: &Headers, now: SystemTime) -> Headers {
    let mut headers = headers.clone();
    let waited = past(headers.due_at.take(), now).and_then(|due| now.duration_since(due).ok());
    if let (Some(waited), Some(first)) = (waited, headers.first_failed_at) {
        headers.first_failed_at = Some(first.checked_add(waited).map_or(now, |shifted| shifted.min(now)));
    }
    headers
}

/// Waits; `false` when `leave` came first.
pub(crate) async fn sleep(wait: Duration, leave: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = leave.cancelled() => false,
        () = tokio::time::sleep(wait) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn what_an_event_waits_in_its_queue_does_not_age_it() {
        let now = SystemTime::UNIX_EPOCH + 10_000 * MINUTE;
        let age = |first_failed_at: Option<SystemTime>, due_at| {
            let account = "acme".to_owned().try_into().expect("a name");
            let headers = Headers::received("m1", "identify", account, String::new(), SystemTime::UNIX_EPOCH);
            let arrived = arrived(&Headers { first_failed_at, due_at, ..headers }, now);
            assert_eq!(arrived.due_at, None);
            arrived.first_failed_at.map(|first| now.duration_since(first).expect("it is past"))
        };
        let failed = Some(now - 70 * MINUTE);
        assert_eq!(age(failed, None), Some(70 * MINUTE));
        assert_eq!(age(failed, Some(now - 60 * MINUTE)), Some(10 * MINUTE), "the account was held for an hour, say");
        assert_eq!(age(failed, Some(now)), Some(70 * MINUTE));
        assert_eq!(age(failed, Some(now + MINUTE)), Some(70 * MINUTE), "the clock was set back");
        assert_eq!(
            age(failed, Some(SystemTime::UNIX_EPOCH)),
            Some(Duration::ZERO),
            "or it was written by somebody else"
        );
        assert_eq!(age(None, Some(now - MINUTE)), None);
    }
}
