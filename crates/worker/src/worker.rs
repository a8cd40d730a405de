use std::sync::Arc;
use std::time::Duration;

use refersion_relay_queue::{Queue, Room};
use refersion_relay_telemetry::Metrics;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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
        Self { context: Arc::new(context), room: settings.room, progress: Arc::default() }
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

    /// Works until `stop` is cancelled and everything in flight is settled, or until `abort` is. When one of its parts ends
    /// unasked the others stop in order too, and it returns.
    pub async fn run(self, stop: CancellationToken, abort: CancellationToken) {
        let Self { context, room, progress } = self;
        let stop = stop.child_token();
        let Some(mut opening) = context.roster.opening() else { return };
        let mut parts = JoinSet::new();
        parts.spawn(context.lookout.clone().run(context.destination.clone(), stop.clone()));
        parts.spawn(show_accounts(context.clone(), stop.clone()));
        let own = |parts: &mut JoinSet<()>, desk: Arc<Desk>, missing: Missing| {
            let owner = Owner::new(context.clone(), desk, room, progress.clone(), stop.clone(), abort.clone());
            parts.spawn(owner.run(missing));
        };
        // All of those that are configured now, before anybody can ask whether the worker is ready.
        while let Ok(desk) = opening.try_recv() {
            own(&mut parts, desk, progress.missing());
        }
        loop {
            tokio::select! {
                Some(desk) = opening.recv(), if !stop.is_cancelled() => own(&mut parts, desk, progress.missing_later()),
                ended = parts.join_next() => match ended {
                    Some(_) if stop.is_cancelled() => {}
                    Some(ended) => {
                        let panicked = ended.is_err();
                        tracing::error!(panicked, "a part of the worker ended although nobody asked it to");
                        stop.cancel();
                    }
                    None => return,
                },
            }
        }
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
