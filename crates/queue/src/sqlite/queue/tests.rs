use bytes::Bytes;
use refersion_relay_supervise::{Failure, How};
use tempfile::TempDir;

use super::*;
use crate::{Ending, Headers, Settle};

fn acme() -> AccountName {
    AccountName::try_from("acme").expect("a name")
}

fn work() -> Place {
    Place::Work(acme())
}

async fn begin() -> (TempDir, Sqlite) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = SqliteSettings {
        path: SqlitePath::parse("sqlite:relay.db", folder.path()).expect("a path"),
        accounts: vec![acme()],
        tiers: Vec::new(),
        confirm_timeout: Duration::from_secs(5),
    };
    let queue = Sqlite::start(settings, Metrics::new());
    queue.state().wait_for(BrokerState::is_up).await.expect("it goes on");
    (folder, queue)
}

fn event() -> Message {
    let headers = Headers::received("1", "identify", acme(), "one".to_owned(), SystemTime::now());
    Message { body: Bytes::from_static(b"{}"), headers }
}

/// Panics where nobody takes it.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("nobody took it");
    }
}

#[tokio::test]
async fn a_writer_that_panics_is_a_failure_and_ends_every_term() {
    let (_folder, queue) = begin().await;
    assert_eq!(queue.publish(vec![(work(), event())]).await, [Ok(())]);
    let mut owned = queue.own(work(), Room { events: 2 }).await.expect("a place");
    let delivery = owned.next().await.expect("an event");

    // The thread drops it, after the transaction and out of the reach of what catches a panic there.
    drop(queue.writer.submit(0, |_| Ok(Bomb)));

    assert!(owned.next().await.is_none());
    assert!(delivery.settle(Settle::Done(Ending::Delivered)).await.is_err(), "it comes again");
    assert!(queue.publish(vec![(work(), event())]).await[0].is_err());
    queue.close().await;
    let how = How::Panicked(Some("nobody took it"));
    assert_eq!(queue.parts().failure(), Some(Failure { part: "sqlite-writer".to_owned(), how }));
}

#[tokio::test]
async fn a_queue_that_is_closed_has_not_failed() {
    let (_folder, queue) = begin().await;
    queue.close().await;
    assert_eq!(queue.parts().failure(), None);
}
