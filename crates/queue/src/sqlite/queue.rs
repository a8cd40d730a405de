use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use refersion_relay_model::{AccountName, Class};
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::{Metrics, PublishOutcome};
use rusqlite::Connection;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::letters;
use super::owner::{Owners, SqliteOwned};
use crate::chains::chains;
use crate::port::left_behind::Configured;
use crate::sqlite::file::fault::{Cause, Fault};
use crate::sqlite::file::file::{File, Mode};
use crate::sqlite::file::path::SqlitePath;
use crate::sqlite::file::rights::Rights;
use crate::sqlite::store::due;
use crate::sqlite::store::find::{self, Found};
use crate::sqlite::store::ledger::Ledger;
use crate::sqlite::store::places;
use crate::sqlite::store::work;
use crate::sqlite::writer::writer::{Writer, answer};
use crate::{
    BrokerState, Browsed, Conservation, Depth, InFlight, LeftBehind, Letter, LetterVisitor, Message, Owned, Place,
    PublishError, Queue, QueueError, Room, Scan, Swept,
};

/// Events that wait for the disk at a time. They are in memory, so there is a bound.
const WAITING: u32 = 20_000;

/// Where the file is, and what is expected of it.
#[derive(Clone, Debug)]
pub struct SqliteSettings {
    /// The file. Made if it is missing.
    pub path: SqlitePath,
    /// Accounts with a work queue.
    pub accounts: Vec<AccountName>,
    /// The delays of [`Place::Later`].
    pub tiers: Vec<Duration>,
    /// How long a publish may wait for the disk.
    pub confirm_timeout: Duration,
}

/// The queue on one file. Opens it in the background, for ever.
pub struct Sqlite {
    writer: Arc<Writer>,
    owners: Arc<Owners>,
    reader: Reader,
    metrics: Metrics,
    settings: SqliteSettings,
    waiting: Arc<Semaphore>,
    accounts: Arc<Mutex<Vec<AccountName>>>,
    parts: Parts,
}

impl Sqlite {
    /// Begins to open the file.
    #[must_use]
    pub fn start(settings: SqliteSettings, metrics: Metrics) -> Self {
        let owners = Arc::new(Owners::new());
        let accounts = Arc::new(Mutex::new(settings.accounts.clone()));
        let parts = Parts::default();
        let writer = Writer::start(
            settings.path.clone(),
            accounts.clone(),
            owners.clone(),
            metrics.clone(),
            settings.confirm_timeout,
            &parts,
        );
        let writer = Arc::new(writer);
        let reader = Reader::new(settings.path.clone());
        let waiting = Arc::new(Semaphore::new(WAITING as usize));
        Self { writer, owners, reader, metrics, settings, waiting, accounts, parts }
    }

    /// What goes on in the background until the queue is closed.
    #[must_use]
    pub fn parts(&self) -> Parts {
        self.parts.clone()
    }

    /// What became of every event that was ever accepted.
    pub async fn ledger(&self) -> Result<Ledger, QueueError> {
        self.reader.read(Ledger::read).await.map_err(QueueError::from)
    }

    /// Reads the whole file, for as long as `patience`, and returns what is wrong with it. `None`: nothing, as far as it came.
    pub async fn examine(&self, patience: Duration) -> Result<Option<String>, QueueError> {
        let (begin, path) = (Instant::now(), self.settings.path.clone());
        let examining = tokio::task::spawn_blocking(move || {
            let _rights = Rights::of_owner(&path)?;
            let mut file = File::open(&path, Mode::Read)?;
            file.connection.progress_handler(10_000, Some(move || patience <= begin.elapsed()))?;
            match file.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
                Ok(answer) => Ok((answer != "ok").then_some(answer)),
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => Ok(None),
                Err(error) => Err(Fault::from(error)),
            }
        });
        Ok(examining.await.unwrap_or_else(|_| Err(Fault::new(Cause::Broken, "reading the file was aborted")))?)
    }

    /// What the file has and no configuration names. The rows tell exactly.
    pub async fn left_behind(&self) -> Result<LeftBehind, QueueError> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let configured = Configured { accounts, tiers: self.settings.tiers.iter().copied().collect() };
        Ok(self.reader.read(move |connection| places::left_behind(connection, &configured)).await?)
    }

    /// Finds events by their message ids, as they are shown. Reads every row.
    pub async fn find(&self, message_ids: Vec<String>) -> Result<Vec<Found>, QueueError> {
        Ok(self.reader.read(move |connection| find::find(connection, &message_ids)).await?)
    }

    /// Events whose times lie ahead of what this machine's clock can have written, by place: it was set back since.
    pub async fn ahead(&self) -> Result<Vec<due::Ahead>, QueueError> {
        Ok(self.reader.read(|connection| due::ahead(connection, SystemTime::now())).await?)
    }

    /// Stores a batch whole or not at all, also if its sender goes away meanwhile.
    async fn store(&self, batch: Vec<(Place, Message)>) -> Result<(), PublishError> {
        let patience = self.settings.confirm_timeout;
        if !self.writer.is_up() {
            return Err(PublishError::Refused(self.writer.state().borrow().to_string()));
        }
        let count = batch.len();
        let room = u32::try_from(count).unwrap_or(WAITING).min(WAITING);
        let room = if let Ok(room) = self.waiting.clone().try_acquire_many_owned(room) {
            room
        } else {
            let room = timeout(patience, self.waiting.clone().acquire_many_owned(room)).await;
            let slow = || PublishError::Refused("the disk is too slow".to_owned());
            room.map_err(|_| slow())?.map_err(|_| slow())?
        };
        let in_flight: Vec<_> = (0..count).map(|_| self.metrics.publishing()).collect();
        let storing = self.writer.submit(count, move |work| {
            work.publish(&batch, SystemTime::now())?;
            // They come back with the answer, and are held until then.
            Ok((room, in_flight))
        });
        let stored = timeout(patience, answer(storing)).await;
        let slow = format!("the disk did not confirm it within {} ms", patience.as_millis());
        drop(stored.map_err(|_| PublishError::Unknown(slow))??);
        Ok(())
    }

    /// Why a message cannot be stored at all, whatever the state of the file.
    fn objection(&self, place: &Place) -> Option<&'static str> {
        match place {
            Place::Later(_, delay) if !self.settings.tiers.contains(delay) => Some("there is no tier with this delay"),
            _ => places::objection(place),
        }
    }

    /// Takes out what cannot be stored, and what comes behind that of the same subject.
    fn objections(&self, batch: &[(Place, Message)]) -> Vec<Result<(), PublishError>> {
        let mut results = vec![Ok(()); batch.len()];
        if batch.iter().all(|(place, _)| self.objection(place).is_none()) {
            return results;
        }
        let subjects = batch.iter().map(|(_, message)| (&message.headers.account, &message.headers.subject));
        for chain in chains(subjects) {
            let mut refused = None;
            for position in chain {
                let objection = refused.or_else(|| self.objection(&batch[position].0));
                if let Some(objection) = objection {
                    results[position] = Err(PublishError::Refused(objection.to_owned()));
                    refused = Some("an earlier event of the same subject was not stored");
                }
            }
        }
        results
    }
}

#[async_trait]
impl Queue for Sqlite {
    async fn publish(&self, batch: Vec<(Place, Message)>) -> Vec<Result<(), PublishError>> {
        let results = self.objections(&batch);
        let batch: Vec<_> =
            batch.into_iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(message, _)| message).collect();
        if batch.is_empty() {
            return results;
        }
        let (started, count) = (Instant::now(), batch.len());
        let stored = self.store(batch).await;
        let outcome = match &stored {
            Ok(()) => PublishOutcome::Confirmed,
            Err(PublishError::Refused(_)) => PublishOutcome::Refused,
            Err(PublishError::Unknown(_)) => PublishOutcome::Unknown,
        };
        let took = started.elapsed();
        (0..count).for_each(|_| self.metrics.published(outcome, took));
        results.into_iter().map(|result| result.and_then(|()| stored.clone())).collect()
    }

    async fn own(&self, place: Place, room: Room) -> Result<Owned, QueueError> {
        if place == Place::Intake {
            // Nothing ever comes there.
            return std::future::pending().await;
        }
        let ended = CancellationToken::new();
        let (writer, owners) = (self.writer.clone(), self.owners.clone());
        let owned = SqliteOwned::new(writer, owners, place, room, ended.clone(), &self.metrics);
        Ok(Owned::new(Box::new(owned), ended))
    }

    async fn admit(&self, accounts: &[AccountName]) -> Result<(), QueueError> {
        let admitted = accounts.to_vec();
        let admitting = timeout(self.settings.confirm_timeout, self.writer.run(1, move |work| work.admit(&admitted)));
        admitting.await.map_err(|_| QueueError::Away("the disk does not answer".to_owned()))??;
        accounts.clone_into(&mut self.accounts.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    async fn depth(&self, place: &Place) -> Result<Depth, QueueError> {
        let place = place.clone();
        Ok(self.reader.read(move |connection| work::depth(connection, &place)).await?)
    }

    async fn conservation(&self) -> Result<Conservation, QueueError> {
        Ok(self.reader.read(Ledger::conservation).await?)
    }

    async fn browse(
        &self,
        class: Class,
        scan: Scan,
        visit: &mut (dyn FnMut(Letter) + Send),
    ) -> Result<Browsed, QueueError> {
        letters::browse(&self.reader, class, scan, visit).await
    }

    async fn sweep(
        &self,
        class: Class,
        _in_flight: InFlight,
        visitor: &mut dyn LetterVisitor,
        stop: &CancellationToken,
    ) -> Result<Swept, QueueError> {
        letters::sweep(&self.reader, &self.writer, class, visitor, stop).await
    }

    fn state(&self) -> watch::Receiver<BrokerState> {
        self.writer.state()
    }

    async fn close(&self) {
        self.reader.close();
        self.writer.close().await;
    }
}

/// Reads the file beside the thread that writes it. SQLite lets both happen at once.
pub(crate) struct Reader(Arc<Reading>);

struct Reading {
    path: SqlitePath,
    file: Mutex<Option<File>>,
}

impl Reader {
    fn new(path: SqlitePath) -> Self {
        Self(Arc::new(Reading { path, file: Mutex::new(None) }))
    }

    /// Asks the file something. Opens it if need be, and anew after an error.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let reading = self.0.clone();
        let asking = tokio::task::spawn_blocking(move || {
            let mut kept = reading.file.lock().unwrap_or_else(PoisonError::into_inner);
            let _rights = Rights::of_owner(&reading.path)?;
            let file = match kept.take() {
                Some(file) => file,
                None => File::open(&reading.path, Mode::Read)?,
            };
            file.is_in_place()?;
            let answer = ask(&file.connection)?;
            *kept = Some(file);
            Ok(answer)
        });
        asking.await.unwrap_or_else(|_| Err(Fault::new(Cause::Broken, "reading the file was aborted")))
    }

    fn close(&self) {
        self.0.close();
    }
}

impl Reading {
    /// Whoever closes a file last deletes its log.
    fn close(&self) {
        if let Some(file) = self.file.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _rights = Rights::of_owner(&self.path);
            drop(file);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
