//! What is there after a process was killed.

use refersion_relay_queue::{Owned, Queue};

use crate::process::{Process, Role};
use refersion_relay_queue_testkit::events::{DELIVERED, bodies, body, events, numbers, other_work, work};
use refersion_relay_queue_testkit::sqlite::Embedded;
use refersion_relay_queue_testkit::waiting::{nothing_comes, take, take_one};

#[tokio::test]
async fn what_was_confirmed_survives_a_kill_and_comes_in_order() {
    let relay = Embedded::start().await;
    let mut sender = Process::start(Role::Publish, &relay.path());
    let mut confirmed = 0;
    while confirmed < 50 {
        confirmed = sender.says().await.unwrap();
    }

    sender.kill().await;

    while let Some(number) = sender.says().await {
        confirmed = number;
    }
    let there = usize::try_from(relay.depth(&work()).await).unwrap();
    // Nobody heard of the last one.
    assert!((confirmed + 1..=confirmed + 2).contains(&there), "{there} are there, up to {confirmed} are confirmed");
    let mut owned = relay.own(&work()).await;
    assert_eq!(all(&mut owned, there).await, numbers(0..there));
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn a_process_that_is_killed_over_and_over_loses_nothing_and_makes_nothing_twice() {
    let relay = Embedded::start().await;
    let mut confirmed = 0;
    for _ in 0..5 {
        let mut sender = Process::start(Role::Publish, &relay.path());
        for _ in 0..10 {
            sender.says().await.unwrap();
            confirmed += 1;
        }
        sender.kill().await;
        while sender.says().await.is_some() {
            confirmed += 1;
        }
    }

    let ledger = relay.queue.ledger().await.unwrap();

    assert!((confirmed..=confirmed + 5).contains(&usize::try_from(ledger.accepted).unwrap()), "{confirmed}: {ledger}");
    assert_eq!(ledger.waiting, ledger.accepted);
    relay.clean().await;
}

#[tokio::test]
async fn what_a_killed_owner_had_in_hand_comes_again_in_order() {
    let relay = Embedded::start().await;
    relay.store(&work(), events(0..10)).await;
    let mut holder = Process::start(Role::Own(10), &relay.path());
    assert_eq!(holder.says().await, Some(10));
    assert_eq!(relay.queue.ledger().await.unwrap().waiting, 10);

    holder.kill().await;

    let mut owned = relay.own(&work()).await;
    let again = take(&mut owned, 10).await;
    assert_eq!(bodies(&again), numbers(0..10));
    assert!(again.iter().all(|delivery| delivery.redelivered));
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn an_event_is_at_one_place_whenever_the_process_that_moves_it_dies() {
    const EVENTS: usize = 300;
    let relay = Embedded::start().await;
    relay.store(&work(), events(0..EVENTS)).await;
    let mut told = 0;
    for _ in 0..5 {
        let mut mover = Process::start(Role::Move, &relay.path());
        for _ in 0..20 {
            mover.says().await.unwrap();
            told += 1;
        }
        mover.kill().await;
        while mover.says().await.is_some() {
            told += 1;
        }
    }

    let (mut from, mut to) = (relay.own(&work()).await, relay.own(&other_work()).await);

    assert_eq!(relay.queue.ledger().await.unwrap().waiting, EVENTS as u64, "none is there twice, and none is missing");
    let there = relay.queue.depth(&other_work()).await.unwrap();
    let arrived = usize::try_from(there.ready + there.in_hand).unwrap();
    assert!((told..=told + 5).contains(&arrived), "{arrived} of {told}");
    assert_eq!(all(&mut to, arrived).await, numbers(0..arrived));
    assert_eq!(all(&mut from, EVENTS - arrived).await, numbers(arrived..EVENTS));
    from.release().await;
    to.release().await;
    relay.clean().await;
}

/// The bodies of everything that is there, each of which is settled.
async fn all(owned: &mut Owned, count: usize) -> Vec<String> {
    let mut came = Vec::new();
    for _ in 0..count {
        let delivery = take_one(owned).await;
        came.push(body(&delivery.message));
        delivery.settle(DELIVERED).await.unwrap();
    }
    nothing_comes(owned).await;
    came
}
