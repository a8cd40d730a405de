use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::sqlite::file::beside;

const LOOK_EVERY: Duration = Duration::from_micros(500);

/// A lock that dies with its process, on a file of its own.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Makes the file if it is missing; whoever may use `database` may use it.
    pub(crate) fn open(path: &Path, database: &Path) -> io::Result<Self> {
        beside::open(path, &fs::metadata(database)?).map(Self)
    }

    /// Whether the name still leads to this file.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        let identity = |metadata: io::Result<fs::Metadata>| metadata.map(|file| (file.dev(), file.ino())).ok();
        identity(fs::symlink_metadata(path)).is_some_and(|there| identity(self.0.metadata()) == Some(there))
    }

    /// Whether it is ours now.
    pub(crate) fn take(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub(crate) fn give_back(&self) {
        let _ = self.0.unlock();
    }
}

/// The queue before SQLite's own lock on writing.
///
/// SQLite hands its lock to whoever happens to ask in the right moment, and a process that writes all the time always
/// does. Whoever wants to write enters first, and leaves only when it has the lock, so one that waits
/// is next.
pub(crate) struct WriteQueue(Lock);

impl WriteQueue {
    pub(crate) fn new(lock: Lock) -> Self {
        Self(lock)
    }

    /// Waits for its turn; `false`: it did not come free in time.
    pub(crate) fn enter(&self, patience: Duration) -> io::Result<bool> {
        let begin = Instant::now();
        while !self.0.take()? {
            if patience <= begin.elapsed() {
                return Ok(false);
            }
            sleep(LOOK_EVERY);
        }
        Ok(true)
    }

    pub(crate) fn leave(&self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_goes_through() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turn");
        let write_queue = || WriteQueue::new(Lock::open(&path, folder.path()).unwrap());
        let (first, second) = (write_queue(), write_queue());
        assert!(first.enter(Duration::ZERO).unwrap());
        assert!(!second.enter(Duration::from_millis(5)).unwrap());
        first.leave();
        assert!(second.enter(Duration::ZERO).unwrap());
        assert!(first.0.is_at(&path) && !first.0.is_at(folder.path()));
        drop(second);
        assert!(first.enter(Duration::ZERO).unwrap(), "the lock goes with its file");
    }
}
