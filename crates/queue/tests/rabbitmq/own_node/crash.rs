use std::collections::BTreeSet;
use std::time::Duration;

use refersion_relay_queue::{BrokerState, Queue, Room};
use tokio::time::timeout;

use super::node;
use refersion_relay_queue_testkit::events::{DELIVERED, bodies, body, crowd, events, later, numbers, work};
use refersion_relay_queue_testkit::instance::ROOM;
use refersion_relay_queue_testkit::rabbitmq::Relay;
use refersion_relay_queue_testkit::waiting::{PATIENCE, eventually, take, until_ended};

#[tokio::test]
async fn what_was_confirmed_survives_a_kill_and_comes_in_order() {
    let mut node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    relay.store(&work(), events(0..10)).await;
    let mut owned = relay.own(&work()).await;
    let mut in_hand = take(&mut owned, 10).await;
    in_hand.remove(0).settle(DELIVERED).await.unwrap();
    relay.store(&work(), events(10..12)).await;

    node.kill().await;

    until_ended(&mut owned).await;
    relay.until("away", |state| !state.is_up()).await;
    assert!(relay.queue.own(work(), ROOM).await.is_err());
    node.restart().await.unwrap();
    relay.until_up().await;
    let mut owned = relay.own(&work()).await;
    // An acknowledgement is not confirmed by anybody, so the last one may be lost.
    let first = take(&mut owned, 1).await.remove(0);
    let from: usize = body(&first.message).parse().unwrap();
    assert!((0..=1).contains(&from), "from {from}");
    assert_eq!(bodies(&take(&mut owned, 11 - from).await), numbers(from + 1..12));
    assert!(in_hand.remove(0).settle(DELIVERED).await.is_err());
    owned.release().await;
}

#[tokio::test]
async fn nothing_is_lost_when_the_broker_dies_while_events_come_back_from_a_tier() {
    const EVENTS: usize = 5_000;
    let mut node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    for begin in (0..EVENTS).step_by(1_000) {
        relay.store(&later(), crowd(begin..begin + 1_000)).await;
    }
    let back = async { while relay.depth(&work()).await < 500 {} };
    timeout(PATIENCE, back).await.expect("they come back");

    node.kill().await;
    node.restart().await.unwrap();

    relay.until("up again", BrokerState::is_up).await;
    let mut missing: BTreeSet<_> = numbers(0..EVENTS).into_iter().collect();
    let mut owned = relay.queue.own(work(), Room { events: 1_000 }).await.unwrap();
    while !missing.is_empty() {
        let delivery = timeout(PATIENCE + Duration::from_secs(10), owned.next()).await;
        let delivery = delivery.unwrap_or_else(|_| panic!("{} of {EVENTS} are lost", missing.len())).unwrap();
        missing.remove(&body(&delivery.message)); // some come twice
        delivery.settle(DELIVERED).await.unwrap();
    }
    owned.release().await;
}

#[tokio::test]
async fn what_was_counted_survives_the_broker() {
    let mut node = node().await;
    let relay = Relay::start_on(&node.url()).await;
    // RabbitMQ 3.10 may lose a queue that it has made within the last second or so.
    node.restart().await.unwrap();
    relay.until("away", |state| !state.is_up()).await;
    relay.until_up().await;
    relay.store(&work(), crowd(0..5)).await;
    let counted = async |count| relay.queue.conservation().await.ok().filter(|sum| sum.accepted == count);
    eventually("the sum", async || counted(5).await).await;

    node.kill().await;
    node.restart().await.unwrap();

    relay.until("up again", BrokerState::is_up).await;
    relay.store(&work(), crowd(5..8)).await;
    let sum = eventually("the sum", async || counted(8).await).await;
    assert_eq!((sum.difference(), sum.tolerance.events()), (0, 0), "{sum}");
}
