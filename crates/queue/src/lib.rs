//! The durable queue between the doors and the workers: the port, and what stands behind it.
//!
//! The port promises that `Ok` from a publish means durable, that a delivery is settled once, that what replaces an event
//! is durable before the event is gone, and that an account's events come back in order when their owner dies. It knows
//! neither Segment's fields nor Refersion.

/// The port: what a queue promises, as a trait, and the types that it is spoken in.
mod port;
/// The port on RabbitMQ.
mod rabbitmq;
/// The port on one SQLite file.
mod sqlite;

mod backoff;
mod instant;
mod chains;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use backoff::Backoff;
pub use instant::{rfc3339_millis, rfc3339_seconds};
pub use port::conservation::{Conservation, Group, Stock, Tolerance};
pub use port::delivery::{Delivery, Ending, Note, Owned, Settle, SettleError};
pub use port::left_behind::{Former, LeftBehind, Remnant, Shown, StoredQueue};
pub use port::letters::{Browsed, InvalidLetterId, Letter, LetterId, Scan};
pub use port::message::{Death, Headers, Message};
pub use port::queue::{BrokerState, Depth, Place, PublishError, Queue, QueueError, Room};
pub use port::stuck::Stuck;
pub use port::sweep::{Action, Fate, InFlight, InvalidInFlight, LetterVisitor, Swept};
pub use port::terms::Terms;
pub use rabbitmq::{
    BrokerUrl, InvalidBrokerUrl, Mailbox, MailboxDepth, MailboxError, MailboxReader, Needs, RabbitMq, RabbitMqSettings,
    TopologyReport,
};
pub use sqlite::{Ahead, Found, InvalidSqlitePath, Ledger, Sqlite, SqlitePath, SqliteSettings, Whereabouts};
