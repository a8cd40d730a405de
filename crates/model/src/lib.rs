//! What the relay talks about: Segment events, the people they are about, what to do for them, and what went wrong.
//!
//! Everything in this crate is a value or a pure function from values to a value. It does no I/O, knows no clock, no
//! queue and no HTTP, and it never puts personal data into a `Debug` or `Display` output.

mod account;
mod address;
mod command;
mod country;
mod dead;
mod email;
mod envelope;
mod event;
mod fields;
mod fingerprint;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod instructions;
mod judge;
mod last_name;
mod name;
mod personal;
mod shown;
mod subject;
mod surrogates;
mod text;
mod traits;

pub use account::{AccountName, InvalidAccountName, KeyPair};
pub use command::{Command, CommandKind, NewAffiliate, OmittedField};
pub use country::refersion_country;
pub use dead::{Class, DeadReason, UnknownClass};
pub use email::{Email, InvalidEmail};
pub use envelope::Envelope;
pub use event::{Event, EventType, ParseError};
pub use fingerprint::{Fingerprint, MAX_PLAIN_ID, MessageId};
pub use judge::{Ignored, Judgement, Missing, judge, judge_in};
pub use last_name::{MissingLastName, UnknownMissingLastName};
pub use personal::Personal;
pub use subject::Subject;
pub use text::without_byte_order_mark;

/// The largest event that is accepted anywhere, in bytes of its body. Bounds what a worker holds in memory.
pub const MAX_EVENT_BYTES: usize = 512 * 1024;
