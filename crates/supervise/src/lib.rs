//! The parts of a process: tasks and threads that run until they are asked to end, and what it means when one ends unasked.
//!
//! A part that is gone is missed by nobody: its process stays up, and does a part less of its work. So the process ends
//! instead, in order, and whoever started it starts it again. Knows tasks and threads, and never what they do.

mod failure;
#[cfg(debug_assertions)]
mod fault;
mod parts;

pub use failure::{Failure, How};
pub use parts::Parts;
