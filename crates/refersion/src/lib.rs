//! The client of Refersion's REST API v2: typed requests, and every possible answer classified.
//!
//! It knows no queue and decides nothing about retries: it says what happened, as a [`Failure`] that the worker turns
//! into an action. Refersion has no error codes, uses one status for many things and hides failures in a 2xx, so all of
//! the reading of answers stands in one pure function, `classify` in `answer.rs`.

mod affiliates;
mod answer;
mod calls;
mod client;
mod clock;
mod failure;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod instructions;
mod known;
mod lookup;
mod password;
mod proxy;
mod request;
mod update;

pub use affiliates::{Applied, Existing, NewAffiliateDefaults, Status};
pub use calls::{Calls, Ended};
pub use client::{Client, ClientSettings, InvalidBaseUrl, KeyCheck, Observer, Operation};
pub use clock::{ClockReading, Offset};
pub use failure::{Failure, Rejection, Unreadable};
pub use known::KnownText;
pub use password::generate_password;
pub use proxy::{InvalidProxyUrl, ProxyUrl, is_loopback};
