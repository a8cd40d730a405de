//! Dead letters, as far as the embedded backend promises more than the contract.

use std::time::{Duration, SystemTime};

use refersion_relay_model::Class;
use refersion_relay_queue::{Action, Fate, InFlight, Place, PublishError, Queue, QueueError, Settle, Swept};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use refersion_relay_queue_testkit::events::{INVALID, bodies, events, later, numbers, work};
use refersion_relay_queue_testkit::instance::EVERYTHING;
use refersion_relay_queue_testkit::judges::{by, gated, number, replay, spawn_sweep, sweep};
use refersion_relay_queue_testkit::sqlite::Embedded;
use refersion_relay_queue_testkit::waiting::{PATIENCE, take, take_one};

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
    relay.store(&work(), events(0..1)).await;
    let mut owned = relay.own(&work()).await;
    let delivery = take_one(&mut owned).await;
    let headers = Box::new(delivery.message.headers.clone());
    let moving = tokio::spawn(delivery.settle(Settle::Move(Place::Intake, headers)));

    owned.release().await;

    assert!(timeout(PATIENCE, moving).await.unwrap().unwrap().is_err());
    let mut owned = relay.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, 1).await), ["0"]);
    owned.release().await;
    relay.clean().await;
}

/// What somebody's tools, a clock or an error may leave in a file.
const ABSURD: [i64; 5] = [i64::MIN, -1, 0, 253_402_300_800_000, i64::MAX];

#[tokio::test]
async fn letters_with_absurd_numbers_can_be_looked_at_and_sent_again() {
    let relay = Embedded::start().await;
    relay.store(&INVALID, events(0..ABSURD.len())).await;
    for (row, absurd) in ABSURD.iter().enumerate() {
        let columns = ["received_at", "first_failed_at", "dead_at", "attempts", "generation", "deliveries", "status"];
        let set = columns.map(|column| format!("{column} = {absurd}")).join(", ");
        let update = format!(
            "UPDATE event SET {set} WHERE number = (SELECT number FROM event ORDER BY number LIMIT 1 OFFSET {row})"
        );
        assert_eq!(relay.connection().execute(&update, []).unwrap(), 1);
    }

    let (_, letters) = relay.browse(Class::Invalid, EVERYTHING).await;
    for letter in &letters {
        let headers = &letter.message.headers;
        let times = [Some(headers.received_at), headers.first_failed_at, headers.death.as_ref().unwrap().dead_at];
        for time in times.into_iter().flatten() {
            assert!(time < SystemTime::UNIX_EPOCH + Duration::from_millis(ABSURD[3].unsigned_abs()), "{time:?}");
        }
    }
    assert_eq!(letters.len(), ABSURD.len());
    let mut judge = by(|letter| replay(letter, 0));
    assert_eq!(sweep(&*relay, 1, &mut judge).await.acted, ABSURD.len() as u64);
    let mut owned = relay.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, ABSURD.len()).await), numbers(0..ABSURD.len()));
    owned.release().await;
    relay.clean().await;
}

#[tokio::test]
async fn events_with_absurd_numbers_are_worked() {
    let relay = Embedded::start().await;
    relay.store(&work(), events(0..1)).await;
    relay.store(&later(), events(1..2)).await;
    let long_ago = format!("UPDATE event SET due_at = {} WHERE due_at IS NOT NULL", i64::MIN);
    assert_eq!(relay.connection().execute(&long_ago, []).unwrap(), 1);
    let mut owned = relay.own(&work()).await;
    assert_eq!(bodies(&take(&mut owned, 2).await), numbers(0..2), "what was due at any time is due");
    relay.connection().execute("UPDATE event SET deliveries = ?1", [i64::MAX]).unwrap();

    owned.release().await;

    // It was delivered too often for anybody's patience, and everybody else's events go on.
    relay.until_depth(&Place::Dead(Class::Poison), 2).await;
    relay.clean().await;
}
