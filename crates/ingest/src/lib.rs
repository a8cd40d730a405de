//! The doors: HTTP in, authenticate, read, judge, publish, and only then say yes.
//!
//! A 2xx means that the queue has confirmed the event, or that there was nothing to do. Ingest never calls Refersion
//! and decides nothing by what it remembers of earlier requests.

/// TLS, connections, deadlines, bodies and the memory that they take. Knows no event, no key and no queue.
mod front;
/// The doors, one file each, what they answer, and their description as OpenAPI.
mod doors;
/// Whose key a request shows, and what that permits.
mod access;
/// What a body has in it, what becomes of each event, and that all are stored.
mod events;

mod intake;
mod limits;
/// What the doors and the intake share.
mod context;

pub use access::access::{Access, AccountAccess, AccountDoor};
pub use access::credential::{Credential, Rights, Trust};
pub use context::{AtDoor, Done, EventId, Ingest};
pub use doors::router::router;
pub use events::classify::{Classified, Received};
pub use front::certificate::{Certificate, CertificateError};
pub use front::protection::{Bounds, InvalidNetwork, Network, Protection};
pub use front::serve::{CONNECTIONS_ASIDE, HttpSettings, serve};
pub use intake::intake;
pub use limits::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_WEBHOOK_BYTES, MAX_WEBHOOK_SECRETS};
