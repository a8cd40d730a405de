//! One request to the broker: bounded in time, and what its refusals mean.

use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection, ErrorKind};
use tokio::time::timeout;

use crate::rabbitmq::wire::cause::Cause;

/// AMQP's `ACCESS_REFUSED`: the user may not do that.
pub(crate) const ACCESS_REFUSED: u16 = 403;
/// AMQP's `RESOURCE_LOCKED`: somebody else has the queue to themselves.
pub(crate) const RESOURCE_LOCKED: u16 = 405;
/// AMQP's `NOT_FOUND`.
pub(crate) const NOT_FOUND: u16 = 404;
/// How long one answer of the broker may take.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A channel whose publishes are confirmed.
pub(crate) async fn confirming(connection: &Connection) -> Result<Channel, lapin::Error> {
    let channel = answer(connection.create_channel()).await?;
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

/// Waits for the broker's answer, but not for ever.
pub(crate) async fn answer<T>(asking: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, lapin::Error> {
    let silent = |_| Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the broker does not answer").into());
    timeout(ANSWER_TIMEOUT, asking).await.unwrap_or_else(silent)
}

/// Whether nobody answered: what was asked for may have happened.
pub(crate) fn is_silence(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::IOError(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

/// Says which queue does not answer: one without a leader says nothing, or ends the connection with an internal error.
pub(crate) fn of_queue(error: lapin::Error, queue: &str) -> lapin::Error {
    if is_silence(&error) || matches!(Cause::of(&error), Cause::Internal(_)) { silence_of(queue) } else { error }
}

/// A queue that does not answer, by its name.
pub(crate) fn silence_of(queue: &str) -> lapin::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, format!("the queue {queue} does not answer")).into()
}

/// An error in words of ours.
pub(crate) fn io_error(why: String) -> lapin::Error {
    std::io::Error::other(why).into()
}

/// Whether the broker has refused something with this code.
pub(crate) fn has_code(error: &lapin::Error, id: u16) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(amqp) if amqp.get_id() == id)
}
