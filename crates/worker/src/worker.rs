use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use refersion_relay_model::Shard;
use refersion_relay_queue::{Owned, Place, Queue, Terms};
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ended::Ended;
use crate::gate::{GateState, Source};
use crate::keeper::Keeper;
use crate::lookout::Lookout;
use crate::mark::Marks;
use crate::order::Order;
use crate::roster::Roster;
use crate::settlement::Home;
use crate::term::{Term, TermEnd};
use crate::work::Context;
use crate::{Account, Destination, WorkerSettings};

/// Owns shards and works what is on them.
pub struct Worker {
    context: Arc<Context>,
    roster: Arc<Roster>,
    settings: WorkerSettings,
    progress: Arc<Progress>,
    parts: Parts,
}

/// How far a worker is with owning its shards.
#[derive(Debug, Default)]
pub struct Progress {
    looked_after: AtomicUsize,
    wanted: usize,
}

impl Progress {
    /// Whether every shard is owned, or stood by for, or given back only until Refersion is back from an outage.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.looked_after.load(Ordering::Acquire) == self.wanted
    }
}

/// A shard that is looked after, for as long as it lives.
struct LookedAfter(Arc<Progress>);

impl LookedAfter {
    fn begin(progress: &Arc<Progress>) -> Self {
        progress.looked_after.fetch_add(1, Ordering::AcqRel);
        Self(progress.clone())
    }
}

impl Drop for LookedAfter {
    fn drop(&mut self) {
        self.0.looked_after.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How many keepers may ask at a time, over a connection of their own, whether events are held.
const ASKING: usize = 16;
/// How long a shard that was given back in an outage may take to be owned again before the worker is not ready.
const TAKING_UP: Duration = Duration::from_secs(5);

impl Worker {
    /// Prepares a worker. `concurrency`: calls in flight at most, for each account.
    #[must_use]
    pub fn new(
        queue: Arc<dyn Queue>,
        destination: Arc<dyn Destination>,
        accounts: Vec<Account>,
        concurrency: usize,
        settings: WorkerSettings,
        metrics: Metrics,
    ) -> Self {
        let roster = Arc::new(Roster::new(accounts, concurrency, metrics.clone()));
        let (retry, longest_stay) = (settings.retry.clone(), settings.longest_stay);
        let lookout = Arc::new(Lookout::new(settings.outage, roster.clone(), metrics.clone()));
        let (marks, ended, order) = (Marks::new(), Ended::new(), Arc::new(Order::new(metrics.clone())));
        let (roster_of, asking, began) = (roster.clone(), Semaphore::new(ASKING), Instant::now());
        let context = Context {
            queue,
            destination,
            lookout,
            roster: roster_of,
            retry,
            longest_stay,
            marks,
            ended,
            order,
            metrics,
            asking,
            began,
        };
        let progress = Progress { looked_after: AtomicUsize::new(0), wanted: settings.shards.len() };
        Self { context: Arc::new(context), roster, settings, progress: Arc::new(progress), parts: Parts::default() }
    }

    /// Tells how far the worker is.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Whether Refersion is there, as far as the worker knows.
    #[must_use]
    pub fn lookout(&self) -> Arc<Lookout> {
        self.context.lookout.clone()
    }

    /// The accounts it works for, to replace them.
    #[must_use]
    pub fn roster(&self) -> Arc<Roster> {
        self.roster.clone()
    }

    /// What it does side by side until it is stopped.
    #[must_use]
    pub fn parts(&self) -> Parts {
        self.parts.clone()
    }

    /// Works until `stop` is cancelled and everything in flight is settled, or until `abort` is.
    pub async fn run(self, stop: CancellationToken, abort: CancellationToken) {
        let tasks = TaskTracker::new();
        let worker = Arc::new(self);
        let (context, parts) = (&worker.context, worker.parts.clone());
        let watching = context.lookout.clone().run(context.destination.clone(), stop.clone());
        tasks.spawn(parts.supervise("worker/lookout", &stop, watching));
        let opening = worker.clone().look_after_accounts(tasks.clone(), stop.clone(), abort.clone());
        tasks.spawn(parts.supervise("worker/accounts", &stop, opening));
        for shard in worker.settings.shards.clone() {
            let (worker, until, abort) = (worker.clone(), stop.clone(), abort.clone());
            let working = async move { worker.work(shard, &until, &abort).await };
            tasks.spawn(parts.supervise(&format!("worker/shard {shard}"), &stop, working));
        }
        tasks.spawn(parts.supervise("worker/metrics", &stop, worker.clone().show_accounts(stop.clone())));
        tasks.close();
        tasks.wait().await;
    }

    /// Gives each account a keeper when it is first configured.
    async fn look_after_accounts(
        self: Arc<Self>,
        tasks: TaskTracker,
        stop: CancellationToken,
        abort: CancellationToken,
    ) {
        let Some(mut opening) = self.roster.opening() else { return };
        loop {
            let desk = tokio::select! {
                () = stop.cancelled() => return,
                Some(desk) = opening.recv() => desk,
            };
            let (context, roster, room) = (self.context.clone(), self.roster.clone(), self.settings.room);
            let name = format!("worker/account {}", desk.name);
            let keeper = Keeper { context, roster, desk, room, stop: stop.child_token(), abort: abort.clone() };
            tasks.spawn(self.parts.supervise(&name, &stop, keeper.run()));
        }
    }

    /// Owns one shard, term after term.
    async fn work(&self, shard: Shard, stop: &CancellationToken, abort: &CancellationToken) {
        let lookout = &self.context.lookout;
        let mut terms = Terms::new(self.context.queue.clone(), Place::Shard(shard), self.settings.room);
        let mut shards = self.context.queue.shards();
        let mut given_back = None;
        loop {
            let until_open = async {
                let _ = shards.wait_for(|shards| !shards.is_closing(shard.count)).await;
            };
            if stop.run_until_cancelled(until_open).await.is_none() {
                return;
            }
            if stop.run_until_cancelled(lookout.until_back()).await.is_none() {
                return;
            }
            let Some(mut owned) = take_up(&mut terms, given_back.take(), stop).await else { return };
            let (looked_after, counted) = (LookedAfter::begin(&self.progress), self.context.metrics.owning_shard());
            let end = self.work_term(shard.count, &mut owned, stop, abort).await;
            drop(counted);
            owned.release().await;
            if end != TermEnd::Lost && stop.is_cancelled() {
                return;
            }
            if end == TermEnd::Idle {
                given_back = Some(looked_after);
                tracing::debug!(shard = %shard, "nothing is left on the shard, which may be given up for others");
            } else if end != TermEnd::Lost && lookout.is_out() {
                given_back = Some(looked_after);
                tracing::debug!(shard = %shard, "Refersion is out: the shard is given back until it is not");
            } else {
                tracing::info!(shard = %shard, "the shard was lost; taking it up again");
            }
        }
    }

    /// Works until the term ends, or an outage has lasted so long that what is in hand is given back. While the shard is
    /// closing the term also ends when nothing is left on it.
    async fn work_term(
        &self,
        count: u16,
        owned: &mut Owned,
        stop: &CancellationToken,
        abort: &CancellationToken,
    ) -> TermEnd {
        let (context, roster, home) = (self.context.clone(), self.roster.clone(), Home::Set(count));
        let mut term = Term::new(context, roster, Source::Shard, home, self.settings.room);
        let stop = stop.child_token();
        let mut shards = self.context.queue.shards();
        loop {
            let is_closing = shards.borrow().is_closing(count);
            let changes = async {
                let _ = shards.wait_for(|shards| shards.is_closing(count) != is_closing).await;
            };
            let idle = is_closing.then_some(self.settings.closing);
            tokio::select! {
                biased;
                end = term.run(owned, &stop, abort, idle) => return end,
                // The term goes on where it was.
                () = changes => {}
                () = self.context.lookout.until_patience_ends() => {
                    stop.cancel();
                    return term.run(owned, &stop, abort, None).await;
                }
            }
        }
    }

    /// A pause ends by itself, and an account can go while it is being held or paused, so somebody has to look.
    async fn show_accounts(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            for desk in self.roster.desks() {
                let state = desk.gate.state();
                self.context.metrics.account_held(&desk.name, state == GateState::Held);
                let paused = state != GateState::Gone && desk.gate.paused().is_some();
                self.context.metrics.account_paused(&desk.name, paused);
            }
            self.context.lookout.count();
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }
}

/// Owns the next term. One that follows an outage leaves the shard looked after, unless it takes long.
async fn take_up(terms: &mut Terms, given_back: Option<LookedAfter>, stop: &CancellationToken) -> Option<Owned> {
    let mut next = std::pin::pin!(terms.next(stop));
    if given_back.is_some()
        && let Ok(owned) = tokio::time::timeout(TAKING_UP, &mut next).await
    {
        return owned;
    }
    drop(given_back);
    next.await
}
