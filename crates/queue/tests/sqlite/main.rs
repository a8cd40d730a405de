//! What is about the embedded backend only; what it shares with RabbitMQ is in the contract.
//!
//! Some of these tests start this program once more, to kill or to freeze it, and some on a disk that they can make fail.

mod inside;
mod process;

mod clock;
mod counts;
mod crash;
mod damage;
mod disk;
mod earlier;
mod file;
mod lease;
mod left_behind;
mod letters;
mod owner;
