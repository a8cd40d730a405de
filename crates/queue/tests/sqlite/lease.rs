//! Which of several processes works what is in the file, and that all of them may write.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use refersion_relay_queue::Queue;
use tokio::time::timeout;

use crate::process::{Process, Role};
use refersion_relay_queue_testkit::events::{DELIVERED, bodies, crowd, event, events, numbers, work};
use refersion_relay_queue_testkit::sqlite::{Embedded, open};
use refersion_relay_queue_testkit::waiting::{PATIENCE, nothing_comes, take, until_ended};

/// How long a holder has to be silent before somebody takes its place without knowing that it is gone.
const TERM: Duration = Duration::from_secs(10);

#[tokio::test]
async fn whoever_stands_by_takes_over_at_once_when_the_holder_is_killed() {
    let relay = Embedded::start().await;
    relay.store(&work(), events(0..5)).await;
    let mut holder = Process::start(Role::Own(5), &relay.path());
    assert_eq!(holder.says().await, Some(5));
    let mut owned = relay.own(&work()).await;
    nothing_comes(&mut owned).await;

    holder.kill().await;

    let begin = Instant::now();
    assert_eq!(bodies(&take(&mut owned, 5).await), numbers(0..5));
    let took = begin.elapsed();
    assert!(took < TERM / 2, "it took {took:?}");
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn a_holder_that_was_frozen_settles_nothing_when_it_wakes() {
    let relay = Embedded::start().await;
    relay.store(&work(), events(0..5)).await;
    let mut holder = Process::start(Role::Own(5), &relay.path());
    assert_eq!(holder.says().await, Some(5));
    let mut owned = relay.own(&work()).await;
    nothing_comes(&mut owned).await;
    holder.freeze();
    nothing_comes(&mut owned).await;

    relay.silence_holder();

    let mut again = take(&mut owned, 5).await;
    assert_eq!(bodies(&again), numbers(0..5));
    assert!(again.iter().all(|delivery| delivery.redelivered));
    again.remove(0).settle(DELIVERED).await.unwrap();
    holder.thaw();
    holder.tell().await;
    assert_eq!(holder.says().await, Some(0), "nothing of what it has in hand is its own any more");
    for delivery in again {
        delivery.settle(DELIVERED).await.unwrap();
    }
    nothing_comes(&mut owned).await;
    assert_eq!(relay.queue.ledger().await.unwrap().delivered, 5);
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn whoever_has_lost_the_lease_does_not_touch_what_the_next_holder_has_in_hand() {
    let relay = Embedded::start().await;
    let other = open(&relay.path()).await;
    relay.store(&work(), events(0..3)).await;
    let mut first = relay.own(&work()).await;
    take(&mut first, 3).await;
    let mut second = other.own(&work()).await;
    relay.silence_holder();
    let in_hand = take(&mut second, 3).await;
    until_ended(&mut first).await;
    first.release().await;

    let mut first = relay.own(&work()).await;
    nothing_comes(&mut first).await;

    let depth = other.queue.depth(&work()).await.unwrap();
    assert_eq!((depth.ready, depth.in_hand), (0, 3));
    for delivery in in_hand {
        delivery.settle(DELIVERED).await.unwrap();
    }
    second.release().await;
    nothing_comes(&mut first).await;
    first.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn a_holder_that_has_to_open_the_file_anew_keeps_its_lease() {
    let relay = Embedded::start().await;
    let other = open(&relay.path()).await;
    relay.store(&work(), events(0..2)).await;
    let mut first = relay.own(&work()).await;
    let in_hand = take(&mut first, 2).await;
    let mut second = other.own(&work()).await;
    nothing_comes(&mut second).await;
    // What no transaction of ours fails with has the file opened anew.
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'for a test'); END";
    relay.connection().execute_batch(refuse).unwrap();
    assert!(relay.queue.publish(vec![(work(), event("one", "2"))]).await[0].is_err());
    relay.connection().execute_batch("DROP TRIGGER refuse").unwrap();

    nothing_comes(&mut second).await;

    relay.until_up().await;
    nothing_comes(&mut second).await;
    for delivery in in_hand {
        delivery.settle(DELIVERED).await.unwrap();
    }
    second.release().await;
    first.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn a_process_whose_owners_left_while_the_file_was_away_keeps_no_lease() {
    let relay = Embedded::start().await;
    let other = open(&relay.path()).await;
    relay.store(&work(), events(0..2)).await;
    let mut first = relay.own(&work()).await;
    take(&mut first, 2).await;
    let aside = relay.path().with_extension("aside");
    std::fs::rename(relay.path(), &aside).unwrap();
    assert!(relay.queue.publish(vec![(work(), event("one", "2"))]).await[0].is_err());

    first.release().await;

    std::fs::rename(&aside, relay.path()).unwrap();
    let mut second = other.own(&work()).await;
    assert_eq!(bodies(&take(&mut second, 2).await), numbers(0..2));
    second.release().await;
    relay.until_up().await;
    relay.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_who_writes_gets_a_fair_share() {
    const WRITERS: usize = 4;
    const DURING: Duration = Duration::from_secs(2);
    let relay = Embedded::start().await;
    let write = |path: PathBuf, writer: usize| async move {
        let instance = open(&path).await;
        let (begin, mut stored) = (Instant::now(), 0_u32);
        while begin.elapsed() < DURING {
            // A disk that stands still for seconds lets one refuse; it is up again soon.
            instance.until_up().await;
            // Half of them have much to write.
            let batch = if writer.is_multiple_of(2) { crowd(0..100) } else { crowd(0..1) };
            let results = instance.queue.publish(batch.into_iter().map(|message| (work(), message)).collect()).await;
            stored += u32::from(results.iter().all(Result::is_ok));
        }
        stored
    };
    let writing: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(relay.path(), writer))).collect();

    let shares = timeout(PATIENCE, futures_util::future::try_join_all(writing)).await.unwrap().unwrap();

    let (slowest, average) = (*shares.iter().min().unwrap(), shares.iter().sum::<u32>() / 4);
    assert!(0 < average && average <= slowest * 10 + 10, "{shares:?}");
    relay.clean().await;
}
