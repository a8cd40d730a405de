use std::sync::Arc;
use std::time::{Duration, SystemTime};

use refersion_relay_model::{Command, DeadReason, EventType, Judgement, Missing};
use refersion_relay_queue::{Backoff, Headers, Message, Queue};
use refersion_relay_refersion::{Applied, Failure};
use refersion_relay_telemetry::{Metrics, Wait};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::RetryPolicy;
use crate::attempt::{Attempt, CalledOff};
use crate::decide::{Failed, decide, trouble, unfinished};
use crate::destination::Destination;
use crate::ended::Ended;
use crate::gate::{Admission, GateState, Moving, Source};
use crate::lookout::Lookout;
use crate::mark::Marks;
use crate::order::{Order, Standing};
use crate::outage::Known;
use crate::past::{past, since};
use crate::reading::Job;
use crate::refusals::Refused;
use crate::roster::{Desk, Roster};
use crate::turnstile::Permit;
use crate::verdict::{Aside, Retry, Verdict};

/// The first wait of an event that keeps its place, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long an event may stay unacknowledged in all. RabbitMQ closes the channel after 30 minutes.
const MAX_STAY: Duration = Duration::from_mins(9);
/// How often an event is limited in hand, by an account that pauses each time, until others go first.
const LIMITS_IN_HAND: u32 = 3;
/// The least time for what others find out: enough for a probe, and far from what a broker lets be unacknowledged.
const LEAST_STAY: Duration = Duration::from_secs(30);
/// How long an event from a shard may wait for its account's turn to call where there are other accounts: their events are
/// behind it. More than a call takes at most, so that nothing goes away while Refersion hangs.
const LONGEST_TURN: Duration = Duration::from_mins(1);
/// A turn that is certain to come later than this is not waited for.
const LATE_TURN: Duration = Duration::from_secs(10);

/// Everything working an event needs.
pub(crate) struct Context {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) destination: Arc<dyn Destination>,
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) retry: RetryPolicy,
    /// How long after it was taken in hand an attempt at an event may still begin a call.
    pub(crate) longest_stay: Duration,
    pub(crate) marks: Marks,
    pub(crate) ended: Ended,
    pub(crate) order: Arc<Order>,
    pub(crate) metrics: Metrics,
    /// How many may ask at a time whether events are held: that takes a connection.
    pub(crate) asking: Semaphore,
    pub(crate) began: Instant,
}

/// Whether an event may call.
enum Turn<'a> {
    Now(Permit<'a>),
    /// Events from where it came are not to be worked any more.
    Elsewhere,
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
pub(crate) enum Conclusion<'a> {
    /// Settle it like this.
    Settle { verdict: Verdict, headers: Box<Headers>, moving: Option<Moving<'a>> },
    /// Leave it unsettled; it comes again.
    Leave,
}

impl Context {
    /// Works one event until a verdict stands that can be settled, keeping its place for as long as it may.
    /// Begins nothing more when `leave` is cancelled.
    pub(crate) async fn work<'a>(
        &self,
        job: &'a Job,
        standing: Option<&Standing>,
        message: &Message,
        taken_at: Instant,
        leave: &CancellationToken,
    ) -> Conclusion<'a> {
        let mut headers = Box::new(arrived(&message.headers, job.source));
        let settle = |verdict, headers| Conclusion::Settle { verdict, headers, moving: None };
        let command = match self.to_be_done(job, message) {
            Ok(command) => command,
            Err(verdict) => return settle(verdict, headers),
        };
        self.count_omitted(command);
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let (mut paused, mut limits) = (Duration::ZERO, 0_u32);
        loop {
            // Before the gate: what is away may have to go behind the held events first.
            if let Some(aside) = self.not_its_turn(job, standing, false) {
                return settle(Verdict::Parked(aside), headers);
            }
            let admission = tokio::select! {
                biased;
                () = leave.cancelled() => return Conclusion::Leave,
                admission = self.admit(job) => admission,
            };
            match admission {
                // The gate may have opened after a held event of this subject went away.
                Admission::Work => {
                    if let Some(aside) = self.not_its_turn(job, standing, true) {
                        return settle(Verdict::Parked(aside), headers);
                    }
                    // Not before: another event of the subject, which has to come first, may stand between the two.
                    if job.mark.is_minted && self.ended.contains(&job.mark) {
                        return settle(Verdict::Copy, headers);
                    }
                }
                Admission::Leave => return Conclusion::Leave,
                Admission::Move(moving) => {
                    return Conclusion::Settle { verdict: Verdict::Hold, headers, moving: Some(moving) };
                }
            }
            let stay = || MAX_STAY.saturating_sub(taken_at.elapsed());
            if self.lookout.is_out() {
                // Around again: the account may be another one's business by then.
                match self.in_time(self.lookout.until_back(), stay(), leave).await {
                    Some(()) => continue,
                    None => return Conclusion::Leave,
                }
            }
            if let Some(left) = job.desk.gate.paused() {
                // Waiting out a pause keeps the place of other accounts' events too, so it may take only so long in all.
                paused += left;
                if stay().min(self.retry.in_hand) < paused {
                    return settle(Verdict::Retry(Retry::Tier(self.retry.covering(left))), headers);
                }
                if !sleep(left, leave).await {
                    return Conclusion::Leave;
                }
                continue;
            }
            let permit = match self.turn(job, stay(), leave).await {
                Turn::Now(permit) => permit,
                Turn::Elsewhere => continue,
                Turn::Leave => return Conclusion::Leave,
            };
            let pass = match self.in_time(self.lookout.pass(), stay().max(LEAST_STAY), leave).await {
                Some(Some(pass)) => pass,
                Some(None) => continue,
                None => return Conclusion::Leave,
            };
            // Waiting for the permit may have taken long. The permit is kept if nothing has changed: giving it back and
            // asking again would pass it round among the waiters for ever.
            if !job.desk.gate.lets_through(job.source) {
                continue;
            }
            let (began, applied) = self.attempt(job, command, taken_at + self.longest_stay, leave).await;
            drop((permit, pass));
            let failure = match applied {
                Ok(Ok(applied)) => {
                    job.desk.delivered(began);
                    self.count_omitted_by_update(command, applied);
                    return settle(Verdict::Delivered(applied), headers);
                }
                Ok(Err(failure)) => failure,
                Err(CalledOff::Elsewhere) => continue,
                Err(CalledOff::Late) => return settle(self.unfinished(job, taken_at, began, &mut headers), headers),
            };
            // Unknown, it is not charged either.
            let known = self.in_time(self.learn(job, began, &failure), stay().max(LEAST_STAY), leave).await;
            let Some(knowledge) = known else { return Conclusion::Leave };
            let verdict = self.charge(job, &failure, knowledge, backoff.next_wait(), stay(), &mut headers);
            match verdict {
                Verdict::Retry(Retry::InHand(wait)) => {
                    self.metrics.retried(Wait::InHand);
                    if !sleep(wait, leave).await {
                        return Conclusion::Leave;
                    }
                }
                Verdict::Retry(Retry::Pause(pause)) => self.pause(job, pause),
                Verdict::Retry(Retry::Slower) => {
                    if let Some(aside) = self.slow_down(job, began, &mut limits) {
                        return settle(Verdict::Parked(aside), headers);
                    }
                }
                Verdict::Retry(Retry::Outage) => {
                    self.metrics.attempt_spared();
                    backoff.reset();
                }
                // Around again: the gate says where it goes from here.
                Verdict::Hold => self.hold(&job.desk, failure.status()),
                settled => return settle(settled, headers),
            }
        }
    }

    /// What an event asks for, or its verdict where that needs no call.
    fn to_be_done<'a>(&self, job: &'a Job, message: &Message) -> Result<&'a Command, Verdict> {
        if !job.mark.is_minted && self.ended.contains(&job.mark) {
            return Err(Verdict::Copy);
        }
        let command = match &job.judgement {
            Judgement::Work(command) => command,
            Judgement::Ignore(why) => return Err(Verdict::Ignored(*why)),
            Judgement::Refuse(missing) => return Err(incomplete(job.kind, missing)),
        };
        if let (Command::Deactivate(_), true) = (command, job.create_only) {
            // Its sender was judged by something else: a dead letter of those that nobody could read, say.
            let error = "its sender may only create, and this is a delete".to_owned();
            return Err(Verdict::DeadLetter { reason: DeadReason::Unsigned, status: None, error });
        }
        match self.held_too_long(&message.headers, job.source) {
            Some(verdict) => Err(verdict),
            None => Ok(command),
        }
    }

    /// Where an event goes while earlier ones of its subject have not ended; `None` when it is its turn.
    fn not_its_turn(&self, job: &Job, standing: Option<&Standing>, admitted: bool) -> Option<Aside> {
        standing?.turn(admitted).map(|behind| self.retry.aside(behind, job.source))
    }

    /// Waits until the queue can take what a verdict may need, and the account's gate has decided.
    async fn admit<'a>(&self, job: &'a Job) -> Admission<'a> {
        let mut state = self.queue.state();
        if state.wait_for(refersion_relay_queue::BrokerState::is_up).await.is_err() {
            return Admission::Leave;
        }
        job.desk.gate.admit(job.source).await
    }

    /// Waits until it is the event's turn among those of its account, but not so long that other accounts' events wait for
    /// it behind it.
    async fn turn<'a>(&self, job: &'a Job, stay: Duration, leave: &CancellationToken) -> Turn<'a> {
        let turnstile = &job.desk.turnstile;
        let is_shared = job.source == Source::Shard && self.roster.is_shared();
        let patience = if is_shared { stay.min(LONGEST_TURN) } else { stay };
        let is_late = is_shared && turnstile.expected_wait(0).is_some_and(|wait| LATE_TURN < wait);
        if !is_late {
            tokio::select! {
                biased;
                () = leave.cancelled() => return Turn::Leave,
                permit = turnstile.enter() => return Turn::Now(permit),
                () = job.desk.gate.until_closed_to(job.source) => return Turn::Elsewhere,
                () = tokio::time::sleep(patience) => {}
            }
        }
        match job.source {
            Source::Shard => {
                make_way(&job.desk);
                Turn::Elsewhere
            }
            Source::Held => Turn::Leave,
        }
    }

    /// Makes one attempt, which begins no call after `until`. Returns when it began and how it ended.
    async fn attempt(
        &self,
        job: &Job,
        command: &Command,
        until: Instant,
        leave: &CancellationToken,
    ) -> (Instant, Result<Result<Applied, Failure>, CalledOff>) {
        let attempt = Arc::new(Attempt::at_event(self.lookout.clone(), job.desk.clone(), leave.clone(), until));
        let account = job.account();
        let applied = tokio::select! {
            biased;
            applied = self.destination.apply(&account, command, attempt.clone()) => Ok(applied),
            why = attempt.called_off() => Err(why),
        };
        (attempt.began(), applied)
    }

    /// Decides about an event whose attempt took too long. It is older from then on if it had most of its time for itself, and
    /// did not wait in hand behind others.
    fn unfinished(&self, job: &Job, taken_at: Instant, began: Instant, headers: &mut Headers) -> Verdict {
        self.metrics.attempt_failed("unfinished");
        tracing::warn!(
            account = %job.desk.name,
            message.id = headers.message_id.as_str(),
            seconds = began.elapsed().as_secs(),
            "an attempt took too long and was called off"
        );
        let now = SystemTime::now();
        if self.longest_stay / 2 < began - taken_at {
            return Verdict::Parked(self.retry.out_of_the_way());
        }
        let first = past(headers.first_failed_at, now).unwrap_or(now);
        headers.first_failed_at = Some(first);
        unfinished(first, self.idle_between(job, first, now), began.elapsed(), &self.retry, now)
    }

    /// For how long nothing could be called for an event: Refersion was out, or its account paused.
    fn idle_between(&self, job: &Job, first: SystemTime, now: SystemTime) -> Duration {
        self.lookout.out_between(first, now).saturating_add(job.desk.gate.paused_between(first, now))
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
    ) -> Verdict {
        if refused == Some(Refused::InTheWay) {
            return Verdict::Parked(self.retry.out_of_the_way());
        }
        let is_its_own = refused == Some(Refused::ForItself);
        let (attempts, first_failed_at, now) = (headers.attempts, headers.first_failed_at, SystemTime::now());
        let out = first_failed_at.map(|first| self.idle_between(job, first, now)).unwrap_or_default();
        let failed = Failed { failure, attempts, first_failed_at, out, refersion, wait, may_stay, is_its_own };
        let verdict = decide(&failed, &self.retry, now);
        if charged(&verdict) {
            self.metrics.attempt_charged();
            headers.attempts = attempts.saturating_add(1);
            headers.first_failed_at = past(first_failed_at, now).or(Some(now));
        }
        verdict
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
            job.desk.gate.not_limited(began);
        }
        let refersion = match trouble(failure) {
            Some(trouble) => self.lookout.judge(began, Instant::now(), trouble).await,
            None => Known::Up,
        };
        let is_refused = matches!(failure, Failure::Unauthorized { .. });
        Knowledge { refersion, refused: is_refused.then(|| job.desk.refusals.refused(&job.mark)) }
    }

    /// The account pauses. After so many `limits` in hand the event goes aside: it is always the first to be asked for after a
    /// pause, and if something before Refersion limits it for what it says, no other of its account would ever be.
    fn slow_down(&self, job: &Job, began: Instant, limits: &mut u32) -> Option<Aside> {
        *limits += 1;
        if let Some(pause) = job.desk.gate.slow_down(began) {
            self.pause(job, pause);
        }
        (LIMITS_IN_HAND <= *limits).then(|| self.retry.out_of_the_way())
    }

    fn pause(&self, job: &Job, pause: Duration) {
        // The answer may come after the account has gone.
        if job.desk.gate.pause(pause) && job.desk.gate.state() != GateState::Gone {
            let seconds = pause.as_secs();
            tracing::warn!(account = %job.desk.name, seconds, "Refersion asked for fewer calls: this account pauses");
            self.metrics.account_paused(&job.desk.name, true);
        }
    }

    pub(crate) fn hold(&self, desk: &Desk, status: Option<u16>) {
        if desk.gate.hold() {
            self.metrics.account_held(&desk.name, true);
            tracing::error!(
                account = %desk.name,
                refersion.status = status,
                "Refersion refuses this account's keys: its events are held until they work again"
            );
        }
    }

    fn held_too_long(&self, headers: &Headers, source: Source) -> Option<Verdict> {
        let held_at = headers.held_at.filter(|_| source == Source::Held)?;
        let held = since(held_at, SystemTime::now(), self.began.elapsed());
        (self.retry.max_held <= held).then(|| Verdict::DeadLetter {
            reason: DeadReason::Held,
            status: None,
            error: format!("held for its account for {} days", held.as_secs() / 86_400),
        })
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

/// The time behind a held account does not age an event.
fn arrived(headers: &Headers, source: Source) -> Headers {
    let mut headers = headers.clone();
    if source == Source::Held
        && let Some(held_at) = headers.held_at.take()
        && let Some(first) = headers.first_failed_at
    {
        let now = SystemTime::now();
        let held = now.duration_since(held_at).unwrap_or_default();
        headers.first_failed_at = Some(first.checked_add(held).map_or(now, |shifted| shifted.min(now)));
    }
    headers
}

/// An account has more events than it may call for. They go behind one another in a place of their own, where they keep
/// their order and other accounts' events do not wait for them.
fn make_way(desk: &Desk) {
    if desk.gate.advance(GateState::Open, GateState::Releasing) {
        tracing::info!(account = %desk.name, "this account has a backlog: its events wait where others need not wait for them");
    }
}

/// Whether an attempt counts against its event.
fn charged(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Retry(Retry::InHand(_) | Retry::Tier(_)) | Verdict::DeadLetter { .. } => true,
        Verdict::Retry(Retry::Pause(_) | Retry::Slower | Retry::Outage)
        | Verdict::Parked(_)
        | Verdict::Hold
        | Verdict::Delivered(_)
        | Verdict::Ignored(_)
        | Verdict::Copy => false,
    }
}

fn incomplete(kind: EventType, missing: &[Missing]) -> Verdict {
    let error = Missing::sentence(kind, missing);
    Verdict::DeadLetter { reason: DeadReason::Incomplete, status: None, error }
}

/// Waits; `false` when `leave` came first.
async fn sleep(wait: Duration, leave: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = leave.cancelled() => false,
        () = tokio::time::sleep(wait) => true,
    }
}
