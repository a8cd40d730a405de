//! The doors: HTTP in, authenticate, read, judge, publish, and only then say yes.
//!
//! A 2xx means that the queue has confirmed the event, or that there was nothing to do. Ingest never calls Refersion
//! and keeps nothing in memory between requests.

mod access;
mod destination;
mod door;
mod reply;
mod serve;

pub use access::{Access, AccountDoor};
pub use door::{Ingest, router};
pub use serve::{HttpSettings, serve};
