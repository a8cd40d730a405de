use std::sync::Arc;

use refersion_relay_queue::Queue;
use refersion_relay_telemetry::Metrics;
use tokio::sync::watch;

use crate::Access;
use crate::front::protection::Protection;

/// Everything the doors need.
#[derive(Clone)]
pub struct Ingest {
    /// Where events go.
    pub queue: Arc<dyn Queue>,
    /// Who may send them, now. May be replaced at any time; a request is judged by what it found when it began.
    pub access: watch::Receiver<Arc<Access>>,
    /// Where everything is counted.
    pub metrics: Metrics,
    /// What bounds them.
    pub protection: Arc<Protection>,
}

impl Ingest {
    pub(crate) fn access(&self) -> Arc<Access> {
        self.access.borrow().clone()
    }
}
