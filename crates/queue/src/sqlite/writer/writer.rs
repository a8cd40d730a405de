use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use refersion_relay_model::AccountName;
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;
use tokio::sync::oneshot::{self, error::RecvError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::status::Status;
use super::task::{Closure, Haste, Task};
use super::thread::Thread;
use crate::BrokerState;
use crate::sqlite::file::fault::{Cause, Fault};
use crate::sqlite::file::path::SqlitePath;
use crate::sqlite::owner::Owners;
use crate::sqlite::store::work::Work;
use crate::sqlite::writer::heartbeat::Heartbeat;

/// How long the end waits for a disk. What was confirmed is on it.
const CLOSING: Duration = Duration::from_secs(10);

/// The one way to write into the file: everything is handed to a thread, which puts what has come in the meantime into one
/// transaction.
pub(crate) struct Writer {
    pub(super) tasks: Mutex<Option<Sender<Box<dyn Task>>>>,
    pub(super) state: watch::Receiver<BrokerState>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
    /// Cancelled once the threads may end.
    pub(super) stop: CancellationToken,
}

pub(crate) fn lost() -> Fault {
    Fault::new(Cause::Broken, "the queue has ended")
}

impl Writer {
    /// Begins to open the file, and goes on for ever. When nothing could be written for as long as `patience`, it says so.
    pub(crate) fn start(
        path: SqlitePath,
        accounts: Arc<Mutex<Vec<AccountName>>>,
        owners: Arc<Owners>,
        metrics: Metrics,
        patience: Duration,
        parts: &Parts,
    ) -> Self {
        let (tasks, queue) = std::sync::mpsc::channel::<Box<dyn Task>>();
        let (status, state) = Status::new(path.clone(), metrics);
        let status = Arc::new(status);
        let stop = CancellationToken::new();
        let heartbeat = Heartbeat::watched_by(status.clone(), patience, parts, &stop);
        let thread = Thread::new(path, queue, owners, status, heartbeat, accounts);
        let thread = parts.thread("sqlite-writer", &stop, move || thread.run());
        Self { tasks: Mutex::new(Some(tasks)), state, thread: Mutex::new(thread), stop }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state.borrow().is_up()
    }

    pub(crate) fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.clone()
    }

    /// Hands something to the thread. It is done even if nobody waits for it any more.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Fault>> {
        self.hand_over(rows, Haste::Now, work)
    }

    fn hand_over<T: Send + 'static>(
        &self,
        rows: usize,
        haste: Haste,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Fault>> {
        let (reply, receiver) = oneshot::channel();
        let task = Box::new(Closure { rows, haste, work: Some(work), value: None, reply });
        if let Some(tasks) = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // Without a thread the reply is dropped, and that is an answer.
            let _ = tasks.send(task);
        }
        receiver
    }

    /// Has the thread look around soon: somebody new wants something.
    pub(crate) fn nudge(&self) {
        drop(self.submit(0, |_| Ok(())));
    }

    /// Does something in a transaction, and resolves when that is on the disk.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        answer(self.submit(rows, work)).await
    }

    /// As [`Writer::run`], for one event whose settlement may wait for that of others.
    pub(crate) async fn settle<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Work<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        answer(self.hand_over(1, Haste::WithOthers, work)).await
    }

    /// Does what was handed over, gives the lease up and closes the file.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        drop(self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            if tokio::time::timeout(CLOSING, joined).await.is_err() {
                tracing::warn!("the disk does not answer, so the queue is left as it is");
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Waits for what was handed over.
pub(crate) async fn answer<T>(receiver: impl Future<Output = Result<Result<T, Fault>, RecvError>>) -> Result<T, Fault> {
    receiver.await.unwrap_or_else(|_| Err(lost()))
}
