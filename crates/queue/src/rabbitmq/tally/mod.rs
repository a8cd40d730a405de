//! What every process counts, and keeps on the broker for all of them together.
//!
//! RabbitMQ says how much is somewhere, and nothing of what went through. So each process counts what it does, and appends
//! that to a *journal* every few seconds and when it ends: one queue, of which everybody reads everything and gives it back.
//! Who reads much replaces it by its sum. A process has a mark as long as it is connected; one without a mark that has not
//! said that it ends is dead: what it had counted since its last entry is missing, and the tolerance grows by as much as that
//! can be.

mod appender;
mod counts;
mod fold;
mod journal;
mod storing;
mod total;
#[cfg(test)]
mod world;

pub(crate) use appender::Appender;
pub(crate) use counts::{InHand, Tally};
pub(super) use fold::Sum;
pub(crate) use journal::Journal;
pub(crate) use storing::Storing;
pub(crate) use total::{baseline, end_tolerance, sample};
