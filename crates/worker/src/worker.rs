use std::sync::Arc;
use std::time::Duration;

use refersion_relay_directory::Rows;
use refersion_relay_queue::{Queue, Room};
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;
use refersion_relay_traces::Traces;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::account::accounts::{AccountState, Accounts};
use crate::account::gate::GateState;
use crate::account::owner::Owner;
use crate::account::readiness::{Missing, Readiness};
use crate::attempt::isolated::Isolation;
use crate::attempt::people::People;
use crate::attempt::unchanged::Unchanged;
use crate::context::Context;
use crate::directory::DirectoryHandle;
use crate::event::load::Load;
use crate::event::trail::Trail;
use crate::order::event_key::KeyHasher;
use crate::order::order::Order;
use crate::order::recently_done::RecentlyDone;
use crate::outage::monitor::OutageMonitor;
use crate::{Account, RefersionApi, WorkerSettings};

/// Owns the work queues of its accounts, and works what is in them.
pub struct Worker {
    context: Context,
    room: Room,
    readiness: Arc<Readiness>,
    /// Until every account's queue has an owner of its own to wait for.
    starting: Missing,
    parts: Parts,
}

impl Worker {
    /// Prepares a worker. `concurrency`: calls in flight at most, for each account.
    #[must_use]
    pub fn new(
        queue: Arc<dyn Queue>,
        destination: Arc<dyn RefersionApi>,
        accounts: Vec<Account>,
        concurrency: usize,
        settings: WorkerSettings,
        metrics: Metrics,
    ) -> Self {
        let accounts = Arc::new(Accounts::new(accounts, concurrency, metrics.clone()));
        let context = Context {
            queue,
            destination,
            monitor: Arc::new(OutageMonitor::new(settings.outage, accounts.clone(), metrics.clone())),
            accounts,
            people: None,
            unchanged: settings.skip_unchanged.map(Unchanged::new),
            retry: settings.retry,
            longest_stay: settings.longest_stay,
            hasher: KeyHasher::new(),
            recently_done: RecentlyDone::new(),
            order: Arc::new(Order::new(metrics.clone())),
            load: Arc::new(Load::new(settings.in_hand)),
            isolation: Isolation::default(),
            metrics,
            trail: Arc::default(),
            traces: Traces::default(),
        };
        let readiness = Arc::<Readiness>::default();
        let starting = readiness.missing();
        Self { context, room: settings.room, readiness, starting, parts: Parts::default() }
    }

    /// Tells how far the worker is.
    #[must_use]
    pub fn readiness(&self) -> Arc<Readiness> {
        self.readiness.clone()
    }

    /// Whether Refersion is there, as far as the worker knows.
    #[must_use]
    pub fn monitor(&self) -> Arc<OutageMonitor> {
        self.context.monitor.clone()
    }

    /// Says what it does with each event as spans.
    #[must_use]
    pub fn with_traces(mut self, traces: Traces) -> Self {
        self.context.traces = traces;
        self
    }

    /// Learns addresses from identifies, and completes deletes with them. A delete whose person is not known is tried again for as
    /// long as `wait`.
    #[must_use]
    pub fn with_directory(mut self, directory: DirectoryHandle, wait: Duration) -> Self {
        self.context.people = Some(People::new(directory, wait));
        self
    }

    /// What it knows of single events.
    #[must_use]
    pub fn trail(&self) -> Arc<Trail> {
        self.context.trail.clone()
    }

    /// The accounts it works for, to replace them.
    #[must_use]
    pub fn accounts(&self) -> Arc<Accounts> {
        self.context.accounts.clone()
    }

    /// What it does side by side until it is stopped.
    #[must_use]
    pub fn parts(&self) -> Parts {
        self.parts.clone()
    }

    /// Works until `stop` is cancelled and everything in flight is settled, or until `abort` is.
    pub async fn run(self, stop: CancellationToken, abort: CancellationToken) {
        let Self { context, room, readiness, starting, parts } = self;
        let context = Arc::new(context);
        let Some(mut opening) = context.accounts.opening() else { return };
        let tasks = TaskTracker::new();
        let watching = context.monitor.clone().run(context.destination.clone(), stop.clone());
        tasks.spawn(parts.supervise("worker/outage monitor", &stop, watching));
        tasks.spawn(parts.supervise("worker/metrics", &stop, show_accounts(context.clone(), stop.clone())));
        let own = |account_state: Arc<AccountState>, missing: Missing| {
            let name = format!("worker/account {}", account_state.name);
            let owner =
                Owner::new(context.clone(), account_state, room, readiness.clone(), stop.clone(), abort.clone());
            tasks.spawn(parts.supervise(&name, &stop, owner.run(missing)));
        };
        // All of those that are configured now, before anybody can ask whether the worker is ready.
        while let Ok(account_state) = opening.try_recv() {
            own(account_state, readiness.missing());
        }
        drop(starting);
        while let Some(Some(account_state)) = stop.run_until_cancelled(opening.recv()).await {
            own(account_state, readiness.missing_later());
        }
        tasks.close();
        tasks.wait().await;
    }
}

/// A pause ends by itself, and an account can go while it is being held or paused, so somebody has to look.
async fn show_accounts(context: Arc<Context>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        for account_state in context.accounts.account_states() {
            let state = account_state.gate.state();
            context.metrics.account_held(&account_state.name, state == GateState::Held);
            let paused = state != GateState::Gone && account_state.gate.paused().is_some();
            context.metrics.account_paused(&account_state.name, paused);
        }
        context.monitor.count();
        if let Some(Rows { addresses, erased }) = context.people.as_ref().and_then(People::rows) {
            context.metrics.directory_holds(addresses, erased);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}
