//! The port on a real `RabbitMQ`. These tests need a broker and fail without one: `tests/run -p refersion-relay-queue`.
//!
//! Most share the broker of `RELAY_TEST_AMQP_URL`, each under a prefix of its own. Those in `own_node` start a broker,
//! because they kill it, freeze it, fill its memory or change how it works.

mod admin;
mod harness;
mod own_node;
mod wire;

mod headers;
mod letters;
mod owning;
mod places;
mod publishing;
mod reaching;
mod routing;
mod setup;
mod sweeping;
