//! What the relay talks about: Segment events, the people they are about, what to do for them, and what went wrong.
//!
//! Everything in this crate is a value or a pure function from values to a value. It does no I/O, knows no clock, no
//! queue and no HTTP, and it never puts personal data into a `Debug` or `Display` output.

/// What Segment sends: an event, what stands around it, and how its fields are found.
mod segment;
/// Whom an event is about, and what Refersion is told of them.
mod person;
mod judge;
mod completed;
mod command;
mod account;
mod fingerprint;
mod dead;
mod shown;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod instruction_counts;

pub use account::{AccountName, InvalidAccountName, KeyPair};
pub use command::{Command, CommandKind, NewAffiliate, OmittedField};
pub use completed::{NotCompletable, completed};
pub use dead::{Class, DeadReason, UnknownClass};
pub use fingerprint::{Fingerprint, MAX_PLAIN_ID, MessageId};
pub use judge::{Ignored, Judgement, Missing, judge, judge_in};
pub use person::country::refersion_country;
pub use person::email::{Email, InvalidEmail};
pub use person::last_name::{MissingLastName, UnknownMissingLastName};
pub use person::person_id::{PersonId, PersonIdKind};
pub use person::personal::Personal;
pub use person::subject::Subject;
pub use segment::envelope::Envelope;
pub use segment::event::{Event, EventType, ParseError};
pub use segment::text::without_byte_order_mark;

/// The largest event that is accepted anywhere, in bytes of its body. Bounds what a worker holds in memory.
pub const MAX_EVENT_BYTES: usize = 512 * 1024;
