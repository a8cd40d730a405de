//! The guard of what operations cost: a test counts their instructions under valgrind, and compares them with the figures in
//! the file beside it.
//!
//! It knows nothing of what it counts. Instructions say less than time does, but they are the same in every run.

mod count;
mod figures;
mod guard;

pub use guard::{C, Operation, RUST, guard};
