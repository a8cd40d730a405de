use std::time::SystemTime;

use bytes::Bytes;
use refersion_relay_model::{AccountName, Class};

/// An event on a queue: the bytes as they were received, and everything of ours beside them.
#[derive(Clone, Debug)]
pub struct Message {
    /// As the sender sent it, never re-serialised. Personal data; `Debug` of [`Bytes`] prints it, so never log a message.
    pub body: Bytes,
    /// What the relay knows about it.
    pub headers: Headers,
}

/// What travels beside a body. Nothing here is personal, and nothing here is believed where the body says it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The event's id in the form that may be shown, at most 100 characters.
    pub message_id: String,
    /// The event's type.
    pub kind: String,
    /// The account; `None` where the header is missing or cannot be a name.
    pub account: Option<AccountName>,
    /// 16 hex digits that stand for the subject, for people and tools only.
    pub subject: Option<String>,
    /// When the relay received it, to the millisecond.
    pub received_at: SystemTime,
    /// Attempts that were charged.
    pub attempts: u32,
    /// When the first charged attempt failed.
    pub first_failed_at: Option<SystemTime>,
    /// When it was to come back to its work queue, for one that was away from it.
    pub due_at: Option<SystemTime>,
    /// How often it was replayed as a dead letter.
    pub generation: u32,
    /// Whether it may only create: what its sender showed gives no right to change what exists. Events of before there was this
    /// may do both.
    pub create_only: bool,
    /// Whether its door vouches for its sender, so that the directory may learn from it. Events of before there was this teach
    /// nothing.
    pub vouched: bool,
    /// The trace it belongs to, as W3C Trace Context writes it.
    pub traceparent: Option<String>,
    /// Why it is a dead letter, if it is one.
    pub death: Option<Death>,
}

/// Why an event is among the unrouted: there is no queue for it.
pub(crate) const NO_QUEUE: &str = "no_queue";

/// Why and when an event became a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Where it lies.
    pub class: Class,
    /// A word from a closed set.
    pub reason: String,
    /// The HTTP status of Refersion's answer, if one stands behind it.
    pub status: Option<u16>,
    /// A sentence of ours for a person, without any value of the event.
    pub error: Option<String>,
    /// When. `None` where only the broker knows, and does not say.
    pub dead_at: Option<SystemTime>,
}

impl Headers {
    /// Headers of an event that just came in.
    #[must_use]
    pub fn received(
        message_id: &str,
        kind: &str,
        account: AccountName,
        subject: String,
        received_at: SystemTime,
    ) -> Self {
        Self {
            message_id: message_id.to_owned(),
            kind: kind.to_owned(),
            account: Some(account),
            subject: Some(subject),
            received_at,
            attempts: 0,
            first_failed_at: None,
            due_at: None,
            generation: 0,
            create_only: false,
            vouched: false,
            traceparent: None,
            death: None,
        }
    }

    /// The headers of the same event, sent again by a person: attempts begin anew, the generation rises. What it may do stays
    /// what it was.
    #[must_use]
    pub fn replayed(&self) -> Self {
        Self {
            attempts: 0,
            first_failed_at: None,
            due_at: None,
            death: None,
            generation: self.generation.saturating_add(1),
            ..self.clone()
        }
    }
}
