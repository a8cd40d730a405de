use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use refersion_relay_model::AccountName;
use refersion_relay_telemetry::Metrics;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::Account;
use crate::gate::{Gate, GateState};
use crate::refusals::Refusals;
use crate::turnstile::Turnstile;

/// The accounts a worker works for. They can be replaced while it works: an account keeps its state when its settings
/// change or when it goes and comes back, and an event that is being worked is finished with the settings it began with.
pub struct Roster {
    /// Of every account that was ever configured: events of one that is gone are still under way.
    desks: RwLock<HashMap<AccountName, Arc<Desk>>>,
    opened: mpsc::UnboundedSender<Arc<Desk>>,
    to_open: Mutex<Option<mpsc::UnboundedReceiver<Arc<Desk>>>>,
    concurrency: usize,
    metrics: Metrics,
}

/// One account in a worker: its settings and its present state.
pub(crate) struct Desk {
    pub(crate) name: AccountName,
    pub(crate) gate: Gate,
    /// What its calls have to go through.
    pub(crate) turnstile: Turnstile,
    /// Of its keys, or of single events.
    pub(crate) refusals: Refusals,
    /// Told when the settings have changed: the keys may work now.
    pub(crate) changed: Notify,
    /// How many of its events this process has outlived.
    outlived: AtomicUsize,
    account: RwLock<Arc<Account>>,
}

impl Desk {
    fn new(account: Account, concurrency: usize, metrics: Metrics) -> Self {
        Self {
            name: account.name.clone(),
            gate: Gate::new(),
            turnstile: Turnstile::new(account.name.clone(), concurrency, account.max_calls_per_second, metrics),
            refusals: Refusals::new(),
            changed: Notify::new(),
            outlived: AtomicUsize::new(0),
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

    fn change(&self, account: Account) {
        self.turnstile.set_rate(account.max_calls_per_second);
        *self.account.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(account);
        self.changed.notify_one();
    }
}

impl Roster {
    pub(crate) fn new(accounts: Vec<Account>, concurrency: usize, metrics: Metrics) -> Self {
        let (opened, to_open) = mpsc::unbounded_channel();
        let desks = RwLock::new(HashMap::new());
        let to_open = Mutex::new(Some(to_open));
        let roster = Self { desks, opened, to_open, concurrency: concurrency.max(1), metrics };
        roster.replace(accounts);
        roster
    }

    /// From now on these are the accounts. Of one that is not among them any more nobody reads the work queue; one that is
    /// new is looked after from now on.
    pub fn replace(&self, accounts: Vec<Account>) {
        let mut desks = self.desks.write().unwrap_or_else(PoisonError::into_inner);
        let configured: HashSet<_> = accounts.iter().map(|account| account.name.clone()).collect();
        for account in accounts {
            if let Some(desk) = desks.get(&account.name) {
                desk.change(account);
                desk.gate.come_back();
            } else {
                self.metrics.declare_account(&account.name);
                let desk = Arc::new(Desk::new(account, self.concurrency, self.metrics.clone()));
                // Nobody listens any more when the worker is about to end, and then nobody needs to.
                let _ = self.opened.send(desk.clone());
                desks.insert(desk.name.clone(), desk);
            }
        }
        for desk in desks.values().filter(|desk| !configured.contains(&desk.name)) {
            if desk.gate.leave() {
                self.metrics.account_held(&desk.name, false);
                self.metrics.account_paused(&desk.name, false);
            }
        }
    }

    /// The desk of an account, if it was ever configured. The gate of one that is gone lets nothing through.
    #[cfg(test)]
    pub(crate) fn desk(&self, name: &AccountName) -> Option<Arc<Desk>> {
        self.desks.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The desks of all accounts that were ever configured.
    pub(crate) fn desks(&self) -> Vec<Arc<Desk>> {
        self.desks.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How many accounts are configured.
    pub(crate) fn configured(&self) -> usize {
        self.desks().iter().filter(|desk| desk.gate.state() != GateState::Gone).count()
    }

    /// The desks of the configured accounts that Refersion has not asked to leave it alone, without those that are held if
    /// there are others: what is answered to keys that do not work may say little about Refersion.
    pub(crate) fn callable(&self) -> Vec<Arc<Desk>> {
        let mut desks = self.desks();
        desks.retain(|desk| desk.gate.state() != GateState::Gone && desk.gate.paused().is_none());
        let is_held = |desk: &Arc<Desk>| desk.gate.state() == GateState::Held;
        if !desks.iter().all(is_held) {
            desks.retain(|desk| !is_held(desk));
        }
        desks
    }

    /// Yields each desk that opens, from the first on. Can be taken once.
    pub(crate) fn opening(&self) -> Option<mpsc::UnboundedReceiver<Arc<Desk>>> {
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
            max_calls_per_second: None,
        }
    }

    #[test]
    fn an_account_keeps_its_state_when_its_keys_change() {
        let roster = Roster::new(vec![account("a", "old")], 4, Metrics::new());
        let desk = roster.desk(&account("a", "").name).unwrap();
        let before = desk.account();
        desk.gate.hold();

        roster.replace(vec![account("a", "new"), account("b", "b")]);

        let same = roster.desk(&desk.name).unwrap();
        assert!(Arc::ptr_eq(&same, &desk) && same.gate.state() == GateState::Held);
        assert_eq!((before.keys.expose_secret(), same.account().keys.expose_secret()), ("old", "new"));
        let mut opening = roster.opening().unwrap();
        let opened: Vec<_> = std::iter::from_fn(|| opening.try_recv().ok()).map(|desk| desk.name.to_string()).collect();
        assert_eq!(opened, ["a", "b"], "each is looked after once");
    }

    #[test]
    fn an_account_that_comes_back_has_the_same_desk() {
        let roster = Roster::new(vec![account("a", "a"), account("b", "b")], 4, Metrics::new());
        let desk = roster.desk(&account("a", "").name).unwrap();
        desk.gate.hold();

        roster.replace(vec![account("b", "b")]);
        assert_eq!((desk.gate.state(), roster.configured()), (GateState::Gone, 1));
        roster.replace(vec![account("a", "new"), account("b", "b")]);

        assert_eq!((desk.gate.state(), desk.account().keys.expose_secret()), (GateState::Open, "new"));
        let mut opening = roster.opening().unwrap();
        let opened = std::iter::from_fn(|| opening.try_recv().ok()).filter(|opened| opened.name == desk.name).count();
        assert_eq!(opened, 1, "one owner looks after it");
    }
}
