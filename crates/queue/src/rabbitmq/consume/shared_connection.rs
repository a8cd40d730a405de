use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::rabbitmq::wire::connection::ConnectError;
use crate::rabbitmq::wire::generation::{Generation, InUse, Until};
use crate::rabbitmq::wire::requests;
use crate::rabbitmq::wire::url::BrokerUrl;

/// What places are consumed over: one connection for all of them, with a channel for each. It is opened when the first place is
/// taken up, and anew when it broke.
///
/// A place that may end it for the others is tried over a second connection, with the others of its kind, and stays there for
/// a term if that works. The second connection is closed when nobody uses it any more.
pub(crate) struct SharedConnection {
    pub(crate) url: BrokerUrl,
    pub(crate) metrics: Metrics,
    shared: Slot,
    trial: Slot,
    pub(crate) disturbing: Disturbing,
    pub(crate) stop: CancellationToken,
    pub(crate) generations: TaskTracker,
    pub(crate) parts: Parts,
}

/// A connection that several places use. One of them at a time opens it, and what comes of that holds for all who wait meanwhile.
#[derive(Default)]
struct Slot {
    opened: tokio::sync::Mutex<Opened>,
    /// How often it was opened, or could not be.
    attempts: AtomicU64,
}

#[derive(Default)]
struct Opened {
    generation: Option<Arc<Generation>>,
    /// Why the last attempt came to nothing, if it did.
    failure: Option<ConnectError>,
}

/// The queues that cost other places their terms when they were consumed last, or may when they are consumed next.
#[derive(Clone, Default)]
pub(crate) struct Disturbing(Arc<Mutex<HashSet<String>>>);

impl SharedConnection {
    /// Opens nothing yet.
    pub(crate) fn new(url: BrokerUrl, metrics: Metrics, parts: Parts) -> Self {
        Self {
            url,
            metrics,
            shared: Slot::default(),
            trial: Slot::default(),
            disturbing: Disturbing::default(),
            stop: CancellationToken::new(),
            generations: TaskTracker::new(),
            parts,
        }
    }

    /// What to consume a queue over.
    pub(crate) async fn generation(&self, queue: &str) -> Result<InUse, lapin::Error> {
        if !self.disturbing.has(queue) {
            let shared = self.usable(&self.shared, "consume", Until::Closed).await?;
            if !shared.is_silent(queue) {
                return Ok(shared);
            }
        }
        let trial = self.usable(&self.trial, "try out", Until::Unused).await?;
        if trial.is_silent(queue) {
            return Err(requests::silence_of(queue));
        }
        Ok(trial)
    }

    /// The connection in a slot, opened anew if it is not there any more.
    async fn usable(&self, slot: &Slot, purpose: &str, until: Until) -> Result<InUse, lapin::Error> {
        let before = slot.attempts.load(Ordering::Relaxed);
        let mut opened = slot.opened.lock().await;
        // It is in use before it is looked at, so that nobody closes it in between.
        if let Some(used) = opened.generation.as_ref().map(Generation::in_use).filter(|used| used.is_up()) {
            return Ok(used);
        }
        if let Some(failure) = opened.failure.as_ref().filter(|_| slot.attempts.load(Ordering::Relaxed) != before) {
            return Err(away(failure));
        }
        let attempt = self.open(purpose, until).await?;
        slot.attempts.fetch_add(1, Ordering::Relaxed);
        *opened = match &attempt {
            Ok(generation) => Opened { generation: Some(generation.clone()), failure: None },
            Err(failure) => Opened { generation: None, failure: Some(failure.clone()) },
        };
        attempt.map(|generation| generation.in_use()).map_err(|failure| away(&failure))
    }

    async fn open(&self, purpose: &str, until: Until) -> Result<Result<Arc<Generation>, ConnectError>, lapin::Error> {
        let opening = Generation::open(self, purpose, until);
        let closed = || requests::io_error("the queue is closed".to_owned());
        self.stop.run_until_cancelled(opening).await.ok_or_else(closed)
    }

    /// Ends every term, and closes what they were consumed over.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.generations.close();
        self.generations.wait().await;
    }
}

impl Drop for SharedConnection {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn away(error: &ConnectError) -> lapin::Error {
    requests::io_error(error.to_string())
}

impl Disturbing {
    fn has(&self, queue: &str) -> bool {
        self.lock().contains(queue)
    }

    pub(crate) fn insert(&self, queue: &str) {
        self.lock().insert(queue.to_owned());
    }

    pub(crate) fn remove(&self, queue: &str) {
        self.lock().remove(queue);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
