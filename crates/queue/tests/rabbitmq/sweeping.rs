//! Deciding about dead letters.

use std::time::Duration;

use async_trait::async_trait;
use refersion_relay_model::Class;
use refersion_relay_queue::{Action, Fate, InFlight, Judge, Letter, Place, Queue, QueueError, Swept};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::admin::header_names;
use crate::harness::{
    EVERYTHING, PATIENCE, Relay, SHARD, account, bodies, body, crowd, event, events, eventually, numbers, settings,
    shared_broker, take,
};

const INVALID: Place = Place::Dead(Class::Invalid);

/// Decides by a letter's body and writes down what it heard.
pub(crate) struct By<F> {
    decide: F,
    total: u64,
    seen: Vec<String>,
    fates: Vec<Fate>,
}

pub(crate) fn by<F: FnMut(&Letter) -> Action + Send>(decide: F) -> By<F> {
    By { decide, total: 0, seen: Vec::new(), fates: Vec::new() }
}

#[async_trait]
impl<F: FnMut(&Letter) -> Action + Send> Judge for By<F> {
    fn begin(&mut self, letters: u64) {
        self.total = letters;
    }

    async fn judge(&mut self, letter: &Letter) -> Action {
        self.seen.push(body(&letter.message));
        (self.decide)(letter)
    }

    fn settled(&mut self, fate: Fate) {
        self.fates.push(fate);
    }
}

/// Reports each letter, and decides when it is let on.
struct Gated {
    reached: mpsc::UnboundedSender<String>,
    go_on: mpsc::UnboundedReceiver<Action>,
}

#[async_trait]
impl Judge for Gated {
    fn begin(&mut self, _: u64) {}

    async fn judge(&mut self, letter: &Letter) -> Action {
        self.reached.send(body(&letter.message)).unwrap();
        self.go_on.recv().await.unwrap()
    }

    fn settled(&mut self, _: Fate) {}
}

fn gated() -> (Gated, mpsc::UnboundedReceiver<String>, mpsc::UnboundedSender<Action>) {
    let ((reached, seen), (sender, go_on)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    (Gated { reached, go_on }, seen, sender)
}

pub(crate) fn number(letter: &Letter) -> usize {
    body(&letter.message).parse().unwrap()
}

pub(crate) fn replay(letter: &Letter, subject: usize) -> Action {
    let (headers, subject) = (Box::new(letter.message.headers.replayed()), subject.try_into().unwrap());
    Action::Move { place: SHARD, headers, subject }
}

fn in_flight(letters: u16) -> InFlight {
    letters.try_into().unwrap()
}

async fn sweep(relay: &Relay, letters: u16, judge: &mut dyn Judge) -> Swept {
    let stop = CancellationToken::new();
    let swept = relay.queue.sweep(Class::Invalid, in_flight(letters), judge, &stop);
    timeout(PATIENCE, swept).await.expect("it ends").unwrap()
}

#[tokio::test]
async fn a_sweep_shows_each_letter_once_and_does_what_it_is_told() {
    for letters in [1, 2, 50, 1_000] {
        let relay = Relay::start().await;
        relay.store(&INVALID, events(0..150)).await;
        let mut judge = by(|letter| match number(letter) {
            0..3 | 140 => Action::Drop,
            3..5 | 149 => replay(letter, number(letter)),
            _ => Action::Keep,
        });

        let swept = sweep(&relay, letters, &mut judge).await;

        assert_eq!(swept, Swept { total: 150, seen: 150, acted: 7 }, "{letters} in flight");
        assert_eq!((judge.total, judge.seen), (150, numbers(0..150)), "{letters} in flight");
        let fates = (0..150).map(|n| if n < 5 || n == 140 || n == 149 { Fate::Gone } else { Fate::Kept });
        assert_eq!(judge.fates, fates.collect::<Vec<_>>(), "{letters} in flight");
        assert_eq!(relay.bodies(Class::Invalid).await, numbers((5..140).chain(141..149)), "{letters} in flight");
        let mut owned = relay.own(&SHARD).await;
        let replayed = take(&mut owned, 3).await;
        assert_eq!(bodies(&replayed), numbers([3, 4, 149]));
        assert!(replayed.iter().all(|delivery| delivery.message.headers.generation == 1));
        owned.release().await;
        relay.clean().await;
    }
}

#[tokio::test]
async fn letters_of_many_subjects_keep_their_order_at_the_tail() {
    let relay = Relay::start().await;
    // Subjects that follow one another at once, at a distance, and never.
    let letters: Vec<_> = (0..900).map(|n| event(&format!("subject {}", n % 7 * (n % 3)), &n.to_string())).collect();
    relay.store(&INVALID, letters).await;
    let before = relay.bodies(Class::Invalid).await;
    let mut judge = by(|letter| if number(letter).is_multiple_of(10) { Action::Drop } else { Action::Keep });

    let swept = sweep(&relay, 200, &mut judge).await;

    assert_eq!((swept.seen, swept.acted), (900, 90));
    let kept: Vec<_> = before.into_iter().filter(|body| !body.ends_with('0')).collect();
    assert_eq!(relay.bodies(Class::Invalid).await, kept);
    relay.clean().await;
}

#[tokio::test]
async fn sweeps_and_looks_can_follow_one_another_at_once() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..20)).await;
    for round in 0..10 {
        assert_eq!(relay.bodies(Class::Invalid).await, numbers(0..20), "in round {round}");
        let mut judge = by(|_| Action::Keep);

        let swept = sweep(&relay, 1 + round % 3, &mut judge).await;

        assert_eq!(swept, Swept { total: 20, seen: 20, acted: 0 }, "in round {round}");
        assert_eq!(judge.seen, numbers(0..20), "in round {round}");
    }
    relay.clean().await;
}

#[tokio::test]
async fn only_one_sweep_of_a_class_goes_on_and_newcomers_are_left_alone() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..20)).await;
    let (mut judge, mut seen, go_on) = gated();
    let queue = relay.queue.clone();
    let first =
        tokio::spawn(
            async move { queue.sweep(Class::Invalid, InFlight::ONE, &mut judge, &CancellationToken::new()).await },
        );
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
async fn a_sweep_that_is_stopped_leaves_everything_between_what_it_looked_at_and_what_it_did_not() {
    for letters in [1, 7, 1_000] {
        let relay = Relay::start().await;
        relay.store(&INVALID, events(0..100)).await;
        // The broker gives back what was looked at, and delivers it first: what a sweep gives back would go behind it.
        assert_eq!(relay.bodies(Class::Invalid).await, numbers(0..100));
        let stop = CancellationToken::new();
        let mut judge = by(|letter| {
            if number(letter) == 30 {
                stop.cancel();
            }
            if number(letter).is_multiple_of(2) { Action::Keep } else { Action::Drop }
        });

        let swept = relay.queue.sweep(Class::Invalid, in_flight(letters), &mut judge, &stop).await.unwrap();

        assert_eq!(swept, Swept { total: 100, seen: 31, acted: 15 }, "{letters} in flight");
        assert_eq!(judge.fates.len(), 31);
        let left = relay.bodies(Class::Invalid).await;
        let start = left.iter().position(|body| body == "0").expect("the first one looked at");
        let around: Vec<_> = left[start..].iter().chain(&left[..start]).cloned().collect();
        assert_eq!(around, numbers((0..31).step_by(2).chain(31..100)), "{letters} in flight");
        relay.clean().await;
    }
}

#[tokio::test]
async fn a_judge_that_takes_its_time_holds_up_nothing_that_was_begun() {
    let relay = Relay::start().await;
    relay.store(&INVALID, crowd(0..3)).await;
    let (mut judge, mut seen, go_on) = gated();
    let queue = relay.queue.clone();
    let sweep =
        tokio::spawn(
            async move { queue.sweep(Class::Invalid, in_flight(10), &mut judge, &CancellationToken::new()).await },
        );

    seen.recv().await.unwrap();
    go_on.send(Action::Keep).unwrap();
    seen.recv().await.unwrap();

    // The judge thinks about the second one, and the copy of the first one is there already.
    relay.until_depth(&INVALID, 1).await;
    go_on.send(Action::Keep).unwrap();
    go_on.send(Action::Keep).unwrap();
    assert_eq!(sweep.await.unwrap().unwrap().seen, 3);
    relay.clean().await;
}

#[tokio::test]
async fn a_sweep_of_fewer_letters_than_were_counted_ends() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..40)).await;
    let (mut judge, mut seen, go_on) = gated();
    let queue = relay.queue.clone();
    let sweep =
        tokio::spawn(
            async move { queue.sweep(Class::Invalid, InFlight::ONE, &mut judge, &CancellationToken::new()).await },
        );
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
    let (mut judge, mut seen, go_on) = gated();
    let queue = relay.queue.clone();
    let sweep =
        tokio::spawn(
            async move { queue.sweep(Class::Invalid, InFlight::ONE, &mut judge, &CancellationToken::new()).await },
        );
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
    let mut judge = by(move |letter| {
        if number(letter) == 20 && !broken {
            broken = true;
            sender.send(()).unwrap();
        }
        Action::Keep
    });
    let queue = relay.queue.clone();
    let sweep =
        tokio::spawn(
            async move { queue.sweep(Class::Invalid, in_flight(5), &mut judge, &CancellationToken::new()).await },
        );
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
    let mut judge = by(move |letter| {
        if number(letter) == 20 {
            sender.send(()).unwrap();
        }
        replay(letter, number(letter) % 3)
    });
    let queue = relay.queue.clone();
    let sweep =
        tokio::spawn(
            async move { queue.sweep(Class::Invalid, in_flight(20), &mut judge, &CancellationToken::new()).await },
        );
    breaking.recv().await.unwrap();
    relay.admin.delete_exchange(&exchange).await;

    let swept = timeout(PATIENCE * 2, sweep).await.expect("it ends").unwrap().unwrap();

    assert_eq!((swept.seen, swept.acted), (60, 60));
    let mut owned = relay.own(&SHARD).await;
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

#[tokio::test]
async fn letters_without_a_subject_and_of_other_accounts_pass_too() {
    let relay = Relay::start().await;
    let mut letters = crowd(0..50);
    for (n, letter) in letters.iter_mut().enumerate() {
        match n % 3 {
            0 => letter.headers.subject = None,
            1 => letter.headers.account = None,
            _ => letter.headers.account = Some(account("other")),
        }
    }
    relay.store(&INVALID, letters).await;
    let before = relay.bodies(Class::Invalid).await;

    sweep(&relay, 20, &mut by(|_| Action::Keep)).await;

    assert_eq!(relay.bodies(Class::Invalid).await, before);
    relay.clean().await;
}

#[tokio::test]
async fn whoever_reads_after_a_reader_that_was_cut_off_sees_everything() {
    let relay = Relay::start().await;
    relay.store(&INVALID, events(0..50)).await;
    for round in 0..5 {
        let (mut judge, mut seen, _go_on) = gated();
        let queue = relay.queue.clone();
        let sweep = tokio::spawn(async move {
            queue.sweep(Class::Invalid, in_flight(20), &mut judge, &CancellationToken::new()).await
        });
        seen.recv().await.unwrap();

        sweep.abort();
        assert!(sweep.await.unwrap_err().is_cancelled());

        let letters = eventually("the class is free", async || {
            let mut letters = Vec::new();
            let mut read = |letter: Letter| letters.push(body(&letter.message));
            relay.queue.browse(Class::Invalid, EVERYTHING, &mut read).await.ok()?;
            Some(letters)
        });
        let mut letters = timeout(Duration::from_secs(10), letters).await.expect("soon");
        letters.sort_by_key(|body| body.parse::<usize>().unwrap()); // what was in hand goes behind what was looked at
        assert_eq!(letters, numbers(0..50), "in round {round}");
    }
    relay.clean().await;
}
