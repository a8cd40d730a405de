use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use refersion_relay_ingest::Access;
use refersion_relay_model::AccountName;
use refersion_relay_queue::Queue;
use refersion_relay_worker::Roster;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{self, AccountSettings, Settings};
use crate::parts;

/// How often the configuration and the files it names are looked at. They are read, not watched: that sees every way in
/// which editors and orchestrators replace a file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Takes new accounts and keys into a running process, after a SIGHUP at once and after a change of a file when the file
/// has been the same twice, so that one that is being written is left alone. A configuration with a mistake changes
/// nothing and is said once; everything but the accounts needs a restart.
pub(crate) struct Reload {
    path: PathBuf,
    settings: Settings,
    shared: Shared,
    hangups: Signal,
}

/// Where the accounts of a running process are.
pub(crate) struct Shared {
    pub(crate) queue: Arc<dyn Queue>,
    /// Of every account that was ever configured in this process: events of one that is gone are still held.
    pub(crate) known: watch::Sender<BTreeSet<AccountName>>,
    /// Of the doors, in a process that has them.
    pub(crate) access: Option<watch::Sender<Arc<Access>>>,
    /// Of the worker, in a process that has one.
    pub(crate) roster: Option<Arc<Roster>>,
}

impl Reload {
    pub(crate) fn new(path: &Path, settings: Settings, shared: Shared) -> std::io::Result<Self> {
        Ok(Self { path: path.to_owned(), settings, shared, hangups: signal(SignalKind::hangup())? })
    }

    /// Looks until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut said = None;
        let mut seen: Result<Vec<AccountSettings>, String> = Ok(self.settings.accounts.clone());
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = self.hangups.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let found = config::load(Some(&self.path));
            let now = found.as_ref().map(|settings| settings.accounts.clone()).map_err(|error| chain(error));
            let steady = now == seen;
            match (&found, &now) {
                (_, Err(why)) if asked || (steady && said.as_ref() != Some(why)) => {
                    tracing::error!("the configuration was not reloaded, what was in force still is: {why}");
                    said = Some(why.clone());
                }
                (Ok(settings), _) if asked || steady => {
                    self.take(settings, asked).await;
                    said = None;
                }
                _ => {}
            }
            seen = now;
        }
    }

    async fn take(&mut self, settings: &Settings, asked: bool) {
        if settings.accounts == self.settings.accounts {
            if asked {
                tracing::info!("nothing has changed in the accounts; anything else needs a restart");
            }
            return;
        }
        let accounts = &settings.accounts;
        let names = parts::names(accounts);
        // Places first, then who may use them. Where the queue is away they are made when it is back.
        if let Err(error) = self.shared.queue.admit(&names).await {
            tracing::warn!("the places of the new accounts could not be made yet: {error}");
        }
        self.shared.known.send_modify(|known| known.extend(names));
        if let Some(access) = &self.shared.access {
            access.send_replace(Arc::new(parts::access(accounts)));
        }
        if let Some(roster) = &self.shared.roster {
            roster.replace(parts::worker_accounts(accounts));
        }
        self.report(accounts);
        self.settings.accounts.clone_from(accounts);
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

/// The whole chain of an error in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
