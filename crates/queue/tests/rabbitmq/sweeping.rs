//! Deciding about dead letters.

use refersion_relay_model::Class;
use refersion_relay_queue::{Action, InFlight, Queue, QueueError, Swept};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use refersion_relay_queue_testkit::admin::header_names;
use refersion_relay_queue_testkit::events::{INVALID, bodies, crowd, event, events, numbers, work};
use refersion_relay_queue_testkit::instance::EVERYTHING;
use refersion_relay_queue_testkit::judges::{by, gated, number, replay, spawn_sweep};
use refersion_relay_queue_testkit::rabbitmq::{Relay, settings, shared_broker};
use refersion_relay_queue_testkit::waiting::{PATIENCE, take};

#[tokio::test]
async fn only_one_sweep_of_a_class_goes_on_and_newcomers_are_left_alone() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..20)).await;
    let (judge, mut seen, go_on) = gated();
    let first = spawn_sweep(&relay, 1, judge);
    assert_eq!(seen.recv().await.unwrap(), "0");

    relay.store(&INVALID, events(20..23)).await;
    let mut other = by(|_| Action::Drop);
    let second = relay.queue.sweep(Class::Invalid, InFlight::ONE, &mut other, &CancellationToken::new()).await;
    let looked = relay.queue.browse(Class::Invalid, EVERYTHING, &mut |_| ()).await;
    for _ in 0..20 {
        go_on.send(Action::Keep).unwrap();
    }

    assert!(matches!(second, Err(QueueError::Busy(Class::Invalid))), "{second:?}");
    assert!(matches!(looked, Err(QueueError::Busy(Class::Invalid))), "{looked:?}");
    assert_eq!(first.await.unwrap().unwrap(), Swept { total: 20, seen: 20, acted: 0 });
    let newcomer = relay.admin.peek(&relay.name("dead.invalid")).await;
    assert!(!header_names(&newcomer).contains(&"x-delivery-count".to_owned()), "it was not even delivered");
    assert_eq!(relay.bodies(Class::Invalid).await, numbers((20..23).chain(0..20)));
    relay.clean().await;
}

#[tokio::test]
async fn a_sweep_of_fewer_letters_than_were_counted_ends() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..40)).await;
    let (judge, mut seen, go_on) = gated();
    let sweep = spawn_sweep(&relay, 1, judge);
    seen.recv().await.unwrap();
    // Five are with the sweep, and somebody with other tools takes all the others.
    relay.until_depth(&INVALID, 35).await;
    relay.admin.drain(&relay.name("dead.invalid"), 35).await;
    for _ in 0..40 {
        let _ = go_on.send(Action::Drop);
    }

    let swept = timeout(PATIENCE, sweep).await.expect("it ends").unwrap().unwrap();

    assert_eq!(swept, Swept { total: 40, seen: 5, acted: 5 });
    relay.clean().await;
}

#[tokio::test]
async fn a_class_that_is_deleted_under_a_sweep_ends_it_with_an_error() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..40)).await;
    let (judge, mut seen, go_on) = gated();
    let sweep = spawn_sweep(&relay, 1, judge);
    seen.recv().await.unwrap();

    relay.admin.delete_queue(&relay.name("dead.invalid")).await;
    for _ in 0..40 {
        go_on.send(Action::Drop).unwrap();
    }

    let swept = timeout(PATIENCE, sweep).await.expect("it ends").unwrap();
    assert!(matches!(swept, Err(QueueError::Away(_))), "{swept:?}");
    relay.clean().await;
}

#[tokio::test]
async fn a_copy_that_the_broker_refuses_at_first_is_neither_lost_nor_out_of_turn_for_its_subject() {
    let settings = settings(&shared_broker());
    let relay = Relay::start_with(&shared_broker(), settings).await;
    relay.store(&INVALID, (0..60).map(|n| event(&format!("subject {}", n % 3), &n.to_string()))).await;
    // Without the exchange a publish breaks its channel, and the relay declares the exchange anew.
    let mut broken = false;
    let exchange = relay.name("dead");
    let (sender, mut breaking) = mpsc::unbounded_channel();
    let judge = by(move |letter| {
        if number(letter) == 20 && !broken {
            broken = true;
            sender.send(()).unwrap();
        }
        Action::Keep
    });
    let sweep = spawn_sweep(&relay, 5, judge);
    breaking.recv().await.unwrap();
    relay.admin.delete_exchange(&exchange).await;

    let swept = timeout(PATIENCE * 2, sweep).await.expect("it ends").unwrap().unwrap();

    assert_eq!(swept.seen, 60);
    let left = relay.bodies(Class::Invalid).await;
    for subject in 0..3 {
        let mut of_subject: Vec<usize> =
            left.iter().map(|body| body.parse().unwrap()).filter(|n| n % 3 == subject).collect();
        of_subject.dedup(); // what was stored and not confirmed was stored again
        assert_eq!(of_subject, (subject..60).step_by(3).collect::<Vec<_>>(), "of subject {subject}: {left:?}");
    }
    relay.clean().await;
}

#[tokio::test]
async fn a_replay_that_the_broker_refuses_at_first_is_not_out_of_turn_for_the_subject_that_the_judge_found() {
    let relay = Relay::start().await;
    let mut letters = crowd(0..60);
    for letter in &mut letters {
        letter.headers.subject = None;
    }
    relay.store(&INVALID, letters).await;
    // Without the exchange a publish breaks its channel, and the relay declares the exchange anew.
    let exchange = relay.name("events");
    let (sender, mut breaking) = mpsc::unbounded_channel();
    let judge = by(move |letter| {
        if number(letter) == 20 {
            sender.send(()).unwrap();
        }
        replay(letter, number(letter) % 3)
    });
    let sweep = spawn_sweep(&relay, 20, judge);
    breaking.recv().await.unwrap();
    relay.admin.delete_exchange(&exchange).await;

    let swept = timeout(PATIENCE * 2, sweep).await.expect("it ends").unwrap().unwrap();

    assert_eq!((swept.seen, swept.acted), (60, 60));
    let mut owned = relay.own(&work()).await;
    let replayed = take(&mut owned, 60).await;
    for subject in 0..3 {
        let mut of_subject: Vec<usize> =
            bodies(&replayed).iter().map(|body| body.parse().unwrap()).filter(|n| n % 3 == subject).collect();
        of_subject.dedup(); // what was stored and not confirmed was stored again
        assert!(of_subject.is_sorted(), "of subject {subject}: {of_subject:?}");
    }
    owned.release().await;
    relay.clean().await;
}
