//! The places of the port, and moving between them.

use std::time::Duration;

use refersion_relay_model::{Class, Shard};
use refersion_relay_queue::{Ending, Place, Queue, Settle};
use tokio::time::{Instant, timeout};

use crate::backend::Backend;
use crate::support::events::{
    DELIVERED, INVALID, OTHER_SHARD, SHARD, TIER, account, bodies, body, dead, event, events, moved, numbers,
};
use crate::support::instance::EVERYTHING;
use crate::support::waiting::{PATIENCE, eventually, nothing_comes, take, take_one};

const LATER: Place = Place::Later(Shard { index: 1, count: 2 }, TIER);

pub(crate) async fn every_place_is_one_of_its_own<B: Backend>() {
    let relay = B::start().await;
    let places: Vec<_> = Class::ALL
        .into_iter()
        .map(Place::Dead)
        .chain([SHARD, OTHER_SHARD, Place::Held(account("acme")), Place::Held(account("stranger"))])
        .collect();
    for (number, place) in places.iter().enumerate() {
        relay.store(place, events(0..=number)).await;
    }
    for (number, place) in places.iter().enumerate() {
        assert_eq!(relay.depth(place).await, number as u64 + 1, "{place:?}");
    }
    relay.clean().await;
}

pub(crate) async fn later_is_not_before_its_delay_and_on_its_own_shard<B: Backend>() {
    let relay = B::start().await;
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

pub(crate) async fn equal_delays_keep_their_order<B: Backend>() {
    let relay = B::start().await;
    relay.store(&SHARD, events(0..20)).await;
    let (mut from, mut to) = (relay.own(&SHARD).await, relay.own(&OTHER_SHARD).await);

    for delivery in take(&mut from, 20).await {
        let settle = moved(&delivery, LATER);
        delivery.settle(settle).await.unwrap();
    }
    relay.store(&LATER, events(20..40)).await;

    assert_eq!(bodies(&take(&mut to, 40).await), numbers(0..40));
    from.release().await;
    to.release().await;
    relay.clean().await;
}

pub(crate) async fn what_comes_later_comes_behind_what_is_there<B: Backend>() {
    let relay = B::start().await;
    let mut owned = relay.own(&OTHER_SHARD).await;
    relay.store(&LATER, events(2..3)).await;

    relay.store(&OTHER_SHARD, events(0..2)).await;

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

pub(crate) async fn an_account_that_nobody_configured_has_a_place_too<B: Backend>() {
    let relay = B::start().await;
    let held = Place::Held(account("stranger"));
    assert_eq!(relay.depth(&held).await, 0);

    relay.store(&held, events(0..30)).await;

    assert_eq!(relay.depth(&held).await, 30);
    let mut owned = relay.own(&held).await;
    assert_eq!(bodies(&take(&mut owned, 30).await), numbers(0..30));
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn a_held_account_has_an_owner_who_moves_its_events_back_in_order<B: Backend>() {
    let relay = B::start().await;
    let held = Place::Held(account("acme"));
    relay.store(&SHARD, events(0..10)).await;
    let mut owned = relay.own(&SHARD).await;
    for delivery in take(&mut owned, 10).await {
        let settle = moved(&delivery, held.clone());
        delivery.settle(settle).await.unwrap();
    }
    relay.store(&held, events(10..12)).await;
    assert_eq!((relay.depth(&SHARD).await, relay.depth(&held).await), (0, 12));
    relay.queue.admit(&[account("acme")]).await.unwrap();

    let mut waiting = relay.own(&held).await;
    for delivery in take(&mut waiting, 12).await {
        assert!(!delivery.redelivered);
        let settle = moved(&delivery, SHARD);
        delivery.settle(settle).await.unwrap();
    }

    waiting.release().await;
    assert_eq!(bodies(&take(&mut owned, 12).await), numbers(0..12));
    assert_eq!(relay.depth(&held).await, 0);
    owned.release().await;
    relay.clean().await;
}

/// Whoever works them takes a silence for their end, so nobody may have some in hand meanwhile.
pub(crate) async fn who_owns_held_events_is_alone_with_them<B: Backend>() {
    let relay = B::start().await;
    let held = Place::Held(account("acme"));
    relay.store(&held, events(0..2)).await;
    let mut first = relay.own(&held).await;
    let in_hand = take(&mut first, 2).await;

    let mut next = Box::pin(relay.own(&held));
    assert!(timeout(Duration::from_millis(500), &mut next).await.is_err(), "somebody else is at it");
    drop(in_hand);
    first.release().await;

    let mut second = timeout(PATIENCE, &mut next).await.expect("its turn has come");
    assert_eq!(bodies(&take(&mut second, 2).await), numbers(0..2));
    second.release().await;
    drop(next);
    relay.clean().await;
}

/// A broker counts nothing where it hears nothing; but who works a place is among those who are counted.
pub(crate) async fn who_owns_held_events_knows_when_none_is_left<B: Backend>() {
    let relay = B::start().await;
    let held = Place::Held(account("acme"));
    relay.store(&held, events(0..1)).await;
    assert!(relay.queue.depth(&held).await.unwrap().is_certain, "there is something");
    let mut owned = relay.own(&held).await;
    take(&mut owned, 1).await.remove(0).settle(DELIVERED).await.unwrap();

    eventually("it is certain that nothing is there", async || {
        let depth = relay.queue.depth(&held).await.unwrap();
        (depth.is_certain && depth.ready + depth.in_hand == 0).then_some(())
    })
    .await;
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn nothing_is_published_to_the_intake_and_a_place_that_is_missing_is_empty<B: Backend>() {
    let relay = B::start().await;

    assert!(relay.queue.publish(vec![(Place::Intake, events(0..1).remove(0))]).await[0].is_err());

    assert_eq!(relay.depth(&Place::Intake).await, 0);
    assert_eq!(relay.depth(&Place::Shard(Shard { index: 5, count: 6 })).await, 0);
    relay.until_up().await;
    relay.clean().await;
}

pub(crate) async fn a_moved_event_is_at_its_new_place_only<B: Backend>() {
    let relay = B::start().await;
    let held = Place::Held(account("acme"));
    relay.store(&SHARD, events(0..4)).await;
    let mut owned = relay.own(&SHARD).await;
    for (delivery, place) in take(&mut owned, 4).await.into_iter().zip([&INVALID, &held, &OTHER_SHARD, &SHARD]) {
        let settle = match place {
            Place::Dead(class) => Settle::Move(place.clone(), dead(&delivery.message.headers, *class)),
            _ => moved(&delivery, place.clone()),
        };
        delivery.settle(settle).await.unwrap();
    }

    let (_, letters) = relay.browse(Class::Invalid, EVERYTHING).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(body(&letters[0].message), "0");
    let death = letters[0].message.headers.death.as_ref().unwrap();
    assert_eq!((death.class, death.reason.as_str()), (Class::Invalid, "incomplete"));
    assert_eq!((relay.depth(&held).await, relay.depth(&OTHER_SHARD).await), (1, 1));
    let last = take_one(&mut owned).await;
    assert_eq!((body(&last.message).as_str(), last.redelivered), ("3", false), "it went behind itself");
    last.settle(Settle::Done(Ending::Ignored)).await.unwrap();
    owned.release().await;
    let mut owned = relay.own(&SHARD).await;
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn a_move_that_is_not_answered_leaves_the_event_at_one_place<B: Backend>() {
    let relay = B::start().await;
    relay.store(&SHARD, events(0..20)).await;
    let mut owned = relay.own(&SHARD).await;
    for (number, delivery) in take(&mut owned, 20).await.into_iter().enumerate() {
        let settle = moved(&delivery, OTHER_SHARD);
        // Whoever settles may be aborted at any point.
        let _ = timeout(Duration::from_micros(number as u64 * 100), delivery.settle(settle)).await;
    }
    owned.release().await;

    let (mut from, mut to) = (relay.own(&SHARD).await, relay.own(&OTHER_SHARD).await);
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
    let (acme, stranger) = (Place::Held(account("acme")), Place::Held(account("stranger")));
    relay.store(&SHARD, events(0..10)).await;
    let mut owned = relay.own(&SHARD).await;
    let taken = take(&mut owned, 10).await;
    let places = [&acme, &stranger, &INVALID, &OTHER_SHARD, &LATER];
    for (number, delivery) in taken.into_iter().enumerate() {
        let settle = moved(&delivery, places[number % 5].clone());
        delivery.settle(settle).await.unwrap();
    }
    relay.store(&acme, [event("two", "10")]).await;

    owned.release().await;

    for (place, depth) in [(&acme, 3), (&stranger, 2), (&INVALID, 2), (&SHARD, 0)] {
        assert_eq!(relay.depth(place).await, depth, "{place:?}");
    }
    let mut to = relay.own(&OTHER_SHARD).await;
    for delivery in take(&mut to, 4).await {
        delivery.settle(DELIVERED).await.unwrap();
    }
    to.release().await;
    for place in [&LATER, &OTHER_SHARD] {
        assert_eq!(relay.depth(place).await, 0, "{place:?}");
    }
    relay.clean().await;
}
