//! Where it is remembered which addresses belong to whom: in a file of this process, or at another process that keeps it for all
//! of them.

mod keeper;
mod remote;

use std::sync::Arc;
use std::time::SystemTime;

use refersion_relay_directory::{Directory, DirectoryError, Learnt, LookedUp, Rows};
use refersion_relay_model::{AccountName, Email, PersonId};

pub use keeper::Keeper;
pub use remote::RemoteDirectory;

/// Whom a worker asks and teaches.
pub enum DirectoryHandle {
    /// The file of this process, which nobody else writes to but commands.
    Local(Arc<Directory>),
    /// Whoever keeps it.
    Remote(Box<RemoteDirectory>),
}

/// Whose event it is that says something, and in which time without another owner of that account's queue.
#[derive(Clone, Copy)]
pub(crate) struct Whose<'a> {
    pub(crate) account: &'a AccountName,
    pub(crate) stay: u64,
}

/// What became of a lesson.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taught {
    /// That was known without asking.
    Known,
    /// It is stored, and this is what it brought.
    Stored(Learnt),
    /// It is on its way to whoever keeps the directory, and counted there.
    Sent,
}

impl DirectoryHandle {
    pub(crate) async fn learn(
        &self,
        whose: Whose<'_>,
        person: &PersonId,
        email: &Email,
        accepted: SystemTime,
    ) -> Result<Taught, DirectoryError> {
        match self {
            Self::Local(directory) => {
                let learnt = directory.learn(whose.account, person, email, accepted).await?;
                Ok(learnt.map_or(Taught::Known, Taught::Stored))
            }
            Self::Remote(remote) => remote.learn(whose, person, email, accepted).await,
        }
    }

    pub(crate) async fn notice(
        &self,
        whose: Whose<'_>,
        person: &PersonId,
        accepted: SystemTime,
    ) -> Result<(), DirectoryError> {
        match self {
            Self::Local(directory) => directory.notice(whose.account, person, accepted).await,
            Self::Remote(remote) => remote.notice(whose, person, accepted).await,
        }
    }

    pub(crate) async fn look_up(
        &self,
        account: &AccountName,
        person: &PersonId,
        until: SystemTime,
    ) -> Result<LookedUp, DirectoryError> {
        match self {
            Self::Local(directory) => directory.look_up(account, person, until).await,
            Self::Remote(remote) => remote.look_up(account, person, until).await,
        }
    }

    pub(crate) async fn erase(
        &self,
        whose: Whose<'_>,
        email: &Email,
        accepted: SystemTime,
        done: SystemTime,
    ) -> Result<(), DirectoryError> {
        match self {
            Self::Local(directory) => directory.erase(whose.account, email, accepted, done).await,
            Self::Remote(remote) => remote.erase(whose, email, accepted, done).await,
        }
    }

    /// Whether what is taught is in the file when that has been answered. Else it is on its way, and only a question shows whether
    /// somebody keeps it.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// How much it holds. `None`: that is elsewhere.
    pub(crate) fn rows(&self) -> Option<Rows> {
        match self {
            Self::Local(directory) => Some(directory.rows()),
            Self::Remote(_) => None,
        }
    }
}
