//! What an owner of a place gets, and what becomes of it when the owner goes.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use refersion_relay_queue::{BrokerUrl, Owned, Queue, RabbitMq, RabbitMqSettings};
use refersion_relay_telemetry::{Connection, Metrics};
use tokio::time::timeout;

use refersion_relay_queue_testkit::events::{DELIVERED, bodies, crowd, events, numbers, other_work, work};
use refersion_relay_queue_testkit::instance::ROOM;
use refersion_relay_queue_testkit::rabbitmq::{Relay, shared_broker};
use refersion_relay_queue_testkit::waiting::{PATIENCE, eventually, take, until_ended};
use refersion_relay_queue_testkit::wire::Wire;

#[tokio::test]
async fn the_term_ends_with_its_queue_and_the_next_one_begins_when_it_is_back() {
    let relay = Relay::start().await;
    relay.store(&work(), events(0..3)).await;
    let mut owned = relay.own(&work()).await;
    let in_hand = take(&mut owned, 1).await.remove(0);

    relay.admin.delete_queue(&relay.work_queue("acme")).await;

    until_ended(&mut owned).await;
    assert!(owned.ended().is_cancelled());
    assert!(in_hand.settle(DELIVERED).await.is_err());
    owned.release().await;
    let mut owned = eventually("the queue is there again", async || relay.queue.own(work(), ROOM).await.ok()).await;
    // It is there before it is bound.
    let is_declared = async || relay.metrics.render().contains("queue_declared_again_total 1").then_some(());
    eventually("it is bound too", is_declared).await;
    relay.store(&work(), events(3..5)).await;
    assert_eq!(bodies(&take(&mut owned, 2).await), numbers(3..5));
    owned.release().await;
    relay.clean().await;
}

/// lapin can forget an acknowledgement that it is given while the connection breaks, and whoever waits for it then waits
/// for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_waits_for_ever_for_an_acknowledgement_that_meets_a_broken_connection() {
    const ROUNDS: usize = 20;
    const EVENTS: usize = 50;
    let relay = Relay::start().await;
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let cut_off = RabbitMq::start(
        RabbitMqSettings { url: BrokerUrl::parse(&wire.url(&url)).unwrap(), ..relay.settings.clone() },
        Metrics::new(),
    );
    for round in 0..ROUNDS {
        relay.store(&work(), crowd(0..EVENTS)).await;
        let mut owned = cut_off.own(work(), ROOM).await.unwrap();
        let in_hand = take(&mut owned, EVENTS).await;

        let settling = in_hand.into_iter().enumerate().map(|(n, delivery)| {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(200 * n as u64)).await;
                delivery.settle(DELIVERED).await
            })
        });
        let settling = join_all(settling.collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_micros(100 * round as u64)).await;
        wire.cut();

        timeout(PATIENCE, settling).await.unwrap_or_else(|_| panic!("somebody waits for ever in round {round}"));
        owned.release().await;
    }
    relay.clean().await;
}

#[tokio::test]
async fn giving_places_up_disturbs_nothing_else() {
    const ROUNDS: usize = 40;
    const EVENTS: usize = 60;
    let relay = Arc::new(Relay::start().await);
    relay.store(&work(), events(0..EVENTS)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (relay, stop) = (relay.clone(), stop.clone());
        async move {
            let mut published = EVENTS;
            while !stop.load(Ordering::SeqCst) {
                relay.store(&work(), events([published])).await;
                published += 1;
            }
            published
        }
    });

    let (place, other) = (work(), other_work());
    for round in 0..ROUNDS {
        let (mut owned, first, second, ()) =
            tokio::join!(relay.own(&place), relay.own(&other), relay.own(&other), relay.store(&other, crowd(0..3)),);
        let mut taken = take(&mut owned, 5).await;
        assert_eq!(bodies(&taken), numbers(round..round + 5), "in round {round}");
        taken.remove(0).settle(DELIVERED).await.unwrap();
        let queue = relay.work_queue("other");
        // Sometimes before the queue is gone, sometimes while it goes, sometimes after.
        let release_late = async |owned: Owned, late: usize| {
            for _ in 0..late {
                relay.depth(&work()).await;
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
    let mut owned = relay.own(&work()).await;
    let mut rest = Vec::new();
    while rest.len() < published - ROUNDS {
        for delivery in take(&mut owned, 1).await {
            rest.extend(bodies(slice::from_ref(&delivery)));
            delivery.settle(DELIVERED).await.unwrap();
        }
    }
    assert_eq!(rest, numbers(ROUNDS..published));
    assert_eq!(relay.metrics.connections_lost(Connection::Publish), 0);
    owned.release().await;
    Arc::into_inner(relay).expect("nobody else has it").clean().await;
}
