use std::thread::available_parallelism;

use tokio::sync::{Semaphore, SemaphorePermit};

/// How many bodies are unpacked at once: that is work for a processor, of which there are few. Strangers wait for each
/// other only.
#[derive(Debug)]
pub(crate) struct Unpackers {
    known: Semaphore,
    strangers: Semaphore,
}

impl Unpackers {
    pub(crate) fn new() -> Self {
        let processors = available_parallelism().map_or(1, std::num::NonZero::get);
        Self { known: Semaphore::new(processors), strangers: Semaphore::new(processors.div_ceil(2)) }
    }

    /// Waits for its turn. `None` never happens: nobody closes them.
    pub(crate) async fn turn(&self, is_stranger: bool) -> Option<SemaphorePermit<'_>> {
        let unpackers = if is_stranger { &self.strangers } else { &self.known };
        unpackers.acquire().await.ok()
    }
}
