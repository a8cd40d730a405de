use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::order::event_key::{Digest, EventKey};
use crate::order::subject_queue::{Behind, Reach, Stay, SubjectQueue};

/// How often what nobody has heard of for long is given up, and how long that is.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
const FORGET_AFTER: Duration = Duration::from_hours(24);

/// Keeps the events of each subject in order while some of them are not in hand: in a tier, or sent round their queue. A
/// pure structure, for all the accounts of a worker.
///
/// For each subject it knows a [`SubjectQueue`] of events. Whatever comes is looked up in it: the first one is worked, the others
/// go away again, and keep their places. So the order follows from the line, not from which of them comes back first.
pub(crate) struct Sequencer {
    queues: HashMap<Digest, SubjectQueue>,
    /// How many events may be remembered that are not in hand. Those in hand are bounded by the prefetch.
    capacity: usize,
    tickets: u64,
    outside: usize,
    subjects: usize,
    swept_at: Option<Instant>,
    given_up: GivenUp,
}

/// How often the order of an event was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GivenUp {
    /// There was no room to remember it.
    pub(crate) full: u64,
    /// It did not come back.
    pub(crate) expired: u64,
}

/// An event as it was received from the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) stay: Stay,
    /// Whether it was remembered from before.
    pub(crate) is_known: bool,
}

impl Sequencer {
    pub(crate) fn new(capacity: usize) -> Self {
        let (queues, given_up) = (HashMap::new(), GivenUp::default());
        Self { queues, capacity, tickets: 0, outside: 0, subjects: 0, swept_at: None, given_up }
    }

    /// How many events are remembered that are not in hand, and of how many subjects.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.outside, self.subjects)
    }

    /// What was given up since this was asked last.
    pub(crate) fn given_up(&mut self) -> GivenUp {
        std::mem::take(&mut self.given_up)
    }

    /// An event was delivered.
    pub(crate) fn arrive(&mut self, event: &EventKey, redelivered: bool, now: Instant) -> Arrival {
        self.sweep(now);
        self.tickets += 1;
        let ticket = self.tickets;
        self.queues.entry(event.subject).or_insert_with(SubjectQueue::new);
        let arrived = self.change(event.subject, |queue, _| {
            if !redelivered {
                queue.forget_left();
            }
            queue.arrive(event, redelivered, ticket, now)
        });
        let (stay, is_known) = arrived.expect("the queue is there");
        Arrival { stay, is_known }
    }

    /// Whether an event in hand may enter its lane, because everything before it has.
    pub(crate) fn reach(&mut self, subject: Digest, stay: Stay, now: Instant) -> Reach {
        let reach = self.change(subject, |queue, given_up| queue.reach(stay, now, &mut given_up.expired));
        reach.unwrap_or(Reach::Free { works: Duration::ZERO })
    }

    /// Whether it is an event's turn to be worked: `None`, or what it is behind of.
    pub(crate) fn turn(&mut self, subject: Digest, stay: Stay, now: Instant) -> Option<Behind> {
        self.change(subject, |queue, given_up| queue.turn(stay, now, &mut given_up.expired))?
    }

    /// An event in hand goes into a tier until `due`, or round.
    pub(crate) fn leave(&mut self, subject: Digest, stay: Stay, due: Instant) {
        self.change(subject, |queue, _| queue.leave(stay, due));
        self.make_room(subject, stay);
    }

    /// An event in hand was not settled.
    pub(crate) fn lose(&mut self, subject: Digest, stay: Stay, now: Instant) {
        self.change(subject, |queue, _| queue.lose(stay, now));
        self.make_room(subject, stay);
    }

    /// An event has ended.
    pub(crate) fn end(&mut self, subject: Digest, stay: Stay, now: Instant) {
        self.change(subject, |queue, _| queue.end(stay, now));
    }

    fn make_room(&mut self, subject: Digest, stay: Stay) {
        if self.capacity < self.outside {
            self.change(subject, |queue, given_up| given_up.full += u64::from(queue.give_up(stay)));
        }
    }

    /// Does something to a line, if there is one, and keeps the counts.
    fn change<T>(&mut self, subject: Digest, change: impl FnOnce(&mut SubjectQueue, &mut GivenUp) -> T) -> Option<T> {
        let queue = self.queues.get_mut(&subject)?;
        let before = queue.outside();
        let changed = change(queue, &mut self.given_up);
        let after = queue.outside();
        if queue.is_empty() {
            self.queues.remove(&subject);
        }
        self.outside = self.outside + after - before;
        self.subjects = self.subjects + usize::from(0 < after) - usize::from(0 < before);
        Some(changed)
    }

    fn sweep(&mut self, now: Instant) {
        let swept_at = *self.swept_at.get_or_insert(now);
        if now.saturating_duration_since(swept_at) < SWEEP_EVERY {
            return;
        }
        self.swept_at = Some(now);
        self.queues.values_mut().for_each(|queue| queue.sweep(FORGET_AFTER, now, &mut self.given_up.expired));
        self.queues.retain(|_, queue| !queue.is_empty());
        self.outside = self.queues.values().map(SubjectQueue::outside).sum();
        self.subjects = self.queues.values().filter(|queue| 0 < queue.outside()).count();
    }
}

#[cfg(test)]
mod tests;
