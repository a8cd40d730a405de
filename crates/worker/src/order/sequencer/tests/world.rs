//! A simple model of a queue and a worker around the sequencer: a work queue, two tiers, lanes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::RetryPolicy;
use crate::event::outcome::Aside;
use crate::order::event_key::EventKey;
use crate::order::sequencer::{GivenUp, Sequencer};
use crate::order::subject_queue::{Behind, Reach, Stay};

const TIERS: [Duration; 2] = [Duration::from_mins(1), Duration::from_mins(10)];
/// What may be in hand, and what may wait in one lane.
const ROOM: usize = 8;
const CROWD: usize = 2;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Publish {
        subject: u64,
        bytes: u64,
    },
    Take,
    Begin(u64),
    Finish {
        subject: u64,
        outcome: Outcome,
    },
    Wait(Duration),
    /// The connection breaks while the first event in hand is being settled into a tier. `copied`: its copy was stored.
    /// `acked`: so was its acknowledgement, and only the answer to it is missing.
    LoseTerm {
        copied: bool,
        acked: bool,
    },
    /// The queue is given back in order: its account is held, say.
    GiveBack,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Delivered,
    Tier(usize),
    Dead,
}

#[derive(Clone, Debug)]
struct Event {
    subject: u64,
    /// The place of the event among all.
    number: u64,
    /// What it is known by: its number, or its bytes.
    key: EventKey,
    redelivered: bool,
}

#[derive(Debug)]
struct InHand {
    event: Event,
    stay: Stay,
    is_worked: bool,
}

/// How an event leaves the hand.
#[derive(Clone, Copy, Debug)]
enum Exit {
    Ends,
    Goes(Aside),
}

/// What is different between runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Events have ids, and what was settled is known.
    WithIds,
    /// Events have ids. When a connection breaks, what was just being settled is perhaps settled, and perhaps there twice.
    WithIdsAndDoubts,
    /// Events are known by their bytes. (What is there twice is worked twice then, so there are no doubts.)
    WithoutIds,
}

pub(super) struct World {
    sequencer: Sequencer,
    policy: RetryPolicy,
    capacity: usize,
    now: Instant,
    kind: Kind,
    queue: VecDeque<Event>,
    tiers: [VecDeque<(Instant, Event)>; 2],
    /// What the term has in hand, in the order in which it was delivered.
    term: Vec<InHand>,
    published: u64,
    /// Of each subject the numbers and keys of its events.
    wanted: BTreeMap<u64, Vec<(u64, EventKey)>>,
    delivered: BTreeMap<u64, Vec<(u64, EventKey)>>,
    dead: BTreeSet<u64>,
    given_up: GivenUp,
}

impl World {
    pub(super) fn new(capacity: usize, kind: Kind) -> Self {
        let policy = RetryPolicy {
            in_hand: Duration::ZERO,
            tiers: TIERS.to_vec(),
            max_attempts: 40,
            max_age: Duration::from_hours(24),
        };
        Self {
            sequencer: Sequencer::new(capacity),
            policy,
            capacity,
            now: Instant::now(),
            kind,
            queue: VecDeque::new(),
            tiers: [VecDeque::new(), VecDeque::new()],
            term: Vec::new(),
            published: 0,
            wanted: BTreeMap::new(),
            delivered: BTreeMap::new(),
            dead: BTreeSet::new(),
            given_up: GivenUp::default(),
        }
    }

    pub(super) fn run(&mut self, ops: &[Op]) {
        for op in ops {
            self.act(op);
            let GivenUp { full, expired } = self.sequencer.given_up();
            self.given_up.full += full;
            self.given_up.expired += expired;
            assert!(self.sequencer.size().0 <= self.capacity, "more is remembered than there is room for");
        }
    }

    /// Lets everything succeed from now on, until nothing is left.
    pub(super) fn settle_down(&mut self) {
        for _ in 0..5_000 {
            if self.is_empty() {
                assert_eq!(self.sequencer.size().0, 0, "what has ended is still remembered");
                return;
            }
            let mut ops = vec![Op::Take];
            for subject in self.wanted.keys().copied() {
                let outcome = Outcome::Delivered;
                ops.extend([Op::Begin(subject), Op::Finish { subject, outcome }]);
            }
            ops.push(Op::Wait(Duration::from_secs(5)));
            self.run(&ops);
        }
        panic!("it does not come to an end: {:?} {:?}", self.queue, self.tiers);
    }

    /// Each event was delivered once, in the order in which they were published; what died was not.
    pub(super) fn check_order(&self) {
        assert_eq!(self.given_up.full, 0);
        if self.kind == Kind::WithIdsAndDoubts && 0 < self.given_up.expired {
            return;
        }
        assert_eq!(self.given_up.expired, 0);
        for (subject, wanted) in &self.wanted {
            let delivered = self.delivered.get(subject).cloned().unwrap_or_default();
            if self.is_minted() {
                // The same bytes in a row are a copy, and which of them is which does not matter.
                let bytes = |events: &[(u64, EventKey)]| {
                    let mut bytes: Vec<_> = events.iter().map(|(_, event_key)| event_key.event).collect();
                    bytes.dedup();
                    bytes
                };
                assert_eq!(bytes(wanted), bytes(&delivered));
            } else {
                let alive = |events: &[(u64, EventKey)]| -> Vec<u64> {
                    events.iter().map(|(number, _)| *number).filter(|number| !self.dead.contains(number)).collect()
                };
                assert_eq!(alive(wanted), alive(&delivered));
            }
        }
    }

    fn is_minted(&self) -> bool {
        self.kind == Kind::WithoutIds
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.tiers.iter().all(VecDeque::is_empty) && self.term.is_empty()
    }

    fn act(&mut self, op: &Op) {
        match *op {
            Op::Publish { subject, bytes } => self.publish(subject, bytes),
            Op::Take => self.take(),
            Op::Begin(subject) => self.begin(subject),
            Op::Finish { subject, outcome } => self.finish(subject, outcome),
            Op::Wait(time) => self.wait(time),
            Op::LoseTerm { copied, acked } => self.lose_term(copied, acked),
            Op::GiveBack => self.lose_term(false, false),
        }
    }

    fn publish(&mut self, subject: u64, bytes: u64) {
        self.published += 1;
        let number = self.published;
        let event = if self.is_minted() { bytes } else { number };
        let event_key = EventKey {
            subject: [0, subject],
            event: [subject, event],
            accepted_ms: number,
            is_minted: self.is_minted(),
        };
        self.wanted.entry(subject).or_default().push((number, event_key));
        self.queue.push_back(Event { subject, number, key: event_key, redelivered: false });
    }

    fn take(&mut self) {
        if ROOM <= self.term.len() {
            return;
        }
        let Some(event) = self.queue.pop_front() else { return };
        let stay = self.sequencer.arrive(&event.key, event.redelivered, self.now).stay;
        let waiting = self.term.iter().filter(|in_hand| in_hand.event.subject == event.subject).count();
        let behind = match self.sequencer.reach(event.key.subject, stay, self.now) {
            Reach::Behind(behind) => behind,
            Reach::Free { works } if CROWD < waiting => Behind { waits: None, works },
            Reach::Free { .. } => return self.term.push(InHand { event, stay, is_worked: false }),
        };
        let aside = self.policy.aside(behind);
        self.let_go(event, stay, Exit::Goes(aside));
    }

    /// What a task does up to its call.
    fn begin(&mut self, subject: u64) {
        let Some(index) = self.term.iter().position(|in_hand| in_hand.event.subject == subject) else { return };
        let InHand { event, stay, is_worked } = &self.term[index];
        let (event, stay, is_worked) = (event.clone(), *stay, *is_worked);
        if is_worked {
            return;
        }
        if !self.is_minted() && self.is_copy(&event) {
            return self.leave_hand(index, Exit::Ends);
        }
        if let Some(behind) = self.sequencer.turn(event.key.subject, stay, self.now) {
            let aside = self.policy.aside(behind);
            return self.leave_hand(index, Exit::Goes(aside));
        }
        if self.is_minted() && self.is_copy(&event) {
            return self.leave_hand(index, Exit::Ends);
        }
        self.term[index].is_worked = true;
        let worked = self.term.iter().filter(|in_hand| in_hand.is_worked);
        assert_eq!(worked.filter(|in_hand| in_hand.event.subject == subject).count(), 1, "two are worked at once");
    }

    /// As [`crate::order::recently_done::RecentlyDone`] knows copies.
    fn is_copy(&self, event: &Event) -> bool {
        let Some(delivered) = self.delivered.get(&event.subject) else { return false };
        if self.is_minted() {
            delivered.last().is_some_and(|(_, last)| *last == event.key)
        } else {
            delivered.iter().any(|(number, _)| *number == event.number)
        }
    }

    fn finish(&mut self, subject: u64, outcome: Outcome) {
        let Some(index) = self.term.iter().position(|in_hand| in_hand.event.subject == subject) else { return };
        let InHand { event, is_worked: true, .. } = &self.term[index] else { return };
        let event = event.clone();
        match outcome {
            Outcome::Delivered => {
                self.delivered.entry(subject).or_default().push((event.number, event.key));
                self.leave_hand(index, Exit::Ends);
            }
            // Of the same bytes nobody can tell which of them died.
            Outcome::Dead if !self.is_minted() => {
                self.dead.insert(event.number);
                self.leave_hand(index, Exit::Ends);
            }
            Outcome::Tier(tier) => self.leave_hand(index, Exit::Goes(Aside::Tier(TIERS[tier]))),
            Outcome::Dead => self.term[index].is_worked = false,
        }
    }

    fn leave_hand(&mut self, index: usize, exit: Exit) {
        let InHand { event, stay, .. } = self.term.remove(index);
        self.let_go(event, stay, exit);
    }

    fn let_go(&mut self, event: Event, stay: Stay, exit: Exit) {
        let subject = event.key.subject;
        self.exit(&event, stay, exit);
        self.move_to(event, exit);
        match exit {
            Exit::Ends => self.sequencer.end(subject, stay, self.now),
            Exit::Goes(_) => {}
        }
    }

    fn exit(&mut self, event: &Event, stay: Stay, exit: Exit) {
        match exit {
            Exit::Ends => {}
            Exit::Goes(Aside::Tier(delay)) => self.sequencer.leave(event.key.subject, stay, self.now + delay),
            Exit::Goes(Aside::Round) => self.sequencer.leave(event.key.subject, stay, self.now),
        }
    }

    fn move_to(&mut self, mut event: Event, exit: Exit) {
        event.redelivered = false;
        match exit {
            Exit::Ends => {}
            Exit::Goes(Aside::Round) => self.queue.push_back(event),
            Exit::Goes(Aside::Tier(delay)) => {
                let tier = TIERS.iter().position(|tier| *tier == delay).expect("a tier");
                self.tiers[tier].push_back((self.now + delay, event));
            }
        }
    }

    /// What is due goes to the queue's tail, in the order of the times.
    fn wait(&mut self, time: Duration) {
        self.now += time;
        loop {
            let due = |tier: usize| Some((self.tiers[tier].front()?.0, tier));
            let next = (0..2).filter_map(due).min();
            let Some((_, tier)) = next.filter(|(due, _)| *due <= self.now) else { return };
            let (_, event) = self.tiers[tier].pop_front().expect("it is due");
            self.queue.push_back(event);
        }
    }

    fn lose_term(&mut self, copied: bool, acked: bool) {
        let mut back = Vec::new();
        for (index, InHand { mut event, stay, .. }) in std::mem::take(&mut self.term).into_iter().enumerate() {
            let is_copied = index == 0 && copied && self.kind == Kind::WithIdsAndDoubts;
            if is_copied {
                let exit = Exit::Goes(Aside::Tier(TIERS[0]));
                self.exit(&event, stay, exit);
                self.move_to(event.clone(), exit);
            }
            self.sequencer.lose(event.key.subject, stay, self.now);
            if !(is_copied && acked) {
                event.redelivered = true;
                back.push(event);
            }
        }
        back.into_iter().rev().for_each(|event| self.queue.push_front(event));
    }
}
