use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use refersion_relay_model::Shard;
use refersion_relay_queue::{Place, Queue, Terms};
use refersion_relay_telemetry::Metrics;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ended::Ended;
use crate::gate::{GateState, Source};
use crate::keeper::Keeper;
use crate::mark::Marks;
use crate::order::Order;
use crate::roster::Roster;
use crate::term::{Term, TermEnd};
use crate::work::Context;
use crate::{Account, Destination, WorkerSettings};

/// Owns shards and works what is on them.
pub struct Worker {
    context: Arc<Context>,
    roster: Arc<Roster>,
    settings: WorkerSettings,
    progress: Arc<Progress>,
}

/// How far a worker is with owning its shards.
#[derive(Debug, Default)]
pub struct Progress {
    owned: AtomicUsize,
    wanted: usize,
}

impl Progress {
    /// Whether every shard is owned, or stood by for.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.owned.load(Ordering::Acquire) == self.wanted
    }
}

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
        let shard_count = settings.shards.first().map_or(1, |shard| shard.count);
        let retry = settings.retry.clone();
        let (marks, ended, order) = (Marks::new(), Ended::new(), Arc::new(Order::new(metrics.clone())));
        let context = Context { queue, destination, retry, shard_count, marks, ended, order, metrics };
        let progress = Progress { owned: AtomicUsize::new(0), wanted: settings.shards.len() };
        Self { context: Arc::new(context), roster, settings, progress: Arc::new(progress) }
    }

    /// Tells how far the worker is.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// The accounts it works for, to replace them.
    #[must_use]
    pub fn roster(&self) -> Arc<Roster> {
        self.roster.clone()
    }

    /// Works until `stop` is cancelled and everything in flight is settled, or until `abort` is.
    pub async fn run(self, stop: CancellationToken, abort: CancellationToken) {
        let tasks = TaskTracker::new();
        let worker = Arc::new(self);
        tasks.spawn(worker.clone().look_after_accounts(tasks.clone(), stop.clone(), abort.clone()));
        for shard in worker.settings.shards.clone() {
            let (worker, stop, abort) = (worker.clone(), stop.clone(), abort.clone());
            tasks.spawn(async move { worker.work(shard, &stop, &abort).await });
        }
        tasks.spawn(worker.clone().show_accounts(stop));
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
            let keeper = Keeper { context, roster, desk, room, stop: stop.child_token(), abort: abort.clone() };
            tasks.spawn(keeper.run());
        }
    }

    /// Owns one shard, term after term.
    async fn work(&self, shard: Shard, stop: &CancellationToken, abort: &CancellationToken) {
        let mut terms = Terms::new(self.context.queue.clone(), Place::Shard(shard), self.settings.room);
        while let Some(mut owned) = terms.next(stop).await {
            let counted = self.context.metrics.owning_shard();
            self.progress.owned.fetch_add(1, Ordering::AcqRel);
            let mut term = Term::new(self.context.clone(), self.roster.clone(), Source::Shard, self.settings.room);
            let end = term.run(&mut owned, stop, abort, None).await;
            self.progress.owned.fetch_sub(1, Ordering::AcqRel);
            drop(counted);
            owned.release().await;
            if end != TermEnd::Lost && stop.is_cancelled() {
                return;
            }
            tracing::info!(shard = %shard, "the shard was lost; taking it up again");
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
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }
}
