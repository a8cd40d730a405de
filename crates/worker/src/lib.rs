//! Takes events off the queue and makes them come true at Refersion.
//!
//! A worker owns the work queues of its accounts. In a work queue the events of one subject form a lane: worked one at a
//! time, in order, while lanes run side by side. While an event is away, its line keeps the later ones of its subject behind
//! it. Pure functions decide what follows from each answer; an event leaves
//! the hand with one outcome, by which it is settled exactly once. Nobody reads an account's queue while its
//! keys are refused, while it pauses for long, or while Refersion is out. The worker answers no HTTP, and
//! believes nothing that came off a queue.

mod worker;
mod settings;
/// What the tasks of a worker share.
mod context;
mod refersion_api;

/// One account: who works it, whether it may be worked, and what it waits for.
mod account;
/// Deliveries become items in lanes, as far as there is room.
mod consume;
/// An event in hand: what it weighs, what it was read as, its outcome, how it is settled by that, and what is
/// remembered of it.
mod event;
/// Whose turn it is among the events of one subject, and which events are done already.
mod order;
/// Calling for one event, and deciding what follows from the answer.
mod attempt;
/// Where it is remembered which addresses belong to whom.
mod directory;
/// How many calls an account has in flight and begins in a second.
mod pacing;
/// Whether Refersion is there.
mod outage;

pub use account::account::Account;
pub use account::accounts::{AccountStatus, Accounts, Condition, WorkQueue};
pub use account::readiness::Readiness;
pub use directory::{DirectoryHandle, Keeper, RemoteDirectory};
pub use event::trail::{Doing, Past, PastOutcome, Present, Trail};
pub use outage::breaker::{Known, Trouble};
pub use outage::monitor::{OutageMonitor, RefersionStatus};
pub use refersion_api::RefersionApi;
pub use settings::{OutageSettings, RetryPolicy, WorkerSettings};
pub use worker::Worker;
