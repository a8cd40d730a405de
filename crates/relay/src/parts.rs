//! Builds the parts of the program from its settings.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::anyhow;
use refersion_relay_deadletter::DeadLetters;
use refersion_relay_directory::{Directory, DirectoryError, DirectorySettings, Keys, KeysError, OpenError};
use refersion_relay_ingest::{Access, AccountAccess};
use refersion_relay_model::{AccountName, Fingerprint};
use refersion_relay_queue::{BrokerUrl, Queue, RabbitMq, RabbitMqSettings, Room, Sqlite, SqlitePath, SqliteSettings};
use refersion_relay_refersion::{Client, ClientSettings};
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::{DoorKey, Metrics};
use refersion_relay_worker::{Account, OutageSettings, Worker, WorkerSettings};
use tokio::runtime::Handle;

use crate::config::{AccountSettings, DirectoryKeys, QueueUrl, Settings};
use crate::exit::Exit;
use crate::signals::Stop;

/// The configured queue, which is one of the `parts` of the process.
pub(crate) fn queue(settings: &Settings, metrics: &Metrics, parts: &Parts) -> Arc<dyn Queue> {
    match &settings.queue_url {
        QueueUrl::RabbitMq(url) => Arc::new(rabbitmq(url, settings, None, metrics, parts)),
        QueueUrl::Sqlite(path) => Arc::new(sqlite(path, settings, metrics, parts)),
    }
}

pub(crate) fn sqlite(path: &SqlitePath, settings: &Settings, metrics: &Metrics, parts: &Parts) -> Sqlite {
    let settings = SqliteSettings {
        path: path.clone(),
        accounts: names(&settings.accounts),
        tiers: settings.retry.tiers.clone(),
        confirm_timeout: settings.confirm_timeout,
    };
    let queue = Sqlite::start(settings, metrics.clone());
    queue.parts().belong_to(parts);
    queue
}

/// `directory`: the keys with which this process uses the directory's mailbox, if it does.
pub(crate) fn rabbitmq(
    url: &BrokerUrl,
    settings: &Settings,
    directory: Option<&Keys>,
    metrics: &Metrics,
    parts: &Parts,
) -> RabbitMq {
    let settings = RabbitMqSettings {
        url: url.clone(),
        prefix: settings.prefix.clone(),
        tiers: settings.retry.tiers.clone(),
        accounts: names(&settings.accounts),
        confirm_timeout: settings.confirm_timeout,
        look_every: RabbitMqSettings::LOOK_EVERY,
        worker: RabbitMqSettings::new_worker(),
        directory: directory.map(Keys::name),
    };
    let queue = RabbitMq::start(settings, metrics.clone());
    queue.parts().belong_to(parts);
    queue
}

pub(crate) fn client(settings: &Settings, metrics: &Metrics) -> Result<Client, Exit> {
    let metrics = metrics.clone();
    let settings = ClientSettings {
        base_url: settings.base_url.clone(),
        timeout: settings.timeout,
        proxy: settings.proxy.clone(),
        observer: Arc::new(move |operation, outcome, took| metrics.called(operation.as_str(), outcome, took)),
    };
    Client::new(settings).map_err(Exit::usage)
}

pub(crate) fn access(accounts: &[AccountSettings], has_directory: bool, metrics: &Metrics) -> Access {
    let mut access = Access::default();
    for account in accounts {
        access.admit(account_access(account, has_directory), metrics);
    }
    access
}

pub(crate) fn account_access(account: &AccountSettings, has_directory: bool) -> AccountAccess {
    AccountAccess {
        name: account.name.clone(),
        keys: account.keys.clone(),
        former_keys: account.former_keys.clone(),
        write_keys: account.write_keys.clone(),
        webhook_secrets: account.webhook_secrets.clone(),
        webhook_unsigned: account.webhook_unsigned,
        trust: account.trust,
        missing_last_name: account.missing_last_name,
        has_directory,
        max_requests_per_second: account.max_requests_per_second,
    }
}

/// Every key of the doors, by what stands for it.
pub(crate) fn door_keys(accounts: &[AccountSettings]) -> BTreeSet<(AccountName, DoorKey, String)> {
    let of = |account: &AccountSettings| {
        let name = account.name.clone();
        let keys = account_access(account, false).key_names();
        keys.into_iter().map(move |(kind, key)| (name.clone(), kind, key))
    };
    accounts.iter().flat_map(of).collect()
}

pub(crate) fn names(accounts: &[AccountSettings]) -> Vec<AccountName> {
    accounts.iter().map(|account| account.name.clone()).collect()
}

pub(crate) fn worker_accounts(accounts: &[AccountSettings], has_directory: bool) -> Vec<Account> {
    let account = |account: &AccountSettings| Account {
        name: account.name.clone(),
        keys: account.keys.clone(),
        defaults: account.defaults,
        existing: account.existing,
        missing_last_name: account.missing_last_name,
        has_directory,
        max_calls_per_second: account.max_calls_per_second,
        fingerprint: Fingerprint::new(&account.keys),
    };
    accounts.iter().map(account).collect()
}

pub(crate) fn worker(settings: &Settings, queue: Arc<dyn Queue>, client: Client, metrics: &Metrics) -> Worker {
    let accounts = worker_accounts(&settings.accounts, settings.directory.enabled);
    let worker = WorkerSettings {
        room: Room { events: settings.prefetch },
        in_hand: WorkerSettings::IN_HAND,
        retry: settings.retry.clone(),
        longest_stay: WorkerSettings::LONGEST_STAY,
        outage: OutageSettings::default(),
        skip_unchanged: settings.skip_unchanged,
    };
    Worker::new(queue, Arc::new(client), accounts, settings.concurrency, worker, metrics.clone())
}

/// The directory beside an embedded queue, if it is on.
pub(crate) fn local_directory(settings: &Settings, stop: &Stop) -> Result<Option<Arc<Directory>>, Exit> {
    directory_settings(settings).map(|here| open_directory(&here, stop)).transpose()
}

/// A directory that one process keeps for all workers.
pub(crate) struct SharedDirectory {
    pub(crate) keys: Keys,
    /// In the one that keeps it.
    pub(crate) kept: Option<Arc<Directory>>,
}

/// The directory of all workers, if it is on.
pub(crate) fn shared_directory(settings: &Settings, stop: &Stop) -> Result<Option<SharedDirectory>, Exit> {
    // Whoever keeps it makes the keys.
    let kept = local_directory(settings, stop)?;
    let keys = || {
        let file = &settings.directory.key_file;
        if !file.exists() {
            let file = file.display();
            let why =
                anyhow!("directory.key_file: there is no {file}: copy that of the worker that has directory.path");
            return Err(Exit::Usage(why));
        }
        Keys::read(file).map_err(unusable_keys)
    };
    settings.directory.enabled.then(|| Ok(SharedDirectory { keys: keys()?, kept })).transpose()
}

/// Opens the file, with a thread that reads and writes it until the directory is dropped.
fn open_directory(here: &DirectorySettings, stop: &Stop) -> Result<Arc<Directory>, Exit> {
    let (directory, writer) = Directory::open(here).map_err(|error| match error {
        OpenError::Keys(error) => unusable_keys(error),
        // A person has to act; anything else may pass.
        OpenError::Directory(error @ DirectoryError::Unusable { .. }) => Exit::usage(error),
        OpenError::Directory(error @ (DirectoryError::Failed(_) | DirectoryError::Unanswered(_))) => {
            Exit::failed(error)
        }
    })?;
    let runtime = Handle::current();
    // Without the thread the process ends.
    let _thread = stop.parts.thread("directory", &stop.stop, move || writer.run(&runtime));
    Ok(Arc::new(directory))
}

fn unusable_keys(error: KeysError) -> Exit {
    match error {
        KeysError::Foreign(_) => Exit::usage(error),
        KeysError::File { error: ref why, .. }
            if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) =>
        {
            Exit::usage(error)
        }
        KeysError::File { .. } | KeysError::InUse(_) => Exit::failed(error),
    }
}

/// Where the directory is, if it is on and this process keeps it.
pub(crate) fn directory_settings(settings: &Settings) -> Option<DirectorySettings> {
    let DirectoryKeys { enabled, path, key_file, keep, wait: _ } = settings.directory.clone();
    path.filter(|_| enabled).map(|path| DirectorySettings { path, key_file, keep })
}

pub(crate) fn dead_letters(settings: &Settings, queue: Arc<dyn Queue>) -> DeadLetters {
    DeadLetters::new(queue, fingerprints(settings))
}

fn fingerprints(settings: &Settings) -> HashMap<AccountName, Fingerprint> {
    settings.accounts.iter().map(|account| (account.name.clone(), Fingerprint::new(&account.keys))).collect()
}

/// Message ids, and what they are shown as where they may not be shown themselves, which is another text for each account.
pub(crate) fn known_as(settings: &Settings, message_ids: &[String]) -> BTreeSet<String> {
    let fingerprints = fingerprints(settings);
    let shown = message_ids.iter().flat_map(|id| fingerprints.values().map(move |fingerprint| fingerprint.shown(id)));
    shown.chain(message_ids.iter().cloned()).collect()
}
