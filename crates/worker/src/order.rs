use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use refersion_relay_queue::{Place, Settle};
use refersion_relay_telemetry::{Metrics, OrderGivenUp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::barrier::{Arrival, Barrier, GivenUp};
use crate::line::{Behind, Reach, Visit};
use crate::mark::{Digest, Mark};

/// How many events that are not in hand are remembered. About 2 MiB.
const REMEMBERED: usize = 20_000;

/// The barrier of a worker, as its tasks share it: with a clock, and counted.
pub(crate) struct Order {
    barrier: Mutex<Barrier>,
    metrics: Metrics,
}

/// The place of an event in the line of its subject, for as long as the event is in hand. Dropped, it says that the event
/// was not settled and comes again, which ends the term.
pub(crate) struct Standing {
    order: Arc<Order>,
    subject: Digest,
    visit: Visit,
    /// Cancelled when nothing more is begun in the term.
    leave: CancellationToken,
    is_settled: bool,
}

/// How an event leaves the hand, for its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It has ended.
    End,
    /// It comes again to its queue, not before the delay has passed.
    Away(Duration),
}

impl Exit {
    pub(crate) fn of(settle: &Settle) -> Self {
        match settle {
            Settle::Done(_) | Settle::Move(Place::Dead(_) | Place::Intake, _) => Self::End,
            Settle::Move(Place::Later(_, delay), _) => Self::Away(*delay),
            Settle::Move(Place::Work(_), _) => Self::Away(Duration::ZERO),
        }
    }
}

impl Order {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { barrier: Mutex::new(Barrier::new(REMEMBERED)), metrics }
    }

    /// An event was delivered. Returns its place, and whether it was in its line before; `None` if nothing more is begun in the
    /// term.
    ///
    /// What comes new says that everything that was given back before has come again. That is not so of an event that was left
    /// in the same term and has still to be given back. So nothing comes any more in a term in which an event was left.
    pub(crate) fn arrive(
        self: &Arc<Self>,
        event: &Mark,
        redelivered: bool,
        leave: &CancellationToken,
    ) -> Option<(Standing, bool)> {
        let arrive = |barrier: &mut Barrier, now| {
            // Under the lock, so that an event is left either before, and this is known, or afterwards.
            (!leave.is_cancelled()).then(|| barrier.arrive(event, redelivered, now))
        };
        let Arrival { visit, is_known } = self.with(arrive)?;
        let (order, subject, leave) = (self.clone(), event.subject, leave.clone());
        Some((Standing { order, subject, visit, leave, is_settled: false }, is_known))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Barrier, Instant) -> T) -> T {
        let mut barrier = self.barrier.lock().unwrap_or_else(PoisonError::into_inner);
        let acted = act(&mut barrier, Instant::now());
        let GivenUp { full, expired } = barrier.given_up();
        self.metrics.order_given_up(OrderGivenUp::Full, full);
        self.metrics.order_given_up(OrderGivenUp::Expired, expired);
        let (events, subjects) = barrier.size();
        self.metrics.order_remembered(events, subjects);
        acted
    }
}

impl Standing {
    /// Whether the event may enter its lane, because everything before it has.
    pub(crate) fn reach(&self) -> Reach {
        self.order.with(|barrier, now| barrier.reach(self.subject, self.visit, now))
    }

    /// Whether it is the event's turn to be worked: `None`, or what it is behind of.
    pub(crate) fn turn(&self) -> Option<Behind> {
        self.order.with(|barrier, now| barrier.turn(self.subject, self.visit, now))
    }

    /// The event is about to be settled like this. Said before, since its copy can come before that is done.
    pub(crate) fn exit(&self, exit: Exit) {
        self.order.with(|barrier, now| match exit {
            Exit::End => {}
            Exit::Away(delay) => barrier.leave(self.subject, self.visit, now + delay),
        });
    }

    /// It was settled like this.
    pub(crate) fn settled(mut self, exit: Exit) {
        self.is_settled = true;
        self.order.with(|barrier, now| match exit {
            Exit::End => barrier.end(self.subject, self.visit, now),
            Exit::Away(_) => {}
        });
    }

    pub(crate) fn visit(&self) -> Visit {
        self.visit
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if !self.is_settled {
            self.leave.cancel(); // before the line knows it
            self.order.with(|barrier, now| barrier.lose(self.subject, self.visit, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(event: u64) -> Mark {
        Mark { subject: [0, 0], event: [0, event], accepted_ms: 0, is_minted: false }
    }

    #[test]
    fn an_event_that_was_left_ends_its_term_and_keeps_its_place_for_the_next() {
        let (order, term) = (Arc::new(Order::new(Metrics::new())), CancellationToken::new());
        let (first, _) = order.arrive(&mark(0), false, &term).expect("the term goes on");
        let (_second, _) = order.arrive(&mark(1), false, &term).expect("the term goes on");

        drop(first);

        assert!(term.is_cancelled());
        assert!(order.arrive(&mark(2), false, &term).is_none(), "the first one was not given back yet");
        let next = CancellationToken::new();
        let (again, is_known) = order.arrive(&mark(0), true, &next).expect("a new term");
        assert!(is_known);
        assert_eq!(again.turn(), None);
    }
}
