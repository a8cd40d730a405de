//! Every metric and every log line of the relay, and what keeps them free of personal data.
//!
//! Labels come from closed sets and from the configuration only: no ids, no addresses, no error texts. Nothing else in
//! the workspace registers a metric or sets up a subscriber.

mod logging;
mod metrics;
mod refersion;
mod directory;
mod last_at_doors;
mod register;
mod histogram_buckets;
mod recent;

pub use directory::Resolved;
pub use last_at_doors::LastAtDoor;
pub use logging::{LogFormat, LoggingError, init_logging, is_log_filter};
pub use metrics::{
    Connection, ConnectionRefused, Counted, Door, DoorKey, Flow, LastUse, Metrics, MoveTo, OrderGivenUp, Parked,
    PublishOutcome, Refused, ReloadState, Reloaded, Role, Wait,
};
pub use recent::Recent;
pub use refersion::RefersionState;
