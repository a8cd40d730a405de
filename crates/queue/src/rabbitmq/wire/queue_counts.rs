use lapin::Connection;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use crate::rabbitmq::wire::requests::{NOT_FOUND, RESOURCE_LOCKED, answer, has_code};
use crate::{Depth, QueueError};

/// Counts what is ready in a queue. The management plugin would know more, some seconds later, where it is installed.
pub(crate) async fn depth(connection: &Connection, queue: &str) -> Result<Depth, QueueError> {
    Ok(Depth { ready: count(connection, queue).await?.ready, in_hand: 0, oldest: None })
}

/// What the broker says about a queue at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) ready: u64,
    pub(crate) consumers: u32,
}

impl From<lapin::Queue> for Count {
    fn from(queue: lapin::Queue) -> Self {
        Self { ready: u64::from(queue.message_count()), consumers: queue.consumer_count() }
    }
}

/// Whether there is such a queue, another connection's own ones included.
pub(crate) async fn exists(connection: &Connection, queue: &str) -> Result<bool, lapin::Error> {
    let asked = answer(async {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
        channel.close(200, "done".into()).await
    });
    match asked.await {
        Ok(()) => Ok(true),
        Err(error) if has_code(&error, RESOURCE_LOCKED) => Ok(true),
        Err(error) if has_code(&error, NOT_FOUND) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is in a queue. One that does not exist is empty.
pub(crate) async fn count(connection: &Connection, queue: &str) -> Result<Count, lapin::Error> {
    Ok(counted(connection, queue).await?.unwrap_or_default())
}

/// What is in a queue, if there is one. Asking for one that does not exist is an error, which stands in the broker's log.
pub(crate) async fn counted(connection: &Connection, queue: &str) -> Result<Option<Count>, lapin::Error> {
    let counted = answer(async {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        if declared.is_ok() {
            channel.close(200, "done".into()).await?;
        }
        declared
    });
    match counted.await {
        Ok(queue) => Ok(Some(queue.into())),
        Err(error) if has_code(&error, NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}
