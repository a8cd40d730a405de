use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use refersion_relay_queue::{Place, Settle};
use refersion_relay_telemetry::{Metrics, OrderGivenUp};
use tokio::time::Instant;

use crate::barrier::{Barrier, GivenUp};
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
/// was not settled and comes again.
pub(crate) struct Standing {
    order: Arc<Order>,
    subject: Digest,
    visit: Visit,
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

    /// An event was delivered. Returns its place, and whether it was in its line before.
    pub(crate) fn arrive(self: &Arc<Self>, event: &Mark, redelivered: bool) -> (Standing, bool) {
        let arrival = self.with(|barrier, now| barrier.arrive(event, redelivered, now));
        let (order, subject) = (self.clone(), event.subject);
        (Standing { order, subject, visit: arrival.visit, is_settled: false }, arrival.is_known)
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
            self.order.with(|barrier, now| barrier.lose(self.subject, self.visit, now));
        }
    }
}
