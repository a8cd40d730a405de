//! Moving an event while a connection is not what it should be.

use std::time::Duration;

use refersion_relay_queue::{BrokerState, Settle};
use tokio::time::timeout;

use refersion_relay_queue_testkit::events::{DELIVERED, bodies, events, numbers, other_work, work};
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, shared_broker};
use refersion_relay_queue_testkit::waiting::{PATIENCE, nothing_comes, take, until_ended};
use refersion_relay_queue_testkit::wire::Wire;

#[tokio::test]
async fn the_original_stays_until_its_copy_is_confirmed() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, settings(&wire.url(&url))).await;
    relay.store(&work(), events(0..2)).await;
    wire.stall(); // the publishing connection; the consuming one is yet to come
    let mut owned = relay.own(&work()).await;
    let mut taken = take(&mut owned, 2).await;
    let (first, second) = (taken.remove(0), taken.remove(0));
    let headers = Box::new(first.message.headers.clone());
    let mut moving = tokio::spawn(first.settle(Settle::Move(other_work(), headers)));
    let early = timeout(Duration::from_millis(300), &mut moving).await;
    assert!(early.is_err(), "it was settled without a copy: {early:?}");

    wire.cut();

    until_ended(&mut owned).await;
    assert!(moving.await.unwrap().is_err(), "a term that has ended settles nothing");
    assert!(second.settle(DELIVERED).await.is_err(), "a term that has ended settles nothing");
    relay.until("up again", BrokerState::is_up).await;
    let mut owned = relay.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, 2).await), numbers(0..2));
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn a_move_waits_for_the_publisher_as_long_as_the_term_lasts() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let mut settings = settings(&wire.url(&url));
    settings.confirm_timeout = Duration::from_millis(500);
    let relay = Relay::start_with(&url, settings).await;
    relay.store(&work(), events(0..1)).await;
    wire.stall();
    let mut owned = relay.own(&work()).await;
    let delivery = take(&mut owned, 1).await.remove(0);
    let headers = Box::new(delivery.message.headers.clone());

    // The first copy is not confirmed; the publisher notices, connects anew, and the copy goes out again.
    timeout(PATIENCE, delivery.settle(Settle::Move(other_work(), headers))).await.unwrap().unwrap();

    assert_eq!(relay.depth(&other_work()).await, 1, "what was stalled never arrived");
    owned.release().await;
    let mut owned = relay.own(&work()).await;
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}
