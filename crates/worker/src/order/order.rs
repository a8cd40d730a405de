use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use refersion_relay_telemetry::{Metrics, OrderGivenUp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::outcome::{Aside, Outcome};
use crate::order::event_key::{Digest, EventKey};
use crate::order::sequencer::{Arrival, GivenUp, Sequencer};
use crate::order::subject_queue::{Behind, Reach, Stay};

/// How many events that are not in hand are remembered. About 2 MiB.
const REMEMBERED: usize = 20_000;

/// The sequencer of a worker, as its tasks share it: with a clock, and counted.
pub(crate) struct Order {
    sequencer: Mutex<Sequencer>,
    metrics: Metrics,
}

/// The place of an event in the line of its subject, for as long as the event is in hand. Dropped, it says that the event
/// was not settled and comes again, which ends the term.
pub(crate) struct Standing {
    order: Arc<Order>,
    subject: Digest,
    stay: Stay,
    /// Cancelled when nothing more is begun in the term.
    leave: CancellationToken,
    is_settled: bool,
}

/// The place of an event that is being settled. Dropped, it says that it was not.
pub(crate) struct Leaving {
    standing: Standing,
    exit: Exit,
}

/// How an event leaves the hand, for its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// It has ended.
    End,
    /// It comes again to its queue, not before the delay has passed.
    Away(Duration),
}

impl Exit {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered(_)
            | Outcome::Known
            | Outcome::Completed
            | Outcome::Ignored(_)
            | Outcome::Copy
            | Outcome::Dead(_) => Self::End,
            Outcome::Retry(delay) | Outcome::Aside(Aside::Tier(delay)) => Self::Away(*delay),
            Outcome::Aside(Aside::Round) => Self::Away(Duration::ZERO),
        }
    }
}

impl Order {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { sequencer: Mutex::new(Sequencer::new(REMEMBERED)), metrics }
    }

    /// An event was delivered. Returns its place, and whether it was in its line before; `None` if nothing more is begun in the
    /// term.
    ///
    /// What comes new says that everything that was given back before has come again. That is not so of an event that was left
    /// in the same term and has still to be given back. So nothing comes any more in a term in which an event was left.
    pub(crate) fn arrive(
        self: &Arc<Self>,
        event: &EventKey,
        redelivered: bool,
        leave: &CancellationToken,
    ) -> Option<(Standing, bool)> {
        let arrive = |sequencer: &mut Sequencer, now| {
            // Under the lock, so that an event is left either before, and this is known, or afterwards.
            (!leave.is_cancelled()).then(|| sequencer.arrive(event, redelivered, now))
        };
        let Arrival { stay, is_known } = self.with(arrive)?;
        let (order, subject, leave) = (self.clone(), event.subject, leave.clone());
        Some((Standing { order, subject, stay, leave, is_settled: false }, is_known))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Sequencer, Instant) -> T) -> T {
        let mut sequencer = self.sequencer.lock().unwrap_or_else(PoisonError::into_inner);
        let acted = act(&mut sequencer, Instant::now());
        let GivenUp { full, expired } = sequencer.given_up();
        self.metrics.order_given_up(OrderGivenUp::Full, full);
        self.metrics.order_given_up(OrderGivenUp::Expired, expired);
        let (events, subjects) = sequencer.size();
        self.metrics.order_remembered(events, subjects);
        acted
    }
}

impl Standing {
    /// Whether the event may enter its lane, because everything before it has.
    pub(crate) fn reach(&self) -> Reach {
        self.order.with(|sequencer, now| sequencer.reach(self.subject, self.stay, now))
    }

    /// Begins the event's turn, if everything before it has ended. Otherwise: what it is behind of.
    pub(crate) fn begin_turn(&self) -> Result<(), Behind> {
        self.order.with(|sequencer, now| sequencer.turn(self.subject, self.stay, now)).map_or(Ok(()), Err)
    }

    /// The event is about to be settled by this outcome. Said before, since the copy of one that goes away can come back before
    /// its original is acknowledged.
    pub(crate) fn leave(self, outcome: &Outcome) -> Leaving {
        let exit = Exit::of(outcome);
        self.order.with(|sequencer, now| match exit {
            Exit::End => {}
            Exit::Away(delay) => sequencer.leave(self.subject, self.stay, now + delay),
        });
        Leaving { standing: self, exit }
    }

    pub(crate) fn stay(&self) -> Stay {
        self.stay
    }
}

impl Leaving {
    /// The event was settled.
    pub(crate) fn settled(self) {
        let Self { mut standing, exit } = self;
        standing.is_settled = true;
        standing.order.with(|sequencer, now| match exit {
            Exit::End => sequencer.end(standing.subject, standing.stay, now),
            Exit::Away(_) => {}
        });
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if !self.is_settled {
            self.leave.cancel(); // before the line knows it
            self.order.with(|sequencer, now| sequencer.lose(self.subject, self.stay, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event_key(event: u64) -> EventKey {
        EventKey { subject: [0, 0], event: [0, event], accepted_ms: 0, is_minted: false }
    }

    #[test]
    fn an_event_that_was_left_ends_its_term_and_keeps_its_place_for_the_next() {
        let (order, term) = (Arc::new(Order::new(Metrics::new())), CancellationToken::new());
        let (first, _) = order.arrive(&event_key(0), false, &term).expect("the term goes on");
        let (_second, _) = order.arrive(&event_key(1), false, &term).expect("the term goes on");

        drop(first);

        assert!(term.is_cancelled());
        assert!(order.arrive(&event_key(2), false, &term).is_none(), "the first one was not given back yet");
        let next = CancellationToken::new();
        let (again, is_known) = order.arrive(&event_key(0), true, &next).expect("a new term");
        assert!(is_known);
        assert_eq!(again.begin_turn(), Ok(()));
    }
}
