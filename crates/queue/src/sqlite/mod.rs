//! The port on one SQLite file, for one machine: nothing to install, the same promises.
//!
//! One thread writes, and what arrives while it waits for the disk goes into its next transaction, so that many senders
//! share one fsync. Whatever an event becomes is one transaction: it is never in two places, and the counters of the
//! ledger are rows that change with it. Any number of processes may use the file; one at a time, the holder of the lease,
//! works what is in it.

mod beside;
mod company;
mod due;
mod fault;
mod file;
mod lease;
mod ledger;
mod letters;
mod mounts;
mod owner;
mod path;
mod places;
mod pulse;
mod queue;
mod rights;
mod row;
mod schema;
mod status;
mod turn;
mod work;
mod writer;

pub use due::Ahead;
pub use ledger::Ledger;
pub use path::{InvalidSqlitePath, SqlitePath};
pub use queue::{Sqlite, SqliteSettings};
