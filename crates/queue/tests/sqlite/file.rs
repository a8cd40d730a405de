//! The file itself: who can read it, and what happens when it goes away.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use refersion_relay_queue::{BrokerState, PublishError, Queue};

use refersion_relay_queue_testkit::events::{bodies, events, numbers, work};
use refersion_relay_queue_testkit::sqlite::{Embedded, begin};
use refersion_relay_queue_testkit::waiting::take;

fn is_mismatch(state: &BrokerState) -> bool {
    matches!(state, BrokerState::Mismatch { .. })
}

#[tokio::test]
async fn only_its_owner_can_read_the_file() {
    let relay = Embedded::start().await;
    relay.store(&work(), events(0..1)).await;
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", relay.path().display());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
    relay.clean().await;
}

#[tokio::test]
async fn a_file_that_is_deleted_is_noticed_and_goes_on_when_it_is_back() {
    let relay = Embedded::start().await;
    relay.store(&work(), events(0..3)).await;
    let aside = relay.path().with_extension("aside");
    fs::rename(relay.path(), &aside).unwrap();

    let lost = relay.queue.publish(vec![(work(), events(3..4).remove(0))]).await;

    assert!(matches!(&lost[..], [Err(PublishError::Refused(_))]), "{lost:?}");
    let state = relay.until("a mismatch", is_mismatch).await.to_string();
    assert!(state.contains("deleted or replaced"), "{state}");
    assert!(relay.queue.depth(&work()).await.is_err());
    assert!(!relay.path().exists(), "nothing begins anew in silence");
    fs::rename(&aside, relay.path()).unwrap();
    relay.until_up().await;
    relay.store(&work(), events(3..5)).await;
    let mut owned = relay.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, 5).await), numbers(0..5));
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn a_file_that_is_replaced_is_not_written_to() {
    let relay = Embedded::start().await;
    let other = Embedded::start().await;
    other.store(&work(), events(0..1)).await;
    other.queue.close().await;
    let aside = relay.path().with_extension("aside");
    fs::rename(relay.path(), &aside).unwrap();
    fs::copy(other.path(), relay.path()).unwrap();
    let before = fs::read(relay.path()).unwrap();

    let lost = relay.queue.publish(vec![(work(), events(3..4).remove(0))]).await;

    assert!(matches!(&lost[..], [Err(PublishError::Refused(_))]), "{lost:?}");
    let state = relay.until("a mismatch", is_mismatch).await.to_string();
    assert!(state.contains("deleted or replaced"), "{state}");
    assert!(fs::read(relay.path()).unwrap() == before, "it was written to");
    fs::rename(&aside, relay.path()).unwrap();
    relay.until_up().await;
    relay.clean().await;
}

#[tokio::test]
async fn a_folder_that_is_missing_is_named_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("relay.db");
    let relay = begin(&path);
    let state = relay.until("away", |state| state.to_string().contains("missing")).await;
    assert!(matches!(state, BrokerState::Away { .. }), "{state}");
    let refused = relay.queue.publish(vec![(work(), events(0..1).remove(0))]).await;
    assert!(matches!(&refused[..], [Err(PublishError::Refused(_))]), "{refused:?}");

    fs::create_dir(path.parent().unwrap()).unwrap();

    relay.until_up().await;
    relay.store(&work(), events(0..1)).await;
    assert_eq!(relay.depth(&work()).await, 1);
}

#[tokio::test]
async fn several_who_make_the_file_at_once_share_it() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.db");
        let instances: Vec<_> = (0..4).map(|_| begin(&path)).collect();
        for instance in &instances {
            instance
                .until("up", |state| {
                    assert!(!is_mismatch(state), "{state}");
                    state.is_up()
                })
                .await;
            instance.store(&work(), events(0..2)).await;
        }
        assert_eq!(instances[0].depth(&work()).await, 8);
    }
}

#[tokio::test]
async fn a_file_that_is_deleted_while_something_is_wrong_with_it_is_not_made_anew() {
    let relay = Embedded::start().await;
    relay.store(&work(), events(0..3)).await;
    let aside = relay.path().with_extension("aside");
    let connection = relay.connection();
    connection.execute_batch("ALTER TABLE state RENAME TO damaged").unwrap();
    assert!(relay.queue.publish(vec![(work(), events(3..4).remove(0))]).await[0].is_err());
    relay.until("away", |state| matches!(state, BrokerState::Away { .. })).await;

    fs::rename(relay.path(), &aside).unwrap();

    relay.until("a mismatch", is_mismatch).await;
    assert!(!relay.path().exists(), "nothing begins anew in silence");
    fs::rename(&aside, relay.path()).unwrap();
    connection.execute_batch("ALTER TABLE damaged RENAME TO state").unwrap();
    relay.until_up().await;
    assert_eq!(relay.depth(&work()).await, 3);
    relay.clean().await;
}
