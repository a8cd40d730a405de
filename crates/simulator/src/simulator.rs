use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use axum::http::StatusCode;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::affiliates::affiliate::{Affiliate, NewAffiliate};
use crate::affiliates::directory::Directory;
use crate::call::Call;
use crate::faults::fault_rule::FaultRule;
use crate::faults::fault_rules::FaultRules;
use crate::faults::outage::Outage;
use crate::http::answer::Answer;
use crate::http::journal::Journal;
use crate::http::refusal::Refusal;
use crate::http::request;
use crate::http::server::Server;
use crate::operation::Operation;
use crate::settings::Settings;
use crate::stats::Stats;

/// The simulated Refersion. Clones are handles to the same one.
#[derive(Clone)]
pub struct Simulator(Arc<State>);

struct State {
    settings: Settings,
    directory: Mutex<Directory>,
    fault_rules: Mutex<FaultRules>,
    revoked_keys: Mutex<HashSet<String>>,
    journal: Journal,
    outage: watch::Sender<Option<Outage>>,
}

/// The key pair that came with a call. A key that did not come is empty.
#[derive(Clone, Copy)]
pub(crate) struct KeyPair<'a> {
    pub(crate) public: &'a str,
    pub(crate) secret: &'a str,
}

impl Simulator {
    /// Makes a Refersion without affiliates, where nothing goes wrong yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(State {
            directory: Mutex::new(Directory::new(settings.code_style)),
            settings,
            fault_rules: Mutex::default(),
            revoked_keys: Mutex::default(),
            journal: Journal::new(),
            outage: watch::Sender::new(None),
        }))
    }

    /// Serves on `listener` until `stop` is cancelled.
    ///
    /// Hanging calls end then, delays are cut short, and other calls get a moment to be answered.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        Server::new(self.clone(), stop).run(listener).await
    }

    /// Adds a rule behind those that are there.
    pub fn add_fault(&self, fault: FaultRule) {
        self.fault_rules().add(fault, Instant::now());
    }

    pub fn clear_faults(&self) {
        self.fault_rules().clear();
    }

    /// Revokes a public key, so that its calls get a 401, or takes that back.
    ///
    /// A key that the settings do not know does not become known by this.
    pub fn set_keys_valid(&self, public_key: &str, valid: bool) {
        let mut revoked = locked(&self.0.revoked_keys);
        if valid {
            revoked.remove(public_key);
        } else {
            revoked.insert(public_key.to_owned());
        }
    }

    /// Returns a snapshot of all affiliates of all merchants, in order of creation.
    #[must_use]
    pub fn affiliates(&self) -> Vec<Affiliate> {
        locked(&self.0.directory).affiliates()
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        let affiliates = locked(&self.0.directory).len() as u64;
        Stats { affiliates, ..self.0.journal.stats() }
    }

    /// Returns every API call in order of arrival, or the last 200,000 of them.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.0.journal.calls(usize::MAX)
    }

    /// Seeds an affiliate as it is. Nothing is checked: this is how two come to share an e-mail address.
    pub fn add_affiliate(&self, public_key: &str, affiliate: NewAffiliate) {
        self.seed(public_key, affiliate);
    }

    pub(crate) fn seed(&self, public_key: &str, affiliate: NewAffiliate) -> Affiliate {
        locked(&self.0.directory).create(public_key, affiliate)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// Makes every server of this simulator suffer an outage.
    pub(crate) fn suffer(&self, outage: Outage) {
        self.0.outage.send_replace(Some(outage));
    }

    /// Returns where the outages of the future are told.
    pub(crate) fn outages(&self) -> watch::Receiver<Option<Outage>> {
        self.0.outage.subscribe()
    }

    pub(crate) fn fault_rules(&self) -> MutexGuard<'_, FaultRules> {
        locked(&self.0.fault_rules)
    }

    /// Carries out an operation as if no fault existed: keys first, then the body, then its fields.
    pub(crate) fn perform(&self, operation: Operation, keys: KeyPair<'_>, body: &[u8]) -> Answer {
        let outcome = self.admit(keys).and_then(|()| request::object(body)).and_then(|request| {
            let mut directory = locked(&self.0.directory);
            operation.perform(request, keys.public, &mut directory, &self.0.settings)
        });
        match outcome {
            Ok(body) => Answer::json(StatusCode::OK, &body),
            Err(refusal) => refusal.into(),
        }
    }

    fn admit(&self, keys: KeyPair<'_>) -> Result<(), Refusal> {
        let known = &self.0.settings.keys;
        let complete = !keys.public.is_empty() && !keys.secret.is_empty();
        let listed =
            known.is_empty() || known.iter().any(|(public, secret)| public == keys.public && secret == keys.secret);
        if complete && listed && !locked(&self.0.revoked_keys).contains(keys.public) {
            Ok(())
        } else {
            Err(Refusal::Credentials)
        }
    }
}

/// Nothing panics while it holds one of these locks, so what they guard is whole even if they are poisoned.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
