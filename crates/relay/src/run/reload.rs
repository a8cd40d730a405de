use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use refersion_relay_ingest::Access;
use refersion_relay_model::AccountName;
use refersion_relay_queue::{Queue, QueueError};
use refersion_relay_telemetry::{Metrics, Reloaded};
use refersion_relay_worker::Accounts;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{self, AccountSettings, Settings};
use crate::parts;
use crate::run::watched_files::{Reading, WatchedFiles};

/// Takes new accounts and keys into a running process, after a SIGHUP at once and after a change of a file when the file
/// has been the same twice, so that one that is being written is left alone. A configuration with a mistake changes
/// nothing and is said once; a new account that the queue gives no places waits, and keeps no other from being changed or
/// taken away; everything but the accounts needs a restart.
pub(crate) struct Reload {
    settings: Settings,
    watched: WatchedFiles<Settings>,
    shared: Shared,
    /// Whether new accounts are kept out until they have places.
    keeps_out: bool,
    /// Whether the queue still has to hear that accounts went.
    is_behind: bool,
    /// What was configured when this began, and whether it was said that something but the accounts has changed since.
    begun: Option<Box<Settings>>,
    needs_restart: bool,
}

/// Where the accounts of a running process are.
pub(crate) struct Shared {
    pub(crate) queue: Arc<dyn Queue>,
    /// The names of those in force, for whoever counts what waits.
    pub(crate) configured: watch::Sender<BTreeSet<AccountName>>,
    /// Of the doors, in a process that has them.
    pub(crate) access: Option<watch::Sender<Arc<Access>>>,
    /// Where the doors note the use of keys.
    pub(crate) metrics: Metrics,
    /// Of the worker, in a process that has one.
    pub(crate) accounts: Option<Arc<Accounts>>,
}

impl Reload {
    pub(crate) fn new(path: &Path, settings: Settings, shared: Shared) -> std::io::Result<Self> {
        let path = path.to_owned();
        let state = shared.metrics.reload_state(Reloaded::Configuration);
        let watched = WatchedFiles::new("it and the files it names", state, move || config::load_again(&path))?;
        Ok(Self { settings, watched, shared, keeps_out: false, is_behind: false, begun: None, needs_restart: false })
    }

    /// Looks until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let looking = async {
            loop {
                let Reading { now, counts, asked } = self.watched.next().await;
                if let Ok(settings) = &now {
                    self.compare(settings);
                }
                // With accounts that are kept out, all are tried.
                if self.is_behind && !self.keeps_out {
                    self.is_behind = self.admit(&self.settings.accounts).await.is_err();
                }
                match now {
                    _ if !counts => {}
                    Ok(settings) => self.take(&settings.accounts, asked).await,
                    Err(why) => {
                        let why = format!("the configuration was not reloaded, what was in force still is: {why}");
                        self.watched.complain(why, asked);
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = looking => {}
        }
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
        self.keeps_out = false;
        if accounts == self.settings.accounts {
            if self.watched.is_fine() && !asked {
                tracing::info!("the configuration can be read again: nothing has changed in the accounts");
            }
            if asked {
                tracing::info!("nothing has changed in the accounts; anything else needs a restart");
            }
            return;
        }
        // Places first, then who may use them: what comes for an account without a work queue ends among the unrouted.
        match self.admit(accounts).await {
            Ok(()) => {
                self.is_behind = false;
                self.watched.is_fine();
                self.put_in_force(accounts);
            }
            Err(error) => self.take_without_new(accounts, &error, asked).await,
        }
    }

    /// Takes what a configuration says of the accounts that were in force before, when the queue makes no places: a key that
    /// was taken out must not work until it does.
    async fn take_without_new(&mut self, accounts: &[AccountSettings], error: &QueueError, asked: bool) {
        let (old, new) = split(accounts, &self.settings.accounts);
        self.keeps_out = !new.is_empty();
        // At worst there stay places that nobody needs, until the next time.
        self.is_behind = self.admit(&old).await.is_err();
        if self.keeps_out {
            let names: Vec<_> = parts::names(&new).iter().map(ToString::to_string).collect();
            let names = names.join(", ");
            let rest = "what was in force still is, as it is configured now";
            // What keeps the queue away can be said differently each time, and it is said where it is noticed.
            let error = if is_refusal(error) { error.to_string() } else { "the queue is away".to_owned() };
            let why = format!("new accounts wait for places: {names}; {rest}; trying again until it works: {error}");
            self.watched.complain(why, asked);
        } else {
            self.watched.is_fine();
        }
        if old != self.settings.accounts {
            self.put_in_force(&old);
        }
    }

    fn put_in_force(&mut self, accounts: &[AccountSettings]) {
        // That needs a restart.
        let has_directory = self.settings.directory.enabled;
        self.shared.configured.send_replace(parts::names(accounts).into_iter().collect());
        if let Some(access) = &self.shared.access {
            access.send_replace(Arc::new(parts::access(accounts, has_directory, &self.shared.metrics)));
            // After the doors take it no more: a use in between would make it appear again.
            let now = parts::door_keys(accounts);
            for (account, kind, key) in parts::door_keys(&self.settings.accounts).difference(&now) {
                self.shared.metrics.key_is_gone(account, *kind, key);
            }
        }
        if let Some(worked) = &self.shared.accounts {
            worked.replace(parts::worker_accounts(accounts, has_directory));
        }
        self.report(accounts);
        self.settings.accounts = accounts.to_vec();
    }

    async fn admit(&self, accounts: &[AccountSettings]) -> Result<(), QueueError> {
        self.shared.queue.admit(&parts::names(accounts)).await
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
            tracing::warn!(account = %account.name, "the account is not configured any more: nobody works its events");
        }
    }
}

/// Those whose names are among `before`, and those who are new.
fn split(accounts: &[AccountSettings], before: &[AccountSettings]) -> (Vec<AccountSettings>, Vec<AccountSettings>) {
    let is_old = |account: &AccountSettings| before.iter().any(|one| one.name == account.name);
    accounts.iter().cloned().partition(is_old)
}

/// Whether a person has to act at the queue.
fn is_refusal(error: &QueueError) -> bool {
    match error {
        QueueError::Mismatch(_) | QueueError::Forbidden(_) => true,
        QueueError::Away(_) | QueueError::Busy(_) | QueueError::NotCopied(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use async_trait::async_trait;
    use refersion_relay_model::Class;
    use refersion_relay_queue::{
        BrokerState, Browsed, Conservation, Depth, InFlight, Letter, LetterVisitor, Message, Owned, Place,
        PublishError, Room, Scan, Swept,
    };
    use refersion_relay_supervise::Parts;

    use super::*;

    /// A queue that has room for some accounts only, or seems to be away; everything else of it is real.
    struct Full {
        queue: Arc<dyn Queue>,
        room: AtomicUsize,
        is_away: AtomicBool,
    }

    #[async_trait]
    impl Queue for Full {
        async fn publish(&self, batch: Vec<(Place, Message)>) -> Vec<Result<(), PublishError>> {
            self.queue.publish(batch).await
        }

        async fn own(&self, place: Place, room: Room) -> Result<Owned, QueueError> {
            self.queue.own(place, room).await
        }

        async fn admit(&self, accounts: &[AccountName]) -> Result<(), QueueError> {
            if self.is_away.load(Ordering::SeqCst) {
                return Err(QueueError::Away("nobody listens".to_owned()));
            }
            if self.room.load(Ordering::SeqCst) < accounts.len() {
                return Err(QueueError::Mismatch("there is no room".to_owned()));
            }
            self.queue.admit(accounts).await
        }

        async fn depth(&self, place: &Place) -> Result<Depth, QueueError> {
            self.queue.depth(place).await
        }

        async fn conservation(&self) -> Result<Conservation, QueueError> {
            self.queue.conservation().await
        }

        async fn browse(
            &self,
            class: Class,
            scan: Scan,
            visit: &mut (dyn FnMut(Letter) + Send),
        ) -> Result<Browsed, QueueError> {
            self.queue.browse(class, scan, visit).await
        }

        async fn sweep(
            &self,
            class: Class,
            in_flight: InFlight,
            judge: &mut dyn LetterVisitor,
            stop: &CancellationToken,
        ) -> Result<Swept, QueueError> {
            self.queue.sweep(class, in_flight, judge, stop).await
        }

        fn state(&self) -> watch::Receiver<BrokerState> {
            self.queue.state()
        }

        async fn close(&self) {
            self.queue.close().await;
        }
    }

    fn account(name: &str, more: &str) -> String {
        format!("[[account]]\nname = \"{name}\"\npublic_key = \"{name}\"\nsecret_key = \"sec\"\n{more}\n")
    }

    fn names(accounts: &[AccountSettings]) -> Vec<String> {
        accounts.iter().map(|account| account.name.to_string()).collect()
    }

    /// Doors before an embedded queue, in a folder of its own.
    struct Doors {
        folder: tempfile::TempDir,
        full: Arc<Full>,
        reload: Reload,
        access: watch::Receiver<Arc<Access>>,
    }

    impl Doors {
        async fn open(accounts: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let before = read(&folder, accounts);
            let metrics = Metrics::new();
            let queue = parts::queue(&before, &metrics, &Parts::default());
            let _ = queue.state().wait_for(BrokerState::is_up).await;
            let full = Arc::new(Full { queue, room: AtomicUsize::new(2), is_away: AtomicBool::new(false) });
            let (access, doors) = watch::channel(Arc::new(parts::access(&before.accounts, false, &metrics)));
            let configured = watch::channel(parts::names(&before.accounts).into_iter().collect()).0;
            let shared = Shared { queue: full.clone(), configured, access: Some(access), metrics, accounts: None };
            let reload = Reload::new(&folder.path().join("relay.toml"), before, shared).unwrap();
            Self { folder, full, reload, access: doors }
        }

        fn read(&self, accounts: &str) -> Vec<AccountSettings> {
            read(&self.folder, accounts).accounts
        }
    }

    fn read(folder: &tempfile::TempDir, accounts: &str) -> Settings {
        let url = format!("[queue]\nurl = \"sqlite:{}\"\n", folder.path().join("relay.db").display());
        config::from_toml(&format!("{url}{accounts}")).unwrap()
    }

    #[tokio::test]
    async fn a_new_account_that_is_refused_keeps_no_key_in_force_that_was_taken_out() {
        let may_delete = "write_key = \"write\"\nwrite_key_may_delete = true";
        let mut doors = Doors::open(&(account("acme", may_delete) + &account("gone", ""))).await;

        let rest = account("acme", "write_key = \"new\"");
        let now = doors.read(&(rest.clone() + &account("second", "") + &account("third", "")));
        doors.reload.take(&now, false).await;

        assert_eq!(
            doors.reload.settings.accounts,
            now[..1],
            "the old one as it is now, and neither the new ones nor the gone"
        );
        assert!(doors.access.has_changed().unwrap(), "the doors know");
        let said = doors.reload.watched.said().unwrap().to_owned();
        assert!(said.contains("second, third") && said.contains("there is no room"), "{said}");
        doors.access.mark_unchanged();
        doors.reload.take(&now, false).await;
        assert_eq!(doors.reload.watched.said(), Some(said.as_str()), "the same again, which is not said again");
        assert!(!doors.access.has_changed().unwrap(), "nothing more has changed");

        doors.full.room.store(3, Ordering::SeqCst);
        doors.reload.take(&now, false).await;
        assert_eq!(names(&doors.reload.settings.accounts), ["acme", "second", "third"]);
        assert_eq!((doors.reload.watched.said(), doors.reload.keeps_out, doors.reload.is_behind), (None, false, false));

        // Not even those that are there are let in now, and still what they may changes.
        doors.full.room.store(0, Ordering::SeqCst);
        let fewer = doors.read(&rest);
        doors.reload.take(&fewer, false).await;
        assert_eq!(names(&doors.reload.settings.accounts), ["acme"]);
        assert!(doors.reload.is_behind, "it is tried again");
        doors.full.close().await;
    }

    #[tokio::test]
    async fn the_doors_take_nothing_for_a_new_account_until_the_queue_is_there_and_has_its_places() {
        let mut doors = Doors::open(&account("acme", "")).await;
        doors.full.is_away.store(true, Ordering::SeqCst);
        let now = doors.read(&(account("acme", "write_key = \"new\"") + &account("second", "")));
        let second = now[1].name.clone();

        doors.reload.take(&now, false).await;
        assert_eq!(doors.reload.settings.accounts, now[..1], "what changes of the others is in force");
        assert!(doors.access.borrow().by_name(&second).is_none());

        doors.full.is_away.store(false, Ordering::SeqCst);
        doors.reload.take(&now, false).await;
        assert!(doors.access.borrow().by_name(&second).is_some());
        let depth = doors.full.depth(&Place::Work(second)).await.unwrap();
        assert_eq!((depth.ready, doors.reload.keeps_out, doors.reload.is_behind), (0, false, false));
        doors.full.close().await;
    }
}
