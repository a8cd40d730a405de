use std::sync::Arc;
use std::time::Duration;

use refersion_relay_queue::{Backoff, Owned, Place, Room, Terms};
use refersion_relay_refersion::Failure;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::decide::trouble;
use crate::gate::GateState;
use crate::load::TakingUp;
use crate::outage::Known;
use crate::progress::{Missing, Progress};
use crate::roster::Desk;
use crate::term::{LATE, Term, TermEnd};
use crate::work::Context;

/// The first wait before a held account is probed, and the one around which the waits stop growing. Jitter makes it up to half
/// longer. So events are on their way within a minute of the keys working again, with what it takes to own the queue.
const FIRST_PROBE: Duration = Duration::from_secs(1);
const LAST_PROBE: Duration = Duration::from_secs(36);
/// A pause that takes longer is not waited out with events in hand.
const LONG_PAUSE: Duration = Duration::from_mins(2);
/// How long an account waits at most after there was too much in hand. Then others have had their turn.
const TURN: Duration = Duration::from_secs(10);

/// Owns one account's work queue, term after term, for as long as the worker runs: works it, or keeps it unread while its
/// account cannot be worked for.
pub(crate) struct Owner {
    context: Arc<Context>,
    desk: Arc<Desk>,
    room: Room,
    progress: Arc<Progress>,
    probes: Backoff,
    /// How many events had been delivered when the account was last held.
    delivered: u64,
    stop: CancellationToken,
    abort: CancellationToken,
}

impl Owner {
    pub(crate) fn new(
        context: Arc<Context>,
        desk: Arc<Desk>,
        room: Room,
        progress: Arc<Progress>,
        stop: CancellationToken,
        abort: CancellationToken,
    ) -> Self {
        let probes = Backoff::new(FIRST_PROBE, LAST_PROBE);
        Self { context, desk, room, progress, probes, delivered: 0, stop, abort }
    }

    /// Ends after `stop`. `missing`: that the queue is not owned yet.
    pub(crate) async fn run(mut self, missing: Missing) {
        let stop = self.stop.clone();
        let place = Place::Work(self.desk.name.clone());
        let mut terms = Terms::new(self.context.queue.clone(), place.clone());
        let mut missing = Some(missing);
        while !stop.is_cancelled() {
            let until_readable = async {
                while !self.is_readable() {
                    missing = None; // it is not to be owned now
                    self.until_readable().await;
                }
            };
            if stop.run_until_cancelled(until_readable).await.is_none() {
                return;
            }
            let late = missing.take().unwrap_or_else(|| self.progress.missing_later());
            let context = self.context.clone();
            let taking_up = context.load.take_up(&*context.queue, &place, self.room);
            let Some(taking_up) = stop.run_until_cancelled(taking_up).await else { return };
            // Who stands by for the queue, or for whom it does not answer, is in nobody's way.
            let mut taking_up = taking_up.map(|taking_up| (taking_up, Instant::now() + LATE));
            let Some(owned) = in_time(terms.next(self.room, &stop), &mut taking_up).await else { return };
            drop(late);
            self.work(owned, taking_up).await;
        }
    }

    /// Whether the queue may be read now.
    fn is_readable(&self) -> bool {
        self.desk.gate.state() == GateState::Open
            && !self.context.lookout.is_out()
            && self.desk.gate.paused().is_none_or(|left| left <= LONG_PAUSE)
    }

    /// Waits for whatever the queue is not read for, and probes a held account.
    async fn until_readable(&mut self) {
        let desk = self.desk.clone();
        match desk.gate.state() {
            GateState::Gone => desk.gate.until(|state| state != GateState::Gone).await,
            GateState::Held => tokio::select! {
                () = self.until_the_keys_work() => self.release(),
                () = desk.gate.until(|state| state != GateState::Held) => {}
            },
            GateState::Open => {
                self.context.lookout.until_back().await;
                tokio::select! {
                    () = desk.gate.until_unpaused() => {}
                    () = desk.gate.until(|state| state != GateState::Open) => {}
                }
            }
        }
    }

    async fn until_the_keys_work(&mut self) {
        // Keys that are fit for this and nothing else are not tried again every second.
        let count = self.desk.refusals.count();
        if std::mem::replace(&mut self.delivered, count) != count {
            self.probes.reset();
        }
        loop {
            tokio::select! {
                () = sleep(self.probes.next_wait()) => {}
                // Somebody has changed the keys, so the next probe need not wait.
                () = self.desk.changed.notified() => self.probes.reset(),
            }
            // In an outage the answer would be about Refersion, and there are probes for that.
            self.context.lookout.until_back().await;
            match self.ask_for_keys().await {
                // A proper no to this call is a yes to the keys.
                Ok(()) | Err(Failure::Rejected(_)) => return self.desk.refusals.keys_pass(),
                Err(failure) => tracing::debug!(account = %self.desk.name, "still held: {failure}"),
            }
        }
    }

    fn release(&self) {
        if self.desk.gate.release() {
            tracing::info!(account = %self.desk.name, "the account's keys work again");
            self.context.metrics.account_held(&self.desk.name, false);
        }
    }

    async fn ask_for_keys(&self) -> Result<(), Failure> {
        let attempt = Arc::new(Attempt::at_keys(self.context.lookout.clone()));
        self.context.destination.check_keys(&self.desk.account(), attempt).await
    }

    /// Works one term, and gives the queue back.
    async fn work(&mut self, mut owned: Owned, taking_up: Option<(TakingUp, Instant)>) {
        let (context, desk, stop) = (self.context.clone(), self.desk.clone(), self.stop.child_token());
        let counted = context.metrics.owning(&desk.name);
        let end = {
            let mut working = std::pin::pin!(self.work_term(&mut owned, taking_up, &stop));
            tokio::select! {
                end = &mut working => end,
                () = unreadable(&context, &desk) => {
                    stop.cancel();
                    working.await
                }
            }
        };
        owned.release().await;
        drop(counted);
        tracing::debug!(account = %desk.name, ?end, "the work queue was given back");
        if end == TermEnd::Heavy {
            let _ = self.stop.run_until_cancelled(context.load.until_lighter(TURN)).await;
        }
    }

    /// Whoever gets a delivery is the owner, and not only next in line. Before it works anything it asks for the keys: the
    /// last owner may have given the queue back because they are refused.
    async fn work_term(
        &self,
        owned: &mut Owned,
        mut taking_up: Option<(TakingUp, Instant)>,
        stop: &CancellationToken,
    ) -> TermEnd {
        let first = in_time(owned.next(), &mut taking_up);
        let Some(first) = stop.run_until_cancelled(first).await else { return TermEnd::Stopped };
        let Some(first) = first else { return TermEnd::Lost };
        if stop.run_until_cancelled(self.until_the_keys_are_known()).await.is_none() {
            return TermEnd::Stopped;
        }
        let term = Term::new(
            self.context.clone(),
            self.desk.clone(),
            owned,
            self.room,
            taking_up.map(|(taking_up, _)| taking_up),
        );
        term.run(first, owned, stop, &self.abort).await
    }

    /// Asks for the keys until there is an answer that says something of them, or Refersion is up and says nothing.
    async fn until_the_keys_are_known(&self) {
        loop {
            self.context.lookout.until_back().await;
            let began = Instant::now();
            let failure = match self.ask_for_keys().await {
                Ok(()) | Err(Failure::Rejected(_)) => return,
                Err(failure @ Failure::Unauthorized { .. }) => {
                    self.context.hold(&self.desk, failure.status());
                    // The term is told to stop.
                    return std::future::pending().await;
                }
                Err(failure) => failure,
            };
            tracing::debug!(account = %self.desk.name, "the keys could not be asked for: {failure}");
            let known = match trouble(&failure) {
                Some(_) => self.context.lookout.judge(began, Instant::now()).await,
                None => Known::Up,
            };
            match known {
                Known::Up => return,
                Known::Out => {}
            }
        }
    }
}

/// Waits for something, and gives up the right to take up a queue when its time is over.
async fn in_time<T>(waiting: impl Future<Output = T>, taking_up: &mut Option<(TakingUp, Instant)>) -> T {
    let mut waiting = std::pin::pin!(waiting);
    loop {
        let Some((_, end)) = taking_up else { return waiting.await };
        tokio::select! {
            done = &mut waiting => return done,
            () = sleep_until(*end) => *taking_up = None,
        }
    }
}

/// Waits until the queue is not to be read any more: the account is held or gone, it pauses for long, or Refersion has been
/// out for so long that what is in hand is given back.
async fn unreadable(context: &Context, desk: &Desk) {
    tokio::select! {
        () = desk.gate.until(|state| state != GateState::Open) => {}
        () = desk.gate.until_paused_for(LONG_PAUSE) => {}
        () = context.lookout.until_patience_ends() => {}
    }
}
