use std::fmt;

use rusqlite::ErrorCode;

use crate::{BrokerState, PublishError, QueueError};

/// Why nothing can be stored or read now. Never names an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) cause: Cause,
    /// Whether it happened in the middle of a commit, so that nobody knows what is on the disk.
    pub(crate) committing: bool,
    why: String,
}

/// What has to happen before it can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// There has to be room on the disk.
    Full,
    /// Somebody else has to let go of the file.
    Busy,
    /// Something may mend itself: the file has to be opened anew.
    Broken,
    /// The file has to come back to where it was. Opening anew would begin with nothing.
    Gone,
    /// A person has to act.
    Unusable,
}

impl Fault {
    pub(crate) fn new(cause: Cause, why: impl Into<String>) -> Self {
        Self { cause, committing: false, why: why.into() }
    }

    pub(crate) fn while_committing(self) -> Self {
        Self { committing: true, ..self }
    }

    pub(crate) fn state(&self) -> BrokerState {
        let why = self.why.clone();
        match self.cause {
            Cause::Full => BrokerState::Blocked { why },
            Cause::Busy | Cause::Broken => BrokerState::Away { why },
            Cause::Gone | Cause::Unusable => BrokerState::Mismatch { why },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let (cause, why) = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => (Cause::Full, "the disk is full".to_owned()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                (Cause::Busy, "another process keeps the file locked".to_owned())
            }
            Some(ErrorCode::ReadOnly) => (Cause::Broken, "the file cannot be written: it is read-only".to_owned()),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => (
                Cause::Unusable,
                "the file is damaged or no SQLite database: move it away, and see what can be saved of it with sqlite3's \
                 .recover"
                    .to_owned(),
            ),
            Some(ErrorCode::CannotOpen) => (Cause::Broken, "the file cannot be opened".to_owned()),
            Some(ErrorCode::SystemIoFailure) => (Cause::Broken, format!("the disk failed: {error}")),
            _ => (Cause::Broken, error.to_string()),
        };
        Self::new(cause, why)
    }
}

impl From<Fault> for PublishError {
    fn from(fault: Fault) -> Self {
        if fault.committing { Self::Unknown(fault.why) } else { Self::Refused(fault.state().to_string()) }
    }
}

impl From<Fault> for QueueError {
    fn from(fault: Fault) -> Self {
        match fault.cause {
            Cause::Gone | Cause::Unusable => Self::Mismatch(fault.state().to_string()),
            Cause::Full | Cause::Busy | Cause::Broken => Self::Away(fault.why),
        }
    }
}
