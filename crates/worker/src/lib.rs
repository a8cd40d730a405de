//! Takes events off the queue and makes them come true at Refersion.
//!
//! A worker owns shards. In a shard the events of one subject form a lane: worked one at a time, in order, while lanes
//! run side by side. Each event gets a [`Verdict`] from pure functions, and is settled by it exactly once. While Refersion
//! is out, nothing is worked. The worker answers no HTTP, and believes nothing that came off a queue.

mod absences;
mod account;
mod attempt;
mod decide;
mod destination;
mod ended;
mod gate;
mod keeper;
mod limit;
mod lookout;
mod outage;
mod pace;
mod roster;
mod settings;
mod term;
mod turnstile;
mod verdict;
mod work;
mod worker;

pub use account::Account;
pub use decide::{Failed, decide};
pub use destination::Destination;
pub use lookout::{Lookout, Standing};
pub use outage::{Known, Trouble};
pub use roster::Roster;
pub use settings::{OutageSettings, RetryPolicy, WorkerSettings};
pub use verdict::{Retry, Verdict};
pub use worker::{Progress, Worker};
