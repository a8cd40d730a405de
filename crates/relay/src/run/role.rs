use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use refersion_relay_ingest::{
    Access, AtDoor, CONNECTIONS_ASIDE, HttpSettings, Ingest, Protection, intake, router, serve,
};
use refersion_relay_model::AccountName;
use refersion_relay_queue::{Queue, RabbitMq};
use refersion_relay_telemetry::{Metrics, Recent, Role};
use refersion_relay_traces::{Process, Traces};
use refersion_relay_worker::{Accounts, DirectoryHandle, Keeper, RemoteDirectory};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::cli::RoleArgs;
use crate::config::{QueueUrl, Settings};
use crate::exit::Exit;
use crate::parts::{self, SharedDirectory};
use crate::run::certificates::Certificates;
use crate::run::descriptors::{self, Needs};
use crate::run::flow;
use crate::run::left_behind;
use crate::run::mailbox;
use crate::run::ops::{self, Ops};
use crate::run::policy_watch;
use crate::run::poll;
use crate::run::reload::{Reload, Shared};
use crate::run::state::Memory;
use crate::run::systemd;
use crate::signals::Stop;

/// How long each step of leaving may take when the grace is over.
const LEAVING: std::time::Duration = std::time::Duration::from_secs(3);

/// What this process does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roles {
    ingest: bool,
    worker: bool,
}

impl Roles {
    pub(crate) const BOTH: Self = Self { ingest: true, worker: true };
    pub(crate) const INGEST: Self = Self { ingest: true, worker: false };
    pub(crate) const WORKER: Self = Self { ingest: false, worker: true };

    fn as_role(self) -> Role {
        match (self.ingest, self.worker) {
            (true, true) => Role::Run,
            (true, false) => Role::Ingest,
            (false, _) => Role::Worker,
        }
    }
}

/// A running process: its listeners are bound, everything else is on its way.
pub(crate) struct Running {
    pub(crate) ingest: Option<SocketAddr>,
    pub(crate) ops: SocketAddr,
    queue: Arc<dyn Queue>,
    configured: watch::Sender<BTreeSet<AccountName>>,
    access: Option<watch::Sender<Arc<Access>>>,
    metrics: Metrics,
    accounts: Option<Arc<Accounts>>,
    traces: Traces,
    tasks: TaskTracker,
    ops_stop: tokio_util::sync::CancellationToken,
}

pub(crate) async fn run(config: Option<&Path>, roles: Roles, args: &RoleArgs) -> Result<(), Exit> {
    let settings = &crate::commands::settings(config)?;
    let stop = Stop::on_signals().map_err(Exit::failed)?;
    let ops_listen = args.ops_listen.unwrap_or(settings.ops_listen);
    let running = start(settings, roles, ops_listen, &stop).await?;
    if let Some(path) = config {
        let reload = Reload::new(path, settings.clone(), running.shared()).map_err(Exit::failed)?;
        tokio::spawn(stop.supervise("reload", reload.run(stop.stop.clone())));
    }
    if let Some(address) = running.ingest {
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        tracing::info!("taking events at {scheme}://{address}/v1/destination");
    }
    tracing::info!("metrics and health at http://{}/metrics and /health/ready", running.ops);
    systemd::started(&format!("metrics and health at http://{}", running.ops));
    stop.stop.cancelled().await;
    systemd::stopping();
    tracing::info!(seconds = settings.shutdown_grace.as_secs(), "stopping: finishing what is in flight");
    running.end(settings, &stop).await
}

pub(crate) async fn start(
    settings: &Settings,
    roles: Roles,
    ops_listen: SocketAddr,
    stop: &Stop,
) -> Result<Running, Exit> {
    let metrics = Metrics::new();
    metrics.role(roles.as_role());
    let traces = traces(settings, roles);
    descriptors::raise(needs(settings, roles));
    let ops_listener = bind("ops.listen", ops_listen).await?;
    let ingest_listener = if roles.ingest { Some(bind("ingest.listen", settings.ingest_listen).await?) } else { None };
    let tasks = TaskTracker::new();
    let Opened { queue, store, directory } = open(settings, roles, &metrics, stop, &tasks)?;
    // A client that never finishes its request must not use up the whole grace.
    let grace = settings.shutdown_grace.mul_f64(0.8);
    let mut running = Running {
        ingest: None,
        ops: ops_listener.local_addr().map_err(Exit::failed)?,
        queue: queue.clone(),
        configured: watch::Sender::new(parts::names(&settings.accounts).into_iter().collect()),
        access: None,
        metrics: metrics.clone(),
        accounts: None,
        traces: traces.clone(),
        tasks: tasks.clone(),
        ops_stop: tokio_util::sync::CancellationToken::new(),
    };
    let watching = left_behind::watch(store, running.configured.subscribe(), metrics.clone(), stop.stop.clone());
    tasks.spawn(stop.supervise("left behind", watching));
    let mut recent_at_doors: Option<Arc<Recent<AtDoor>>> = None;
    if let Some(listener) = ingest_listener {
        running.ingest = Some(listener.local_addr().map_err(Exit::failed)?);
        let access =
            watch::Sender::new(Arc::new(parts::access(&settings.accounts, settings.directory.enabled, &metrics)));
        let (queue, metrics) = (queue.clone(), metrics.clone());
        let protection = Protection::new(settings.bounds.clone(), metrics.clone());
        let recent = recent_at_doors.insert(Arc::default()).clone();
        let ingest = Ingest {
            queue,
            access: access.subscribe(),
            metrics,
            protection: protection.clone(),
            recent,
            traces: traces.clone(),
        };
        running.access = Some(access);
        let mut certificate = None;
        if let Some(files) = &settings.tls {
            let (certificates, shown) =
                Certificates::begin(files.clone(), &running.metrics).await.map_err(Exit::Usage)?;
            certificate = Some(shown);
            tokio::spawn(stop.supervise("certificates", certificates.run(stop.stop.clone())));
        }
        let http = HttpSettings { grace, protection: Some(protection), certificate };
        let serving = serve(listener, router(ingest.clone()), http, stop.stop.clone());
        tasks.spawn(stop.supervise("doors", serving));
        tasks.spawn(stop.supervise("intake", intake(ingest, stop.stop.clone())));
    }
    let (mut readiness, mut monitor, mut trail) = (None, None, None);
    if roles.worker {
        let worker = parts::worker(settings, queue.clone(), parts::client(settings, &metrics)?, &metrics);
        let mut worker = worker.with_traces(traces.clone());
        if let Some(directory) = directory {
            worker = worker.with_directory(directory, settings.directory.wait);
        }
        worker.parts().belong_to(&stop.parts);
        (readiness, monitor) = (Some(worker.readiness()), Some(worker.monitor()));
        trail = Some(worker.trail());
        running.accounts = Some(worker.accounts());
        tasks.spawn(stop.supervise("worker", worker.run(stop.stop.clone(), stop.abort.clone())));
    }
    let here = flow::Here { doors: roles.ingest, worker: roles.worker };
    let telling = flow::every_minute(here, metrics.clone(), stop.stop.clone(), |line| tracing::info!("{line}"));
    tasks.spawn(stop.supervise("flow", telling));
    let configured = running.configured.subscribe();
    let polling = poll::depths(queue.clone(), settings.clone(), configured, metrics.clone(), stop.stop.clone());
    tasks.spawn(stop.supervise("depths", polling));
    tasks.close();
    // Metrics and health answer until the very end, so they are not among the tasks that are waited for.
    let (state, stuck) = (queue.state(), queue.stuck());
    let memory = Memory {
        role: roles.as_role(),
        configured: running.configured.subscribe(),
        accounts: running.accounts.clone(),
        doors: recent_at_doors,
        trail,
        metrics: metrics.clone(),
        stuck: stuck.clone(),
    };
    let ops = Ops { metrics, queue: state, stuck, worker: readiness, monitor, stop: stop.clone(), memory };
    let http = HttpSettings { grace, protection: None, certificate: None };
    let serving = serve(ops_listener, ops::router(ops), http, running.ops_stop.clone());
    tokio::spawn(stop.parts.supervise("ops", &running.ops_stop, serving));
    Ok(running)
}

impl Running {
    fn shared(&self) -> Shared {
        Shared {
            queue: self.queue.clone(),
            configured: self.configured.clone(),
            access: self.access.clone(),
            metrics: self.metrics.clone(),
            accounts: self.accounts.clone(),
        }
    }

    /// Waits for what is in flight, for as long as the grace allows. Call it after the stop, also after one for which a part
    /// is to blame: that fails in the end.
    pub(crate) async fn end(self, settings: &Settings, stop: &Stop) -> Result<(), Exit> {
        let orderly = tokio::select! {
            biased;
            () = self.tasks.wait() => true,
            () = tokio::time::sleep(settings.shutdown_grace) => false,
            () = stop.abort.cancelled() => false,
        };
        if orderly {
            self.traces.close().await;
            self.queue.close().await;
            self.ops_stop.cancel();
            tracing::info!("stopped");
            return stop.verdict();
        }
        tracing::warn!("not everything in flight was finished; what was not comes again");
        stop.abort.cancel();
        // Giving the work queues up makes their next owner start at once instead of when the broker notices.
        let _ = tokio::time::timeout(LEAVING, self.tasks.wait()).await;
        // Nor has the broker a lost connection to tell of.
        let _ = tokio::time::timeout(LEAVING, self.queue.close()).await;
        self.ops_stop.cancel();
        Err(Exit::Said)
    }
}

/// The queue, and what a process has beside it.
struct Opened {
    queue: Arc<dyn Queue>,
    store: left_behind::Store,
    /// In a worker.
    directory: Option<DirectoryHandle>,
}

fn open(
    settings: &Settings,
    roles: Roles,
    metrics: &Metrics,
    stop: &Stop,
    tasks: &TaskTracker,
) -> Result<Opened, Exit> {
    match &settings.queue_url {
        QueueUrl::RabbitMq(url) => {
            let directory = if roles.worker { parts::shared_directory(settings, stop)? } else { None };
            let keys = directory.as_ref().map(|directory| &directory.keys);
            let queue = Arc::new(parts::rabbitmq(url, settings, keys, metrics, &stop.parts));
            let looking = policy_watch::look(queue.clone(), settings.management_url.clone(), stop.stop.clone());
            tasks.spawn(stop.parts.errand("policies", looking));
            let directory = directory.and_then(|directory| use_directory(directory, &queue, metrics, stop, tasks));
            let store = left_behind::Store::Broker(queue.clone(), settings.management_url.clone());
            Ok(Opened { queue, store, directory })
        }
        QueueUrl::Sqlite(path) => {
            let directory = if roles.worker { parts::local_directory(settings, stop)? } else { None };
            let queue = Arc::new(parts::sqlite(path, settings, metrics, &stop.parts));
            let store = left_behind::Store::Embedded(queue.clone());
            Ok(Opened { queue, store, directory: directory.map(DirectoryHandle::Local) })
        }
    }
}

/// Keeps the directory for all workers, if this one has a file of it, and says how to use it.
fn use_directory(
    directory: SharedDirectory,
    queue: &Arc<RabbitMq>,
    metrics: &Metrics,
    stop: &Stop,
    tasks: &TaskTracker,
) -> Option<DirectoryHandle> {
    if let Some(kept) = directory.kept {
        let keeping = Keeper::new(kept, metrics.clone()).run(queue.clone(), stop.stop.clone());
        tasks.spawn(stop.supervise("directory keeper", keeping));
    }
    let showing = mailbox::depth(queue.clone(), metrics.clone(), stop.stop.clone());
    tasks.spawn(stop.supervise("directory mailbox", showing));
    Some(DirectoryHandle::Remote(Box::new(RemoteDirectory::new(queue.mailbox()?, directory.keys))))
}

/// Where spans go.
fn traces(settings: &Settings, roles: Roles) -> Traces {
    let Some(traces) = &settings.traces else { return Traces::default() };
    let system = match settings.queue_url {
        QueueUrl::RabbitMq(_) => "rabbitmq",
        QueueUrl::Sqlite(_) => "sqlite",
    };
    Traces::to(traces, Process { role: roles.as_role().as_str(), version: env!("CARGO_PKG_VERSION"), system })
}

/// What this process may have open at once.
fn needs(settings: &Settings, roles: Roles) -> Needs {
    let calls = settings.concurrency.saturating_mul(settings.accounts.len());
    Needs {
        doors: if roles.ingest { settings.bounds.max_connections } else { 0 },
        ops: CONNECTIONS_ASIDE,
        calls: if roles.worker { calls } else { 0 },
    }
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Exit> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen at {key} = {address}")).map_err(Exit::Failed)
}
