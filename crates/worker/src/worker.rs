use std::sync::Arc;
use std::time::Duration;

use refersion_relay_queue::{Queue, Room};
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ended::Ended;
use crate::gate::GateState;
use crate::load::Load;
use crate::lookout::Lookout;
use crate::mark::Marks;
use crate::order::Order;
use crate::owner::Owner;
use crate::progress::{Missing, Progress};
use crate::roster::{Desk, Roster};
use crate::work::Context;
use crate::{Account, Destination, WorkerSettings};

/// Owns the work queues of its accounts, and works what is in them.
pub struct Worker {
    context: Arc<Context>,
    room: Room,
    progress: Arc<Progress>,
    /// Until every account's queue has an owner of its own to wait for.
    starting: Missing,
    parts: Parts,
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
        let context = Context {
            queue,
            destination,
            lookout: Arc::new(Lookout::new(settings.outage, roster.clone(), metrics.clone())),
            roster,
            retry: settings.retry,
            longest_stay: settings.longest_stay,
            marks: Marks::new(),
            ended: Ended::new(),
            order: Arc::new(Order::new(metrics.clone())),
            load: Arc::new(Load::new(settings.in_hand)),
            beside: RwLock::new(()),
            metrics,
        };
        let progress = Arc::<Progress>::default();
        let starting = progress.missing();
        Self { context: Arc::new(context), room: settings.room, progress, starting, parts: Parts::default() }
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
        self.context.roster.clone()
    }

    /// What it does side by side until it is stopped.
    #[must_use]
    pub fn parts(&self) -> Parts {
        self.parts.clone()
    }

    /// Works until `stop` is cancelled and everything in flight is settled, or until `abort` is.
    pub async fn run(self, stop: CancellationToken, abort: CancellationToken) {
        let Self { context, room, progress, starting, parts } = self;
        let Some(mut opening) = context.roster.opening() else { return };
        let tasks = TaskTracker::new();
        let watching = context.lookout.clone().run(context.destination.clone(), stop.clone());
        tasks.spawn(parts.supervise("worker/lookout", &stop, watching));
        tasks.spawn(parts.supervise("worker/metrics", &stop, show_accounts(context.clone(), stop.clone())));
        let own = |desk: Arc<Desk>, missing: Missing| {
            let name = format!("worker/account {}", desk.name);
            let owner = Owner::new(context.clone(), desk, room, progress.clone(), stop.clone(), abort.clone());
            tasks.spawn(parts.supervise(&name, &stop, owner.run(missing)));
        };
        // All of those that are configured now, before anybody can ask whether the worker is ready.
        while let Ok(desk) = opening.try_recv() {
            own(desk, progress.missing());
        }
        drop(starting);
        while let Some(Some(desk)) = stop.run_until_cancelled(opening.recv()).await {
            own(desk, progress.missing_later());
        }
        tasks.close();
        tasks.wait().await;
    }
}

/// A pause ends by itself, and an account can go while it is being held or paused, so somebody has to look.
async fn show_accounts(context: Arc<Context>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        for desk in context.roster.desks() {
            let state = desk.gate.state();
            context.metrics.account_held(&desk.name, state == GateState::Held);
            let paused = state != GateState::Gone && desk.gate.paused().is_some();
            context.metrics.account_paused(&desk.name, paused);
        }
        context.lookout.count();
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}
