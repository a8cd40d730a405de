use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use refersion_relay_queue::{Backoff, Depth, Owned, Place, Room};
use refersion_relay_refersion::Failure;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
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
/// How long new events may wait for that at a time: other accounts' events wait behind them on their shards.
const SETTLE_FOR: Duration = Duration::from_secs(20);
/// How long it takes at most until the events of a backlog are where it is worked. Before, it always seems to be done.
const BACKLOG_COMES: Duration = Duration::from_secs(2);
/// How often it is tried again when that was not long enough, at first and at last. Each is a multiple of the one before.
const FIRST_EVERY: Duration = Duration::from_mins(1);
const LAST_EVERY: Duration = Duration::from_mins(4);
/// How often an open account is looked at for held events that nobody works.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long somebody may have held events to himself after a start until he is taken to work them.
const BUSY_AFTER: Duration = Duration::from_secs(5);
/// Who has worked held events for so long need not wait before he takes them again.
const LONG_TERM: Duration = Duration::from_secs(10);

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

/// When the gate may settle: soon, and after a try in vain at times that all workers have in common. What one of them
/// adds behind the held events keeps another one that works those from coming to an end.
struct Settling {
    not_before: Instant,
    every: Duration,
}

impl Settling {
    fn after(wait: Duration) -> Self {
        Self { not_before: Instant::now() + wait, every: FIRST_EVERY }
    }

    fn was_in_vain(&mut self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.not_before = Instant::now() + until_next(self.every, now);
        self.every = LAST_EVERY.min(self.every * 2);
    }
}

/// How long it takes from `now` to the next multiple of `every`.
fn until_next(every: Duration, now: Duration) -> Duration {
    let every = every.as_secs();
    Duration::from_secs(every - now.as_secs() % every)
}

/// What came of settling.
enum Settled {
    /// Nothing is held any more.
    Empty,
    /// It takes longer than new events should have to wait.
    InVain,
    /// The term has ended.
    Ended,
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
            let settles_after = tokio::select! {
                () = self.probe(&mut waits) => Duration::ZERO,
                () = self.look_for_strays() => Duration::ZERO,
                () = self.desk.gate.until(GateState::Releasing) => BACKLOG_COMES,
                () = stop.cancelled() => return,
            };
            self.release(Settling::after(settles_after)).await;
        }
    }

    fn place(&self) -> Place {
        Place::Held(self.desk.name.clone())
    }

    /// After a start the queue alone knows whether events are held.
    async fn find_out(&self) {
        let gate = &self.desk.gate;
        let _ = self.context.queue.state().wait_for(refersion_relay_queue::BrokerState::is_up).await;
        match self.until_known().await {
            Some(0) => drop(gate.advance(GateState::Unknown, GateState::Open)),
            Some(held) => {
                if gate.advance(GateState::Unknown, GateState::Held) {
                    tracing::info!(account = %self.desk.name, held, "events of this account are held");
                    self.context.metrics.account_held(&self.desk.name, true);
                }
            }
            // Another worker is at them: what comes goes behind whatever is there.
            None => drop(gate.advance(GateState::Unknown, GateState::Releasing)),
        }
    }

    /// How many events are held; `None` where another worker works them.
    async fn until_known(&self) -> Option<u64> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let mut busy_since = None;
        loop {
            match self.held().await {
                Some(depth) if depth.is_certain && 0 < depth.ready + depth.in_hand => {
                    return Some(depth.ready + depth.in_hand);
                }
                // Embedded, or somebody else is asking, or working the last ones.
                Some(Depth { is_certain: true, has_owner, .. }) => {
                    if !has_owner {
                        return Some(0);
                    }
                    if BUSY_AFTER <= busy_since.get_or_insert_with(Instant::now).elapsed() {
                        return None;
                    }
                }
                Some(_) => {
                    if let Ok(Some(held)) = timeout(BUSY_AFTER, self.ask_as_owner()).await {
                        return Some(held);
                    }
                }
                None => {}
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// How many events are held, as far as only their owner can tell: he is among those who are counted, so a count that
    /// he is missing from says nothing.
    async fn ask_as_owner(&self) -> Option<u64> {
        let _turn = self.context.asking.acquire().await;
        let mut owned = self.context.queue.own(self.place(), Room { events: 1 }).await.ok()?;
        let asked = Instant::now();
        let depth = self.held().await;
        let quiet = QUIET.max(asked.elapsed() * 2);
        let in_hand = timeout(quiet, owned.next()).await.is_ok_and(|delivery| delivery.is_some());
        owned.release().await;
        depth.filter(|depth| depth.is_certain).map(|depth| depth.ready + u64::from(in_hand))
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
                () = sleep(backoff.next_wait()) => {}
                // Somebody has changed the keys, so the next probe need not wait.
                () = self.desk.changed.notified() => backoff.reset(),
            }
            // In an outage the answer would be about Refersion, and there are probes for that.
            self.context.lookout.until_back().await;
            let attempt = Arc::new(Attempt::at_keys(self.context.lookout.clone()));
            match self.context.destination.check_keys(&self.desk.account(), attempt).await {
                // A proper no to this call is a yes to the keys.
                Ok(()) | Err(Failure::Rejected(_)) => {
                    self.desk.refusals.keys_pass();
                    return;
                }
                Err(failure) => tracing::debug!(account = %self.desk.name, "still held: {failure}"),
            }
        }
    }

    /// Events can be held although this worker's gate is open: another worker held them and died, or they came back from
    /// a connection that was lost just as the last of them seemed to be done.
    async fn look_for_strays(&self) {
        let gate = &self.desk.gate;
        loop {
            sleep(LOOK_EVERY).await;
            let strays =
                gate.state() == GateState::Open && self.held().await.is_some_and(|held| 0 < held.ready + held.in_hand);
            if strays && gate.advance(GateState::Open, GateState::Releasing) {
                return;
            }
        }
    }

    /// Works the held events until none is left, the keys are refused again, or the worker stops.
    async fn release(&self, mut settling: Settling) {
        let gate = &self.desk.gate;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        while !self.stop.is_cancelled() && matches!(gate.state(), GateState::Releasing | GateState::Settling) {
            let taking = async {
                self.context.lookout.until_back().await;
                tokio::select! {
                    // Where another process works the held events, this takes until that has ended.
                    owned = self.context.queue.own(self.place(), self.room) => owned,
                    never = self.settle_along(&mut settling) => match never {},
                }
            };
            let owned = tokio::select! {
                () = self.stop.cancelled() => return,
                () = gate.until_shut() => return,
                owned = taking => owned,
            };
            let began = Instant::now();
            match owned {
                Ok(owned) => self.work_held(owned, &mut settling).await,
                Err(error) => tracing::debug!(account = %self.desk.name, "cannot read the held events: {error}"),
            }
            if LONG_TERM <= began.elapsed() {
                backoff.reset();
            } else if gate.state() != GateState::Open {
                let _ = self.stop.run_until_cancelled(sleep(backoff.next_wait())).await;
            }
        }
    }

    /// While another process works the held events, lets it come to an end: adds nothing to them when they are nearly done.
    async fn settle_along(&self, settling: &mut Settling) -> Infallible {
        let gate = &self.desk.gate;
        loop {
            if gate.state() != GateState::Settling {
                sleep_until(settling.not_before).await;
                self.until_nearly_done().await;
                gate.advance(GateState::Releasing, GateState::Settling);
            }
            sleep(SETTLE_FOR).await;
            if gate.advance(GateState::Settling, GateState::Releasing) {
                settling.was_in_vain();
            }
        }
    }

    async fn work_held(&self, mut owned: Owned, settling: &mut Settling) {
        let gate = &self.desk.gate;
        let mut term = Term::new(self.context.clone(), self.roster.clone(), Source::Held, Home::InUse, self.room);
        let is_empty = loop {
            if gate.state() != GateState::Settling {
                let rested = self.drain(&mut term, &mut owned, None, sleep_until(settling.not_before)).await;
                let end = match rested {
                    Some(end) => Some(end),
                    None => self.drain(&mut term, &mut owned, Some(QUIET), self.until_nearly_done()).await,
                };
                if !matches!(end, None | Some(TermEnd::Idle)) {
                    break false;
                }
                gate.advance(GateState::Releasing, GateState::Settling);
            }
            match self.settle(&mut term, &mut owned).await {
                Settled::Empty => break true,
                Settled::Ended => break false,
                Settled::InVain => {
                    settling.was_in_vain();
                    gate.advance(GateState::Settling, GateState::Releasing);
                }
            }
        };
        owned.release().await;
        let next = if is_empty { GateState::Open } else { GateState::Releasing };
        if gate.advance(GateState::Settling, next) && is_empty {
            tracing::info!(account = %self.desk.name, "no event of this account is held any more");
        }
    }

    /// Works the last held events while new ones wait. Under a steady flow there would always be one more behind them.
    async fn settle(&self, term: &mut Term, owned: &mut Owned) -> Settled {
        let deadline = Instant::now() + SETTLE_FOR;
        let mut quiet = QUIET;
        let mut was_empty = false;
        loop {
            if timeout_at(deadline, self.desk.gate.until_settled()).await.is_err() {
                return Settled::InVain;
            }
            match self.drain(term, owned, Some(quiet), sleep_until(deadline)).await {
                Some(TermEnd::Idle) if was_empty => return Settled::Empty,
                Some(TermEnd::Idle) => {}
                Some(TermEnd::Stopped | TermEnd::Lost) => return Settled::Ended,
                None => return Settled::InVain,
            }
            let asked = Instant::now();
            let depth = timeout_at(deadline, self.held()).await.ok().flatten();
            // Of itself nothing is added any more. What was delivered before the count and had not arrived comes now.
            was_empty = depth.is_some_and(|depth| depth.is_certain && depth.ready + depth.in_hand == 0);
            quiet = QUIET.max(asked.elapsed() * 2);
        }
    }

    /// What is held, in hand or not, if the queue can tell now.
    async fn held(&self) -> Option<Depth> {
        self.context.queue.depth(&self.place()).await.ok()
    }

    /// Works until nothing has come for `idle`, or the term ends; `None`: until `enough` did.
    async fn drain(
        &self,
        term: &mut Term,
        owned: &mut Owned,
        idle: Option<Duration>,
        enough: impl Future<Output = ()>,
    ) -> Option<TermEnd> {
        let stop = self.stop.child_token();
        let mut run = std::pin::pin!(term.run(owned, &stop, &self.abort, idle));
        tokio::select! {
            end = &mut run => Some(end),
            () = self.until_over() => {
                stop.cancel();
                Some(run.await)
            }
            () = enough => None,
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
            sleep(COUNT_EVERY).await;
            let Some(Depth { ready, .. }) = self.held().await else { continue };
            let takes = self.desk.turnstile.expected_wait(usize::try_from(ready).unwrap_or(usize::MAX));
            if ready <= NEARLY_DONE && takes.is_none_or(|takes| takes <= SETTLE_FOR / 2) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_tried_at_different_times_try_again_at_the_same() {
        let at = |every: Duration, now: u64| now + until_next(every, Duration::from_secs(now)).as_secs();
        assert_eq!([0, 1, 59].map(|now| at(FIRST_EVERY, now)), [60, 60, 60]);
        assert_eq!([60, 130, 239].map(|now| at(FIRST_EVERY * 2, now)), [120, 240, 240]);
        assert_eq!(LAST_EVERY.as_secs() % FIRST_EVERY.as_secs(), 0);
        let mut settling = Settling::after(Duration::ZERO);
        (0..9).for_each(|_| settling.was_in_vain());
        assert_eq!(settling.every, LAST_EVERY);
    }
}
