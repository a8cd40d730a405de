use std::collections::HashSet;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use refersion_relay_model::{AccountName, Email, PersonId, PersonIdKind};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use crate::keys::{AddressKey, Keys, PersonKey};

/// "RFRD", in the header of every file of a directory.
const APPLICATION: i32 = 0x5246_5244;
/// Rises with every change of what is below.
const VERSION: i32 = 1;

/// `directory`: one row, with what shows whether the keys fit, and since when people are learnt.
/// `person`: one row for each address of a person. `kind` is 1 of a `userId` and 0 of an `anonymousId`, or 2 of one that has had
/// several addresses, of whom nobody knows any more whose it is; `first` is when the event was accepted that taught it first, in
/// milliseconds; `seen` is the day of the last lesson.
/// `erased`: addresses that were deactivated, and whose they were: what was accepted up to `at` teaches them no more. `back` is when the
/// last event was accepted that says that the person is there, with whatever address.
///
/// Rows are appended and found by two indexes: a table in the order of a hash would be a third empty.
const TABLES: &str = "
    CREATE TABLE directory (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        check_value BLOB NOT NULL,
        since INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE person (
        id INTEGER PRIMARY KEY,
        person BLOB NOT NULL,
        kind INTEGER NOT NULL,
        address BLOB NOT NULL,
        sealed BLOB NOT NULL,
        first INTEGER NOT NULL,
        seen INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX person_by_person ON person (person);
    CREATE INDEX person_by_address ON person (address);
    CREATE TABLE erased (
        person BLOB NOT NULL,
        address BLOB NOT NULL,
        at INTEGER NOT NULL,
        back INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (person, address)
    ) STRICT, WITHOUT ROWID;
";

/// Kinds of rows of `person`.
const BROWSER: i64 = 0;
const USER: i64 = 1;
const SHARED_BROWSER: i64 = 2;
/// How many addresses of one person are remembered.
const ADDRESSES: usize = 16;
/// How long it is remembered that somebody was deleted: Segment sends one delete for each source.
const ERASED_FOR: Duration = Duration::from_hours(30 * 24);
/// How long somebody else may have the file before it is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Memory for pages of the file.
const CACHE_KIB: i64 = 16 * 1024;
/// Rows that are sealed anew in one transaction.
const RESEALED: i64 = 10_000;

/// The tables of a directory. Every moment is passed in.
pub struct Store {
    connection: Connection,
    keys: Keys,
    since: SystemTime,
}

/// Why the directory cannot be read or written. Never names anybody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Another database, or one of a later release.
    #[error("{path} {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: &'static str,
    },
    /// The file or its disk, or the way to it. It may pass.
    #[error("{0}")]
    Failed(String),
    /// Whoever keeps it elsewhere does not answer. It may pass.
    #[error("{0}")]
    Unanswered(String),
}

/// What a lesson brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// Somebody who was not known.
    New,
    /// A further address of somebody.
    Another,
    /// Nothing new.
    Known,
    /// Nothing: the person was deleted after the event was accepted.
    Erased,
}

impl Learnt {
    /// The word in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Another => "another",
            Self::Known => "known",
            Self::Erased => "erased",
        }
    }
}

/// What is known of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookedUp {
    /// These addresses, at least one, the last one first.
    Addresses(Vec<Email>),
    /// Addresses of which it is not certain that they are this person's.
    Uncertain(Doubt),
    /// The person was deleted a short time ago.
    Erased,
    /// Nothing, though everybody was learnt since then.
    Unknown {
        /// When the first lesson could be learnt.
        since: SystemTime,
    },
}

/// Why an address may not be the person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Another `userId` has it, too.
    Shared,
    /// An `anonymousId` has several: a browser that several people use.
    Several,
}

/// How much a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Addresses of people.
    pub addresses: u64,
    /// People of whom only their deletion is remembered.
    pub erased: u64,
}

impl Store {
    /// Opens the file, and makes it if there is none.
    pub fn open(path: &Path, keys: Keys, now: SystemTime) -> Result<Self, DirectoryError> {
        let unusable = |why| DirectoryError::Unusable { path: path.to_owned(), why };
        let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|error| DirectoryError::Failed(format!("cannot open {}: {error}", path.display())))?;
        let connection = Connection::open(path)?;
        connection.busy_timeout(PATIENCE)?;
        // Somebody else may be making the tables.
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let is_new = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
        match (number("application_id")?, number("user_version")?) {
            (0, 0) if is_new => {
                connection.execute_batch(TABLES)?;
                connection.execute("INSERT INTO directory VALUES (1, ?1, ?2)", params![keys.check(), millis(now)])?;
                connection.pragma_update(None, "application_id", APPLICATION)?;
                connection.pragma_update(None, "user_version", VERSION)?;
            }
            (APPLICATION, VERSION) => {}
            (APPLICATION, _) => return Err(unusable("was written by a later release: run that one")),
            _ => return Err(unusable("is another database: name another file")),
        }
        let (check, since): (Vec<u8>, i64) =
            connection
                .query_row("SELECT check_value, since FROM directory", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        connection.execute_batch("COMMIT")?;
        // What is erased is gone from the file, and what was answered is on the disk.
        connection.execute_batch("PRAGMA secure_delete = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
        // The indexes are in the order of hashes, so every page of them is as likely to be written as any other.
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        if check != keys.check() {
            return Err(unusable("was written with other keys: give it the file of keys it had, or delete it"));
        }
        Ok(Self { connection, keys, since: at(since) })
    }

    /// Since when people are learnt.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// Does something as a whole or not at all.
    pub(crate) fn whole<T>(
        &mut self,
        work: impl FnOnce(&Self) -> Result<T, DirectoryError>,
    ) -> Result<T, DirectoryError> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        match work(self).and_then(|done| Ok(self.connection.execute_batch("COMMIT").map(|()| done)?)) {
            Ok(done) => Ok(done),
            Err(error) => {
                // SQLite may have rolled it back itself.
                let _ = self.connection.execute_batch("ROLLBACK");
                Err(error)
            }
        }
    }

    /// Remembers that this address is the person's, as an event says that was `accepted` then.
    pub fn learn(
        &self,
        account: &AccountName,
        person: &PersonId,
        email: &Email,
        accepted: SystemTime,
        now: SystemTime,
    ) -> Result<Learnt, DirectoryError> {
        let is_user = person.kind() == PersonIdKind::User;
        let (person, address) = (self.keys.person(account, person), self.keys.address(account, email));
        let (accepted, today) = (millis(accepted), day(now));
        let mut erased = self.connection.prepare_cached("SELECT at FROM erased WHERE person = ?1 AND address = ?2")?;
        let erased: Option<i64> = erased.query_row(params![person.0, address.0], |row| row.get(0)).optional()?;
        if erased.is_some_and(|erased| accepted <= erased) {
            return Ok(Learnt::Erased);
        }
        let mut rows = self.connection.prepare_cached(
            "SELECT id, address, sealed, first, seen, kind FROM person WHERE person = ?1 ORDER BY seen, id",
        )?;
        let rows = rows.query_map([person.0], Row::read)?.collect::<Result<Vec<_>, _>>()?;
        if let Some(row) = rows.iter().find(|row| row.address == address.0) {
            if self.keys.unseal(person, &row.sealed).is_none() {
                // With a key that is gone.
                let mut seal = self.connection.prepare_cached("UPDATE person SET sealed = ?2 WHERE id = ?1")?;
                seal.execute(params![row.id, self.keys.seal(person, email)])?;
            }
            if row.seen != today || accepted < row.first {
                let mut see =
                    self.connection.prepare_cached("UPDATE person SET seen = ?2, first = ?3 WHERE id = ?1")?;
                see.execute([row.id, today, row.first.min(accepted)])?;
            }
            return Ok(Learnt::Known);
        }
        if let (Some(oldest), true) = (rows.first(), ADDRESSES <= rows.len()) {
            self.connection.prepare_cached("DELETE FROM person WHERE id = ?1")?.execute([oldest.id])?;
        }
        let had_others = !rows.is_empty() || self.had_another(person, address)?;
        let kind = match (is_user, had_others) {
            (true, _) => USER,
            (false, false) => BROWSER,
            (false, true) => SHARED_BROWSER,
        };
        self.connection
            .prepare_cached(
                "INSERT INTO person (person, kind, address, sealed, first, seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![person.0, kind, address.0, self.keys.seal(person, email), accepted, today])?;
        if kind == SHARED_BROWSER {
            let mut share = self.connection.prepare_cached("UPDATE person SET kind = ?2 WHERE person = ?1")?;
            share.execute(params![person.0, SHARED_BROWSER])?;
        }
        self.came_back(person, accepted)?;
        Ok(if rows.is_empty() { Learnt::New } else { Learnt::Another })
    }

    /// The same for several people, as a whole.
    pub fn learn_all(
        &mut self,
        account: &AccountName,
        lessons: &[(PersonId, Email)],
        accepted: SystemTime,
        now: SystemTime,
    ) -> Result<Vec<Learnt>, DirectoryError> {
        let learn = |store: &Self| {
            lessons.iter().map(|(person, email)| store.learn(account, person, email, accepted, now)).collect()
        };
        self.whole(learn)
    }

    /// Every address that is known of somebody, the last one first, and whether it is remembered that they were deleted.
    pub fn show(&self, account: &AccountName, person: &PersonId) -> Result<(Vec<Email>, bool), DirectoryError> {
        let person = self.keys.person(account, person);
        let rows = self.addresses(person, i64::MAX)?;
        Ok((rows.into_iter().map(|(email, _)| email).collect(), self.is_erased(person)?))
    }

    /// The addresses of somebody from events that were accepted up to then, with their rows.
    fn addresses(&self, person: PersonKey, until: i64) -> Result<Vec<(Email, Row)>, DirectoryError> {
        let mut rows = self.connection.prepare_cached(
            "SELECT id, address, sealed, first, seen, kind FROM person WHERE person = ?1 AND first <= ?2 ORDER BY seen DESC, id DESC",
        )?;
        let rows = rows.query_map(params![person.0, until], Row::read)?.collect::<Result<Vec<_>, _>>()?;
        // One that does not open was moved or changed by somebody, and is nobody's.
        Ok(rows.into_iter().filter_map(|row| Some((self.keys.unseal(person, &row.sealed)?, row))).collect())
    }

    /// Whether somebody was deleted, and nothing says that they are there again.
    fn is_erased(&self, person: PersonKey) -> Result<bool, DirectoryError> {
        let mut erased =
            self.connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM erased WHERE person = ?1 AND back <= at)")?;
        Ok(erased.query_row([person.0], |row| row.get(0))?)
    }

    /// Whether somebody had another address that was deleted.
    fn had_another(&self, person: PersonKey, address: AddressKey) -> Result<bool, DirectoryError> {
        let mut erased = self
            .connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM erased WHERE person = ?1 AND address <> ?2)")?;
        Ok(erased.query_row(params![person.0, address.0], |row| row.get(0))?)
    }

    /// What is known of somebody from events that were accepted up to `until`.
    pub fn look_up(
        &self,
        account: &AccountName,
        person: &PersonId,
        until: SystemTime,
    ) -> Result<LookedUp, DirectoryError> {
        let person = self.keys.person(account, person);
        let addresses = self.addresses(person, millis(until))?;
        if addresses.is_empty() {
            let is_erased = self.is_erased(person)?;
            return Ok(if is_erased { LookedUp::Erased } else { LookedUp::Unknown { since: self.since } });
        }
        let mut shared = self
            .connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM person WHERE address = ?1 AND person <> ?2 AND kind = ?3)")?;
        for (_, row) in &addresses {
            if row.kind == USER && shared.query_row(params![row.address, person.0, USER], |row| row.get(0))? {
                return Ok(LookedUp::Uncertain(Doubt::Shared));
            }
            if row.kind == SHARED_BROWSER {
                return Ok(LookedUp::Uncertain(Doubt::Several));
            }
        }
        Ok(LookedUp::Addresses(addresses.into_iter().map(|(email, _)| email).collect()))
    }

    /// Forgets an address, because a delete that was `accepted` then was carried out when it was `done`: whoever has it by events that
    /// were accepted before that. Of those it is remembered; they are returned.
    pub fn erase(
        &self,
        account: &AccountName,
        email: &Email,
        accepted: SystemTime,
        done: SystemTime,
    ) -> Result<Vec<PersonKey>, DirectoryError> {
        let address = self.keys.address(account, email);
        let mut gone =
            self.connection.prepare_cached("DELETE FROM person WHERE address = ?1 AND first <= ?2 RETURNING person")?;
        let gone = gone
            .query_map(params![address.0, millis(done)], |row| row.get(0).map(PersonKey))?
            .collect::<Result<Vec<_>, _>>()?;
        for person in &gone {
            self.connection
                .prepare_cached(
                    "INSERT INTO erased (person, address, at) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
                )?
                .execute(params![person.0, address.0, millis(accepted)])?;
        }
        Ok(gone)
    }

    /// Somebody is there, as an event says that was `accepted` then: with what address is not known, or known otherwise.
    pub fn notice(&self, account: &AccountName, person: &PersonId, accepted: SystemTime) -> Result<(), DirectoryError> {
        self.came_back(self.keys.person(account, person), millis(accepted))
    }

    fn came_back(&self, person: PersonKey, accepted: i64) -> Result<(), DirectoryError> {
        let mut back = self.connection.prepare_cached("UPDATE erased SET back = max(back, ?2) WHERE person = ?1")?;
        back.execute(params![person.0, accepted])?;
        Ok(())
    }

    /// Everybody of whom it is remembered that they were deleted.
    pub(crate) fn erased(&self) -> Result<HashSet<PersonKey>, DirectoryError> {
        let mut erased = self.connection.prepare_cached("SELECT DISTINCT person FROM erased")?;
        let erased = erased.query_map([], |row| row.get(0).map(PersonKey))?;
        Ok(erased.collect::<Result<_, _>>()?)
    }

    /// Empties the log, in which what was erased still stands, sealed.
    pub fn clear_log(&self) -> Result<(), DirectoryError> {
        // Whoever reads now is not waited for: others wait for this.
        self.connection.busy_timeout(Duration::ZERO)?;
        let cleared = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        self.connection.busy_timeout(PATIENCE)?;
        match cleared? {
            0 => Ok(()),
            _ => Err(DirectoryError::Failed("somebody else reads the file".to_owned())),
        }
    }

    /// Does one of several things in a transaction, as a whole or not at all.
    pub(crate) fn one_of_several<T>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, DirectoryError>,
    ) -> Result<T, DirectoryError> {
        if self.connection.is_autocommit() {
            // One before it failed so badly that SQLite has undone all of them.
            return Err(DirectoryError::Failed("the transaction has ended".to_owned()));
        }
        let run = |sql| self.connection.prepare_cached(sql)?.execute([]);
        run("SAVEPOINT one")?;
        let done = work(self);
        if done.is_err() {
            run("ROLLBACK TO one")?;
        }
        run("RELEASE one")?;
        done
    }

    /// Forgets everything about somebody, also that they were deleted. Returns how many addresses there were.
    pub fn forget(&self, account: &AccountName, person: &PersonId) -> Result<usize, DirectoryError> {
        let person = self.keys.person(account, person);
        self.connection.execute("DELETE FROM erased WHERE person = ?1", [person.0])?;
        Ok(self.connection.execute("DELETE FROM person WHERE person = ?1", [person.0])?)
    }

    /// Forgets who was not seen for `keep`, and deletions of a month ago.
    pub fn expire(&self, keep: Duration, now: SystemTime) -> Result<(), DirectoryError> {
        let kept = i64::try_from(keep.as_secs() / DAY).unwrap_or(i64::MAX);
        self.connection.execute("DELETE FROM person WHERE seen < ?1", [day(now).saturating_sub(kept)])?;
        let erased = millis(now).saturating_sub(i64::try_from(ERASED_FOR.as_millis()).unwrap_or(i64::MAX));
        self.connection.execute("DELETE FROM erased WHERE at < ?1", [erased])?;
        Ok(())
    }

    /// How much it holds.
    pub fn rows(&self) -> Result<Rows, DirectoryError> {
        let counted = "SELECT (SELECT count(*) FROM person), (SELECT count(DISTINCT person) FROM erased)";
        let count = |value: i64| u64::try_from(value).unwrap_or(0);
        Ok(self
            .connection
            .query_row(counted, [], |row| Ok(Rows { addresses: count(row.get(0)?), erased: count(row.get(1)?) }))?)
    }

    /// Seals some of the addresses with the newest key that are sealed with another one. `false`: there were none. What does not open
    /// any more is forgotten.
    pub fn reseal(&mut self) -> Result<bool, DirectoryError> {
        self.whole(|store| {
            let mut old = store
                .connection
                .prepare_cached("SELECT id, person, sealed FROM person WHERE substr(sealed, 1, 1) <> ?1 LIMIT ?2")?;
            let current = store.keys.number();
            let rows = old.query_map(params![[current], RESEALED], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 12]>(1)?, row.get::<_, Vec<u8>>(2)?))
            })?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            for (id, person, sealed) in &rows {
                let person = PersonKey(*person);
                match store.keys.unseal(person, sealed) {
                    Some(email) => store
                        .connection
                        .prepare_cached("UPDATE person SET sealed = ?2 WHERE id = ?1")?
                        .execute(params![id, store.keys.seal(person, &email)])?,
                    None => store.connection.prepare_cached("DELETE FROM person WHERE id = ?1")?.execute([id])?,
                };
            }
            Ok(!rows.is_empty())
        })
    }

    /// Changes when another process has written to the file.
    pub(crate) fn data_version(&self) -> Result<i64, DirectoryError> {
        Ok(self.connection.pragma_query_value(None, "data_version", |row| row.get(0))?)
    }
}

/// A row of `person`.
struct Row {
    id: i64,
    address: Vec<u8>,
    sealed: Vec<u8>,
    first: i64,
    seen: i64,
    kind: i64,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            address: row.get(1)?,
            sealed: row.get(2)?,
            first: row.get(3)?,
            seen: row.get(4)?,
            kind: row.get(5)?,
        })
    }
}

impl From<rusqlite::Error> for DirectoryError {
    /// Its words, which quote no value: those of the statements are bound.
    fn from(error: rusqlite::Error) -> Self {
        let why = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "somebody else has the file".to_owned(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "the file is damaged".to_owned(),
            Some(code) => format!("SQLite says {code:?}"),
            None => "a row is not as it was written".to_owned(),
        };
        Self::Failed(why)
    }
}

const DAY: u64 = 24 * 60 * 60;

/// Days since 1970.
pub(crate) fn day(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs() / DAY).unwrap_or(i64::MAX)
}

fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn at(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests;
