//! What is about the embedded backend only; what it shares with RabbitMQ is in the contract.
//!
//! Some of these tests start this program once more, to kill or to freeze it, and some in a mount namespace, where they
//! fill a disk or take the right to write away.

mod namespace;
mod process;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared with the binaries of the contract and the other backend")]
mod support;

mod counts;
mod crash;
mod damage;
mod disk;
mod file;
mod lease;
mod left_behind;
mod letters;
mod shards;
