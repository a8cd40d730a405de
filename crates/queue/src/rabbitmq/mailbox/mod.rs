//! A mailbox: a durable queue of requests to the one process that answers them. The bytes of requests and answers are the caller's.
//!
//! Every process sends over a connection of its own, one message at a time, with all requests that have come meanwhile. So
//! requests of one process are read in the order in which they were sent, and what is told before something is asked is known when that is
//! answered. Answers are lost with the connection of whoever asked.

/// Several requests or answers in one message.
mod parcel;
/// Whoever sends requests.
pub(crate) mod client;
/// Whoever answers them.
pub(crate) mod server;
