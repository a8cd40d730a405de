//! Looking at dead letters, and deciding about them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use refersion_relay_model::Class;
use refersion_relay_queue::{Action, Letter, Place, Queue, QueueError, Scan, Sweeper, Swept};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::harness::{EVERYTHING, Relay, SHARD, bodies, body, crowd, events, numbers, take};

const INVALID: Place = Place::Dead(Class::Invalid);

/// Decides by a letter's body and writes down what it saw.
fn sweeper(mut decide: impl FnMut(&Letter) -> Action + Send + 'static) -> (Sweeper, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sweeper = {
        let seen = seen.clone();
        move |letter: &Letter| {
            seen.lock().unwrap().push(body(&letter.message));
            decide(letter)
        }
    };
    (Box::new(sweeper), seen)
}

#[tokio::test]
async fn letters_that_are_looked_at_stay_in_order() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..30)).await;

    for _ in 0..10 {
        let browsed = relay.queue.browse(Class::Invalid, EVERYTHING).await.unwrap();
        assert_eq!((browsed.total, browsed.letters.len()), (30, 30));
        assert_eq!(relay.bodies(Class::Invalid).await, numbers(0..30));
    }
    assert_eq!(relay.depth(&INVALID).await, 30);
    relay.clean().await;
}

#[tokio::test]
async fn a_look_ends_where_it_was_asked_to() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..30)).await;

    let some = relay.queue.browse(Class::Invalid, Scan { letters: 7 }).await.unwrap();
    let none = relay.queue.browse(Class::Invalid, Scan { letters: 0 }).await.unwrap();
    let empty = relay.queue.browse(Class::Rejected, EVERYTHING).await.unwrap();

    assert_eq!((some.total, some.letters.len()), (30, 7));
    assert_eq!((none.total, none.letters.len()), (30, 0));
    assert_eq!((empty.total, empty.letters.len()), (0, 0));
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
        let browsed = relay.queue.browse(Class::Invalid, EVERYTHING).await.unwrap();
        browsed.letters.iter().map(|letter| letter.id.to_string()).collect()
    };

    let first = ids().await;

    assert_eq!(ids().await, first);
    let distinct: BTreeSet<_> = first.iter().collect();
    assert_eq!(distinct.len(), 5);
    relay.clean().await;
}

#[tokio::test]
async fn a_sweep_shows_each_letter_once_and_does_what_it_is_told() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..150)).await;
    let (judge, seen) = sweeper(|letter| match body(&letter.message).parse::<usize>().unwrap() {
        number if number < 3 => Action::Drop,
        number if number < 5 => Action::Move(SHARD, Box::new(letter.message.headers.replayed())),
        _ => Action::Keep,
    });

    let swept = relay.queue.sweep(Class::Invalid, judge, CancellationToken::new()).await.unwrap();

    assert_eq!(swept, Swept { total: 150, seen: 150, acted: 5 });
    assert_eq!(*seen.lock().unwrap(), numbers(0..150));
    assert_eq!(relay.bodies(Class::Invalid).await, numbers(5..150));
    let mut owned = relay.own(&SHARD).await;
    let replayed = take(&mut owned, 2).await;
    assert_eq!(bodies(&replayed), numbers(3..5));
    assert!(replayed.iter().all(|delivery| delivery.message.headers.generation == 1));
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn sweeps_and_looks_can_follow_one_another_at_once() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..20)).await;
    for round in 0..10 {
        assert_eq!(relay.bodies(Class::Invalid).await, numbers(0..20), "in round {round}");
        let (judge, seen) = sweeper(|_| Action::Keep);

        let swept = relay.queue.sweep(Class::Invalid, judge, CancellationToken::new()).await.unwrap();

        assert_eq!(swept, Swept { total: 20, seen: 20, acted: 0 }, "in round {round}");
        assert_eq!(*seen.lock().unwrap(), numbers(0..20), "in round {round}");
    }
    relay.clean().await;
}

#[tokio::test(flavor = "multi_thread")] // the judge of the first sweep blocks
async fn only_one_sweep_of_a_class_goes_on_and_newcomers_are_left_alone() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..3)).await;
    let (reached, mut begun) = mpsc::unbounded_channel();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (judge, seen) = sweeper(move |letter| {
        if body(&letter.message) == "0" {
            reached.send(()).unwrap();
            tokio::task::block_in_place(|| wait.lock().unwrap().recv().unwrap());
        }
        Action::Keep
    });
    let queue = relay.queue.clone();
    let first = tokio::spawn(async move { queue.sweep(Class::Invalid, judge, CancellationToken::new()).await });
    begun.recv().await.unwrap();

    relay.store(&INVALID, events(3..6)).await;
    let second = relay.queue.sweep(Class::Invalid, Box::new(|_| Action::Drop), CancellationToken::new()).await;
    go_on.send(()).unwrap();

    assert!(matches!(second, Err(QueueError::Busy(Class::Invalid))), "{second:?}");
    assert_eq!(first.await.unwrap().unwrap(), Swept { total: 3, seen: 3, acted: 0 });
    assert_eq!(*seen.lock().unwrap(), numbers(0..3));
    assert_eq!(relay.bodies(Class::Invalid).await, numbers([3, 4, 5, 0, 1, 2]));
    relay.clean().await;
}

#[tokio::test]
async fn a_sweep_that_is_stopped_leaves_everything_in_order() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..10)).await;
    let stop = CancellationToken::new();
    let (judge, seen) = sweeper({
        let stop = stop.clone();
        move |letter| {
            if body(&letter.message) == "3" {
                stop.cancel();
            }
            Action::Drop
        }
    });

    let swept = relay.queue.sweep(Class::Invalid, judge, stop).await.unwrap();

    assert_eq!(swept, Swept { total: 10, seen: 4, acted: 4 });
    assert_eq!(seen.lock().unwrap().len(), 4);
    assert_eq!(relay.bodies(Class::Invalid).await, numbers(4..10));
    relay.clean().await;
}
