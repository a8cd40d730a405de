//! The places of the port, and moving between them.

use std::time::Duration;

use refersion_relay_model::{Class, Shard};
use refersion_relay_queue::{BrokerState, Death, Headers, Place, Queue, Settle};
use tokio::time::{Instant, timeout};

use crate::harness::{
    EVERYTHING, OTHER_SHARD, PATIENCE, Relay, SHARD, TIER, account, bodies, body, events, nothing_comes, numbers,
    settings, shared_broker, take, until_ended,
};
use crate::wire::Wire;

const LATER: Place = Place::Later(Shard { index: 1, count: 2 }, TIER);

fn invalid(headers: &Headers) -> Box<Headers> {
    let dead_at = headers.received_at;
    let death = Death {
        class: Class::Invalid,
        reason: "incomplete".to_owned(),
        status: None,
        error: None,
        dead_at: Some(dead_at),
    };
    Box::new(Headers { death: Some(death), ..headers.clone() })
}

#[tokio::test]
async fn later_is_not_before_its_delay_and_on_its_own_shard() {
    let relay = Relay::start().await;
    let (mut wrong, mut right) = (relay.own(&SHARD).await, relay.own(&OTHER_SHARD).await);
    let begin = Instant::now();

    relay.store(&LATER, events(0..3)).await;

    assert_eq!(bodies(&take(&mut right, 3).await), numbers(0..3));
    let waited = begin.elapsed();
    assert!(TIER <= waited, "came after {waited:?}");
    nothing_comes(&mut wrong).await;
    wrong.release().await;
    right.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn an_account_that_nobody_configured_has_a_place_too() {
    let relay = Relay::start().await;
    let held = Place::Held(account("stranger"));
    assert_eq!(relay.depth(&held).await, 0);

    relay.store(&held, events(0..30)).await;

    assert_eq!(relay.depth(&held).await, 30);
    let mut owned = relay.own(&held).await;
    assert_eq!(bodies(&take(&mut owned, 30).await), numbers(0..30));
    owned.release().await;
    relay.admin.delete_queue(&relay.name("held.stranger")).await;
    relay.admin.delete_exchange(&relay.name("held.stranger")).await;
    relay.clean().await;
}

#[tokio::test]
async fn nothing_is_published_to_the_intake_and_a_place_that_is_missing_is_empty() {
    let relay = Relay::start().await;

    assert!(relay.queue.publish(vec![(Place::Intake, events(0..1).remove(0))]).await[0].is_err());

    assert_eq!(relay.depth(&Place::Intake).await, 0);
    assert_eq!(relay.depth(&Place::Shard(Shard { index: 5, count: 6 })).await, 0);
    relay.until_up().await;
    relay.clean().await;
}

#[tokio::test]
async fn a_moved_event_is_at_its_new_place_only() {
    let relay = Relay::start().await;
    relay.store(&SHARD, events(0..2)).await;
    let mut owned = relay.own(&SHARD).await;
    let mut taken = take(&mut owned, 2).await;
    let (first, second) = (taken.remove(0), taken.remove(0));
    let (dead, held) = (invalid(&first.message.headers), Box::new(second.message.headers.clone()));

    first.settle(Settle::Move(Place::Dead(Class::Invalid), dead.clone())).await.unwrap();
    second.settle(Settle::Move(Place::Held(account("acme")), held)).await.unwrap();

    let (_, letters) = relay.browse(Class::Invalid, EVERYTHING).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(body(&letters[0].message), "0");
    let death = letters[0].message.headers.death.as_ref().unwrap();
    assert_eq!((death.class, death.reason.as_str()), (Class::Invalid, "incomplete"));
    assert_eq!(relay.depth(&Place::Held(account("acme"))).await, 1);
    owned.release().await;
    let mut owned = relay.own(&SHARD).await;
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn the_original_stays_until_its_copy_is_confirmed() {
    let url = shared_broker();
    let wire = Wire::to(&url).await;
    let relay = Relay::start_with(&url, settings(&wire.url(&url))).await;
    relay.store(&SHARD, events(0..2)).await;
    wire.stall(); // the publishing connection; the consuming one is yet to come
    let mut owned = relay.own(&SHARD).await;
    let mut taken = take(&mut owned, 2).await;
    let (first, second) = (taken.remove(0), taken.remove(0));
    let headers = Box::new(first.message.headers.clone());
    let mut moving = tokio::spawn(first.settle(Settle::Move(OTHER_SHARD, headers)));
    let early = timeout(Duration::from_millis(300), &mut moving).await;
    assert!(early.is_err(), "it was settled without a copy: {early:?}");

    wire.cut();

    until_ended(&mut owned).await;
    assert!(moving.await.unwrap().is_err(), "a term that has ended settles nothing");
    assert!(second.settle(Settle::Done(Ending::Delivered)).await.is_err(), "a term that has ended settles nothing");
    relay.until("up again", BrokerState::is_up).await;
    let mut owned = relay.own(&SHARD).await;
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
    relay.store(&SHARD, events(0..1)).await;
    wire.stall();
    let mut owned = relay.own(&SHARD).await;
    let delivery = take(&mut owned, 1).await.remove(0);
    let headers = Box::new(delivery.message.headers.clone());

    // The first copy is not confirmed; the publisher notices, connects anew, and the copy goes out again.
    timeout(PATIENCE, delivery.settle(Settle::Move(OTHER_SHARD, headers))).await.unwrap().unwrap();

    assert_eq!(relay.depth(&OTHER_SHARD).await, 1, "what was stalled never arrived");
    owned.release().await;
    let mut owned = relay.own(&SHARD).await;
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}
