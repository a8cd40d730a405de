//! Every event is accounted for.

use refersion_relay_model::Class;
use refersion_relay_queue::{Action, Conservation, Ending, Group, InFlight, Place, Queue, Settle};
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use refersion_relay_queue_testkit::events::{DELIVERED, body, crowd, dead, other_later, other_work, work};
use refersion_relay_queue_testkit::judges::{by, replay};
use refersion_relay_queue_testkit::waiting::{eventually, take};

/// Waits until everything that was counted is in the sum.
async fn sum<B: Backend>(relay: &B, wanted: impl Fn(&Conservation) -> bool) -> Conservation {
    eventually("the sum", async || {
        // A look at the wrong moment can cost the connection it was made over.
        let sum = relay.queue.conservation().await;
        sum.ok().filter(|sum| sum.difference() == 0 && wanted(sum))
    })
    .await
}

pub(crate) async fn whatever_becomes_of_an_event_it_is_accounted_for<B: Backend>() {
    let relay = B::start().await;
    relay.store(&work(), crowd(0..20)).await;
    relay.store(&Place::Dead(Class::Invalid), crowd(20..22)).await;
    let mut owned = relay.own(&work()).await;
    let mut deliveries = take(&mut owned, 20).await;

    let in_hand = sum(&relay, |sum| sum.accepted == 22).await;
    assert_eq!((in_hand.waiting(), in_hand.dead()), (20, 2), "what is in hand is there");
    for delivery in deliveries.drain(..15) {
        let headers = delivery.message.headers.clone();
        let number: u32 = body(&delivery.message).parse().unwrap();
        let settle = match number {
            0..8 => DELIVERED,
            8..10 => Settle::Done(Ending::Ignored),
            10..13 => Settle::Move(Place::Dead(Class::Rejected), dead(&headers, Class::Rejected)),
            13 => Settle::Move(other_work(), Box::new(headers)),
            _ => Settle::Move(other_later(), Box::new(headers)),
        };
        delivery.settle(settle).await.unwrap();
    }
    let mut judge = by(|letter| match body(&letter.message).as_str() {
        "10" => Action::Drop,
        "11" => replay(letter, 1),
        _ => Action::Keep,
    });
    let stop = CancellationToken::new();
    relay.queue.sweep(Class::Rejected, InFlight::ONE, &mut judge, &stop).await.unwrap();
    // On a broker, what was sent here and not looked at yet is seen by nobody.
    deliveries.extend(take(&mut owned, 1).await);

    let sum = sum(&relay, |sum| sum.dropped == 1 && sum.delivered == 8).await;
    assert_eq!((sum.accepted, sum.copies, sum.ignored), (22, 0, 2));
    assert_eq!(
        (sum.dead(), sum.waiting()),
        (3, 8),
        "two invalid, one rejected; five in hand, one of another account, one later, one replayed"
    );
    let there = |group| sum.stocks.iter().find(|stock| stock.group == group).unwrap().events;
    assert_eq!((there(Group::Dead(Class::Rejected)), there(Group::Work)), (1, 8));
    assert!(sum.stocks.iter().all(|stock| stock.difference == 0), "{sum}");
    assert!(sum.tolerance.events() == 0 && sum.holds(), "{sum}");
    drop(deliveries);
    owned.release().await;
    relay.clean().await;
}

pub(crate) async fn several_processes_are_counted_together<B: Backend>() {
    let relay = B::start().await;
    let other = relay.another().await;
    relay.store(&work(), crowd(0..5)).await;
    other.store(&work(), crowd(5..12)).await;
    let mut owned = other.own(&work()).await;
    for delivery in take(&mut owned, 12).await {
        delivery.settle(DELIVERED).await.unwrap();
    }
    owned.release().await;
    // What it has counted last is stored when it ends.
    other.queue.close().await;

    let sum = sum(&relay, |sum| sum.accepted == 12).await;
    assert_eq!((sum.delivered, sum.waiting(), sum.tolerance.events()), (12, 0, 0), "{sum}");
    relay.clean().await;
}
