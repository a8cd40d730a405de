//! The places of the port, and moving between them.

use std::time::Duration;

use refersion_relay_model::Class;
use refersion_relay_queue::{Ending, Place, Queue, Settle};
use tokio::time::{Instant, timeout};

use crate::backend::Backend;
use refersion_relay_queue_testkit::events::{
    DELIVERED, INVALID, TIER, bodies, body, dead, event, events, moved, numbers, other_later, other_work, strange_work,
    work,
};
use refersion_relay_queue_testkit::instance::EVERYTHING;
use refersion_relay_queue_testkit::waiting::{nothing_comes, take, take_one};

pub(crate) async fn every_place_is_one_of_its_own<B: Backend>() {
    let relay = B::start().await;
    let places: Vec<_> = Class::ALL.into_iter().map(Place::Dead).chain([work(), other_work()]).collect();
    for (number, place) in places.iter().enumerate() {
        relay.store(place, events(0..=number)).await;
    }
    for (number, place) in places.iter().enumerate() {
        assert_eq!(relay.depth(place).await, number as u64 + 1, "{place:?}");
    }
    relay.clean().await;
}

pub(crate) async fn later_is_not_before_its_delay_and_in_its_own_queue<B: Backend>() {
    let relay = B::start().await;
    let (mut wrong, mut right) = (relay.own(&work()).await, relay.own(&other_work()).await);
    let begin = Instant::now();

    relay.store(&other_later(), events(0..3)).await;

    assert_eq!(bodies(&take(&mut right, 3).await), numbers(0..3));
    let waited = begin.elapsed();
    assert!(TIER <= waited, "came after {waited:?}");
    nothing_comes(&mut wrong).await;
    wrong.release().await;
    right.release().await;
    relay.clean().await;
}

pub(crate) async fn equal_delays_keep_their_order<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..20)).await;
    let (mut from, mut to) = (relay.own(&work()).await, relay.own(&other_work()).await);

    for delivery in take(&mut from, 20).await {
        let settle = moved(&delivery, other_later());
        delivery.settle(settle).await.unwrap();
    }
    relay.store(&other_later(), events(20..40)).await;

    assert_eq!(bodies(&take(&mut to, 40).await), numbers(0..40));
    from.release().await;
    to.release().await;
    relay.clean().await;
}

pub(crate) async fn what_comes_later_comes_behind_what_is_there<B: Backend>() {
    let relay = B::start().await;
    let mut owned = relay.own(&other_work()).await;
    relay.store(&other_later(), events(2..3)).await;

    relay.store(&other_work(), events(0..2)).await;

    let taken = take(&mut owned, 3).await;
    assert_eq!(bodies(&taken), numbers(0..3));
    assert!(taken.iter().all(|delivery| !delivery.redelivered), "it was never delivered before");
    for delivery in taken {
        delivery.settle(DELIVERED).await.unwrap();
    }
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn nothing_is_published_to_the_intake_and_a_place_that_is_missing_is_empty<B: Backend>() {
    let relay = B::start().await;

    assert!(relay.queue.publish(vec![(Place::Intake, events(0..1).remove(0))]).await[0].is_err());

    assert_eq!(relay.depth(&Place::Intake).await, 0);
    assert_eq!(relay.depth(&strange_work()).await, 0);
    relay.until_up().await;
    relay.clean().await;
}

pub(crate) async fn a_moved_event_is_at_its_new_place_only<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..3)).await;
    let mut owned = relay.own(&work()).await;
    for (delivery, place) in take(&mut owned, 3).await.into_iter().zip([INVALID, other_work(), work()]) {
        let settle = match place {
            Place::Dead(class) => Settle::Move(place, dead(&delivery.message.headers, class)),
            _ => moved(&delivery, place),
        };
        delivery.settle(settle).await.unwrap();
    }

    let (_, letters) = relay.browse(Class::Invalid, EVERYTHING).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(body(&letters[0].message), "0");
    let death = letters[0].message.headers.death.as_ref().unwrap();
    assert_eq!((death.class, death.reason.as_str()), (Class::Invalid, "incomplete"));
    assert_eq!(relay.depth(&other_work()).await, 1);
    let last = take_one(&mut owned).await;
    assert_eq!((body(&last.message).as_str(), last.redelivered), ("2", false), "it went behind itself");
    last.settle(Settle::Done(Ending::Ignored)).await.unwrap();
    owned.release().await;
    let mut owned = relay.own(&work()).await;
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn a_move_that_is_not_answered_leaves_the_event_at_one_place<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..20)).await;
    let mut owned = relay.own(&work()).await;
    for (number, delivery) in take(&mut owned, 20).await.into_iter().enumerate() {
        let settle = moved(&delivery, other_work());
        // Whoever settles may be aborted at any point.
        let _ = timeout(Duration::from_micros(number as u64 * 100), delivery.settle(settle)).await;
    }
    owned.release().await;

    let (mut from, mut to) = (relay.own(&work()).await, relay.own(&other_work()).await);
    let mut found = Vec::new();
    while let Ok(Some(delivery)) = timeout(Duration::from_millis(500), async {
        tokio::select! { next = from.next() => next, next = to.next() => next }
    })
    .await
    {
        found.push(body(&delivery.message).parse::<usize>().unwrap());
        delivery.settle(DELIVERED).await.unwrap();
    }

    found.sort_unstable();
    let (all, twice) = ((0..20).collect::<Vec<_>>(), found.len());
    found.dedup();
    assert_eq!(found, all, "none is missing");
    assert!(twice <= 40, "a copy at most");
    from.release().await;
    to.release().await;
    relay.clean().await;
}

pub(crate) async fn depths_add_up<B: Backend>() {
    let relay = B::start().await;
    let (rejected, unrouted) = (Place::Dead(Class::Rejected), Place::Dead(Class::Unrouted));
    relay.store(&work(), events(0..10)).await;
    let mut owned = relay.own(&work()).await;
    let taken = take(&mut owned, 10).await;
    let places = [&INVALID, &rejected, &strange_work(), &other_work(), &other_later()];
    for (number, delivery) in taken.into_iter().enumerate() {
        let settle = moved(&delivery, places[number % 5].clone());
        delivery.settle(settle).await.unwrap();
    }
    relay.store(&INVALID, [event("two", "10")]).await;

    owned.release().await;

    for (place, depth) in [(&INVALID, 3), (&rejected, 2), (&unrouted, 2), (&work(), 0)] {
        assert_eq!(relay.depth(place).await, depth, "{place:?}");
    }
    let mut to = relay.own(&other_work()).await;
    for delivery in take(&mut to, 4).await {
        delivery.settle(DELIVERED).await.unwrap();
    }
    to.release().await;
    for place in [&other_later(), &other_work()] {
        assert_eq!(relay.depth(place).await, 0, "{place:?}");
    }
    relay.clean().await;
}
