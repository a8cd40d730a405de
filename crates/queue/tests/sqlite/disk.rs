//! A disk that takes nothing: as the kernel says it of one that is full or read-only, and of one that does not answer.
//!
//! [`mounted`] has the same with file systems that really are so, which takes rights that a container does not have.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use refersion_relay_faulty_disk::Fault;
use refersion_relay_queue::{BrokerState, Message, PublishError, Queue, Sqlite, SqliteSettings};
use refersion_relay_telemetry::Metrics;

use crate::inside::on_faulty_disk;
use refersion_relay_queue_testkit::events::{DELIVERED, body, event, events, work};
use refersion_relay_queue_testkit::instance::Instance;
use refersion_relay_queue_testkit::sqlite::{begin, open, settings};
use refersion_relay_queue_testkit::waiting::take_one;

/// An event of 32 KiB that begins with its number.
fn large(number: usize) -> Message {
    event("one", &format!("{number:032768}"))
}

fn number_of(message: &Message) -> usize {
    body(message).parse().unwrap()
}

/// Stores until the disk is full, and goes on when there is room. `fill`: what it takes besides.
async fn fill_up(folder: &Path, fill: impl FnOnce(), make_room: impl FnOnce()) {
    let relay = open(&folder.join("relay.db")).await;
    let (mut outcomes, mut fill) = (Vec::new(), Some(fill));
    while relay.queue.state().borrow().is_up() {
        if outcomes.len() == 20 {
            fill.take().into_iter().for_each(|fill| fill());
        }
        outcomes.push(relay.queue.publish(vec![(work(), large(outcomes.len()))]).await.remove(0));
        assert!(outcomes.len() < 1_000, "the disk does not fill");
    }

    let state = relay.queue.state().borrow().clone();

    assert!(matches!(state, BrokerState::Blocked { .. }), "{state}");
    assert!(outcomes.len() > 10, "{outcomes:?}");
    assert!(outcomes.last().unwrap().is_err());
    let there = relay.depth(&work()).await;
    make_room();
    relay.until_up().await;
    relay.store(&work(), [large(10_000)]).await;
    let confirmed: Vec<_> = (0..outcomes.len()).filter(|number| outcomes[*number].is_ok()).collect();
    assert!(confirmed.len() as u64 <= there);
    let mut owned = relay.own(&work()).await;
    let mut came = Vec::new();
    while came.last() != Some(&10_000) {
        let delivery = take_one(&mut owned).await;
        came.push(number_of(&delivery.message));
        delivery.settle(DELIVERED).await.unwrap();
    }
    came.pop();
    // What was not confirmed may be there.
    came.retain(|number| outcomes[*number].is_ok() || matches!(outcomes[*number], Err(PublishError::Refused(_))));
    assert_eq!(came, confirmed);
    owned.release().await;
    assert_eq!(relay.queue.ledger().await.unwrap().difference(), 0);
}

/// Opens a queue whose file may not be written, and goes on when it may.
async fn forbid_the_file(path: &Path, allow: impl FnOnce()) {
    let relay = begin(path);

    let state = relay.until("read-only", |state| state.to_string().to_lowercase().contains("read-only")).await;
    assert!(matches!(state, BrokerState::Away { .. }), "{state}");
    let refused = relay.queue.publish(vec![(work(), events(3..4).remove(0))]).await;
    assert!(matches!(&refused[..], [Err(PublishError::Refused(_))]), "{refused:?}");
    allow();
    relay.until_up().await;
    relay.store(&work(), events(3..4)).await;
    assert_eq!(relay.depth(&work()).await, 4);
}

/// Opens a queue in a folder where no file can be made, and goes on when it can.
async fn forbid_the_folder(path: &Path, allow: impl FnOnce()) {
    let relay = begin(path);

    let state = relay.until("read-only", |state| state.to_string().to_lowercase().contains("read-only")).await;
    assert!(matches!(state, BrokerState::Away { .. }), "{state}");
    allow();
    relay.until_up().await;
    relay.store(&work(), events(0..1)).await;
}

/// A closed queue with three events.
async fn three_events(path: &Path) {
    let first = open(path).await;
    first.store(&work(), events(0..3)).await;
    first.queue.close().await;
}

#[tokio::test]
async fn a_full_disk_blocks_and_is_used_again_when_there_is_room() {
    let test = "disk::a_full_disk_blocks_and_is_used_again_when_there_is_room";
    let Some(disk) = on_faulty_disk(test) else { return };
    fill_up(disk.folder(), || disk.fails(Fault::Full), || disk.is_mended(Fault::Full)).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named_and_used_when_it_can() {
    let test = "disk::a_file_that_cannot_be_written_is_named_and_used_when_it_can";
    let Some(disk) = on_faulty_disk(test) else { return };
    let path = disk.folder().join("relay.db");
    three_events(&path).await;
    disk.fails(Fault::ReadOnly);
    forbid_the_file(&path, || disk.is_mended(Fault::ReadOnly)).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let Some(disk) = on_faulty_disk("disk::a_folder_that_cannot_be_written_is_named") else { return };
    disk.fails(Fault::ReadOnly);
    forbid_the_folder(&disk.folder().join("relay.db"), || disk.is_mended(Fault::ReadOnly)).await;
}

#[tokio::test]
async fn a_disk_that_hangs_is_not_up_and_nothing_more_is_handed_to_it() {
    let test = "disk::a_disk_that_hangs_is_not_up_and_nothing_more_is_handed_to_it";
    let Some(disk) = on_faulty_disk(test) else { return };
    let settings =
        SqliteSettings { confirm_timeout: Duration::from_millis(200), ..settings(&disk.folder().join("relay.db")) };
    let relay = Instance { queue: Arc::new(Sqlite::start(settings, Metrics::new())) };
    relay.until_up().await;
    disk.fails(Fault::Hangs);
    let unknown = relay.queue.publish(vec![(work(), events(0..1).remove(0))]).await;
    assert!(matches!(&unknown[..], [Err(PublishError::Unknown(_))]), "{unknown:?}");

    let state = relay.until("away", |state| !state.is_up()).await;

    assert!(matches!(&state, BrokerState::Away { why } if why.contains("the disk does not answer")), "{state}");
    let refused = relay.queue.publish(vec![(work(), events(1..2).remove(0))]).await;
    assert!(matches!(&refused[..], [Err(PublishError::Refused(_))]), "{refused:?}");
    disk.is_mended(Fault::Hangs);
    relay.until_up().await;
    assert_eq!(relay.depth(&work()).await, 1, "it was stored in the end, and nothing else was");
    assert_eq!(relay.queue.ledger().await.unwrap().difference(), 0);
}

mod mounted {
    use std::fs;

    use super::{fill_up, forbid_the_file, forbid_the_folder, three_events};
    use crate::inside::{is_in_namespace, mount_again, mount_disk, remount};

    #[tokio::test]
    #[ignore = "mounts file systems, which takes user namespaces or root"]
    async fn a_full_disk_blocks_and_is_used_again_when_there_is_room() {
        if !is_in_namespace("disk::mounted::a_full_disk_blocks_and_is_used_again_when_there_is_room") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        mount_disk(folder.path(), 4 * 1024);
        let ballast = folder.path().join("ballast");
        fs::write(&ballast, vec![0; 2 * 1024 * 1024]).unwrap();
        fill_up(folder.path(), || (), || fs::remove_file(&ballast).unwrap()).await;
    }

    #[tokio::test]
    #[ignore = "mounts file systems, which takes user namespaces or root"]
    async fn a_file_that_cannot_be_written_is_named_and_used_when_it_can() {
        if !is_in_namespace("disk::mounted::a_file_that_cannot_be_written_is_named_and_used_when_it_can") {
            return;
        }
        let (folder, view) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        three_events(&folder.path().join("relay.db")).await;
        mount_again(folder.path(), view.path());
        remount(view.path(), "ro");
        forbid_the_file(&view.path().join("relay.db"), || remount(view.path(), "rw")).await;
    }

    #[tokio::test]
    #[ignore = "mounts file systems, which takes user namespaces or root"]
    async fn a_folder_that_cannot_be_written_is_named() {
        if !is_in_namespace("disk::mounted::a_folder_that_cannot_be_written_is_named") {
            return;
        }
        let (folder, view) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        mount_again(folder.path(), view.path());
        remount(view.path(), "ro");
        forbid_the_folder(&view.path().join("relay.db"), || remount(view.path(), "rw")).await;
    }
}
