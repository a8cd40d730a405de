//! Deciding about dead letters.

use async_trait::async_trait;
use refersion_relay_model::Class;
use refersion_relay_queue::{Action, Fate, Letter, LetterVisitor, Place, Queue, Swept};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use refersion_relay_queue_testkit::events::{
    INVALID, account, bodies, body, crowd, dead, event, events, numbers, work,
};
use refersion_relay_queue_testkit::instance::EVERYTHING;
use refersion_relay_queue_testkit::judges::{by, gated, in_flight, number, replay, spawn_sweep, sweep};
use refersion_relay_queue_testkit::waiting::{PATIENCE, eventually, take};

pub(crate) async fn a_sweep_shows_each_letter_once_and_does_what_it_is_told<B: Backend>() {
    for letters in [1, 50, 1_000] {
        let relay = B::start().await;
        relay.store(&INVALID, events(0..150)).await;
        let mut judge = by(|letter| match number(letter) {
            0..3 | 140 => Action::Drop,
            3..5 | 149 => replay(letter, number(letter)),
            _ => Action::Keep,
        });

        let swept = sweep(&*relay, letters, &mut judge).await;

        assert_eq!(swept, Swept { total: 150, seen: 150, acted: 7 }, "{letters} in flight");
        assert_eq!((judge.total, judge.seen), (150, numbers(0..150)), "{letters} in flight");
        let fates = (0..150).map(|n| match n {
            0..3 | 140 => Fate::Dropped,
            3..5 | 149 => Fate::Moved,
            _ => Fate::Kept,
        });
        assert_eq!(judge.fates, fates.collect::<Vec<_>>(), "{letters} in flight");
        assert_eq!(relay.bodies(Class::Invalid).await, numbers((5..140).chain(141..149)), "{letters} in flight");
        let mut owned = relay.own(&work()).await;
        let replayed = take(&mut owned, 3).await;
        assert_eq!(bodies(&replayed), numbers([3, 4, 149]));
        assert!(replayed.iter().all(|delivery| delivery.message.headers.generation == 1));
        owned.release().await;
        relay.clean().await;
    }
}

pub(crate) async fn letters_of_many_subjects_keep_their_order<B: Backend>() {
    let relay = B::start().await;
    // Subjects that follow one another at once, at a distance, and never.
    let letters: Vec<_> = (0..900).map(|n| event(&format!("subject {}", n % 7 * (n % 3)), &n.to_string())).collect();
    relay.store(&INVALID, letters).await;
    let before = relay.bodies(Class::Invalid).await;
    let mut judge = by(|letter| if number(letter).is_multiple_of(10) { Action::Drop } else { Action::Keep });

    let swept = sweep(&*relay, 200, &mut judge).await;

    assert_eq!((swept.seen, swept.acted), (900, 90));
    let kept: Vec<_> = before.into_iter().filter(|body| !body.ends_with('0')).collect();
    assert_eq!(relay.bodies(Class::Invalid).await, kept);
    relay.clean().await;
}

pub(crate) async fn letters_without_a_subject_and_of_other_accounts_pass_too<B: Backend>() {
    let relay = B::start().await;
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

    sweep(&*relay, 20, &mut by(|_| Action::Keep)).await;

    assert_eq!(relay.bodies(Class::Invalid).await, before);
    relay.clean().await;
}

pub(crate) async fn sweeps_and_looks_can_follow_one_another_at_once<B: Backend>() {
    let relay = B::start().await;
    relay.store(&INVALID, events(0..20)).await;
    for round in 0..6 {
        assert_eq!(relay.bodies(Class::Invalid).await, numbers(0..20), "in round {round}");
        let mut judge = by(|_| Action::Keep);

        let swept = sweep(&*relay, 1 + round % 3, &mut judge).await;

        assert_eq!(swept, Swept { total: 20, seen: 20, acted: 0 }, "in round {round}");
        assert_eq!(judge.seen, numbers(0..20), "in round {round}");
    }
    relay.clean().await;
}

pub(crate) async fn a_sweep_of_nothing_ends<B: Backend>() {
    let relay = B::start().await;
    let mut judge = by(|_| Action::Drop);
    assert_eq!(sweep(&*relay, 10, &mut judge).await, Swept::default());
    assert_eq!((judge.total, judge.seen.len(), judge.fates.len()), (0, 0, 0));
    relay.clean().await;
}

pub(crate) async fn newcomers_are_left_alone<B: Backend>() {
    let relay = B::start().await;
    relay.store(&INVALID, events(0..20)).await;
    let (judge, mut seen, go_on) = gated();
    let sweep = spawn_sweep(&*relay, 1, judge);
    assert_eq!(seen.recv().await.unwrap(), "0");

    relay.store(&INVALID, events(20..23)).await;
    for _ in 0..20 {
        go_on.send(Action::Drop).unwrap();
    }

    assert_eq!(timeout(PATIENCE, sweep).await.unwrap().unwrap().unwrap(), Swept { total: 20, seen: 20, acted: 20 });
    assert_eq!(relay.bodies(Class::Invalid).await, numbers(20..23));
    relay.clean().await;
}

pub(crate) async fn a_letter_can_move_to_another_class<B: Backend>() {
    let relay = B::start().await;
    relay.store(&INVALID, events(0..6)).await;
    let mut judge = by(|letter| match number(letter) % 2 {
        0 => Action::Keep,
        _ => Action::Move {
            place: Place::Dead(Class::Rejected),
            headers: dead(&letter.message.headers, Class::Rejected),
            subject: 1,
        },
    });

    sweep(&*relay, 10, &mut judge).await;

    assert_eq!(relay.bodies(Class::Invalid).await, numbers([0, 2, 4]));
    assert_eq!(relay.bodies(Class::Rejected).await, numbers([1, 3, 5]));
    relay.clean().await;
}

pub(crate) async fn a_sweep_that_is_stopped_leaves_everything_between_what_it_looked_at_and_what_it_did_not<
    B: Backend,
>() {
    for letters in [1, 7, 1_000] {
        let relay = B::start().await;
        relay.store(&INVALID, events(0..100)).await;
        // A broker gives back what was looked at, and delivers it first: what a sweep gives back would go behind it.
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

pub(crate) async fn a_judge_that_takes_its_time_holds_up_nothing_that_was_begun<B: Backend>() {
    let relay = B::start().await;
    relay.store(&INVALID, crowd(0..3)).await;
    let (judge, mut seen, go_on) = gated();
    let sweep = spawn_sweep(&*relay, 10, judge);
    seen.recv().await.unwrap();
    let headers = Box::new(event("subject 0", "0").headers.replayed());
    go_on.send(Action::Move { place: work(), headers, subject: 0 }).unwrap();
    seen.recv().await.unwrap();

    // The judge thinks about the second one, and the copy of the first one is there already.
    relay.until_depth(&work(), 1).await;
    go_on.send(Action::Keep).unwrap();
    go_on.send(Action::Keep).unwrap();
    assert_eq!(sweep.await.unwrap().unwrap(), Swept { total: 3, seen: 3, acted: 1 });
    relay.clean().await;
}

/// Reports each fate.
struct Reporting(mpsc::UnboundedSender<Fate>);

#[async_trait]
impl LetterVisitor for Reporting {
    fn begin(&mut self, _: u64) {}

    async fn judge(&mut self, letter: &Letter) -> Action {
        replay(letter, number(letter))
    }

    fn settled(&mut self, fate: Fate) {
        self.0.send(fate).unwrap();
    }
}

pub(crate) async fn a_fate_is_heard_once_it_is_durable<B: Backend>() {
    let relay = B::start().await;
    let other = relay.another().await;
    relay.store(&INVALID, crowd(0..50)).await;
    let (sender, mut fates) = mpsc::unbounded_channel();
    let sweep = spawn_sweep(&*relay, 1, Reporting(sender));

    for heard in 1..=50 {
        assert_eq!(fates.recv().await, Some(Fate::Moved));
        let copies = other.depth(&work()).await;
        assert!(heard <= copies, "somebody else sees {copies} of {heard}");
    }

    assert_eq!(sweep.await.unwrap().unwrap(), Swept { total: 50, seen: 50, acted: 50 });
    relay.clean().await;
}

pub(crate) async fn whoever_reads_after_a_reader_that_was_cut_off_sees_everything<B: Backend>() {
    let relay = B::start().await;
    relay.store(&INVALID, events(0..50)).await;
    for round in 0..5 {
        let (judge, mut seen, _go_on) = gated();
        let sweep = spawn_sweep(&*relay, 20, judge);
        seen.recv().await.unwrap();

        sweep.abort();
        assert!(sweep.await.unwrap_err().is_cancelled());

        let letters = eventually("the class is free", async || {
            let mut letters = Vec::new();
            let mut read = |letter: Letter| letters.push(body(&letter.message));
            relay.queue.browse(Class::Invalid, EVERYTHING, &mut read).await.ok()?;
            Some(letters)
        });
        let mut letters = timeout(std::time::Duration::from_secs(10), letters).await.expect("soon");
        letters.sort_by_key(|body| body.parse::<usize>().unwrap()); // what was in hand may go behind what was not
        assert_eq!(letters, numbers(0..50), "in round {round}");
    }
    relay.clean().await;
}
