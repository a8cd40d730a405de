//! Dead letters, as far as the embedded backend promises more than the contract.

use std::time::Duration;

use refersion_relay_model::Class;
use refersion_relay_queue::{Action, Fate, InFlight, Place, PublishError, Queue, QueueError, Settle, Swept};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::events::{INVALID, SHARD, bodies, events, numbers};
use crate::support::judges::{by, gated, number, replay, spawn_sweep, sweep};
use crate::support::sqlite::Embedded;
use crate::support::waiting::{PATIENCE, take, take_one};

#[tokio::test]
async fn a_letter_that_is_kept_stays_where_it_is() {
    let relay = Embedded::start().await;
    relay.store(&INVALID, events(0..20)).await;
    let (judge, mut seen, go_on) = gated();
    let sweeping = spawn_sweep(&*relay, 1, judge);
    seen.recv().await.unwrap();
    relay.store(&INVALID, events(20..23)).await;

    for _ in 0..20 {
        go_on.send(Action::Keep).unwrap();
    }

    assert_eq!(sweeping.await.unwrap().unwrap(), Swept { total: 20, seen: 20, acted: 0 });
    assert_eq!(relay.bodies(Class::Invalid).await, numbers(0..23));
    relay.clean().await;
}

#[tokio::test]
async fn sweeps_and_looks_go_on_side_by_side_and_a_letter_is_acted_on_once() {
    let relay = Embedded::start().await;
    relay.store(&INVALID, events(0..20)).await;
    let (judge, mut seen, go_on) = gated();
    let first = spawn_sweep(&*relay, 1, judge);
    seen.recv().await.unwrap();

    assert_eq!(relay.bodies(Class::Invalid).await, numbers(0..20));
    let mut judge = by(|letter| if number(letter) < 5 { Action::Drop } else { Action::Keep });
    let second = sweep(&*relay, 1, &mut judge).await;
    for _ in 0..20 {
        go_on.send(Action::Drop).unwrap();
    }

    assert_eq!(second, Swept { total: 20, seen: 20, acted: 5 });
    // The first one had read them all before.
    assert_eq!(first.await.unwrap().unwrap(), Swept { total: 20, seen: 20, acted: 15 });
    assert_eq!(relay.queue.ledger().await.unwrap().dropped, 20);
    relay.clean().await;
}

#[tokio::test]
async fn no_fate_is_heard_of_what_cannot_be_written() {
    let relay = Embedded::start().await;
    relay.store(&INVALID, events(0..5)).await;
    let writing = relay.connection();
    writing.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (mut judge, stop) = (by(|_| Action::Drop), CancellationToken::new());
    let sweeping = relay.queue.sweep(Class::Invalid, InFlight::ONE, &mut judge, &stop);

    let swept = timeout(Duration::from_millis(500), sweeping).await;

    assert!(swept.is_err(), "{swept:?}");
    assert_eq!((judge.seen.len(), judge.fates), (5, Vec::<Fate>::new()));
    writing.execute_batch("COMMIT").unwrap();
    relay.until_depth(&INVALID, 0).await;
    relay.clean().await;
}

#[tokio::test]
async fn a_letter_that_cannot_move_stays() {
    let relay = Embedded::start().await;
    relay.store(&INVALID, events(0..2)).await;
    let mut judge = by(|letter| match replay(letter, 1) {
        Action::Move { headers, subject, .. } => Action::Move { place: Place::Intake, headers, subject },
        other => other,
    });
    let stop = CancellationToken::new();

    let sweeping = relay.queue.sweep(Class::Invalid, InFlight::ONE, &mut judge, &stop);
    let swept = timeout(PATIENCE, sweeping).await.expect("it ends");

    assert!(matches!(swept, Err(QueueError::NotCopied(PublishError::Refused(_)))), "{swept:?}");
    assert_eq!(judge.fates, []);
    assert_eq!(relay.bodies(Class::Invalid).await, numbers(0..2));
    relay.clean().await;
}

#[tokio::test]
async fn an_event_that_cannot_move_comes_again() {
    let relay = Embedded::start().await;
    relay.store(&SHARD, events(0..1)).await;
    let mut owned = relay.own(&SHARD).await;
    let delivery = take_one(&mut owned).await;
    let headers = Box::new(delivery.message.headers.clone());
    let moving = tokio::spawn(delivery.settle(Settle::Move(Place::Intake, headers)));

    owned.release().await;

    assert!(timeout(PATIENCE, moving).await.unwrap().unwrap().is_err());
    let mut owned = relay.own(&SHARD).await;
    assert_eq!(bodies(&take(&mut owned, 1).await), ["0"]);
    owned.release().await;
    relay.clean().await;
}
