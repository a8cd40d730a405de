//! The durable queue between the doors and the workers: the port, and what stands behind it.
//!
//! The port promises that `Ok` from a publish means durable, that a delivery is settled once, that what replaces an event
//! is durable before the event is gone, and that an account's events come back in order when their owner dies. It knows
//! neither Segment's fields nor Refersion.

mod backoff;
mod conservation;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod instant;
mod left_behind;
mod letters;
mod message;
mod owned;
mod port;
mod rabbitmq;
mod sqlite;
mod stuck;
mod sweep;
mod terms;
mod waves;

pub use backoff::Backoff;
pub use conservation::{Conservation, Group, Stock, Tolerance};
pub use instant::{rfc3339_millis, rfc3339_seconds};
pub use left_behind::{Former, LeftBehind, Remnant};
pub use letters::{Browsed, InvalidLetterId, Letter, LetterId, Scan};
pub use message::{Death, Headers, Message};
pub use owned::{Delivery, Ending, Owned, Settle, SettleError};
pub use port::{BrokerState, Depth, Place, PublishError, Queue, QueueError, Room};
pub use rabbitmq::{
    BrokerUrl, BrokerVersion, Gravity, InvalidBrokerUrl, InvalidManagementUrl, Limits, ManagementError, ManagementUrl,
    Needs, PolicyHarm, PolicyReport, RabbitMq, RabbitMqSettings, TopologyReport,
};
pub use sqlite::{Ahead, InvalidSqlitePath, Ledger, Sqlite, SqlitePath, SqliteSettings};
pub use stuck::Stuck;
pub use sweep::{Action, Fate, InFlight, InvalidInFlight, Judge, Swept};
pub use terms::Terms;
