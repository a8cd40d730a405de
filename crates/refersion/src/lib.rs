//! The client of Refersion's REST API v2: typed requests, and every possible answer classified.
//!
//! It knows no queue and decides nothing about retries: it says what happened, as a [`Failure`] that the worker turns
//! into an action. Refersion has no error codes, uses one status for many things and hides failures in a 2xx, so all of
//! the reading of answers stands in one pure function, `classify`.

mod client;
/// What can be asked of Refersion: create, update, deactivate, look up.
mod operations;
/// What an answer means.
mod answers;
mod calls;
mod clock;
mod proxy;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod instruction_counts;

pub use answers::failure::{Failure, Rejection, Unreadable};
pub use answers::known_text::KnownText;
pub use calls::{CallResult, Calls};
pub use client::{Client, ClientSettings, InvalidBaseUrl, KeyCheck, Observer, Operation};
pub use clock::{ClockReading, Offset};
pub use operations::affiliates::{Applied, Existing, NewAffiliateDefaults, Status};
pub use operations::password::generate_password;
pub use proxy::{InvalidProxyUrl, ProxyUrl, is_loopback};
