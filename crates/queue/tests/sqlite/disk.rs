//! A disk that takes nothing.

use std::fs;

use refersion_relay_queue::{BrokerState, Message, PublishError, Queue};

use crate::namespace::{is_inside, mount_again, mount_disk, remount};
use crate::support::events::{DELIVERED, SHARD, body, event, events};
use crate::support::sqlite::{begin, open};
use crate::support::waiting::take_one;

/// An event of 32 KiB that begins with its number.
fn large(number: usize) -> Message {
    event("one", &format!("{number:032768}"))
}

fn number_of(message: &Message) -> usize {
    body(message).parse().unwrap()
}

#[tokio::test]
async fn a_full_disk_blocks_and_is_used_again_when_there_is_room() {
    if !is_inside("disk::a_full_disk_blocks_and_is_used_again_when_there_is_room") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    mount_disk(folder.path(), 4 * 1024);
    let ballast = folder.path().join("ballast");
    fs::write(&ballast, vec![0; 2 * 1024 * 1024]).unwrap();
    let relay = open(&folder.path().join("relay.db")).await;
    let mut outcomes = Vec::new();
    while relay.queue.state().borrow().is_up() {
        outcomes.push(relay.queue.publish(vec![(SHARD, large(outcomes.len()))]).await.remove(0));
        assert!(outcomes.len() < 1_000, "the disk does not fill");
    }

    let state = relay.queue.state().borrow().clone();

    assert!(matches!(state, BrokerState::Blocked { .. }), "{state}");
    assert!(outcomes.len() > 10, "{outcomes:?}");
    assert!(outcomes.last().unwrap().is_err());
    let there = relay.depth(&SHARD).await;
    fs::remove_file(&ballast).unwrap();
    relay.until_up().await;
    relay.store(&SHARD, [large(10_000)]).await;
    let confirmed: Vec<_> = (0..outcomes.len()).filter(|number| outcomes[*number].is_ok()).collect();
    assert!(confirmed.len() as u64 <= there);
    let mut owned = relay.own(&SHARD).await;
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

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named_and_used_when_it_can() {
    if !is_inside("disk::a_file_that_cannot_be_written_is_named_and_used_when_it_can") {
        return;
    }
    let (folder, view) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = open(&folder.path().join("relay.db")).await;
    first.store(&SHARD, events(0..3)).await;
    first.queue.close().await;
    mount_again(folder.path(), view.path());
    remount(view.path(), "ro");

    let relay = begin(&view.path().join("relay.db"));

    let state = relay.until("read-only", |state| state.to_string().to_lowercase().contains("read-only")).await;
    assert!(matches!(state, BrokerState::Away { .. }), "{state}");
    let refused = relay.queue.publish(vec![(SHARD, events(3..4).remove(0))]).await;
    assert!(matches!(&refused[..], [Err(PublishError::Refused(_))]), "{refused:?}");
    remount(view.path(), "rw");
    relay.until_up().await;
    relay.store(&SHARD, events(3..4)).await;
    assert_eq!(relay.depth(&SHARD).await, 4);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    if !is_inside("disk::a_folder_that_cannot_be_written_is_named") {
        return;
    }
    let (folder, view) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    mount_again(folder.path(), view.path());
    remount(view.path(), "ro");

    let relay = begin(&view.path().join("relay.db"));

    let state = relay.until("read-only", |state| state.to_string().to_lowercase().contains("read-only")).await;
    assert!(matches!(state, BrokerState::Away { .. }), "{state}");
    remount(view.path(), "rw");
    relay.until_up().await;
    relay.store(&SHARD, events(0..1)).await;
}
