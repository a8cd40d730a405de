use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use refersion_relay_refersion::Failure;
use refersion_relay_telemetry::{Metrics, RefersionState};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::RefersionApi;
use crate::account::accounts::{AccountState, Accounts};
use crate::attempt::attempt::Attempt;
use crate::attempt::decide::trouble;
use crate::outage::breaker::{Breaker, Change, Known, Phase, Trouble};
use crate::outage::history::History;
use crate::settings::OutageSettings;

/// Watches whether Refersion is there, for everybody in this process: stops the calls in an outage, and probes. `Breaker` decides; here
/// are the clock, the waiting, the probes, the log and the metrics.
pub struct OutageMonitor {
    inner: Mutex<Inner>,
    /// Moves when something has changed that somebody may wait for.
    changes: watch::Sender<()>,
    accounts: Arc<Accounts>,
    metrics: Metrics,
}

struct Inner {
    breaker: Breaker,
    history: History,
    /// Since when it is as it is.
    since: SystemTime,
    /// How much of this outage is in the counter already.
    counted: Duration,
    /// Whose turn it is to be probed with.
    turn: usize,
    /// What the last probe failed of.
    failure: String,
}

/// How Refersion is, for health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefersionStatus {
    /// What is done about it.
    pub state: RefersionState,
    /// Since when.
    pub since: SystemTime,
    /// In an outage, what is wrong.
    pub trouble: Option<Trouble>,
    /// The same in words, as far as they are known: what the last probe failed of.
    pub failure: Option<String>,
}

impl OutageMonitor {
    pub(crate) fn new(settings: OutageSettings, accounts: Arc<Accounts>, metrics: Metrics) -> Self {
        let inner = Inner {
            breaker: Breaker::new(settings),
            history: History::default(),
            since: SystemTime::now(),
            counted: Duration::ZERO,
            turn: 0,
            failure: String::new(),
        };
        metrics.refersion_is(RefersionState::Up);
        Self { inner: Mutex::new(inner), changes: watch::Sender::new(()), accounts, metrics }
    }

    /// How Refersion is.
    #[must_use]
    pub fn standing(&self) -> RefersionStatus {
        let inner = self.lock();
        let (state, trouble) = match inner.breaker.phase() {
            Phase::Up => (RefersionState::Up, None),
            Phase::Out { trouble, .. } => (RefersionState::Outage, Some(trouble)),
        };
        let failure = trouble.is_some().then(|| inner.failure.clone()).filter(|failure| !failure.is_empty());
        RefersionStatus { state, since: inner.since, trouble, failure }
    }

    /// Probes when something is to be found out, until `stop`.
    pub(crate) async fn run(self: Arc<Self>, destination: Arc<dyn RefersionApi>, stop: CancellationToken) {
        let mut probes = JoinSet::new();
        let mut changes = self.changes.subscribe();
        while !stop.is_cancelled() {
            let probe_due = self.lock().breaker.probe_due();
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = changes.changed() => {}
                () = at(probe_due), if probe_due.is_some() => {
                    // Without anybody to probe with, this is looked at again at the time of the next probe.
                    if let Some(account_state) = self.next_to_probe() {
                        probes.spawn(self.clone().probe(destination.clone(), account_state));
                    }
                }
                Some(ended) = probes.join_next(), if !probes.is_empty() => if let Err(error) = ended {
                    // Events wait for what it was to find out.
                    resume_unwind(error.into_panic());
                },
            }
        }
    }

    /// Whether nothing may call now.
    pub fn is_out(&self) -> bool {
        matches!(self.lock().breaker.phase(), Phase::Out { .. })
    }

    /// Waits for the end of an outage, if there is one.
    pub(crate) async fn until_back(&self) {
        let mut changes = self.changes.subscribe();
        while self.is_out() {
            // The sender is ours.
            let _ = changes.changed().await;
        }
    }

    /// Waits until an outage has lasted so long that what is in hand should be given back.
    pub(crate) async fn until_patience_ends(&self) {
        let mut changes = self.changes.subscribe();
        loop {
            let end = self.lock().breaker.patience_ends();
            tokio::select! {
                _ = changes.changed() => {}
                () = at(end), if end.is_some() => return,
            }
        }
    }

    /// A call was answered properly.
    pub(crate) fn answered(&self, began: Instant) {
        self.change(|outage| outage.answered(began, Instant::now()));
    }

    /// Finds out about an attempt from `began` to `failed`, which failed in a way that can be Refersion's.
    pub(crate) async fn judge(&self, began: Instant, failed: Instant) -> Known {
        let mut changes = self.changes.subscribe();
        self.change(|outage| outage.failed(began, failed));
        loop {
            if let Some(known) = self.lock().breaker.judge(began, failed) {
                return known;
            }
            let _ = changes.changed().await;
        }
    }

    /// How long Refersion was out between `first` and `now`.
    pub(crate) fn out_between(&self, first: SystemTime, now: SystemTime) -> Duration {
        self.lock().history.between(first, now)
    }

    /// Brings the counter of seconds up to date.
    pub(crate) fn count(&self) {
        let mut inner = self.lock();
        if let Phase::Out { since, .. } = inner.breaker.phase() {
            inner.count(since.elapsed(), &self.metrics);
        }
    }

    /// Takes the accounts in turns, without those that are gone or that Refersion wants to be left alone by.
    fn next_to_probe(&self) -> Option<Arc<AccountState>> {
        let mut account_states = self.accounts.callable();
        account_states.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
        let mut inner = self.lock();
        inner.breaker.probing(Instant::now(), rand::random());
        inner.turn = inner.turn.wrapping_add(1);
        let turn = inner.turn;
        (!account_states.is_empty()).then(|| account_states.swap_remove(turn % account_states.len()))
    }

    async fn probe(self: Arc<Self>, destination: Arc<dyn RefersionApi>, account_state: Arc<AccountState>) {
        let attempt = Arc::new(Attempt::probe(self.clone()));
        let answer = destination.check_keys(&account_state.account(), attempt.clone()).await;
        let Some(proper) = attempt.was_proper() else {
            // The account's keys cannot even be sent. Another account's turn comes next.
            return;
        };
        self.metrics.probed(proper);
        if let (false, Err(failure)) = (proper, answer) {
            self.lock().failure = failure.to_string();
            self.change(|outage| outage.probe_failed(attempt.began(), sign(&failure)));
        }
    }

    /// Lets something change, and does what has to be done about it.
    fn change(&self, change: impl FnOnce(&mut Breaker) -> Change) {
        let mut inner = self.lock();
        match change(&mut inner.breaker) {
            Change::Nothing => return,
            Change::Doubt => {}
            Change::Began(trouble) => {
                inner.since = SystemTime::now();
                inner.counted = Duration::ZERO;
                self.metrics.refersion_is(RefersionState::Outage);
                self.metrics.outage_began(trouble.as_str());
                tracing::warn!(
                    refersion.trouble = trouble.as_str(),
                    refersion.failure = inner.failure,
                    "Refersion is out: nothing is worked and no attempt is charged until it answers again"
                );
            }
            Change::Ended(began) => {
                let (now, lasted) = (SystemTime::now(), began.elapsed());
                inner.count(lasted, &self.metrics);
                let began = now.checked_sub(lasted).unwrap_or(now);
                inner.history.add(began, now);
                inner.since = now;
                self.metrics.refersion_is(RefersionState::Up);
                self.accounts.account_states().iter().for_each(|account_state| account_state.limiter.restart());
                tracing::info!(
                    seconds = lasted.as_secs_f64(),
                    "Refersion answers again: each account begins with one call at a time"
                );
            }
        }
        drop(inner);
        self.changes.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock, but for what is a bug anyway.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whole seconds only; what is left of one is counted with the next.
    fn count(&mut self, lasted: Duration, metrics: &Metrics) {
        let seconds = lasted.saturating_sub(self.counted).as_secs();
        self.counted += Duration::from_secs(seconds);
        metrics.outage_lasted(seconds);
    }
}

/// What a probe without a proper answer is a sign of, whatever an event would be told by the same answer.
fn sign(failure: &Failure) -> Trouble {
    trouble(failure).unwrap_or(match failure {
        Failure::Unavailable { .. } => Trouble::Unavailable,
        Failure::Transport { .. } => Trouble::NoAnswer,
        Failure::Limited { .. } | Failure::Unclear { .. } | Failure::Unauthorized { .. } | Failure::Rejected(_) => {
            Trouble::Unclear
        }
    })
}

/// Waits for a moment; for ever, if there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
