//! What the tests of more than one binary of `queue` need: events, how to wait, and a queue of each backend.

#![expect(clippy::must_use_candidate, reason = "tests use what they ask for")]

/// How long is waited for something that has to happen.
pub mod waiting;
/// Events, accounts and places.
pub mod events;
/// A queue, with what tests do to it.
pub mod instance;
/// The embedded queue.
pub mod sqlite;
/// `RabbitMQ`, and what is done to it behind the relay's back.
pub mod rabbitmq;
pub mod admin;
/// Visitors of dead letters.
pub mod judges;
/// A line to the broker that can be cut, delayed and counted.
pub mod wire;
