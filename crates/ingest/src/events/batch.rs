use std::fmt::{self, Display};
use std::time::Duration;

use refersion_relay_model::{DeadReason, Ignored};
use refersion_relay_queue::{Message, Place};
use refersion_relay_telemetry::Door;
use refersion_relay_traces::{Kind, Parent, Span, Traces};
use tokio::time::timeout;

use crate::context::{Done, EventId, Ingest};
use crate::events::classify::Classified;

/// The events of one request, classified.
#[derive(Default)]
pub(crate) struct Batch {
    messages: Vec<(Place, Message)>,
    /// For each message, why it is dead, if it is.
    dead: Vec<Option<DeadReason>>,
    ignored: Vec<(Ignored, Option<EventId>)>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Everything in it is durable.
    Yes(Counts),
    /// Something in it is not, or not known to be.
    No,
    /// The relay failed at it.
    Broken,
}

/// How many events of a batch are what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: usize,
    /// Of those, dead letters.
    pub(crate) dead: usize,
    pub(crate) ignored: usize,
}

impl FromIterator<Classified> for Batch {
    fn from_iter<T: IntoIterator<Item = Classified>>(events: T) -> Self {
        let mut batch = Self::default();
        for event in events {
            match event {
                Classified::Work(place, message) => {
                    batch.messages.push((place, message));
                    batch.dead.push(None);
                }
                Classified::Dead(reason, message) => {
                    batch.messages.push((Place::Dead(reason.class()), message));
                    batch.dead.push(Some(reason));
                }
                Classified::Ignored(why, id) => batch.ignored.push((why, id)),
            }
        }
        batch
    }
}

impl Batch {
    /// Stores everything, and only then says yes. After `patience` it says no, and goes on storing.
    pub(crate) async fn store(self, ingest: &Ingest, door: Door, patience: Duration) -> Stored {
        let ingest = ingest.clone();
        // In a task of its own: a sender that gives up waiting does not keep its events from being counted.
        let storing = tokio::spawn(async move {
            let counts = self.counts();
            let Self { mut messages, dead, ignored } = self;
            let mut span = sending(&ingest.traces, &mut messages);
            let ids: Vec<_> = messages.iter().map(|(_, message)| EventId::of(message)).collect();
            let results = ingest.queue.publish(messages).await;
            if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
                tracing::debug!(events = results.len(), "not accepted: {error}");
                span.fails("not_confirmed");
                return Stored::No;
            }
            drop(span);
            ingest.metrics.accepted(door, results.len() as u64);
            for (id, dead) in ids.into_iter().zip(dead) {
                ingest.passed(door, id, dead.map_or(Done::Accepted, Done::Dead));
            }
            for (why, id) in ignored {
                ingest.passed(door, id, Done::Ignored(why));
            }
            Stored::Yes(counts)
        });
        match timeout(patience, storing).await {
            Ok(stored) => stored.unwrap_or(Stored::Broken),
            Err(_) => Stored::No,
        }
    }

    /// What becomes of each event that is stored: `work`, or the reason it is dead for.
    #[cfg(test)]
    pub(crate) fn fates(&self) -> Vec<&'static str> {
        self.dead.iter().map(|dead| dead.map_or("work", DeadReason::as_str)).collect()
    }

    fn counts(&self) -> Counts {
        let dead = self.dead.iter().flatten().count();
        Counts { accepted: self.messages.len(), dead, ignored: self.ignored.len() }
    }
}

/// Begins the span of storing messages, and has each of them carry what its work belongs to. A single event is worked in the trace of
/// its request. Each event of several begins a trace of its own, which is linked to that: a request can have hundreds.
fn sending(traces: &Traces, messages: &mut [(Place, Message)]) -> Span {
    let Some((place, message)) = messages.first().filter(|_| traces.is_on()) else { return Span::default() };
    let parent = message.headers.traceparent.clone();
    let mut span = traces.message(Kind::Producer, "send", PlaceName(place), Parent::In(parent.as_deref()));
    let carried = span.traceparent();
    if let [(_, message)] = messages {
        span.set("messaging.message.id", message.headers.message_id.clone());
        message.headers.traceparent = carried;
        return span;
    }
    span.set("messaging.batch.message_count", i64::try_from(messages.len()).unwrap_or(i64::MAX));
    for (place, message) in messages {
        let linked = Parent::LinkedTo(carried.as_deref());
        let mut create = traces.message(Kind::Producer, "create", PlaceName(place), linked);
        if create.is_kept() {
            create.set("messaging.message.id", message.headers.message_id.clone());
        }
        message.headers.traceparent = create.traceparent();
    }
    span
}

/// What a place is called in spans.
struct PlaceName<'a>(&'a Place);

impl Display for PlaceName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Place::Intake => f.write_str("intake"),
            Place::Work(account) | Place::Later(account, _) => write!(f, "events.{account}"),
            Place::Dead(class) => write!(f, "dead.{class}"),
        }
    }
}
