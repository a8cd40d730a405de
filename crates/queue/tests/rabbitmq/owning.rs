//! What an owner of a place gets, and what becomes of it when the owner goes.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use refersion_relay_model::Class;
use refersion_relay_queue::{Owned, Queue, Room, Settle};
use refersion_relay_telemetry::Connection;
use tokio::time::timeout;

use crate::harness::{
    EVERYTHING, OTHER_SHARD, PATIENCE, ROOM, Relay, SHARD, bodies, body, crowd, events, eventually, nothing_comes,
    numbers, settings, shared_broker, take, until_ended,
};
use crate::wire::Wire;

#[tokio::test]
async fn what_is_settled_is_gone_and_the_rest_comes_again_in_order() {
    let relay = Relay::start().await;
    relay.store(&SHARD, events(0..10)).await;
    let mut owned = relay.own(&SHARD).await;
    for (number, delivery) in take(&mut owned, 10).await.into_iter().enumerate() {
        assert!(!delivery.redelivered);
        if [0, 3, 4, 9].contains(&number) {
            delivery.settle(Settle::Done(Ending::Delivered)).await.unwrap();
        }
    }
    owned.release().await;

    let mut owned = relay.own(&SHARD).await;

    let again = take(&mut owned, 6).await;
    assert_eq!(bodies(&again), numbers([1, 2, 5, 6, 7, 8]));
    assert!(again.iter().all(|delivery| delivery.redelivered));
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn no_more_is_in_hand_than_there_is_room() {
    let relay = Relay::start().await;
    relay.store(&SHARD, events(0..5)).await;
    let mut owned = relay.queue.own(SHARD, Room { events: 3 }).await.unwrap();
    let mut in_hand = take(&mut owned, 3).await;
    nothing_comes(&mut owned).await;

    in_hand.remove(1).settle(Settle::Done(Ending::Delivered)).await.unwrap();

    assert_eq!(bodies(&take(&mut owned, 1).await), ["3"]);
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn the_second_owner_stands_by_until_the_first_gives_up() {
    let relay = Relay::start().await;
    relay.store(&SHARD, events(0..3)).await;
    let mut first = relay.own(&SHARD).await;
    let in_hand = take(&mut first, 3).await;
    let mut second = relay.own(&SHARD).await;
    relay.store(&SHARD, events(3..6)).await;
    assert_eq!(bodies(&take(&mut first, 3).await), numbers(3..6));
    nothing_comes(&mut second).await;

    first.release().await;

    assert_eq!(bodies(&take(&mut second, 6).await), numbers(0..6));
    drop(in_hand);
    second.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn the_second_owner_takes_over_when_the_connection_of_the_first_dies() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start().await;
    let mut settings = settings(&wire.url(&url));
    settings.prefix.clone_from(&relay.settings.prefix);
    let dying = Relay::start_with(&url, settings).await;
    relay.store(&SHARD, events(0..20)).await;
    let mut first = dying.own(&SHARD).await;
    let mut in_hand = take(&mut first, 15).await;
    in_hand.remove(0).settle(Settle::Done(Ending::Delivered)).await.unwrap();
    let mut second = relay.own(&SHARD).await;

    wire.cut();

    assert_eq!(bodies(&take(&mut second, 19).await), numbers(1..20));
    until_ended(&mut first).await;
    assert!(first.ended().is_cancelled());
    assert!(in_hand.remove(0).settle(Settle::Done(Ending::Delivered)).await.is_err(), "it is somebody else's now");
    drop(dying);
    second.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn an_owner_that_is_only_dropped_keeps_nothing() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, settings(&wire.url(&url))).await;
    relay.store(&SHARD, events(0..5)).await;
    let mut first = relay.own(&SHARD).await;
    let in_hand = take(&mut first, 3).await;

    assert_eq!(wire.connections(), 2);

    drop(first); // as when a task panics or is aborted

    eventually("only the publishing connection", async || (wire.connections() == 1).then_some(())).await;
    let mut second = relay.own(&SHARD).await;
    assert_eq!(bodies(&take(&mut second, 5).await), numbers(0..5));
    drop(in_hand);
    second.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn the_term_ends_with_its_queue_and_the_next_one_begins_when_it_is_back() {
    let relay = Relay::start().await;
    relay.store(&SHARD, events(0..3)).await;
    let mut owned = relay.own(&SHARD).await;
    let in_hand = take(&mut owned, 1).await.remove(0);

    relay.admin.delete_queue(&relay.shard_queue(0)).await;

    until_ended(&mut owned).await;
    assert!(owned.ended().is_cancelled());
    assert!(in_hand.settle(Settle::Done(Ending::Delivered)).await.is_err());
    owned.release().await;
    assert!(relay.queue.own(SHARD, ROOM).await.is_err(), "there is no such queue");
    assert_eq!(relay.queue.check().await.unwrap().differences, [""; 0]);
    let mut owned = timeout(PATIENCE, relay.own(&SHARD)).await.unwrap();
    relay.store(&SHARD, events(3..5)).await;
    assert_eq!(bodies(&take(&mut owned, 2).await), numbers(3..5));
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn giving_places_up_disturbs_nothing_else() {
    const ROUNDS: usize = 40;
    const EVENTS: usize = 60;
    let relay = Arc::new(Relay::start().await);
    relay.store(&SHARD, events(0..EVENTS)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (relay, stop) = (relay.clone(), stop.clone());
        async move {
            let mut published = EVENTS;
            while !stop.load(Ordering::SeqCst) {
                relay.store(&SHARD, events([published])).await;
                published += 1;
            }
            published
        }
    });

    for round in 0..ROUNDS {
        let (mut owned, first, second, ()) = tokio::join!(
            relay.own(&SHARD),
            relay.own(&OTHER_SHARD),
            relay.own(&OTHER_SHARD),
            relay.store(&OTHER_SHARD, crowd(0..3)),
        );
        let mut taken = take(&mut owned, 5).await;
        assert_eq!(bodies(&taken), numbers(round..round + 5), "in round {round}");
        taken.remove(0).settle(Settle::Done(Ending::Delivered)).await.unwrap();
        let queue = relay.shard_queue(1);
        // Sometimes before the queue is gone, sometimes while it goes, sometimes after.
        let release_late = async |owned: Owned, late: usize| {
            for _ in 0..late {
                relay.depth(&SHARD).await;
            }
            owned.release().await;
        };
        tokio::join!(
            relay.admin.delete_queue(&queue),
            owned.release(),
            release_late(first, round % 10),
            release_late(second, round / 2),
        );
        relay.queue.check().await.unwrap(); // declares it again
    }

    stop.store(true, Ordering::SeqCst);
    let published = publishing.await.unwrap();
    let mut owned = relay.own(&SHARD).await;
    let mut rest = Vec::new();
    while rest.len() < published - ROUNDS {
        for delivery in take(&mut owned, 1).await {
            rest.extend(bodies(slice::from_ref(&delivery)));
            delivery.settle(Settle::Done(Ending::Delivered)).await.unwrap();
        }
    }
    assert_eq!(rest, numbers(ROUNDS..published));
    assert_eq!(relay.metrics.connections_lost(Connection::Publish), 0);
    owned.release().await;
    Arc::into_inner(relay).expect("nobody else has it").clean().await;
}

#[tokio::test]
async fn lost_connections_do_not_use_an_event_up() {
    let relay = Relay::start().await;
    relay.store(&SHARD, events(0..3)).await;
    for _ in 0..5 {
        let mut owned = relay.own(&SHARD).await;
        assert_eq!(bodies(&take(&mut owned, 3).await), numbers(0..3));
        owned.release().await;
    }

    let mut owned = relay.own(&SHARD).await;

    for delivery in take(&mut owned, 3).await {
        delivery.settle(Settle::Done(Ending::Delivered)).await.unwrap();
    }
    assert_eq!(relay.browse(Class::Poison, EVERYTHING).await.0, 0);
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn an_event_that_is_delivered_a_hundred_times_and_never_settled_is_poison() {
    let relay = Relay::start().await;
    relay.store(&SHARD, events(0..1)).await;
    for _ in 0..=100 {
        let mut owned = relay.own(&SHARD).await;
        take(&mut owned, 1).await;
        owned.release().await;
    }

    let letter = eventually("the letter", async || {
        let (_, letters) = relay.browse(Class::Poison, EVERYTHING).await;
        letters.into_iter().next()
    })
    .await;

    assert_eq!(body(&letter.message), "0");
    let death = letter.message.headers.death.unwrap();
    assert_eq!((death.class, death.reason.as_str()), (Class::Poison, "delivery_limit"));
    let mut owned = relay.own(&SHARD).await;
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}
