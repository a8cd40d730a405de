use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::order::event_key::{Digest, EventKey};

/// How much earlier than computed an event may come out of a tier and still be taken for the one that went in: the clocks
/// that measure a delay are not ours.
const EARLY: Duration = Duration::from_millis(100);
/// How long after its time an event is usually on its queue.
const MARGIN: Duration = Duration::from_secs(1);
/// How long after its time it may take at worst: RabbitMQ dead-letters again after 180 s when that failed.
const SLACK: Duration = Duration::from_mins(4);

/// How long working an event is thought to take at most, before it is known.
const FIRST_GUESS: Duration = Duration::from_millis(50);
/// How much faster than the last ones the next ones may be. An event that is in a tier when its turn comes costs more time
/// than one that goes round in vain.
const CAUTION: u32 = 8;
/// How long after its beginning an event is thought to be stuck.
const STUCK: Duration = Duration::from_secs(5);

/// The events of one subject that a worker knows of and that have not ended, in the order in which they are to be worked.
pub(crate) struct SubjectQueue {
    entries: VecDeque<Entry>,
    /// How many are not in hand, and how many of those were left.
    outside: usize,
    left: usize,
    /// How long one is worked, about.
    took: Duration,
}

/// A stay in hand of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stay {
    ticket: u64,
    number: u32,
}

/// What stands between an event and its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    /// How long the events before it are away at least; `None` when they are on the queue.
    pub(crate) waits: Option<Duration>,
    /// How long the events before it will take to be worked at least, as far as that can be told.
    pub(crate) works: Duration,
}

impl Stay {
    pub(crate) fn is_of_the_same_event(self, other: Self) -> bool {
        self.ticket == other.ticket
    }
}

/// Whether an event may enter its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everything before it is in hand or has ended; what is in hand will take so long.
    Free { works: Duration },
    /// Something before it is under way.
    Behind(Behind),
}

struct Entry {
    ticket: u64,
    /// How often it was in hand.
    stays: u32,
    event: Digest,
    accepted_ms: u64,
    state: State,
    /// Since when at the earliest it was at the tail of its queue before it came.
    behind_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In hand, and being worked since.
    Here { since: Option<Instant> },
    /// In a tier until `due`, or sent round at that time. `early`: perhaps its original is still where it was.
    Away { due: Instant, early: bool },
    /// Given back to its queue unsettled: it comes again before anything new does, if nobody else has settled it.
    Left { since: Instant },
}

impl State {
    fn is_outside(self) -> bool {
        !matches!(self, Self::Here { .. })
    }

    /// Since when nothing has to be heard of it any more, if that is so.
    fn quiet_since(self) -> Option<Instant> {
        match self {
            Self::Here { .. } => None,
            Self::Away { due, .. } => Some(due),
            Self::Left { since } => Some(since),
        }
    }
}

impl Entry {
    /// Whether a delivery like it can be this one. The same bytes without an id, accepted in the same millisecond, may be
    /// another event; they come too early for this one then.
    fn may_come(&self, event: &EventKey, now: Instant) -> bool {
        (self.event, self.accepted_ms) == (event.event, event.accepted_ms)
            && match self.state {
                State::Here { .. } => false,
                State::Away { due, early } => early || !event.is_minted || due <= now + EARLY,
                State::Left { .. } => true,
            }
    }
}

impl SubjectQueue {
    pub(crate) fn new() -> Self {
        Self { entries: VecDeque::new(), outside: 0, left: 0, took: Duration::ZERO }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many are not in hand.
    pub(crate) fn outside(&self) -> usize {
        self.outside
    }

    /// An event is delivered: one that is in the line, or a new one, which is given `ticket`.
    pub(crate) fn arrive(&mut self, event: &EventKey, redelivered: bool, ticket: u64, now: Instant) -> (Stay, bool) {
        if let Some(index) = self.entries.iter().position(|entry| entry.may_come(event, now)) {
            // What is delivered again was put back where it had been, and what comes early is no copy of ours.
            if let State::Away { due, .. } = self.entries[index].state
                && !redelivered
                && due <= now + EARLY
            {
                self.entries[index].behind_since = Some(due);
            }
            self.set(index, State::Here { since: None });
            let entry = &mut self.entries[index];
            entry.stays += 1;
            return (Stay { ticket: entry.ticket, number: entry.stays }, true);
        }
        let EventKey { event, accepted_ms, .. } = *event;
        let state = State::Here { since: None };
        self.entries.push_back(Entry { ticket, stays: 0, event, accepted_ms, state, behind_since: None });
        (Stay { ticket, number: 0 }, false)
    }

    /// Something new came: what was given back to the queue before is not there any more.
    pub(crate) fn forget_left(&mut self) {
        if 0 < self.left {
            self.retain(|entry| !matches!(entry.state, State::Left { .. }));
        }
    }

    /// Whether an event may enter its lane, because all before it have.
    pub(crate) fn reach(&mut self, stay: Stay, now: Instant, expired: &mut u64) -> Reach {
        match self.behind(stay, now, expired, |entry| entry.state.is_outside()) {
            Some(behind) => Reach::Behind(behind),
            None => Reach::Free { works: self.works(self.find(stay).unwrap_or_default(), now) },
        }
    }

    /// Whether it is an event's turn, which begins then. Otherwise, what it is behind of.
    pub(crate) fn turn(&mut self, stay: Stay, now: Instant, expired: &mut u64) -> Option<Behind> {
        let behind = self.behind(stay, now, expired, |_| true);
        if behind.is_none()
            && let Some(index) = self.find(stay)
            && self.entries[index].state == (State::Here { since: None })
        {
            self.entries[index].state = State::Here { since: Some(now) };
        }
        behind
    }

    /// An event in hand goes into a tier until `due`, or round.
    pub(crate) fn leave(&mut self, stay: Stay, due: Instant) {
        if let Some(index) = self.find(stay) {
            self.set(index, State::Away { due, early: false });
        }
    }

    /// An event in hand was not settled: it comes again, or the copy that was made of it.
    pub(crate) fn lose(&mut self, stay: Stay, now: Instant) {
        let Some(index) = self.find(stay) else { return };
        let state = match self.entries[index].state {
            State::Away { due, .. } => State::Away { due, early: true },
            State::Here { .. } | State::Left { .. } => State::Left { since: now },
        };
        self.set(index, state);
    }

    /// An event has ended.
    pub(crate) fn end(&mut self, stay: Stay, now: Instant) {
        if let Some(index) = self.find(stay) {
            if let State::Here { since: Some(since) } = self.entries[index].state {
                // One slow call says little about the next ones.
                self.took = now.saturating_duration_since(since).min(self.took.max(FIRST_GUESS).saturating_mul(2));
            }
            self.remove(index);
        }
    }

    /// Gives an event up that has left the hand.
    pub(crate) fn give_up(&mut self, stay: Stay) -> bool {
        let outside = self.find(stay).filter(|index| self.entries[*index].state.is_outside());
        if let Some(index) = outside {
            self.remove(index);
        }
        outside.is_some()
    }

    /// Gives up what nothing was heard of for so long.
    pub(crate) fn sweep(&mut self, age: Duration, now: Instant, expired: &mut u64) {
        let before = self.entries.len();
        self.retain(|entry| entry.state.quiet_since().is_none_or(|since| now.saturating_duration_since(since) < age));
        *expired += (before - self.entries.len()) as u64;
    }

    fn behind(
        &mut self,
        stay: Stay,
        now: Instant,
        expired: &mut u64,
        blocks: impl Fn(&Entry) -> bool,
    ) -> Option<Behind> {
        loop {
            let index = self.find(stay)?;
            let blocker = self.entries.range(..index).position(&blocks)?;
            // Between these two times everything that was on the queue has come. So it was not there.
            let since = self.entries[blocker].state.quiet_since();
            let behind_since = self.entries[index].behind_since;
            let missing = since.zip(behind_since).map(|(since, tail)| tail.saturating_duration_since(since));
            let missing = missing.unwrap_or_default();
            if SLACK <= missing && self.entries[blocker].state.is_outside() {
                self.remove(blocker);
                *expired += 1;
                continue;
            }
            let waits = match self.entries[blocker].state {
                State::Away { due, .. } => {
                    let due = match self.entries[index - 1].state {
                        State::Away { due: last, .. } => due.max(last),
                        State::Here { .. } | State::Left { .. } => due,
                    };
                    let left = due.saturating_duration_since(now);
                    (EARLY < left || MARGIN <= missing).then_some(left)
                }
                State::Left { .. } => None,
                State::Here { .. } => Some(Duration::ZERO),
            };
            return Some(Behind { waits, works: self.works(index, now) });
        }
    }

    /// How long the first so many events will take at least, as far as can be guessed.
    fn works(&self, events: usize, now: Instant) -> Duration {
        let each = match self.entries.front().map(|entry| entry.state) {
            Some(State::Here { since: Some(since) }) if since + STUCK <= now => now.saturating_duration_since(since),
            Some(_) | None => self.took / CAUTION,
        };
        each.saturating_mul(u32::try_from(events).unwrap_or(u32::MAX))
    }

    /// Where an event is that is in hand for this stay, or has just left it.
    fn find(&self, stay: Stay) -> Option<usize> {
        self.entries.iter().position(|entry| entry.ticket == stay.ticket && entry.stays == stay.number)
    }

    fn set(&mut self, index: usize, state: State) {
        self.count(self.entries[index].state, false);
        self.entries[index].state = state;
        self.count(state, true);
    }

    fn remove(&mut self, index: usize) {
        self.count(self.entries[index].state, false);
        self.entries.remove(index);
    }

    fn retain(&mut self, keep: impl FnMut(&Entry) -> bool) {
        self.entries.retain(keep);
        self.outside = self.entries.iter().filter(|entry| entry.state.is_outside()).count();
        self.left = self.entries.iter().filter(|entry| matches!(entry.state, State::Left { .. })).count();
    }

    fn count(&mut self, state: State, added: bool) {
        let (outside, left) = (state.is_outside(), matches!(state, State::Left { .. }));
        if added {
            (self.outside, self.left) = (self.outside + usize::from(outside), self.left + usize::from(left));
        } else {
            (self.outside, self.left) = (self.outside - usize::from(outside), self.left - usize::from(left));
        }
    }
}
