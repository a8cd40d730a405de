use std::sync::Arc;
use std::time::SystemTime;

use refersion_relay_model::{AccountName, DeadReason, Ignored};
use refersion_relay_queue::{Headers, Message, Queue};
use refersion_relay_telemetry::{Door, Metrics, Recent};
use refersion_relay_traces::Traces;
use tokio::sync::watch;

use crate::Access;
use crate::front::protection::Protection;

/// What a door did with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtDoor {
    /// When.
    pub at: SystemTime,
    /// Which door.
    pub door: Door,
    /// What.
    pub what: Done,
}

/// What a door can do with an event that it does not refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is durable, and its sender heard so.
    Accepted,
    /// The same, as a dead letter.
    Dead(DeadReason),
    /// It is not for Refersion.
    Ignored(Ignored),
}

/// Everything the doors and the intake need.
#[derive(Clone)]
pub struct Ingest {
    /// Where events go.
    pub queue: Arc<dyn Queue>,
    /// Who may send them, now. May be replaced at any time; a request is judged by what it found when it began.
    pub access: watch::Receiver<Arc<Access>>,
    /// Where everything is counted.
    pub metrics: Metrics,
    /// What bounds them.
    pub protection: Arc<Protection>,
    /// What became of the last events.
    pub recent: Arc<Recent<AtDoor>>,
    /// Where requests and publishes are shown as spans.
    pub traces: Traces,
}

impl Ingest {
    pub(crate) fn access(&self) -> Arc<Access> {
        self.access.borrow().clone()
    }

    /// A door is done with an event: counts what was not accepted as work, logs it, and remembers it, if it has an account and an id.
    pub(crate) fn passed(&self, door: Door, id: Option<EventId>, what: Done) {
        let (message_id, account) = id.as_ref().map_or(("", ""), |id| (id.message_id.as_str(), id.account.as_str()));
        match what {
            Done::Accepted => tracing::debug!(message.id = message_id, account, "accepted an event"),
            Done::Dead(reason) => {
                self.metrics.dead_lettered_at_door(reason);
                let (class, door, reason) = (reason.class(), door.as_str(), reason.as_str());
                tracing::debug!(message.id = message_id, account, door, "dead letter at a door: {class} ({reason})");
            }
            Done::Ignored(why) => {
                self.metrics.ignored_at_door(door, why);
                tracing::debug!(message.id = message_id, account, "ignored an event: {}", why.as_str());
            }
        }
        if let Some(EventId { account, message_id }) = id {
            self.recent.remember(&account, &message_id, AtDoor { at: SystemTime::now(), door, what });
        }
    }
}

/// What an event is known by to who asks about it.
#[derive(Clone, Debug)]
pub struct EventId {
    pub(crate) account: AccountName,
    pub(crate) message_id: String,
}

impl EventId {
    /// Of an event that is to be stored; `None` of one that belongs to nobody.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        Self::of_headers(&message.headers)
    }

    pub(crate) fn of_headers(headers: &Headers) -> Option<Self> {
        Some(Self { account: headers.account.clone()?, message_id: headers.message_id.clone() })
    }
}
