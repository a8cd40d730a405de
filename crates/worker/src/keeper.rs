use std::sync::Arc;
use std::time::Duration;

use refersion_relay_queue::{Backoff, Owned, Place, Room};
use refersion_relay_refersion::Failure;
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::gate::{GateState, Source};
use crate::roster::{Desk, Roster};
use crate::settlement::Home;
use crate::term::{Term, TermEnd};
use crate::work::Context;

/// The first wait before a held account is probed, and the one around which the waits stop growing. Jitter makes it at
/// most a minute, so that events are on their way within a minute of the keys working again.
const FIRST_PROBE: Duration = Duration::from_secs(1);
const LAST_PROBE: Duration = Duration::from_secs(40);
/// How long nothing has to come from the held events before they are taken to be done.
const QUIET: Duration = Duration::from_millis(50);
/// How often the rest of the held events is counted, and from how few on new events wait for them to be done.
const COUNT_EVERY: Duration = Duration::from_secs(1);
const NEARLY_DONE: u64 = 50;
/// How often an open account is looked at for held events that nobody works.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks after one account for as long as the worker runs, and sleeps while it is gone: finds out whether events of it are
/// held, probes while it is held, and works the held events in place, in their order, when its keys work again.
///
/// They are worked where they are, not moved back: whatever fails again keeps its place, and a crash leaves the queue
/// as it was.
pub(crate) struct Keeper {
    pub(crate) context: Arc<Context>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) room: Room,
    pub(crate) stop: CancellationToken,
    pub(crate) abort: CancellationToken,
}

/// The waits between probes.
struct Waits {
    backoff: Backoff,
    /// How many events had been delivered when the account was last held.
    delivered: u64,
}

impl Keeper {
    pub(crate) async fn run(self) {
        let stop = self.stop.clone();
        // Releasing winds itself up when told to stop; everything else can be dropped at any point.
        tokio::select! {
            () = self.find_out() => {}
            () = stop.cancelled() => return,
        }
        let mut waits = Waits { backoff: Backoff::new(FIRST_PROBE, LAST_PROBE), delivered: 0 };
        while !stop.is_cancelled() {
            tokio::select! {
                () = self.probe(&mut waits) => {}
                () = self.look_for_strays() => {}
                () = stop.cancelled() => return,
            }
            self.release().await;
        }
    }

    fn place(&self) -> Place {
        Place::Held(self.desk.name.clone())
    }

    /// After a start the queue alone knows whether events are held.
    async fn find_out(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            match self.held().await {
                Some(0) => drop(self.desk.gate.advance(GateState::Unknown, GateState::Open)),
                Some(held) => {
                    if self.desk.gate.advance(GateState::Unknown, GateState::Held) {
                        tracing::info!(account = %self.desk.name, held, "events of this account are held");
                        self.context.metrics.account_held(&self.desk.name, true);
                    }
                }
                None => {
                    tokio::time::sleep(backoff.next_wait()).await;
                    continue;
                }
            }
            return;
        }
    }

    /// Waits until the account is held and its keys work again.
    async fn probe(&self, waits: &mut Waits) {
        let (gate, name) = (&self.desk.gate, &self.desk.name);
        loop {
            gate.until(GateState::Held).await;
            tokio::select! {
                () = self.until_the_keys_work(waits) => {}
                () = gate.while_held() => continue,
            }
            tracing::info!(account = %name, "the account's keys work again");
            self.context.metrics.account_held(name, false);
            if gate.advance(GateState::Held, GateState::Releasing) {
                return;
            }
        }
    }

    async fn until_the_keys_work(&self, Waits { backoff, delivered }: &mut Waits) {
        // Keys that are fit for this and nothing else are not tried again every second.
        let count = self.desk.refusals.count();
        if std::mem::replace(delivered, count) != count {
            backoff.reset();
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                // Somebody has changed the keys, so the next probe need not wait.
                () = self.desk.changed.notified() => backoff.reset(),
            }
            // In an outage the answer would be about Refersion, and there are probes for that.
            self.context.lookout.until_back().await;
            let attempt = Arc::new(Attempt::at_keys(self.context.lookout.clone()));
            match self.context.destination.check_keys(&self.desk.account(), attempt).await {
                // A proper no to this call is a yes to the keys.
                Ok(()) | Err(Failure::Rejected(_)) => return,
                Err(failure) => tracing::debug!(account = %self.desk.name, "still held: {failure}"),
            }
        }
    }

    /// Events can be held although this worker's gate is open: another worker held them and died, or they came back from
    /// a connection that was lost just as the last of them seemed to be done.
    async fn look_for_strays(&self) {
        let gate = &self.desk.gate;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let strays = gate.state() == GateState::Open && self.held().await.is_some_and(|held| 0 < held);
            if strays && gate.advance(GateState::Open, GateState::Releasing) {
                return;
            }
        }
    }

    /// Works the held events until none is left, the keys are refused again, or the worker stops.
    async fn release(&self) {
        let gate = &self.desk.gate;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        while !self.stop.is_cancelled() && matches!(gate.state(), GateState::Releasing | GateState::Settling) {
            let taking = async {
                self.context.lookout.until_back().await;
                // Where another process works the held events, this takes until that has ended.
                self.context.queue.own(self.place(), self.room).await
            };
            let owned = tokio::select! {
                () = self.stop.cancelled() => return,
                owned = taking => owned,
            };
            match owned {
                Ok(owned) => {
                    backoff.reset();
                    self.work_held(owned).await;
                }
                Err(error) => {
                    tracing::debug!(account = %self.desk.name, "cannot read the held events: {error}");
                    let _ = self.stop.run_until_cancelled(tokio::time::sleep(backoff.next_wait())).await;
                }
            }
        }
    }

    async fn work_held(&self, mut owned: Owned) {
        let gate = &self.desk.gate;
        let mut term = Term::new(self.context.clone(), self.roster.clone(), Source::Held, Home::InUse, self.room);
        let mut end = self.drain(&mut term, &mut owned).await;
        if end == TermEnd::Idle {
            gate.advance(GateState::Releasing, GateState::Settling);
            gate.until_settled().await;
            end = self.drain(&mut term, &mut owned).await;
        }
        let mut empty = end == TermEnd::Idle && self.held().await == Some(0);
        if empty {
            // From here on nothing can be added; what was delivered before the count and had not arrived comes now.
            empty = self.drain(&mut term, &mut owned).await == TermEnd::Idle;
        }
        owned.release().await;
        let next = if empty { GateState::Open } else { GateState::Releasing };
        if gate.advance(GateState::Settling, next) && empty {
            tracing::info!(account = %self.desk.name, "no event of this account is held any more");
        }
    }

    /// How many events are held, in hand or not, if the queue can tell now.
    async fn held(&self) -> Option<u64> {
        self.context.queue.depth(&self.place()).await.ok().map(|depth| depth.ready + depth.in_hand)
    }

    /// How many events are held and in nobody's hand, if the queue can tell now.
    async fn ready(&self) -> Option<u64> {
        self.context.queue.depth(&self.place()).await.ok().map(|depth| depth.ready)
    }

    /// Works until nothing is left, and lets new events wait when little is: under a steady flow there would always be
    /// one more behind the held ones.
    async fn drain(&self, term: &mut Term, owned: &mut Owned) -> TermEnd {
        let gate = &self.desk.gate;
        let stop = self.stop.child_token();
        let mut run = std::pin::pin!(term.run(owned, &stop, &self.abort, Some(QUIET)));
        let end = tokio::select! {
            end = &mut run => return end,
            () = self.until_over() => None,
            () = self.until_nearly_done() => Some(()),
        };
        if end.is_none() {
            stop.cancel();
            return run.await;
        }
        gate.advance(GateState::Releasing, GateState::Settling);
        tokio::select! {
            end = &mut run => end,
            () = self.until_over() => {
                stop.cancel();
                run.await
            }
        }
    }

    /// Waits until nobody may work the held events, or Refersion has been out for so long that they are given back.
    async fn until_over(&self) {
        tokio::select! {
            () = self.desk.gate.until_shut() => {}
            () = self.context.lookout.until_patience_ends() => {}
        }
    }

    async fn until_nearly_done(&self) {
        loop {
            tokio::time::sleep(COUNT_EVERY).await;
            if self.ready().await.is_some_and(|ready| ready <= NEARLY_DONE) {
                return;
            }
        }
    }
}
