//! What the tests of more than one binary need: events, how to wait, and a queue of each backend.

pub(crate) mod admin;
pub(crate) mod events;
pub(crate) mod instance;
pub(crate) mod judges;
pub(crate) mod rabbitmq;
pub(crate) mod sqlite;
pub(crate) mod waiting;
pub(crate) mod wire;
