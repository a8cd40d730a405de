use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long work may wait for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// How many bodies are unpacked, and large ones verified, at once: that is work for a processor, of which there are few.
/// Strangers wait for each other only.
#[derive(Debug)]
pub(crate) struct Unpackers {
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

/// Why work is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undone {
    /// It had no turn in time.
    Busy,
    /// It panicked.
    Panicked,
}

impl Unpackers {
    pub(crate) fn new() -> Self {
        let processors = available_parallelism().map_or(1, std::num::NonZero::get);
        let of = |size| Arc::new(Semaphore::new(size));
        Self { known: of(processors), strangers: of(processors.div_ceil(2)) }
    }

    /// Does work beside the runtime, when it is its turn. The turn lasts as long as the work, even when nobody waits for it any
    /// more: work that has begun cannot be stopped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        is_stranger: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Undone> {
        let unpackers = if is_stranger { &self.strangers } else { &self.known };
        let turn = timeout(TURN_TIMEOUT, unpackers.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Undone::Busy) };
        let working = spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        working.await.map_err(|_| Undone::Panicked)
    }

    /// All the turns of strangers, until they are dropped.
    #[cfg(test)]
    pub(crate) fn occupy_strangers(&self) -> tokio::sync::OwnedSemaphorePermit {
        let all = u32::try_from(self.strangers.available_permits()).expect("few");
        self.strangers.clone().try_acquire_many_owned(all).expect("all that there are")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_turn_lasts_as_long_as_its_work_even_when_nobody_waits_for_it() {
        let unpackers =
            Arc::new(Unpackers { known: Arc::new(Semaphore::new(1)), strangers: Arc::new(Semaphore::new(1)) });
        let (begun, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let impatient = tokio::spawn({
            let unpackers = unpackers.clone();
            async move {
                let work = move || {
                    begun.send(()).unwrap();
                    ends.recv().unwrap();
                };
                unpackers.run(true, work).await
            }
        });
        while begins.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        impatient.abort();
        assert!(impatient.await.unwrap_err().is_cancelled());
        assert_eq!(unpackers.strangers.available_permits(), 0);
        assert_eq!(unpackers.run(false, || 5).await, Ok(5), "the known wait for no stranger");
        end.send(()).unwrap();
        assert_eq!(unpackers.run(true, || 5).await, Ok(5));
        assert_eq!(unpackers.run(true, move || begins.recv().expect("broken")).await, Err(Undone::Panicked));
    }
}
