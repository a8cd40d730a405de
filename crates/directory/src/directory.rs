use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use lru::LruCache;
use refersion_relay_model::{AccountName, Email, PersonId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::keys::{AddressKey, KeyFile, Keys, KeysError, PersonKey};
use crate::request::Request;
use crate::store::{DirectoryError, Learnt, LookedUp, Rows, Store, day};
use crate::writer::{Task, Writer};

/// People whose last lesson is known without asking the file: who is identified again and again costs one write a day.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(50_000).expect("above zero");
/// Requests that wait for the thread; more wait before it.
const WAITING: usize = 1_024;

/// Where a directory is, and for how long it remembers.
#[derive(Clone, Debug)]
pub struct DirectorySettings {
    /// The file of SQLite. It can be deleted at any time, with all that is known.
    pub path: PathBuf,
    /// The keys, in a file of their own.
    pub key_file: PathBuf,
    /// How long after the last lesson about them people are remembered.
    pub keep: Duration,
}

/// Which addresses belong to whom. What it answers `Ok` to is on the disk.
pub struct Directory {
    requests: mpsc::Sender<Task>,
    remembered: Arc<Remembered>,
    rows: watch::Receiver<Rows>,
    keys: Keys,
    /// Nobody replaces the keys meanwhile.
    _key_file: KeyFile,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A lesson, with what it brought.
    Learnt(Learnt),
    /// Something was noticed or erased.
    Noted,
    /// A question.
    LookedUp(LookedUp),
}

/// Does what a request asks for. With everybody of whom an address was erased.
fn done(store: &Store, request: &Request, now: SystemTime) -> Result<(Done, Vec<PersonKey>), DirectoryError> {
    let none = Vec::new();
    Ok(match request {
        Request::Learn { account, person, email, accepted } => {
            (Done::Learnt(store.learn(account, person, email, *accepted, now)?), none)
        }
        Request::Notice { account, person, accepted } => {
            store.notice(account, person, *accepted)?;
            (Done::Noted, none)
        }
        Request::Erase { account, email, accepted, done } => {
            (Done::Noted, store.erase(account, email, *accepted, *done)?)
        }
        Request::LookUp { account, person, until } => (Done::LookedUp(store.look_up(account, person, *until)?), none),
    })
}

/// What is known without asking the file.
pub(crate) struct Remembered(Mutex<Memory>);

struct Memory {
    /// The day of the last lesson about each address of a person, and the earliest time at which an event was accepted that said so,
    /// as far as this process knows.
    seen: LruCache<(PersonKey, AddressKey), (i64, SystemTime)>,
    /// Everybody of whom a deletion is remembered, and perhaps a few more.
    erased: HashSet<PersonKey>,
    /// Whether what was erased may still stand in the file's log.
    has_erased: bool,
}

impl Directory {
    /// Opens the directory, and makes it and its keys if there are none. The second part has to be run on a thread: it reads and writes
    /// until the directory is dropped.
    pub fn open(settings: &DirectorySettings) -> Result<(Self, Writer), OpenError> {
        // New keys fit nothing that is there.
        let open = if settings.path.exists() { KeyFile::existing } else { KeyFile::open };
        let key_file = open(&settings.key_file)?;
        let now = SystemTime::now();
        let store = Store::open(&settings.path, key_file.keys(), now)?;
        store.expire(settings.keep, now)?;
        let (sender, requests) = mpsc::channel(WAITING);
        let (counted, rows) = watch::channel(store.rows()?);
        let memory = Memory { seen: LruCache::new(REMEMBERED), erased: store.erased()?, has_erased: false };
        let remembered = Arc::new(Remembered(Mutex::new(memory)));
        let writer = Writer { store, requests, remembered: remembered.clone(), counted, keep: settings.keep };
        let keys = key_file.keys();
        Ok((Self { requests: sender, remembered, rows, keys, _key_file: key_file }, writer))
    }

    /// Remembers that this address is the person's, as an event says that was `accepted` then. `None`: that was known without asking
    /// the file.
    pub async fn learn(
        &self,
        account: &AccountName,
        person: &PersonId,
        email: &Email,
        accepted: SystemTime,
    ) -> Result<Option<Learnt>, DirectoryError> {
        let now = SystemTime::now();
        let (known_as, today) = ((self.keys.person(account, person), self.keys.address(account, email)), day(now));
        if self.remembered.is(known_as, today, accepted) {
            return Ok(None);
        }
        let (account, person, email) = (account.clone(), person.clone(), email.clone());
        let remembered = self.remembered.clone();
        let then = move |learnt: &Learnt| match learnt {
            Learnt::New | Learnt::Another | Learnt::Known => remembered.put(known_as, today, accepted),
            Learnt::Erased => {}
        };
        self.ask(move |store| store.learn(&account, &person, &email, accepted, now), then).await.map(Some)
    }

    /// Somebody is there, as an event says that was `accepted` then, whose address nobody vouches for: a deletion from before that says
    /// nothing any more.
    pub async fn notice(
        &self,
        account: &AccountName,
        person: &PersonId,
        accepted: SystemTime,
    ) -> Result<(), DirectoryError> {
        if !self.remembered.is_erased(self.keys.person(account, person)) {
            return Ok(());
        }
        let (account, person) = (account.clone(), person.clone());
        self.ask(move |store| store.notice(&account, &person, accepted), |()| {}).await
    }

    /// What is known of somebody from events that were accepted up to `until`.
    pub async fn look_up(
        &self,
        account: &AccountName,
        person: &PersonId,
        until: SystemTime,
    ) -> Result<LookedUp, DirectoryError> {
        let (account, person) = (account.clone(), person.clone());
        self.ask(move |store| store.look_up(&account, &person, until), |_| {}).await
    }

    /// Forgets an address, because a delete that was `accepted` then has been carried out: see [`Store::erase`].
    pub async fn erase(
        &self,
        account: &AccountName,
        email: &Email,
        accepted: SystemTime,
        done: SystemTime,
    ) -> Result<(), DirectoryError> {
        let (account, email) = (account.clone(), email.clone());
        let remembered = self.remembered.clone();
        let erase = move |store: &Store| store.erase(&account, &email, accepted, done);
        // Others may have had the address, too. Deletes are rare.
        let then = move |erased: &Vec<PersonKey>| {
            remembered.clear();
            remembered.add_erased(erased);
        };
        self.ask(erase, then).await.map(drop)
    }

    /// Does what others ask for, in this order, as a whole or not at all.
    pub async fn do_all(&self, requests: Vec<Request>) -> Result<Vec<Done>, DirectoryError> {
        let now = SystemTime::now();
        let remembered = self.remembered.clone();
        let work = move |store: &Store| requests.iter().map(|request| done(store, request, now)).collect();
        let then = move |all: &Vec<(Done, Vec<PersonKey>)>| {
            for (_, erased) in all.iter().filter(|(_, erased)| !erased.is_empty()) {
                remembered.clear();
                remembered.add_erased(erased);
            }
        };
        Ok(self.ask(work, then).await?.into_iter().map(|(done, _)| done).collect())
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// How much it holds, as it was a moment ago.
    #[must_use]
    pub fn rows(&self) -> Rows {
        *self.rows.borrow()
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, DirectoryError> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, DirectoryError> {
        let (answer, answered) = oneshot::channel();
        let ended = || DirectoryError::Failed("it gave no answer".to_owned());
        self.requests.send(Task::new(work, then, answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

impl Remembered {
    fn is(&self, key: (PersonKey, AddressKey), today: i64, accepted: SystemTime) -> bool {
        self.memory().seen.get(&key).is_some_and(|(day, first)| *day == today && *first <= accepted)
    }

    fn put(&self, key: (PersonKey, AddressKey), today: i64, accepted: SystemTime) {
        let mut memory = self.memory();
        let first = memory.seen.peek(&key).map_or(accepted, |(_, first)| accepted.min(*first));
        memory.seen.put(key, (today, first));
    }

    fn is_erased(&self, person: PersonKey) -> bool {
        self.memory().erased.contains(&person)
    }

    /// The file is to be asked of everybody again.
    pub(crate) fn clear(&self) {
        self.memory().seen.clear();
    }

    fn add_erased(&self, people: &[PersonKey]) {
        let mut memory = self.memory();
        memory.erased.extend(people);
        memory.has_erased = true;
    }

    /// Exactly these were deleted.
    pub(crate) fn set_erased(&self, people: HashSet<PersonKey>) {
        let mut memory = self.memory();
        (memory.erased, memory.has_erased) = (people, true);
    }

    pub(crate) fn has_erased(&self) -> bool {
        self.memory().has_erased
    }

    pub(crate) fn log_is_clear(&self) {
        self.memory().has_erased = false;
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Its file.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

#[cfg(test)]
mod tests;
