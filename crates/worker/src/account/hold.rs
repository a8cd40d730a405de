use std::sync::Arc;
use std::time::Duration;

use refersion_relay_queue::Backoff;
use refersion_relay_refersion::Failure;
use tokio::time::{Instant, sleep};

use crate::account::accounts::AccountState;
use crate::attempt::attempt::Attempt;
use crate::attempt::decide::trouble;
use crate::context::Context;
use crate::outage::breaker::Known;

/// The first wait before a held account is probed, and the one around which the waits stop growing. Jitter makes it up to half
/// longer. So events are on their way within a minute of the keys working again, with what it takes to own the queue.
const FIRST_PROBE: Duration = Duration::from_secs(1);
const LAST_PROBE: Duration = Duration::from_secs(36);

/// Finds out whether an account's keys work: before its first event is worked, and again and again while it is held.
pub(crate) struct Hold {
    context: Arc<Context>,
    account_state: Arc<AccountState>,
    probes: Backoff,
    /// How many events had been delivered when the account was last held.
    delivered: u64,
}

impl Hold {
    pub(crate) fn new(context: Arc<Context>, account_state: Arc<AccountState>) -> Self {
        Self { context, account_state, probes: Backoff::new(FIRST_PROBE, LAST_PROBE), delivered: 0 }
    }

    /// Probes a held account until its keys work.
    pub(crate) async fn until_the_keys_work(&mut self) {
        // Keys that are fit for this and nothing else are not tried again every second.
        let count = self.account_state.refusals.count();
        if std::mem::replace(&mut self.delivered, count) != count {
            self.probes.reset();
        }
        loop {
            tokio::select! {
                () = sleep(self.probes.next_wait()) => {}
                // Somebody has changed the keys, so the next probe need not wait.
                () = self.account_state.changed.notified() => self.probes.reset(),
            }
            // In an outage the answer would be about Refersion, and there are probes for that.
            self.context.monitor.until_back().await;
            match self.ask_for_keys().await {
                // A proper no to this call is a yes to the keys.
                Ok(()) | Err(Failure::Rejected(_)) => return self.account_state.refusals.keys_pass(),
                Err(failure) => tracing::debug!(account = %self.account_state.name, "still held: {failure}"),
            }
        }
    }

    /// Asks for the keys until there is an answer that says something of them, or Refersion is up and says nothing.
    pub(crate) async fn until_the_keys_are_known(&self) {
        loop {
            self.context.monitor.until_back().await;
            let began = Instant::now();
            let failure = match self.ask_for_keys().await {
                Ok(()) | Err(Failure::Rejected(_)) => return,
                Err(failure @ Failure::Unauthorized { .. }) => {
                    self.context.hold(&self.account_state, failure.status());
                    // The term is told to stop.
                    return std::future::pending().await;
                }
                Err(failure) => failure,
            };
            tracing::debug!(account = %self.account_state.name, "the keys could not be asked for: {failure}");
            let known = match trouble(&failure) {
                Some(_) => self.context.monitor.judge(began, Instant::now()).await,
                None => Known::Up,
            };
            match known {
                Known::Up => return,
                Known::Out => {}
            }
        }
    }

    async fn ask_for_keys(&self) -> Result<(), Failure> {
        let attempt = Arc::new(Attempt::at_keys(self.context.monitor.clone()));
        self.context.destination.check_keys(&self.account_state.account(), attempt).await
    }
}
