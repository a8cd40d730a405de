//! Takes events off the queue and makes them come true at Refersion.
//!
//! A worker owns shards. In a shard the events of one subject form a lane: worked one at a time, in order, while lanes
//! run side by side. While an event is away, its line keeps the later ones of its subject behind it. Each event gets a [`Verdict`] from pure functions, and is settled by it exactly once. The worker
//! answers no HTTP, and believes nothing that came off a queue.

mod account;
mod barrier;
mod decide;
mod destination;
mod ended;
mod flow;
mod gate;
mod item;
mod keeper;
mod line;
mod mark;
mod order;
mod roster;
mod settings;
mod term;
mod verdict;
mod work;
mod worker;

pub use account::Account;
pub use decide::{Failed, decide};
pub use destination::Destination;
pub use roster::Roster;
pub use settings::{RetryPolicy, WorkerSettings};
pub use verdict::{Aside, Retry, Verdict};
pub use worker::{Progress, Worker};
