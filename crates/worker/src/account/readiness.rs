use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// How long a queue that was given back may take to be owned again before the worker is not ready.
const TAKING_UP: Duration = Duration::from_secs(5);

/// How far a worker is with owning its work queues.
#[derive(Debug, Default)]
pub struct Readiness {
    missing: AtomicUsize,
}

/// A work queue that is to be owned and is not, for as long as it lives.
pub(crate) struct Missing {
    /// Counts at once, or after a while.
    _counting: Counting,
}

enum Counting {
    Now { _counted: Counted },
    Later { _task: AbortOnDropHandle<()> },
}

struct Counted(Arc<Readiness>);

impl Readiness {
    /// Whether every work queue is owned, or stood by for, or rightly not read.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.missing.load(Ordering::Acquire) == 0
    }

    /// A queue is missing from now on.
    pub(crate) fn missing(self: &Arc<Self>) -> Missing {
        Missing { _counting: Counting::Now { _counted: Counted::new(self.clone()) } }
    }

    /// A queue was given back or lost. It is missing if it is not owned again soon.
    pub(crate) fn missing_later(self: &Arc<Self>) -> Missing {
        let readiness = self.clone();
        let counting = tokio::spawn(async move {
            sleep(TAKING_UP).await;
            let _counted = Counted::new(readiness);
            std::future::pending::<()>().await;
        });
        Missing { _counting: Counting::Later { _task: AbortOnDropHandle::new(counting) } }
    }
}

impl Counted {
    fn new(readiness: Arc<Readiness>) -> Self {
        readiness.missing.fetch_add(1, Ordering::AcqRel);
        Self(readiness)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.missing.fetch_sub(1, Ordering::AcqRel);
    }
}
