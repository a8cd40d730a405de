//! Looking at dead letters.

use std::collections::BTreeSet;

use refersion_relay_model::Class;
use refersion_relay_queue::{Place, Scan};

use crate::harness::{EVERYTHING, Relay, crowd, events, numbers};

const INVALID: Place = Place::Dead(Class::Invalid);

#[tokio::test]
async fn letters_that_are_looked_at_stay_in_order() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..30)).await;

    for _ in 0..10 {
        assert_eq!(relay.browse(Class::Invalid, EVERYTHING).await.0, 30);
        assert_eq!(relay.bodies(Class::Invalid).await, numbers(0..30));
    }
    assert_eq!(relay.depth(&INVALID).await, 30);
    relay.clean().await;
}

#[tokio::test]
async fn a_look_ends_where_it_was_asked_to() {
    let relay = Relay::start().await;
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

#[tokio::test]
async fn two_who_look_at_once_both_see_everything() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..30)).await;

    let looks = tokio::join!(relay.bodies(Class::Invalid), relay.bodies(Class::Invalid), relay.bodies(Class::Invalid));

    assert_eq!(looks, (numbers(0..30), numbers(0..30), numbers(0..30)));
    relay.clean().await;
}

#[tokio::test]
async fn many_letters_stay_in_order_too() {
    let relay = Relay::start().await;
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

#[tokio::test]
async fn a_letter_keeps_its_id_wherever_it_lies() {
    let relay = Relay::start().await;
    relay.store(&INVALID, crowd(0..5)).await;
    let ids = async || -> Vec<String> {
        let (_, letters) = relay.browse(Class::Invalid, EVERYTHING).await;
        letters.iter().map(|letter| letter.id.to_string()).collect()
    };

    let first = ids().await;

    assert_eq!(ids().await, first);
    let distinct: BTreeSet<_> = first.iter().collect();
    assert_eq!(distinct.len(), 5);
    relay.clean().await;
}
