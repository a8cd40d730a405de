//! Looking at dead letters.

use std::collections::BTreeSet;

use refersion_relay_model::Class;
use refersion_relay_queue::{Place, Scan};

use crate::backend::Backend;
use refersion_relay_queue_testkit::events::{INVALID, crowd, event, events, numbers};
use refersion_relay_queue_testkit::instance::EVERYTHING;

pub(crate) async fn every_class_is_a_place_of_its_own<B: Backend>() {
    let relay = B::start().await;
    for class in Class::ALL {
        relay.store(&Place::Dead(class), [event("one", class.as_str())]).await;
    }
    for class in Class::ALL {
        let (total, letters) = relay.browse(class, EVERYTHING).await;
        assert_eq!((total, letters.len(), letters[0].class), (1, 1, class));
        assert_eq!(relay.bodies(class).await, [class.as_str()]);
    }
    relay.clean().await;
}

pub(crate) async fn letters_that_are_looked_at_stay_in_order<B: Backend>() {
    let relay = B::start().await;
    relay.store(&INVALID, events(0..30)).await;

    for _ in 0..10 {
        assert_eq!(relay.browse(Class::Invalid, EVERYTHING).await.0, 30);
        assert_eq!(relay.bodies(Class::Invalid).await, numbers(0..30));
    }
    assert_eq!(relay.depth(&INVALID).await, 30);
    relay.clean().await;
}

pub(crate) async fn a_look_ends_where_it_was_asked_to<B: Backend>() {
    let relay = B::start().await;
    relay.store(&INVALID, events(0..30)).await;

    let (some, first) = relay.browse(Class::Invalid, Scan { letters: 7 }).await;
    let (none, nothing) = relay.browse(Class::Invalid, Scan { letters: 0 }).await;
    let (empty, nobody) = relay.browse(Class::Rejected, EVERYTHING).await;

    assert_eq!((some, first.len()), (30, 7));
    assert_eq!((none, nothing.len()), (30, 0));
    assert_eq!((empty, nobody.len()), (0, 0));
    assert_eq!(relay.bodies(Class::Invalid).await, numbers(0..30));
    relay.clean().await;
}

pub(crate) async fn two_who_look_at_once_both_see_everything<B: Backend>() {
    let relay = B::start().await;
    relay.store(&INVALID, events(0..30)).await;

    let looks = tokio::join!(relay.bodies(Class::Invalid), relay.bodies(Class::Invalid), relay.bodies(Class::Invalid));

    assert_eq!(looks, (numbers(0..30), numbers(0..30), numbers(0..30)));
    relay.clean().await;
}

pub(crate) async fn many_letters_stay_in_order_too<B: Backend>() {
    let relay = B::start().await;
    for begin in (0..3_000).step_by(500) {
        relay.store(&INVALID, crowd(begin..begin + 500)).await;
    }
    let first = relay.bodies(Class::Invalid).await;
    assert_eq!(first.len(), 3_000);
    for round in 0..3 {
        let again = relay.bodies(Class::Invalid).await;
        let moved = first.iter().zip(&again).position(|(before, now)| before != now);
        assert_eq!(moved, None, "in round {round}: {} letters", again.len());
    }
    relay.clean().await;
}

pub(crate) async fn a_letter_keeps_its_id_wherever_it_lies<B: Backend>() {
    let relay = B::start().await;
    relay.store(&INVALID, crowd(0..5)).await;
    let other = relay.another().await;
    let (_, letters) = relay.browse(Class::Invalid, EVERYTHING).await;
    let first: Vec<_> = letters.into_iter().map(|letter| letter.id).collect();

    let (_, letters) = other.browse(Class::Invalid, EVERYTHING).await;

    assert_eq!(letters.into_iter().map(|letter| letter.id).collect::<Vec<_>>(), first);
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 5);
    relay.clean().await;
}
