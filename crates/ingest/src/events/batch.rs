use std::time::Duration;

use refersion_relay_model::Ignored;
use refersion_relay_queue::{Message, Place};
use refersion_relay_telemetry::Door;
use tokio::time::timeout;

use crate::doors::context::{Done, EventId, Ingest};
use crate::events::classify::Classified;

/// The events of one request, classified.
#[derive(Default)]
pub(crate) struct Batch {
    messages: Vec<(Place, Message)>,
    /// What each message is: accepted, or a dead letter.
    kinds: Vec<Done>,
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
                    batch.kinds.push(Done::Accepted);
                }
                Classified::Dead(reason, message) => {
                    batch.messages.push((Place::Dead(reason.class()), message));
                    batch.kinds.push(Done::Dead(reason));
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
            let Self { messages, kinds, ignored } = self;
            let ids: Vec<_> = messages.iter().map(|(_, message)| EventId::of(message)).collect();
            let results = ingest.queue.publish(messages).await;
            if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
                tracing::debug!(events = results.len(), "not accepted: {error}");
                return Stored::No;
            }
            ingest.metrics.accepted(door, results.len() as u64);
            for (id, kind) in ids.into_iter().zip(kinds) {
                ingest.passed(door, id, kind);
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
        let fate = |kind: &Done| match kind {
            Done::Dead(reason) => reason.as_str(),
            Done::Accepted | Done::Ignored(_) => "work",
        };
        self.kinds.iter().map(fate).collect()
    }

    fn counts(&self) -> Counts {
        let dead = self.kinds.iter().filter(|kind| matches!(kind, Done::Dead(_))).count();
        Counts { accepted: self.messages.len(), dead, ignored: self.ignored.len() }
    }
}
