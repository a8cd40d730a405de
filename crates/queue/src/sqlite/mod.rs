//! The port on one SQLite file, for one machine: nothing to install, the same promises.
//!
//! One thread writes, and what arrives while it waits for the disk goes into its next transaction, so that many senders
//! share one fsync. Whatever an event becomes is one transaction: it is never in two places, and the counters of the
//! ledger are rows that change with it. Any number of processes may use the file; one at a time, the holder of the lease,
//! works what is in it.

mod queue;
mod owner;
mod letters;
/// Tables and rows: everything that a transaction does.
mod store;
/// The one thread that writes, and the lease that lets it deliver.
mod writer;
/// The file on the disk: where it is, whose, and what can be wrong with it.
mod file;

pub use file::path::{InvalidSqlitePath, SqlitePath};
pub use queue::{Sqlite, SqliteSettings};
pub use store::due::Ahead;
pub use store::find::{Found, Whereabouts};
pub use store::ledger::Ledger;
