use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::ConnectError;
use super::generation::Generation;
use super::reader;
use super::url::BrokerUrl;

/// What places are consumed over: one connection for all of them, with a channel for each. It is opened when the first place is
/// taken up, and anew when it broke.
///
/// Only a place that would end it for the others has a connection to itself, until that works.
pub(crate) struct Consuming {
    pub(super) url: BrokerUrl,
    pub(super) metrics: Metrics,
    shared: tokio::sync::Mutex<Shared>,
    /// How often the shared connection was opened, or could not be.
    attempts: AtomicU64,
    pub(super) disturbing: Disturbing,
    pub(super) stop: CancellationToken,
    pub(super) generations: TaskTracker,
    pub(super) parts: Parts,
}

#[derive(Default)]
struct Shared {
    generation: Option<Arc<Generation>>,
    /// Why the last attempt came to nothing, if it did.
    failure: Option<ConnectError>,
}

/// The queues that cost other places their terms when they were consumed last, or may when they are consumed next.
#[derive(Clone, Default)]
pub(super) struct Disturbing(Arc<Mutex<HashSet<String>>>);

impl Consuming {
    /// Opens nothing yet.
    pub(crate) fn new(url: BrokerUrl, metrics: Metrics, parts: Parts) -> Self {
        Self {
            url,
            metrics,
            shared: tokio::sync::Mutex::default(),
            attempts: AtomicU64::new(0),
            disturbing: Disturbing::default(),
            stop: CancellationToken::new(),
            generations: TaskTracker::new(),
            parts,
        }
    }

    /// What to consume a queue over.
    pub(super) async fn generation(&self, queue: &str) -> Result<(Arc<Generation>, Use), lapin::Error> {
        if !self.disturbing.has(queue) {
            let shared = self.shared().await?;
            if !shared.is_silent(queue) {
                return Ok((shared, Use::Shared));
            }
        }
        self.alone(queue).await
    }

    /// A connection that nothing else is done over.
    pub(super) async fn alone(&self, queue: &str) -> Result<(Arc<Generation>, Use), lapin::Error> {
        let opened = self.open(queue).await?;
        Ok((opened.map_err(|failure| away(&failure))?, Use::Alone))
    }

    /// The connection of all places. One at a time opens it, and what comes of that holds for everybody who waits meanwhile.
    async fn shared(&self) -> Result<Arc<Generation>, lapin::Error> {
        let before = self.attempts.load(Ordering::Relaxed);
        let mut shared = self.shared.lock().await;
        if let Some(generation) = shared.generation.as_ref().filter(|generation| generation.is_up()) {
            return Ok(generation.clone());
        }
        if let Some(failure) = shared.failure.as_ref().filter(|_| self.attempts.load(Ordering::Relaxed) != before) {
            return Err(away(failure));
        }
        let opened = self.open("consume").await?;
        self.attempts.fetch_add(1, Ordering::Relaxed);
        *shared = match &opened {
            Ok(generation) => Shared { generation: Some(generation.clone()), failure: None },
            Err(failure) => Shared { generation: None, failure: Some(failure.clone()) },
        };
        opened.map_err(|failure| away(&failure))
    }

    async fn open(&self, purpose: &str) -> Result<Result<Arc<Generation>, ConnectError>, lapin::Error> {
        let opening = Generation::open(self, purpose);
        let closed = || reader::io_error("the queue is closed".to_owned());
        self.stop.run_until_cancelled(opening).await.ok_or_else(closed)
    }

    /// Ends every term, and closes what they were consumed over.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.generations.close();
        self.generations.wait().await;
    }
}

impl Drop for Consuming {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn away(error: &ConnectError) -> lapin::Error {
    reader::io_error(error.to_string())
}

/// Whether others use a connection too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Shared,
    Alone,
}

impl Disturbing {
    fn has(&self, queue: &str) -> bool {
        self.lock().contains(queue)
    }

    pub(super) fn insert(&self, queue: &str) {
        self.lock().insert(queue.to_owned());
    }

    pub(super) fn remove(&self, queue: &str) {
        self.lock().remove(queue);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
