//! The doors: HTTP in, authenticate, read, judge, publish, and only then say yes.
//!
//! A 2xx means that the queue has confirmed the event, or that there was nothing to do. Ingest never calls Refersion
//! and keeps nothing in memory between requests.

mod access;
mod basic;
mod batch_reply;
mod body;
mod certificate;
mod credential;
mod description;
mod destination;
mod door;
mod elements;
#[cfg(test)]
mod fake;
mod gzip;
mod head;
mod health;
mod intake;
mod items;
mod pace;
mod pixel;
mod protection;
mod rate;
mod reply;
mod serve;
mod settings;
mod signature;
mod sort;
mod store;
mod tracking;
mod webhook;

pub use access::{Access, AccountAccess, AccountDoor};
pub use certificate::{Certificate, CertificateError};
pub use credential::{Credential, Trust};
pub use door::{Ingest, router};
pub use intake::intake;
pub use protection::{Bounds, InvalidNetwork, Network, Protection};
pub use serve::{CONNECTIONS_ASIDE, HttpSettings, serve};
pub use sort::{Received, Sorted};

/// The largest body of a batch, in bytes, as it was sent and unpacked. Segment's libraries stay below 512 KiB.
pub const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The largest body of a webhook, in bytes. Segment sends up to 4,000 events at once.
pub const MAX_WEBHOOK_BYTES: usize = 16 * 1024 * 1024;
/// The most events in one batch: each of them may become a message of its own.
pub const MAX_BATCH_EVENTS: usize = 10_000;
/// The most secrets that one account's webhook may have: anybody can have each of them tried on a body of his.
pub const MAX_WEBHOOK_SECRETS: usize = 4;
