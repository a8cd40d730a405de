//! Which addresses belong to which of a merchant's own ids: learnt from identifies, asked for by deletes that name an id alone.
//!
//! What is stored are keyed hashes of ids and sealed addresses, in a file of SQLite. This crate knows neither queues nor HTTP nor
//! Refersion.

/// The two keys, and what is made with them.
mod keys;
/// The tables.
mod store;
/// The thread that reads and writes them.
mod writer;
mod directory;
/// What is sent to whoever keeps the directory elsewhere.
mod request;

pub use directory::{Directory, DirectorySettings, Done, OpenError};
pub use keys::{AddressKey, KeyFile, Keys, KeysError, PersonKey};
pub use request::Request;
pub use store::{DirectoryError, Doubt, Learnt, LookedUp, Rows, Store};
pub use writer::Writer;
