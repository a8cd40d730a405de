use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use refersion_relay_queue::SqlitePath;
use refersion_relay_telemetry::Metrics;

use crate::run::look::Look;

/// How long a look may take: a disk can hang.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shows how large the files of the embedded queue are, and how much room is left for them.
pub(crate) struct QueueFiles {
    look: Look<Option<Sizes>>,
}

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    database: u64,
    /// Of SQLite's write-ahead log.
    log: u64,
    /// What this user may still write on their disk.
    free: u64,
}

impl QueueFiles {
    pub(crate) fn new(path: SqlitePath) -> Self {
        Self { look: Look::new(move || sizes(path.as_path())) }
    }

    /// What cannot be seen now keeps its last value.
    pub(crate) async fn show(&mut self, metrics: &Metrics) {
        if let Some(Some(Sizes { database, log, free })) = self.look.take(PATIENCE).await {
            metrics.queue_files(database, log, free);
        }
    }
}

fn sizes(path: &Path) -> Option<Sizes> {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut log: OsString = path.as_os_str().to_owned();
    log.push("-wal");
    let disk = rustix::fs::statvfs(path).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Some(Sizes { database: size(path), log: size(&PathBuf::from(log)), free })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_its_log_and_their_disk_are_measured() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.db");
        assert_eq!(sizes(&path), None);
        std::fs::write(&path, [0; 4_096]).unwrap();
        std::fs::write(folder.path().join("relay.db-wal"), [0; 512]).unwrap();

        let Sizes { database, log, free } = sizes(&path).unwrap();

        assert_eq!((database, log), (4_096, 512));
        assert!(0 < free);
    }
}
