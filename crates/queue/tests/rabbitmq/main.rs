//! What is about `RabbitMQ` only; what it shares with the other backend is in the contract. These tests need a broker and fail without one: `tests/run -p refersion-relay-queue`.
//!
//! Most share the broker of `RELAY_TEST_AMQP_URL`, each under a prefix of its own. Those in `own_node` start a broker,
//! because they kill it, freeze it, fill its memory or change how it works.

mod own_node;

mod browsing;
mod conserving;
mod headers;
mod intake;
mod journal;
mod killed;
mod left_behind;
mod mailbox;
mod owning;
mod places;
mod publishing;
mod reaching;
mod setup;
mod sharing;
mod sweeping;
mod upkeep;
