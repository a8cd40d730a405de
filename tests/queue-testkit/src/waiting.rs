//! How the tests wait.

use std::time::Duration;

use refersion_relay_queue::{Delivery, Owned};
use tokio::time::{interval, timeout};

use crate::events::body;

/// What works at all works within this time, even beside a compiler.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The next `count` deliveries, unsettled.
pub async fn take(owned: &mut Owned, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = timeout(PATIENCE, owned.next()).await;
        let next = next.unwrap_or_else(|_| panic!("only {} of {count} deliveries came", taken.len()));
        taken.push(next.unwrap_or_else(|| panic!("the term ended after {} of {count} deliveries", taken.len())));
    }
    taken
}

/// The next delivery, unsettled.
pub async fn take_one(owned: &mut Owned) -> Delivery {
    take(owned, 1).await.remove(0)
}

/// Waits until a term has ended, whatever is delivered before.
pub async fn until_ended(owned: &mut Owned) {
    let draining = async { while owned.next().await.is_some() {} };
    timeout(PATIENCE, draining).await.expect("the term did not end");
}

/// Asks until there is an answer.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = interval(Duration::from_millis(20));
    let asking = async {
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never came: {what}"))
}

/// Watches that something stays as it is.
pub async fn stays(what: &str, during: Duration, mut holds: impl FnMut() -> bool) {
    let mut ticks = interval(Duration::from_millis(20));
    let watching = async {
        while holds() {
            ticks.tick().await;
        }
    };
    assert!(timeout(during, watching).await.is_err(), "did not stay: {what}");
}

/// Watches that nothing comes for long enough to believe it.
pub async fn nothing_comes(owned: &mut Owned) {
    if let Ok(next) = timeout(Duration::from_millis(300), owned.next()).await {
        panic!("came: {:?}", next.map(|delivery| body(&delivery.message)));
    }
}
