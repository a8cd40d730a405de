mod world;

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use self::world::{Kind, Op, Outcome, World};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// One subject and its events `0, 1, …`, as a line is asked about them.
struct Asked {
    sequencer: Sequencer,
    now: Instant,
}

impl Asked {
    fn new(capacity: usize) -> Self {
        Self { sequencer: Sequencer::new(capacity), now: Instant::now() }
    }

    fn event_key(event: u64) -> EventKey {
        EventKey { subject: [0, 0], event: [0, event], accepted_ms: 0, is_minted: false }
    }

    fn arrives(&mut self, event: u64) -> Stay {
        self.sequencer.arrive(&Self::event_key(event), false, self.now).stay
    }

    fn comes_again(&mut self, event: u64) -> Stay {
        self.sequencer.arrive(&Self::event_key(event), true, self.now).stay
    }

    fn leaves(&mut self, stay: Stay, delay: Duration) {
        self.sequencer.leave([0, 0], stay, self.now + delay);
    }

    fn turn(&mut self, stay: Stay) -> Option<Behind> {
        self.sequencer.turn([0, 0], stay, self.now)
    }

    fn ends(&mut self, stay: Stay) {
        self.sequencer.end([0, 0], stay, self.now);
    }
}

#[test]
fn what_comes_while_another_is_away_waits_behind_it_as_long() {
    let mut asked = Asked::new(10);
    let first = asked.arrives(0);
    assert_eq!(asked.turn(first), None);
    asked.leaves(first, MINUTE);
    asked.now += 10 * SECOND;

    let second = asked.arrives(1);

    let behind = asked.turn(second).expect("the first is away");
    assert_eq!(behind.waits, Some(50 * SECOND));
    asked.leaves(second, MINUTE);
    asked.now += 50 * SECOND;
    let first = asked.arrives(0);
    assert_eq!(asked.turn(first), None, "the first one is worked");
    asked.ends(first);
    asked.now += 10 * SECOND;
    let second = asked.arrives(1);
    assert_eq!((asked.turn(second), asked.sequencer.size()), (None, (0, 0)));
}

#[test]
fn one_that_comes_back_too_early_goes_away_again_and_keeps_its_place() {
    let mut asked = Asked::new(10);
    for (event, delay) in [(0, 10 * MINUTE), (1, MINUTE), (2, 10 * MINUTE)] {
        let stay = asked.arrives(event);
        asked.leaves(stay, delay);
    }
    asked.now += MINUTE;

    let second = asked.arrives(1);

    assert_eq!(asked.turn(second).and_then(|behind| behind.waits), Some(9 * MINUTE));
    asked.leaves(second, 10 * MINUTE);
    asked.now += 9 * MINUTE;
    let first = asked.arrives(0);
    asked.ends(first);
    let third = asked.arrives(2);
    assert!(asked.turn(third).is_some(), "the second one comes first");
}

#[test]
fn one_that_never_comes_back_does_not_block_for_ever() {
    let mut asked = Asked::new(10);
    let first = asked.arrives(0);
    asked.leaves(first, MINUTE);
    let second = asked.arrives(1);
    asked.leaves(second, MINUTE);
    asked.now += MINUTE;

    let mut rounds = 0;
    loop {
        let second = asked.arrives(1);
        let Some(behind) = asked.turn(second) else { break };
        // What has just become due may be a moment behind; after that nobody goes round in vain.
        assert_eq!(behind.waits.is_some(), 0 < rounds, "in round {rounds}");
        let delay = if behind.waits.is_some() { MINUTE } else { 2 * SECOND };
        asked.leaves(second, delay);
        asked.now += delay;
        rounds += 1;
    }

    assert_eq!((rounds, asked.sequencer.given_up()), (5, GivenUp { full: 0, expired: 1 }));
}

#[test]
fn a_backlog_makes_nobody_missing() {
    let mut asked = Asked::new(10);
    let first = asked.arrives(0);
    asked.leaves(first, Duration::ZERO);
    let second = asked.arrives(1);
    asked.leaves(second, Duration::ZERO);
    asked.now += 60 * MINUTE;

    let second = asked.comes_again(1);

    assert_eq!(asked.turn(second).map(|behind| behind.waits), Some(None), "the first one is still on the queue");
}

#[test]
fn what_was_left_unsettled_comes_before_anything_new_or_never() {
    let mut asked = Asked::new(10);
    for event in 0..3 {
        let stay = asked.arrives(event);
        asked.sequencer.lose([0, 0], stay, asked.now);
    }
    let second = asked.comes_again(1);
    assert!(asked.turn(second).is_some(), "the first one comes again");
    asked.sequencer.lose([0, 0], second, asked.now);

    let new = asked.arrives(3);

    assert_eq!((asked.turn(new), asked.sequencer.size()), (None, (0, 0)), "somebody else has settled them");
}

#[test]
fn the_same_bytes_without_an_id_are_another_event_until_the_first_can_be_back() {
    let mut asked = Asked::new(10);
    let minted = |event| EventKey { is_minted: true, ..Asked::event_key(event) };
    let arrives = |asked: &mut Asked, event| asked.sequencer.arrive(&minted(event), false, asked.now).stay;
    for event in [0, 1, 0] {
        let stay = arrives(&mut asked, event);
        asked.leaves(stay, MINUTE);
    }
    assert_eq!(asked.sequencer.size(), (3, 1));
    asked.now += MINUTE;
    for event in [0, 1, 0] {
        let stay = arrives(&mut asked, event);
        assert_eq!(asked.turn(stay), None);
        asked.ends(stay);
    }
    assert_eq!(asked.sequencer.size(), (0, 0));
}

#[test]
fn without_room_a_place_is_given_up_and_that_is_counted() {
    let mut asked = Asked::new(2);
    for event in 0..5 {
        let stay = asked.arrives(event);
        asked.leaves(stay, MINUTE);
    }
    assert_eq!((asked.sequencer.size(), asked.sequencer.given_up()), ((2, 1), GivenUp { full: 3, expired: 0 }));
}

/// `PROPTEST_CASES=2000` makes it a long run.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().map_or(64, |cases| cases.parse().expect("a number"))
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Delivered),
        3 => (0..2_usize).prop_map(Outcome::Tier),
        1 => Just(Outcome::Dead),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..3_u64, 0..2_u64).prop_map(|(subject, bytes)| Op::Publish { subject, bytes }),
        8 => Just(Op::Take),
        8 => (0..3_u64).prop_map(Op::Begin),
        8 => (0..3_u64, outcome()).prop_map(|(subject, outcome)| Op::Finish { subject, outcome }),
        4 => (0..120_u32).prop_map(|seconds| Op::Wait(seconds * SECOND)),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(copied, acked)| Op::LoseTerm { copied, acked }),
        2 => Just(Op::GiveBack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_end_once_and_in_order_whatever_happens(ops in prop::collection::vec(op(), 0..400)) {
        let mut world = World::new(1_000, Kind::WithIds);
        world.run(&ops);
        world.settle_down();
        world.check_order();
    }

    #[test]
    fn what_is_there_twice_keeps_its_order_or_is_counted(ops in prop::collection::vec(op(), 0..400)) {
        let mut world = World::new(1_000, Kind::WithIdsAndDoubts);
        world.run(&ops);
        world.settle_down();
        world.check_order();
    }

    #[test]
    fn events_without_ids_happen_in_order(ops in prop::collection::vec(op(), 0..400)) {
        let mut world = World::new(1_000, Kind::WithoutIds);
        world.run(&ops);
        world.settle_down();
        world.check_order();
    }

    #[test]
    fn without_room_nothing_is_lost_and_the_memory_is_bounded(ops in prop::collection::vec(op(), 0..400)) {
        let mut world = World::new(3, Kind::WithIdsAndDoubts);
        world.run(&ops);
        world.settle_down();
    }
}
