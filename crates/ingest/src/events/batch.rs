use std::time::Duration;

use refersion_relay_model::{AccountName, DeadReason, Ignored};
use refersion_relay_queue::{Message, Place};
use refersion_relay_telemetry::Door;
use tokio::time::timeout;
use tracing::Level;

use crate::doors::context::Ingest;
use crate::events::classify::Classified;

/// The events of one request, classified.
#[derive(Default)]
pub(crate) struct Batch {
    messages: Vec<(Place, Message)>,
    dead: Vec<Dead>,
    ignored: Vec<Ignored>,
}

/// A dead letter among them, as the log names it.
struct Dead {
    reason: DeadReason,
    message_id: String,
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
                Classified::Work(place, message) => batch.messages.push((place, message)),
                Classified::Dead(reason, message) => {
                    batch.dead.push(Dead { reason, message_id: message.headers.message_id.clone() });
                    batch.messages.push((Place::Dead(reason.class()), message));
                }
                Classified::Ignored(why) => batch.ignored.push(why),
            }
        }
        batch
    }
}

impl Batch {
    /// Stores everything, and only then says yes. After `patience` it says no, and goes on storing.
    pub(crate) async fn store(self, ingest: &Ingest, door: Door, patience: Duration) -> Stored {
        let Ingest { queue, metrics, .. } = ingest.clone();
        // In a task of its own: a sender that gives up waiting does not keep its events from being counted.
        let storing = tokio::spawn(async move {
            let counts = self.counts();
            let Self { messages, dead, ignored } = self;
            let ids = ids(&messages);
            let results = queue.publish(messages).await;
            if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
                tracing::debug!(events = results.len(), "not accepted: {error}");
                log_each(&ids, "not accepted");
                return Stored::No;
            }
            metrics.accepted(door, results.len() as u64);
            for Dead { reason, message_id } in dead {
                tracing::warn!(message.id = %message_id, "dead letter at a door: {} ({})", reason.class(), reason.as_str());
                metrics.dead_lettered_at_door(reason);
            }
            tracing::debug!(events = results.len(), ignored = ignored.len(), "accepted");
            log_each(&ids, "accepted an event");
            for why in ignored {
                metrics.ignored_at_door(door, why);
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
        let mut dead = self.dead.iter();
        let fate = |(place, _): &(Place, Message)| match place {
            Place::Dead(_) => dead.next().map_or("dead", |dead| dead.reason.as_str()),
            Place::Intake | Place::Work(_) | Place::Later(..) => "work",
        };
        self.messages.iter().map(fate).collect()
    }

    fn counts(&self) -> Counts {
        let Self { messages, dead, ignored } = self;
        Counts { accepted: messages.len(), dead: dead.len(), ignored: ignored.len() }
    }
}

/// The message ids of the events with the names of their accounts, if the log says something of each.
fn ids(messages: &[(Place, Message)]) -> Vec<(String, Option<AccountName>)> {
    if !tracing::enabled!(Level::DEBUG) {
        return Vec::new();
    }
    messages.iter().map(|(_, Message { headers, .. })| (headers.message_id.clone(), headers.account.clone())).collect()
}

fn log_each(ids: &[(String, Option<AccountName>)], what: &str) {
    for (message_id, account) in ids {
        let account = account.as_ref().map_or("", AccountName::as_str);
        tracing::debug!(message.id = %message_id, account, "{what}");
    }
}
