use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use refersion_relay_ingest::Access;
use refersion_relay_model::AccountName;
use refersion_relay_queue::{Queue, QueueError};
use refersion_relay_telemetry::Metrics;
use refersion_relay_worker::Roster;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{self, AccountSettings, ConfigError, Settings};
use crate::look::Look;
use crate::parts;

/// How often the configuration and the files it names are looked at. They are read, not watched: that sees every way in
/// which editors and orchestrators replace a file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long reading them may take: one may be on a share that does not answer.
const READING: Duration = Duration::from_secs(5);

/// Takes new accounts and keys into a running process, after a SIGHUP at once and after a change of a file when the file
/// has been the same twice, so that one that is being written is left alone. A configuration with a mistake changes
/// nothing and is said once; everything but the accounts needs a restart.
pub(crate) struct Reload {
    settings: Settings,
    look: Look<Result<Settings, ConfigError>>,
    shared: Shared,
    hangups: Signal,
    /// Whether accounts that are in force have no places yet.
    unplaced: bool,
    /// The last complaint, which is not repeated.
    said: Option<String>,
    /// What was configured when this began, and whether it was said that something but the accounts has changed since.
    begun: Option<Box<Settings>>,
    needs_restart: bool,
}

/// What a configuration says about the accounts, or why it says nothing.
type Accounts = Result<Vec<AccountSettings>, String>;

/// Where the accounts of a running process are.
pub(crate) struct Shared {
    pub(crate) queue: Arc<dyn Queue>,
    /// Of every account that was ever configured in this process: events of one that is gone are still held.
    pub(crate) known: watch::Sender<BTreeSet<AccountName>>,
    /// Of the doors, in a process that has them.
    pub(crate) access: Option<watch::Sender<Arc<Access>>>,
    /// Where the doors note the use of keys.
    pub(crate) metrics: Metrics,
    /// Of the worker, in a process that has one.
    pub(crate) roster: Option<Arc<Roster>>,
}

impl Reload {
    pub(crate) fn new(path: &Path, settings: Settings, shared: Shared) -> std::io::Result<Self> {
        let path = path.to_owned();
        let look = Look::new(move || config::load_again(&path));
        let hangups = signal(SignalKind::hangup())?;
        Ok(Self { settings, look, shared, hangups, unplaced: false, said: None, begun: None, needs_restart: false })
    }

    /// Looks until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let looking = async {
            let mut seen = Ok(self.settings.accounts.clone());
            loop {
                let asked = tokio::select! {
                    Some(()) = self.hangups.recv() => true,
                    () = tokio::time::sleep(LOOK_EVERY) => false,
                };
                if self.unplaced {
                    self.place().await;
                }
                seen = self.once(asked, seen).await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = looking => {}
        }
    }

    /// Returns the accounts that are configured now, or why there are none. `seen`: the same, from the last time.
    async fn once(&mut self, asked: bool, seen: Accounts) -> Accounts {
        let now = match self.look.take(READING).await {
            Some(Ok(settings)) => {
                self.compare(&settings);
                Ok(settings.accounts)
            }
            Some(Err(error)) => Err(chain(&error)),
            None => Err(format!("reading it and the files it names takes longer than {} s", READING.as_secs())),
        };
        if !asked && now != seen {
            return now;
        }
        match &now {
            Ok(accounts) => self.take(accounts, asked).await,
            Err(why) => {
                let why = format!("the configuration was not reloaded, what was in force still is: {why}");
                self.complain(why, asked);
            }
        }
        now
    }

    /// Says once when something but the accounts has changed, and when that was taken back.
    fn compare(&mut self, now: &Settings) {
        let Some(begun) = &self.begun else {
            self.begun = Some(Box::new(now.clone()));
            return;
        };
        let differs = Settings { accounts: begun.accounts.clone(), ..now.clone() } != **begun;
        if differs != self.needs_restart {
            self.needs_restart = differs;
            if differs {
                tracing::warn!("something but the accounts has changed in the configuration: that needs a restart");
            } else {
                tracing::info!("nothing but the accounts has changed in the configuration: nothing needs a restart");
            }
        }
    }

    async fn take(&mut self, accounts: &[AccountSettings], asked: bool) {
        if accounts == self.settings.accounts {
            if !self.unplaced && self.said.take().is_some() && !asked {
                tracing::info!("the configuration can be read again: nothing has changed in the accounts");
            }
            if asked {
                tracing::info!("nothing has changed in the accounts; anything else needs a restart");
            }
            return;
        }
        let names = parts::names(accounts);
        // Places first, then who may use them. Only a queue that is away is not waited for: it will be back.
        match self.shared.queue.admit(&names).await {
            Ok(()) => self.unplaced = false,
            Err(error) if is_refusal(&error) => {
                let why = "the new accounts have no places, so what was in force still is";
                return self.complain(format!("{why}; trying again until it works: {error}"), asked);
            }
            Err(error) => {
                tracing::warn!("the new accounts have no places yet; trying again until it works: {error}");
                self.unplaced = true;
            }
        }
        self.said = None;
        self.shared.known.send_modify(|known| known.extend(names));
        if let Some(access) = &self.shared.access {
            access.send_replace(Arc::new(parts::access(accounts, &self.shared.metrics)));
            // After the doors take it no more: a use in between would make it appear again.
            let now = parts::door_keys(accounts);
            for (account, kind, key) in parts::door_keys(&self.settings.accounts).difference(&now) {
                self.shared.metrics.key_is_gone(account, *kind, key);
            }
        }
        if let Some(roster) = &self.shared.roster {
            roster.replace(parts::worker_accounts(accounts));
        }
        self.report(accounts);
        self.settings.accounts = accounts.to_vec();
    }

    /// Tries again to make the places of the accounts that are in force.
    async fn place(&mut self) {
        match self.shared.queue.admit(&parts::names(&self.settings.accounts)).await {
            Ok(()) => {
                self.unplaced = false;
                tracing::info!("the new accounts have their places now");
            }
            Err(error) if is_refusal(&error) => {
                self.complain(format!("the new accounts have no places; trying again until it works: {error}"), false);
            }
            Err(_) => {}
        }
    }

    /// Says it once, or whenever somebody asks.
    fn complain(&mut self, why: String, asked: bool) {
        if asked || self.said.as_ref() != Some(&why) {
            tracing::error!("{why}");
            self.said = Some(why);
        }
    }

    fn report(&self, accounts: &[AccountSettings]) {
        let before = &self.settings.accounts;
        let find = |list: &[AccountSettings], name: &AccountName| list.iter().find(|one| one.name == *name).cloned();
        for account in accounts {
            match find(before, &account.name) {
                None => tracing::info!(account = %account.name, "the account is configured now"),
                Some(old) if old != *account => tracing::info!(account = %account.name, "the account has changed"),
                Some(_) => {}
            }
        }
        for account in before.iter().filter(|account| find(accounts, &account.name).is_none()) {
            tracing::warn!(account = %account.name, "the account is not configured any more: its events are held");
        }
    }
}

/// Whether a person has to act at the queue.
fn is_refusal(error: &QueueError) -> bool {
    match error {
        QueueError::Mismatch(_) | QueueError::Forbidden(_) => true,
        QueueError::Away(_) | QueueError::Busy(_) | QueueError::NotCopied(_) => false,
    }
}

/// The whole chain of an error in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    // Several mistakes in the configuration have lines of their own.
    text.replace("\n  ", "; ")
}
