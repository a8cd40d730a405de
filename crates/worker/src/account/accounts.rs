use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use refersion_relay_model::AccountName;
use refersion_relay_telemetry::Metrics;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::Account;
use crate::account::gate::{Gate, GateState};
use crate::account::refusals::Refusals;
use crate::pacing::call_limiter::CallLimiter;

/// The accounts a worker works for. They can be replaced while it works: an account keeps its state when its settings
/// change or when it goes and comes back, and an event that is being worked is finished with the settings it began with.
pub struct Accounts {
    /// Of every account that was ever configured: events of one that is gone are still under way.
    account_states: RwLock<HashMap<AccountName, Arc<AccountState>>>,
    opened: mpsc::UnboundedSender<Arc<AccountState>>,
    to_open: Mutex<Option<mpsc::UnboundedReceiver<Arc<AccountState>>>>,
    concurrency: usize,
    metrics: Metrics,
}

/// Whether a worker works for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It does.
    Open,
    /// Refersion refuses its keys, so nobody reads its work queue.
    Held,
    /// Refersion asked for fewer calls, so none begins until then.
    Paused(SystemTime),
    /// It is not configured any more.
    Gone,
}

/// What a worker does with an account's work queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkQueue {
    /// It does not read it.
    #[default]
    Unread,
    /// It has asked for it, and got nothing of it since: another worker has it, or it is empty.
    StandingBy,
    /// It has got events of it. Another worker may have it since, where that is not told.
    Worked,
}

/// How an account is in a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    /// Which one.
    pub name: AccountName,
    /// Whether it is worked for.
    pub condition: Condition,
    /// Since when it is open, held or gone.
    pub since: SystemTime,
    /// Whether its queue is read here.
    pub work_queue: WorkQueue,
    /// Calls to Refersion under way.
    pub calls_in_flight: usize,
    /// Calls that may be under way now.
    pub calls_allowed: usize,
    /// Calls that may begin in a second. `None`: any number.
    pub calls_per_second: Option<NonZeroU32>,
}

/// One account in a worker: its settings and its present state.
pub(crate) struct AccountState {
    pub(crate) name: AccountName,
    pub(crate) gate: Gate,
    /// What its calls have to go through.
    pub(crate) limiter: CallLimiter,
    /// Of its keys, or of single events.
    pub(crate) refusals: Refusals,
    /// Told when the settings have changed: the keys may work now.
    pub(crate) changed: Notify,
    /// How many of its events this process has outlived.
    outlived: AtomicUsize,
    /// How often this process has begun to work its queue, as far as it knows.
    stays: AtomicU64,
    work_queue: Mutex<WorkQueue>,
    account: RwLock<Arc<Account>>,
}

impl AccountState {
    fn new(account: Account, concurrency: usize, metrics: Metrics) -> Self {
        Self {
            name: account.name.clone(),
            gate: Gate::new(),
            limiter: CallLimiter::new(account.name.clone(), concurrency, account.max_calls_per_second, metrics),
            refusals: Refusals::new(),
            changed: Notify::new(),
            outlived: AtomicUsize::new(0),
            stays: AtomicU64::new(0),
            work_queue: Mutex::default(),
            account: RwLock::new(Arc::new(account)),
        }
    }

    /// The settings in force now.
    pub(crate) fn account(&self) -> Arc<Account> {
        self.account.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An event was delivered, by an attempt that began then.
    pub(crate) fn delivered(&self, began: Instant) {
        self.refusals.delivered();
        self.gate.not_limited(began);
    }

    /// An event of it was worked, and the process is still there.
    pub(crate) fn outlive(&self) {
        self.outlived.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were.
    pub(crate) fn outlived(&self) -> usize {
        self.outlived.load(Ordering::Relaxed)
    }

    /// A time begins in which nobody else works its queue: what another owner did before is not known.
    pub(crate) fn begin_stay(&self) {
        self.stays.fetch_add(1, Ordering::Relaxed);
    }

    /// Which one it is.
    pub(crate) fn stay(&self) -> u64 {
        self.stays.load(Ordering::Relaxed)
    }

    /// What this process does with its work queue now.
    pub(crate) fn set_work_queue(&self, work_queue: WorkQueue) {
        *self.work_queue.lock().unwrap_or_else(PoisonError::into_inner) = work_queue;
    }

    fn condition(&self) -> Condition {
        match self.gate.state() {
            GateState::Gone => Condition::Gone,
            GateState::Held => Condition::Held,
            GateState::Open => {
                self.gate.paused().map_or(Condition::Open, |left| Condition::Paused(SystemTime::now() + left))
            }
        }
    }

    fn status(&self) -> AccountStatus {
        let calls = self.limiter.status();
        AccountStatus {
            name: self.name.clone(),
            condition: self.condition(),
            since: self.gate.since(),
            work_queue: *self.work_queue.lock().unwrap_or_else(PoisonError::into_inner),
            calls_in_flight: calls.in_flight,
            calls_allowed: calls.allowed,
            calls_per_second: calls.per_second,
        }
    }

    fn change(&self, account: Account) {
        self.limiter.set_rate(account.max_calls_per_second);
        *self.account.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(account);
        self.changed.notify_one();
    }
}

impl Accounts {
    pub(crate) fn new(accounts: Vec<Account>, concurrency: usize, metrics: Metrics) -> Self {
        let (opened, to_open) = mpsc::unbounded_channel();
        let account_states = RwLock::new(HashMap::new());
        let to_open = Mutex::new(Some(to_open));
        let all = Self { account_states, opened, to_open, concurrency: concurrency.max(1), metrics };
        all.replace(accounts);
        all
    }

    /// From now on these are the accounts. Of one that is not among them any more nobody reads the work queue; one that is
    /// new is looked after from now on.
    pub fn replace(&self, accounts: Vec<Account>) {
        let mut account_states = self.account_states.write().unwrap_or_else(PoisonError::into_inner);
        let configured: HashSet<_> = accounts.iter().map(|account| account.name.clone()).collect();
        for account in accounts {
            if let Some(account_state) = account_states.get(&account.name) {
                account_state.change(account);
                account_state.gate.come_back();
            } else {
                self.metrics.declare_account(&account.name);
                let account_state = Arc::new(AccountState::new(account, self.concurrency, self.metrics.clone()));
                // Nobody listens any more when the worker is about to end, and then nobody needs to.
                let _ = self.opened.send(account_state.clone());
                account_states.insert(account_state.name.clone(), account_state);
            }
        }
        for account_state in account_states.values().filter(|account_state| !configured.contains(&account_state.name)) {
            if account_state.gate.leave() {
                self.metrics.account_held(&account_state.name, false);
                self.metrics.account_paused(&account_state.name, false);
            }
        }
    }

    /// The state of an account, if it was ever configured. The gate of one that is gone lets nothing through.
    #[cfg(test)]
    pub(crate) fn account_state(&self, name: &AccountName) -> Option<Arc<AccountState>> {
        self.account_states.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The states of all accounts that were ever configured.
    pub(crate) fn account_states(&self) -> Vec<Arc<AccountState>> {
        self.account_states.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How every account is that was ever configured, by their names.
    #[must_use]
    pub fn statuses(&self) -> Vec<AccountStatus> {
        let mut statuses: Vec<_> = self.account_states().iter().map(|account_state| account_state.status()).collect();
        statuses.sort_unstable_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
        statuses
    }

    /// How many accounts are configured.
    pub(crate) fn configured(&self) -> usize {
        self.account_states().iter().filter(|account_state| account_state.gate.state() != GateState::Gone).count()
    }

    /// The states of the configured accounts that Refersion has not asked to leave it alone, without those that are held if
    /// there are others: what is answered to keys that do not work may say little about Refersion.
    pub(crate) fn callable(&self) -> Vec<Arc<AccountState>> {
        let mut account_states = self.account_states();
        account_states.retain(|account_state| {
            account_state.gate.state() != GateState::Gone && account_state.gate.paused().is_none()
        });
        let is_held = |account_state: &Arc<AccountState>| account_state.gate.state() == GateState::Held;
        if !account_states.iter().all(is_held) {
            account_states.retain(|account_state| !is_held(account_state));
        }
        account_states
    }

    /// Yields each account that is new, from the first on. Can be taken once.
    pub(crate) fn opening(&self) -> Option<mpsc::UnboundedReceiver<Arc<AccountState>>> {
        self.to_open.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use refersion_relay_model::{Fingerprint, KeyPair, MissingLastName};
    use refersion_relay_refersion::{Existing, NewAffiliateDefaults};

    use super::*;

    fn account(name: &str, secret: &str) -> Account {
        let keys = KeyPair::new("pub", secret);
        Account {
            name: AccountName::try_from(name).unwrap(),
            fingerprint: Fingerprint::new(&keys),
            keys,
            defaults: NewAffiliateDefaults::default(),
            existing: Existing::Keep,
            missing_last_name: MissingLastName::Refuse,
            has_directory: false,
            max_calls_per_second: None,
        }
    }

    #[test]
    fn an_account_keeps_its_state_when_its_keys_change() {
        let accounts = Accounts::new(vec![account("a", "old")], 4, Metrics::new());
        let account_state = accounts.account_state(&account("a", "").name).unwrap();
        let before = account_state.account();
        account_state.gate.hold();

        accounts.replace(vec![account("a", "new"), account("b", "b")]);

        let same = accounts.account_state(&account_state.name).unwrap();
        assert!(Arc::ptr_eq(&same, &account_state) && same.gate.state() == GateState::Held);
        assert_eq!((before.keys.expose_secret(), same.account().keys.expose_secret()), ("old", "new"));
        let mut opening = accounts.opening().unwrap();
        let opened: Vec<_> = std::iter::from_fn(|| opening.try_recv().ok())
            .map(|account_state| account_state.name.to_string())
            .collect();
        assert_eq!(opened, ["a", "b"], "each is looked after once");
    }

    #[test]
    fn an_account_that_comes_back_has_the_same_state() {
        let accounts = Accounts::new(vec![account("a", "a"), account("b", "b")], 4, Metrics::new());
        let account_state = accounts.account_state(&account("a", "").name).unwrap();
        account_state.gate.hold();

        accounts.replace(vec![account("b", "b")]);
        assert_eq!((account_state.gate.state(), accounts.configured()), (GateState::Gone, 1));
        accounts.replace(vec![account("a", "new"), account("b", "b")]);

        assert_eq!(
            (account_state.gate.state(), account_state.account().keys.expose_secret()),
            (GateState::Open, "new")
        );
        let mut opening = accounts.opening().unwrap();
        let opened =
            std::iter::from_fn(|| opening.try_recv().ok()).filter(|opened| opened.name == account_state.name).count();
        assert_eq!(opened, 1, "one owner looks after it");
    }
}
