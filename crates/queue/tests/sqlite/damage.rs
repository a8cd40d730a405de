//! Files that are not what they should be: they are named, and left as they are.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use refersion_relay_queue::{BrokerState, PublishError, Queue};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::process::{Process, Role};
use refersion_relay_queue_testkit::events::{crowd, events, work};
use refersion_relay_queue_testkit::sqlite::{Embedded, begin};

/// A file of ours with 200 events, which nobody uses.
async fn sound(folder: &TempDir) -> PathBuf {
    let relay = Embedded::start().await;
    relay.store(&work(), crowd(0..200)).await;
    relay.queue.close().await;
    let path = folder.path().join("relay.db");
    fs::copy(relay.path(), &path).unwrap();
    path
}

/// Opens what `damage` left of a sound file, and looks for `complaint`; then the sound file comes back.
async fn check(damage: impl FnOnce(&Path), complaint: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = sound(&folder).await;
    let whole = fs::read(&path).unwrap();
    damage(&path);
    let before = fs::read(&path).unwrap();

    let relay = begin(&path);

    let state = relay.until(complaint, |state| matches!(state, BrokerState::Mismatch { .. })).await.to_string();
    assert!(state.contains(complaint), "{state}");
    let refused = relay.queue.publish(vec![(work(), events(0..1).remove(0))]).await;
    assert!(matches!(&refused[..], [Err(PublishError::Refused(why))] if why.contains(complaint)), "{refused:?}");
    assert!(relay.queue.depth(&work()).await.is_err());
    assert!(fs::read(&path).unwrap() == before, "it was written to");

    fs::write(&path, &whole).unwrap();
    relay.until_up().await;
    assert_eq!(relay.depth(&work()).await, 200);
}

fn truncate(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

#[tokio::test]
async fn bytes_without_a_meaning_are_no_queue() {
    let random: Vec<u8> = (0..20_000).map(|_| rand::random()).collect();
    check(|path| fs::write(path, random).unwrap(), "damaged or no SQLite database").await;
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_named() {
    check(|path| truncate(path, fs::metadata(path).unwrap().len() / 2), "damaged").await;
}

#[tokio::test]
async fn a_file_of_which_the_head_remains_is_named() {
    check(|path| truncate(path, 5_000), "damaged").await;
}

#[tokio::test]
async fn the_database_of_another_program_is_left_alone() {
    let foreign = |path: &Path| {
        fs::remove_file(path).unwrap();
        Connection::open(path)
            .unwrap()
            .execute_batch("CREATE TABLE event (number INTEGER); PRAGMA user_version = 1")
            .unwrap();
    };
    check(foreign, "another program").await;
}

#[tokio::test]
async fn a_file_of_a_later_release_is_left_alone() {
    check(|path| Connection::open(path).unwrap().execute_batch("PRAGMA user_version = 1000").unwrap(), "later release")
        .await;
}

#[tokio::test]
async fn a_file_of_an_earlier_release_is_left_alone() {
    check(|path| Connection::open(path).unwrap().execute_batch("PRAGMA user_version = 0").unwrap(), "earlier release")
        .await;
}

#[tokio::test]
async fn a_log_without_its_file_is_not_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("relay.db"), folder.path().join("relay.db-wal"));
    let mut sender = Process::start(Role::Publish, &path);
    for _ in 0..20 {
        sender.says().await.unwrap();
    }
    // What was confirmed last is in the log only.
    sender.kill().await;
    let (whole, written) = (fs::read(&path).unwrap(), fs::read(&log).unwrap());
    assert!(!written.is_empty());
    truncate(&path, 0);

    let relay = begin(&path);

    let state = relay.until("a mismatch", |state| matches!(state, BrokerState::Mismatch { .. })).await.to_string();
    assert!(state.contains("relay.db-wal"), "{state}");
    assert!(fs::read(&log).unwrap() == written, "the log was written to");
    fs::write(&path, &whole).unwrap();
    relay.until_up().await;
    assert!(20 <= relay.depth(&work()).await);
}
