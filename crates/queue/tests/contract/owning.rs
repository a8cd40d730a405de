//! What an owner of a place gets, and what becomes of it when the owner goes.

use std::time::Duration;

use futures_util::future::join_all;
use refersion_relay_model::Class;
use refersion_relay_queue::{Queue, Room};
use tokio::time::timeout;

use crate::backend::Backend;
use refersion_relay_queue_testkit::events::{DELIVERED, bodies, body, crowd, events, moved, numbers, other_work, work};
use refersion_relay_queue_testkit::instance::EVERYTHING;
use refersion_relay_queue_testkit::waiting::{nothing_comes, take, take_one, until_ended};

pub(crate) async fn what_is_settled_is_gone_and_the_rest_comes_again_in_order<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..10)).await;
    let mut owned = relay.own(&work()).await;
    for (number, delivery) in take(&mut owned, 10).await.into_iter().enumerate() {
        assert!(!delivery.redelivered);
        if [0, 3, 4, 9].contains(&number) {
            delivery.settle(DELIVERED).await.unwrap();
        }
    }
    owned.release().await;

    let mut owned = relay.own(&work()).await;

    let again = take(&mut owned, 6).await;
    assert_eq!(bodies(&again), numbers([1, 2, 5, 6, 7, 8]));
    assert!(again.iter().all(|delivery| delivery.redelivered));
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn much_that_is_settled_just_before_a_place_is_given_up_does_not_come_again<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), crowd(0..101)).await;
    let mut owned = relay.own(&work()).await;
    for delivery in take(&mut owned, 100).await {
        delivery.settle(DELIVERED).await.unwrap();
    }

    owned.release().await;

    let mut owned = relay.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, 1).await), ["100"]);
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn what_is_settled_at_once_does_not_come_again_and_what_is_not_does<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), crowd(0..300)).await;
    let mut owned = relay.queue.own(work(), Room { events: 300 }).await.unwrap();
    let mut in_hand = take(&mut owned, 300).await;
    let (late, kept) = (in_hand.remove(200), in_hand.remove(100));
    for settled in join_all(in_hand.into_iter().map(|delivery| delivery.settle(DELIVERED))).await {
        settled.unwrap();
    }
    late.settle(DELIVERED).await.unwrap();

    owned.release().await;

    let mut owned = relay.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, 1).await), ["100"]);
    nothing_comes(&mut owned).await;
    drop(kept);
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn no_more_is_in_hand_than_there_is_room<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..5)).await;
    let mut owned = relay.queue.own(work(), Room { events: 3 }).await.unwrap();
    let mut in_hand = take(&mut owned, 3).await;
    nothing_comes(&mut owned).await;

    in_hand.remove(1).settle(DELIVERED).await.unwrap();

    assert_eq!(bodies(&take(&mut owned, 1).await), ["3"]);
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn the_second_owner_stands_by_until_the_first_gives_up<B: Backend>() {
    let relay = B::start().await;
    let other = relay.another().await;
    relay.store(&work(), events(0..3)).await;
    let mut first = relay.own(&work()).await;
    let in_hand = take(&mut first, 3).await;
    let mut second = other.own(&work()).await;
    relay.store(&work(), events(3..6)).await;
    assert_eq!(bodies(&take(&mut first, 3).await), numbers(3..6));
    nothing_comes(&mut second).await;

    first.release().await;

    assert_eq!(bodies(&take(&mut second, 6).await), numbers(0..6));
    drop(in_hand);
    second.release().await;
    relay.clean().await;
}

pub(crate) async fn the_second_owner_of_one_process_stands_by_too<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..3)).await;
    let mut first = relay.own(&work()).await;
    let mut in_hand = take(&mut first, 3).await;
    let mut second = relay.own(&work()).await;
    nothing_comes(&mut second).await;
    in_hand.remove(0).settle(DELIVERED).await.unwrap();

    first.release().await;

    assert_eq!(bodies(&take(&mut second, 2).await), numbers(1..3));
    assert!(in_hand.remove(0).settle(DELIVERED).await.is_err(), "it is somebody else's now");
    second.release().await;
    relay.clean().await;
}

pub(crate) async fn the_second_owner_takes_over_when_the_first_is_lost<B: Backend>() {
    let relay = B::start().await;
    let other = relay.another().await;
    relay.store(&work(), events(0..20)).await;
    let mut first = relay.own(&work()).await;
    let mut in_hand = take(&mut first, 15).await;
    let mut second = other.own(&work()).await;

    relay.lose_terms().await;

    let again = take(&mut second, 20).await;
    assert_eq!(bodies(&again), numbers(0..20));
    assert!(again[..15].iter().all(|delivery| delivery.redelivered));
    until_ended(&mut first).await;
    assert!(first.ended().is_cancelled());
    assert!(in_hand.remove(0).settle(DELIVERED).await.is_err(), "it is somebody else's now");
    first.release().await;
    for delivery in again {
        delivery.settle(DELIVERED).await.unwrap();
    }
    nothing_comes(&mut second).await;
    second.release().await;
    relay.clean().await;
}

pub(crate) async fn an_owner_that_is_only_dropped_keeps_nothing<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..5)).await;
    let mut first = relay.own(&work()).await;
    let in_hand = take(&mut first, 3).await;

    drop(first); // as when a task panics or is aborted

    let mut second = relay.own(&work()).await;
    let again = take(&mut second, 5).await;
    assert_eq!(bodies(&again), numbers(0..5));
    assert!(again[..3].iter().all(|delivery| delivery.redelivered));
    drop(in_hand);
    second.release().await;
    relay.clean().await;
}

pub(crate) async fn an_owner_that_stops_waiting_misses_nothing<B: Backend>() {
    let relay = B::start().await;
    let mut owned = relay.own(&work()).await;
    let mut taken = Vec::new();
    for number in 0..20 {
        relay.store(&work(), events([number])).await;
        // Whoever waits for the next delivery also waits for other things, and asks again after each.
        if let Ok(next) = timeout(Duration::from_micros(number as u64 * 50), owned.next()).await {
            taken.push(next.unwrap());
        }
    }

    taken.extend(take(&mut owned, 20 - taken.len()).await);

    assert_eq!(bodies(&taken), numbers(0..20));
    nothing_comes(&mut owned).await;
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn a_place_is_given_up_while_its_events_are_on_their_way<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..30)).await;
    for round in 0..5 {
        let mut owned = relay.own(&work()).await;
        let _ = timeout(Duration::from_millis(round * 5), owned.next()).await;
        owned.release().await;
    }

    relay.until_depth(&work(), 30).await;

    let mut owned = relay.own(&work()).await;
    let taken = take(&mut owned, 30).await;
    assert_eq!(bodies(&taken), numbers(0..30));
    for delivery in taken {
        delivery.settle(DELIVERED).await.unwrap();
    }
    owned.release().await;
    assert_eq!(relay.depth(&work()).await, 0);
    relay.clean().await;
}

pub(crate) async fn nothing_is_settled_once_a_place_was_given_up<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..2)).await;
    let mut owned = relay.own(&work()).await;
    let mut taken = take(&mut owned, 2).await;
    let (first, second) = (taken.remove(0), taken.remove(0));

    owned.release().await;

    assert!(first.settle(DELIVERED).await.is_err());
    let to = moved(&second, other_work());
    assert!(second.settle(to).await.is_err());
    let mut owned = relay.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, 2).await), numbers(0..2));
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn a_lost_term_settles_nothing<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..3)).await;
    let mut owned = relay.own(&work()).await;
    let mut taken = take(&mut owned, 3).await;
    let (first, second, third) = (taken.remove(0), taken.remove(0), taken.remove(0));

    relay.lose_terms().await;

    let to = moved(&second, other_work());
    until_ended(&mut owned).await;
    assert!(owned.ended().is_cancelled());
    assert!(first.settle(DELIVERED).await.is_err());
    assert!(second.settle(to).await.is_err());
    owned.release().await;
    relay.until_up().await;
    let mut owned = relay.own(&work()).await;
    let again = take(&mut owned, 3).await;
    assert_eq!(bodies(&again), numbers(0..3));
    assert!(again.iter().all(|delivery| delivery.redelivered));
    assert!(third.settle(DELIVERED).await.is_err(), "the next term of the same owner is another one");
    for delivery in again {
        delivery.settle(DELIVERED).await.unwrap();
    }
    owned.release().await;
    assert_eq!((relay.depth(&work()).await, relay.depth(&other_work()).await), (0, 0));
    relay.clean().await;
}

pub(crate) async fn deliveries_that_were_not_settled_are_counted<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..2)).await;
    for count in 0..4 {
        let mut owned = relay.queue.own(work(), Room { events: 1 }).await.unwrap();
        let delivery = take_one(&mut owned).await;
        assert_eq!((body(&delivery.message).as_str(), delivery.delivery_count), ("0", count));
        assert_eq!(delivery.redelivered, 0 < count);
        owned.release().await;
    }

    let mut owned = relay.own(&work()).await;

    let counts: Vec<_> = take(&mut owned, 2).await.iter().map(|delivery| delivery.delivery_count).collect();
    assert_eq!(counts, [4, 0], "only what was in hand counts");
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn what_is_given_back_a_hundred_times_is_not_used_up_and_keeps_its_order<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), events(0..3)).await;
    for _ in 0..=100 {
        let mut owned = relay.own(&work()).await;
        assert_eq!(bodies(&take(&mut owned, 3).await), numbers(0..3));
        owned.release().await;
    }

    let mut owned = relay.own(&work()).await;

    let taken = take(&mut owned, 3).await;
    assert_eq!(bodies(&taken), numbers(0..3));
    for delivery in taken {
        assert_eq!(delivery.delivery_count, 101);
        delivery.settle(DELIVERED).await.unwrap();
    }
    assert_eq!(relay.browse(Class::Poison, EVERYTHING).await.0, 0);
    owned.release().await;
    relay.clean().await;
}
