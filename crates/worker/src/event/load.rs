use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use refersion_relay_queue::{BrokerState, Place, Queue, Room};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// What an event in hand takes beside its body.
const BESIDE: usize = 4 * 1_024;
/// So many queues with a backlog may be taken up at a time: what they send at once is weighed before more is asked for.
const TAKING_UP: usize = 2;
/// So few waiting events are no backlog.
const FEW: u64 = 16;

/// What a process has in hand, in bytes.
///
/// A queue that is taken up sends as many events as its room has, and how large they are shows only then. The room stays the
/// same: a queue that is read by few at a time gives back in another order what was read by many. So an account whose events
/// are too much gives its queue back whole, and takes it up again later.
pub(crate) struct Load {
    /// In bytes.
    limit: usize,
    weight: watch::Sender<usize>,
    taking_up: Arc<Semaphore>,
}

/// Bytes in hand, for as long as it lives.
pub(crate) struct Weight {
    load: Arc<Load>,
    /// What the account has of it.
    part: Arc<AtomicUsize>,
    bytes: usize,
}

/// The right to take up a queue with a backlog, until what it sends at first is in hand.
pub(crate) struct TakingUp {
    _permit: OwnedSemaphorePermit,
    /// So many events it is likely to send.
    pub(crate) events: usize,
}

impl Load {
    pub(crate) fn new(limit: usize) -> Self {
        let taking_up = Arc::new(Semaphore::new(TAKING_UP));
        Self { limit, weight: watch::Sender::new(0), taking_up }
    }

    /// Weighs a body that is taken in hand, as a part of what its account has.
    pub(crate) fn weigh(self: &Arc<Self>, body: usize, part: &Arc<AtomicUsize>) -> Weight {
        let bytes = body.saturating_add(BESIDE);
        part.fetch_add(bytes, Ordering::Relaxed);
        self.weight.send_modify(|weight| *weight = weight.saturating_add(bytes));
        Weight { load: self.clone(), part: part.clone(), bytes }
    }

    /// Whether there is too much in hand. Then an account that has its share of it or more is to give up what it has.
    pub(crate) fn is_over(&self) -> bool {
        self.limit < *self.weight.borrow()
    }

    /// What one of so many accounts may have of it, in bytes.
    pub(crate) fn share(&self, accounts: usize) -> usize {
        self.limit / accounts.max(1)
    }

    /// Waits until half of what may be in hand is free, or for so long.
    pub(crate) async fn until_lighter(&self, patience: Duration) {
        let is_lighter = |weight: &usize| *weight <= self.limit / 2;
        let _ = tokio::time::timeout(patience, self.weight.subscribe().wait_for(is_lighter)).await;
    }

    /// Waits until the broker is there, and for the right to take up a queue; `None` for one without a backlog, which needs none.
    pub(crate) async fn take_up(&self, queue: &dyn Queue, place: &Place, room: Room) -> Option<TakingUp> {
        let waiting = || async { queue.depth(place).await.map_or(u64::MAX, |depth| depth.ready) };
        // Nothing is known of any queue before, and each would pass for one with a backlog.
        let _ = queue.state().wait_for(BrokerState::is_up).await;
        if waiting().await <= FEW {
            return None;
        }
        let permit = self.taking_up.clone().acquire_owned().await.ok()?;
        let events = waiting().await;
        let sent = usize::try_from(events.min(room.events.into())).unwrap_or(usize::MAX);
        (FEW < events).then_some(TakingUp { _permit: permit, events: sent })
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.part.fetch_sub(self.bytes, Ordering::Relaxed);
        self.load.weight.send_modify(|weight| *weight = weight.saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_account_with_more_than_its_share_gives_it_back_when_there_is_too_much() {
        let load = Arc::new(Load::new(1_000_000));
        let (one, other) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let has =
            |part: &Arc<AtomicUsize>, accounts| load.is_over() && load.share(accounts) <= part.load(Ordering::Relaxed);
        let large = load.weigh(900_000, &one);
        assert!(!has(&one, 4), "there is room");
        let _small = load.weigh(100_000, &other);
        assert!(has(&one, 4) && !has(&other, 4) && has(&other, 10));
        assert!(load.until_lighter(Duration::from_secs(10)).now_or_never().is_none());
        drop(large);
        assert!(!has(&other, 10));
        assert!(load.until_lighter(Duration::from_secs(10)).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let load = Arc::new(Load::new(1_000));
        let _heavy = load.weigh(2_000, &Arc::default());
        let began = tokio::time::Instant::now();
        load.until_lighter(Duration::from_secs(10)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(10));
    }
}
