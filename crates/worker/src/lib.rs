//! Takes events off the queue and makes them come true at Refersion.
//!
//! A worker owns the work queues of its accounts. In a work queue the events of one subject form a lane: worked one at a
//! time, in order, while lanes run side by side. While an event is away, its line keeps the later ones of its subject behind
//! it. Each event gets a [`Verdict`] from pure functions, and is settled by it exactly once. While an account cannot be worked
//! for nobody reads its queue: its keys are refused, it pauses for long, or Refersion is out. The worker answers no HTTP, and
//! believes nothing that came off a queue.

mod absences;
mod account;
mod alone;
mod attempt;
mod barrier;
mod decide;
mod destination;
mod ended;
mod flow;
mod gate;
mod item;
mod limit;
mod line;
mod load;
mod lookout;
mod mark;
mod order;
mod outage;
mod owner;
mod pace;
mod past;
mod pauses;
mod progress;
mod reading;
mod refusals;
mod roster;
mod settings;
mod settlement;
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
pub use progress::Progress;
pub use roster::Roster;
pub use settings::{OutageSettings, RetryPolicy, WorkerSettings};
pub use verdict::{Aside, Retry, Verdict};
pub use worker::Worker;
