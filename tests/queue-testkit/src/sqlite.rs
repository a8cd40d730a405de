//! A relay's queue in a file of its own.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use refersion_relay_queue::{Sqlite, SqlitePath, SqliteSettings};
use refersion_relay_telemetry::Metrics;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::events::{TIER, account};
use crate::instance::Instance;

/// A queue in a file, in a folder that goes with it.
pub struct Embedded {
    pub instance: Instance<Sqlite>,
    pub metrics: Metrics,
    folder: TempDir,
}

/// Two accounts and one tier.
pub fn settings(path: &Path) -> SqliteSettings {
    let path = SqlitePath::parse(&format!("sqlite:{}", path.display()), Path::new("/")).unwrap();
    let (tiers, accounts) = (vec![TIER], vec![account("acme"), account("other")]);
    SqliteSettings { path, accounts, tiers, confirm_timeout: Duration::from_secs(10) }
}

/// One more process's way to a file; not necessarily up.
pub fn begin(path: &Path) -> Instance<Sqlite> {
    Instance { queue: Arc::new(Sqlite::start(settings(path), Metrics::new())) }
}

/// One more process's way to a file, and up.
pub async fn open(path: &Path) -> Instance<Sqlite> {
    let instance = begin(path);
    instance.until_up().await;
    instance
}

impl Embedded {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let queue = Arc::new(Sqlite::start(settings(&folder.path().join("relay.db")), metrics.clone()));
        let instance = Instance { queue };
        instance.until_up().await;
        Self { instance, metrics, folder }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("relay.db")
    }

    /// What a person with SQLite's own tools could do, and see.
    pub fn connection(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection
    }

    /// Lets the holder of the lease look as if it had been silent for too long, until somebody who stands by has noticed.
    /// Once is not enough: the holder may just have said that it is alive.
    pub fn silence_holder(&self) {
        let connection = self.connection();
        let term = || connection.query_row("SELECT term FROM state", [], |row| row.get::<_, i64>(0)).unwrap();
        let before = term();
        let begin = std::time::Instant::now();
        while term() == before {
            assert!(begin.elapsed() < super::waiting::PATIENCE, "nobody took over");
            connection.execute("UPDATE state SET renewed_at = 1 WHERE term = ?1", [before]).unwrap();
            std::thread::sleep(Duration::from_millis(20)); // between two questions to somebody else's file
        }
    }

    /// Ends the queue, and insists that its books balance.
    pub async fn clean(self) {
        let ledger = self.queue.ledger().await.unwrap();
        assert_eq!(ledger.difference(), 0, "{ledger}");
        assert_eq!(self.counted(), self.count(), "the counts of the places are those of their events");
    }

    /// What each place says of itself: its name and how many events are there.
    fn counted(&self) -> Vec<(String, i64)> {
        self.rows("SELECT name, events FROM place WHERE events != 0 ORDER BY name")
    }

    /// The same, counted.
    fn count(&self) -> Vec<(String, i64)> {
        self.rows(
            "SELECT place.name, count(*) FROM event JOIN place ON place.id = event.place GROUP BY place.name ORDER BY 1",
        )
    }

    fn rows(&self, sql: &str) -> Vec<(String, i64)> {
        let connection = self.connection();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

impl Deref for Embedded {
    type Target = Instance<Sqlite>;

    fn deref(&self) -> &Instance<Sqlite> {
        &self.instance
    }
}
