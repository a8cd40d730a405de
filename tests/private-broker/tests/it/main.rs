//! These tests need `RabbitMQ` and fail without it: a test that skips itself tells nobody.

mod binary;
mod own_node;
mod processes;
