use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::beside;
use super::fault::{Cause, Fault};
use super::mounts::network_file_system;
use super::path::SqlitePath;
use crate::sqlite::store::schema::{self, Schema};

/// How long a transaction waits for another process's.
pub(crate) const BUSY_PATIENCE: Duration = Duration::from_secs(3);
const ASK_EVERY: Duration = Duration::from_micros(500);
/// How much of the file is kept in memory, in KiB.
const CACHE_KIB: i64 = 8 * 1024;
/// How large the log before the file may stay once it was larger, in bytes.
const LOG_BYTES: i64 = 64 * 1024 * 1024;
/// After how many pages the log is written into the file.
const CHECKPOINT_PAGES: i64 = 4_000;
const STATEMENTS: usize = 64;

/// The opened file.
pub(crate) struct File {
    pub(crate) connection: Connection,
    /// Which file it is, whatever its name is later.
    identity: (u64, u64),
    path: SqlitePath,
}

/// What it is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Read,
}

impl File {
    /// Opens the file; to write it is made if it is missing. Only its owner can read it, since it is full of personal data.
    ///
    /// Whoever calls this has the [`Rights`](super::rights::Rights) that it is to be done with.
    pub(crate) fn open(path: &SqlitePath, mode: Mode) -> Result<Self, Fault> {
        let broken = |error: &io::Error| Fault::new(Cause::Broken, format!("{} {error}", path.as_path().display()));
        match network_file_system(path.folder()) {
            Ok(None) => {}
            Ok(Some(kind)) => {
                let why = format!(
                    "{} is on a network file system ({kind}), where SQLite's locks do not hold: use a disk of this \
                     machine, or RabbitMQ",
                    path.as_path().display()
                );
                return Err(Fault::new(Cause::Unusable, why));
            }
            Err(error) => {
                let why = format!("its folder {} cannot be used: {error}", path.folder().display());
                return Err(Fault::new(Cause::Broken, why));
            }
        }
        Self::has_its_log(path)?;
        if mode == Mode::Write {
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.as_path()) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        let identity = identity(path).map_err(|error| broken(&error))?;
        Self::is_what_it_seems(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opening = Connection::open_with_flags(path.as_path(), flags).map_err(Fault::from).and_then(|connection| {
            let mut file = Self { connection, identity, path: path.clone() };
            file.prepare(mode)?;
            Ok(file)
        });
        opening.map_err(|fault| if fault.cause == Cause::Broken { refusal(path).unwrap_or(fault) } else { fault })
    }

    /// Beside an empty file SQLite deletes the log, in which there are events after a crash.
    fn has_its_log(path: &SqlitePath) -> Result<(), Fault> {
        let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let log = path.beside("wal");
        if 0 < length(path.as_path()) || length(&log) == 0 {
            return Ok(());
        }
        let why = format!(
            "{} is missing or empty, but its log {} is not: put the file back, or move the log away to begin with nothing",
            path.as_path().display(),
            log.display()
        );
        Err(Fault::new(Cause::Unusable, why))
    }

    /// SQLite follows a link, and with it the log lies elsewhere; through a second name others use the file with another log.
    fn is_what_it_seems(path: &SqlitePath) -> Result<(), Fault> {
        let files = [path.as_path().to_owned(), path.beside("wal"), path.beside("shm"), path.beside("journal")];
        let objection = files.iter().find_map(|file| Some((file, beside::objection_to(file)?)));
        let fault = |(file, why): (&PathBuf, _)| Fault::new(Cause::Unusable, format!("{} {why}", file.display()));
        objection.map_or(Ok(()), |objection| Err(fault(objection)))
    }

    fn prepare(&mut self, mode: Mode) -> Result<(), Fault> {
        self.connection.busy_handler(Some(ask_again))?;
        let connection = &self.connection;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        if let Some(complaint) = Schema::of(connection)?.complaint() {
            return Err(Fault::new(Cause::Unusable, format!("{}: {complaint}", self.path.as_path().display())));
        }
        let journal: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if !journal.eq_ignore_ascii_case("wal") {
            let why = format!("{} cannot have a write-ahead log here", self.path.as_path().display());
            return Err(Fault::new(Cause::Unusable, why));
        }
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "foreign_keys", false)?;
        let schema = Schema::of(connection)?;
        // Who only reads needs the columns of this release too.
        if matches!(schema, Schema::Earlier(_)) || (schema == Schema::Empty && mode == Mode::Write) {
            let making = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
            // Somebody else may have been faster.
            match Schema::of(&making)? {
                Schema::Empty => schema::create(&making)?,
                Schema::Earlier(version) => schema::upgrade(&making, version)?,
                Schema::Current | Schema::Older(_) | Schema::Newer(_) | Schema::Foreign => {}
            }
            making.commit()?;
        }
        if mode == Mode::Read {
            connection.pragma_update(None, "query_only", true)?;
        }
        Ok(())
    }

    /// Whether the name still leads to this file. What is written to one that was deleted or replaced is lost.
    pub(crate) fn is_in_place(&self) -> Result<(), Fault> {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            Ok(())
        } else {
            let why = format!(
                "{} was deleted or replaced while it was in use: put it back, or start again to begin with what is there",
                self.path.as_path().display()
            );
            Err(Fault::new(Cause::Gone, why))
        }
    }
}

/// What the folder says against a file of ours in it. SQLite only says that it cannot open something.
fn refusal(path: &SqlitePath) -> Option<Fault> {
    let probe = path.beside("probe");
    let folder = path.folder().display();
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe) {
        Ok(_) => {
            let _ = fs::remove_file(&probe);
            None
        }
        // Of a process that died, or of one that asks at the same time.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
        Err(error) => Some(Fault::new(Cause::Broken, format!("its folder {folder} cannot be written: {error}"))),
    }
}

fn identity(path: &SqlitePath) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path.as_path())?;
    Ok((metadata.dev(), metadata.ino()))
}

/// SQLite asks this before it gives up on a lock.
fn ask_again(times: i32) -> bool {
    let waited = ASK_EVERY.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX));
    if BUSY_PATIENCE <= waited {
        return false;
    }
    sleep(ASK_EVERY);
    true
}
