//! What every process counts, and keeps on the broker for all of them together.
//!
//! RabbitMQ says how much is somewhere, and nothing of what went through. So each process counts what it does, and stores the
//! sum every few seconds and when it ends, in a *slot*: a queue with one note in it. The slot is the process's for as long as
//! its connection lives, since an exclusive queue stands for it; whoever takes a slot over goes on from the note it finds. So
//! there are as few slots as there were processes at once, and their sum is what has ever flowed. A note that was not closed by
//! a process that is gone is a death: what it had counted since is missing, and the tolerance grows by as much as that can be.

mod counts;
mod ledger;
mod note;
mod notes;
mod slot;
mod storing;
mod total;

pub(crate) use ledger::{InHand, Tally};
pub(super) use notes::{last, make, store};
pub(crate) use storing::Storing;
pub(crate) use total::{baseline, end_tolerance, sample};
