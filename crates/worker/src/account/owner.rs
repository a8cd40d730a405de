use std::sync::Arc;
use std::time::Duration;

use refersion_relay_queue::{Owned, Place, Room, Terms};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::account::accounts::{AccountState, WorkQueue};
use crate::account::gate::GateState;
use crate::account::hold::Hold;
use crate::account::readiness::{Missing, Readiness};
use crate::consume::consumer::{Consumer, LATE, TermEnd};
use crate::context::Context;
use crate::event::load::TakingUp;

/// A pause that takes longer is not waited out with events in hand.
const LONG_PAUSE: Duration = Duration::from_mins(2);
/// How long an account waits at most after there was too much in hand. Then others have had their turn.
const TURN: Duration = Duration::from_secs(10);

/// Owns one account's work queue, term after term, for as long as the worker runs: works it, or keeps it unread while its
/// account cannot be worked for.
pub(crate) struct Owner {
    context: Arc<Context>,
    account_state: Arc<AccountState>,
    room: Room,
    readiness: Arc<Readiness>,
    hold: Hold,
    stop: CancellationToken,
    abort: CancellationToken,
}

impl Owner {
    pub(crate) fn new(
        context: Arc<Context>,
        account_state: Arc<AccountState>,
        room: Room,
        readiness: Arc<Readiness>,
        stop: CancellationToken,
        abort: CancellationToken,
    ) -> Self {
        let hold = Hold::new(context.clone(), account_state.clone());
        Self { context, account_state, room, readiness, hold, stop, abort }
    }

    /// Ends after `stop`. `missing`: that the queue is not owned yet.
    pub(crate) async fn run(mut self, missing: Missing) {
        let stop = self.stop.clone();
        let place = Place::Work(self.account_state.name.clone());
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
            let late = missing.take().unwrap_or_else(|| self.readiness.missing_later());
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
        self.account_state.gate.state() == GateState::Open
            && !self.context.monitor.is_out()
            && self.account_state.gate.paused().is_none_or(|left| left <= LONG_PAUSE)
    }

    /// Waits for whatever the queue is not read for, and probes a held account.
    async fn until_readable(&mut self) {
        let account_state = self.account_state.clone();
        match account_state.gate.state() {
            GateState::Gone => account_state.gate.until(|state| state != GateState::Gone).await,
            GateState::Held => tokio::select! {
                () = self.hold.until_the_keys_work() => self.release(),
                () = account_state.gate.until(|state| state != GateState::Held) => {}
            },
            GateState::Open => {
                self.context.monitor.until_back().await;
                tokio::select! {
                    () = account_state.gate.until_unpaused() => {}
                    () = account_state.gate.until(|state| state != GateState::Open) => {}
                }
            }
        }
    }

    fn release(&self) {
        if self.account_state.gate.release() {
            tracing::info!(account = %self.account_state.name, "the account's keys work again");
            self.context.metrics.account_held(&self.account_state.name, false);
        }
    }

    /// Works one term, and gives the queue back.
    async fn work(&mut self, mut owned: Owned, taking_up: Option<(TakingUp, Instant)>) {
        let (context, account_state, stop) =
            (self.context.clone(), self.account_state.clone(), self.stop.child_token());
        let counted = context.metrics.owning(&account_state.name);
        account_state.set_work_queue(WorkQueue::StandingBy);
        let end = {
            let mut working = std::pin::pin!(self.work_term(&mut owned, taking_up, &stop));
            tokio::select! {
                end = &mut working => end,
                () = unreadable(&context, &account_state) => {
                    stop.cancel();
                    working.await
                }
            }
        };
        account_state.set_work_queue(WorkQueue::Unread);
        owned.release().await;
        drop(counted);
        tracing::debug!(account = %account_state.name, ?end, "the work queue was given back");
        if end == TermEnd::Heavy {
            let _ = self.stop.run_until_cancelled(context.load.until_lighter(TURN)).await;
        }
    }

    /// Whoever gets a delivery is the owner, and not only next in line. Before it works anything it asks Refersion
    /// whether the account's keys work: the last owner may have given the queue back because they are refused.
    async fn work_term(
        &self,
        owned: &mut Owned,
        mut taking_up: Option<(TakingUp, Instant)>,
        stop: &CancellationToken,
    ) -> TermEnd {
        let first = in_time(owned.next(), &mut taking_up);
        let Some(first) = stop.run_until_cancelled(first).await else { return TermEnd::Stopped };
        let Some(first) = first else { return TermEnd::Lost };
        self.account_state.set_work_queue(WorkQueue::Worked);
        if stop.run_until_cancelled(self.hold.until_the_keys_are_known()).await.is_none() {
            return TermEnd::Stopped;
        }
        self.account_state.begin_stay();
        let consumer = Consumer::new(
            self.context.clone(),
            self.account_state.clone(),
            owned,
            self.room,
            taking_up.map(|(taking_up, _)| taking_up),
        );
        consumer.run(first, owned, stop, &self.abort).await
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
async fn unreadable(context: &Context, account_state: &AccountState) {
    tokio::select! {
        () = account_state.gate.until(|state| state != GateState::Open) => {}
        () = account_state.gate.until_paused_for(LONG_PAUSE) => {}
        () = context.monitor.until_patience_ends() => {}
    }
}
