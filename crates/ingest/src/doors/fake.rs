//! What the tests of the doors stand on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use refersion_relay_model::{AccountName, Class};
use refersion_relay_queue::{
    BrokerState, Browsed, Conservation, Depth, InFlight, Letter, LetterVisitor, Message, Owned, Place, PublishError,
    Queue, QueueError, Room, Scan, Swept,
};
use refersion_relay_telemetry::Metrics;
use refersion_relay_traces::Traces;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{Access, Bounds, Ingest, Protection};

/// The least memory that can be configured, and no limits of requests.
pub(crate) fn bounds() -> Bounds {
    Bounds {
        max_requests_per_second: 0,
        max_body_memory: 64 << 20,
        max_connections: 8,
        max_connections_per_client: 2,
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
    }
}

/// Doors before a queue that stores at once.
pub(crate) fn ingest(access: Access) -> (Ingest, Arc<FakeQueue>) {
    let state = watch::Sender::new(BrokerState::Up);
    let queue = Arc::new(FakeQueue {
        open: Semaphore::new(1_000),
        stored: AtomicUsize::new(0),
        gives_up: AtomicBool::new(false),
        kept: Mutex::default(),
        state,
    });
    let metrics = Metrics::new();
    let protection = Protection::new(bounds(), metrics.clone());
    let access = watch::channel(Arc::new(access)).1;
    (
        Ingest { queue: queue.clone(), access, metrics, protection, recent: Arc::default(), traces: Traces::default() },
        queue,
    )
}

/// Counts what is published.
pub(crate) struct FakeQueue {
    /// A publish takes a permit, and waits where there is none.
    pub(crate) open: Semaphore,
    stored: AtomicUsize,
    /// Whether a publish says that it is not confirmed, and what it was to store is kept.
    pub(crate) gives_up: AtomicBool,
    pub(crate) kept: Mutex<Vec<(Place, Message)>>,
    pub(crate) state: watch::Sender<BrokerState>,
}

impl FakeQueue {
    pub(crate) fn stored(&self) -> usize {
        self.stored.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Queue for FakeQueue {
    async fn publish(&self, messages: Vec<(Place, Message)>) -> Vec<Result<(), PublishError>> {
        self.open.acquire().await.expect("nobody closes it").forget();
        if self.gives_up.load(Ordering::Relaxed) {
            let results = messages.iter().map(|_| Err(PublishError::Unknown("not in time".to_owned()))).collect();
            self.kept.lock().expect("not poisoned").extend(messages);
            return results;
        }
        self.stored.fetch_add(messages.len(), Ordering::Relaxed);
        messages.iter().map(|_| Ok(())).collect()
    }

    async fn own(&self, _: Place, _: Room) -> Result<Owned, QueueError> {
        unreachable!()
    }

    async fn admit(&self, _: &[AccountName]) -> Result<(), QueueError> {
        unreachable!()
    }

    async fn depth(&self, _: &Place) -> Result<Depth, QueueError> {
        unreachable!()
    }

    async fn conservation(&self) -> Result<Conservation, QueueError> {
        unreachable!()
    }

    async fn browse(&self, _: Class, _: Scan, _: &mut (dyn FnMut(Letter) + Send)) -> Result<Browsed, QueueError> {
        unreachable!()
    }

    async fn sweep(
        &self,
        _: Class,
        _: InFlight,
        _: &mut dyn LetterVisitor,
        _: &CancellationToken,
    ) -> Result<Swept, QueueError> {
        unreachable!()
    }

    fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.subscribe()
    }

    async fn close(&self) {
        unreachable!()
    }
}
