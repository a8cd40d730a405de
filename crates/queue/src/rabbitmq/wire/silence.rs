use std::time::Duration;

use futures_util::{StreamExt, stream};
use lapin::options::{BasicConsumeOptions, BasicGetOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::time::{Instant, sleep, timeout};

use super::cause::Cause;
use super::connection;
use super::url::BrokerUrl;
use crate::rabbitmq::wire::queue_counts::count;
use crate::rabbitmq::wire::requests::{ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED, answer, has_code, io_error};

/// A queue that says nothing for so long has nobody who leads it, or nobody who can be reached.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(5);
/// How soon a queue is asked again that ended the connection it was asked over.
const AGAIN: Duration = Duration::from_millis(200);
/// So many queues are asked at a time over one connection, and over connections of their own.
pub(crate) const ASKED: usize = 32;
const ALONE: usize = 8;

/// A queue that may have nobody who leads it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) name: String,
    /// Whether only one at a time consumes it. Getting from such a queue is an error, which stands in the broker's log.
    pub(crate) is_single_active: bool,
}

/// Which of these queues do not answer, and which could not be asked.
pub(crate) async fn silent(
    url: &BrokerUrl,
    connection: &Connection,
    queues: impl Iterator<Item = Asked>,
) -> Vec<(String, Result<(), lapin::Error>)> {
    let together = queues.map(async |queue| {
        let asked = ask(connection, &queue, SILENT_AFTER).await;
        (queue, asked)
    });
    let asked: Vec<_> = stream::iter(together).buffered(ASKED).collect().await;
    let again = asked.into_iter().map(async |(queue, asked)| {
        let asked = match asked {
            // One of them has ended the connection of all.
            Err(_) if !connection.status().connected() => is_silent(url, &queue, SILENT_AFTER).await,
            asked => asked,
        };
        (queue.name, asked)
    });
    let found = stream::iter(again).buffered(ALONE).filter_map(async |(queue, asked)| match asked {
        Ok(false) => None,
        Ok(true) => Some((queue, Ok(()))),
        Err(error) => Some((queue, Err(error))),
    });
    found.collect().await
}

/// Whether nobody leads a queue that counts as empty. Changes nothing.
///
/// Over connections of its own: RabbitMQ 4 ends one that asks such a queue, with an internal error, where 3.10 says nothing; and
/// 3.10 ends one that asks a queue which is just being made. So only what stays is an answer.
pub(crate) async fn is_silent(url: &BrokerUrl, queue: &Asked, patience: Duration) -> Result<bool, lapin::Error> {
    let begin = Instant::now();
    loop {
        let connection = connection::connect(url, "look").await.map_err(|error| io_error(error.to_string()))?;
        let asked = ask(&connection, queue, patience).await;
        connection::close(&connection).await;
        match asked {
            Err(error) if is_internal(&error) && begin.elapsed() < patience => sleep(AGAIN).await,
            Err(error) if is_internal(&error) => return Ok(true),
            asked => return asked,
        }
    }
}

/// An internal error, or what is heard of one that somebody else caused over the same connection.
fn is_internal(error: &lapin::Error) -> bool {
    matches!(Cause::of(error), Cause::Internal(_) | Cause::Lost(_))
}

/// May cost the channel it is asked over, so that is its own, or with an internal error the connection.
pub(crate) async fn ask(connection: &Connection, queue: &Asked, patience: Duration) -> Result<bool, lapin::Error> {
    let counted = count(connection, &queue.name).await?;
    // A queue that says so has somebody who leads it; one that says nothing of the kind may have.
    if 0 < counted.ready || 0 < counted.consumers {
        return Ok(false);
    }
    let channel = answer(connection.create_channel()).await?;
    let asking = async {
        if queue.is_single_active {
            stand_by(&channel, &queue.name).await
        } else {
            channel.basic_get(queue.name.as_str().into(), BasicGetOptions::default()).await?;
            // With the channel goes back what has come just now.
            channel.close(200, "done".into()).await
        }
    };
    match timeout(patience, asking).await {
        Ok(Ok(())) => Ok(false),
        // Somebody may have deleted it just now, or have it to himself. And who may not read it is told so by others.
        Ok(Err(error)) if [RESOURCE_LOCKED, NOT_FOUND, ACCESS_REFUSED].iter().any(|id| has_code(&error, *id)) => {
            Ok(false)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(true),
    }
}

/// Consumes for a moment: the queue's leader says yes. What comes meanwhile goes back, in order, before anybody else is next.
async fn stand_by(channel: &Channel, queue: &str) -> Result<(), lapin::Error> {
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
    channel.close(200, "done".into()).await?;
    drop(consumer); // not before, since that cancels it
    Ok(())
}
