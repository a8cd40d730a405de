use std::time::Duration;

use async_trait::async_trait;

use crate::{Failure, Operation};

/// Stands between an operation and each of its HTTP calls: lets it begin, and hears how it ended.
#[async_trait]
pub trait Calls: Send + Sync {
    /// Waits until one more call may begin.
    async fn begin(&self);

    /// The call that began last has ended. Never told of a call that could not be sent, because a key has characters that
    /// no header can have.
    fn ended(&self, call: CallResult<'_>);
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub struct CallResult<'a> {
    /// Which one it was.
    pub operation: Operation,
    /// From sending it to the last byte of its answer.
    pub took: Duration,
    /// Whether there was a JSON object with a status below 500: Refersion itself is there, whatever it says.
    pub proper: bool,
    /// What went wrong; `None` for a success, and where "taken" or "not found" is the answer.
    pub failure: Option<&'a Failure>,
}
