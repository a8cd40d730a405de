//! Queues that processes leave each other notes in.

use std::io::ErrorKind;
use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use crate::Backoff;
use crate::rabbitmq::marks::{Marks, mark, unmark};
use crate::rabbitmq::names::Names;
use crate::rabbitmq::reader::{answer, exists, of_queue, silence_of};
use crate::rabbitmq::silence::{Asked, ask, is_silent};
use crate::rabbitmq::topology::Topology;
use crate::rabbitmq::url::BrokerUrl;

/// How often a note can be looked at: up to RabbitMQ 4.2 each time counts as a failed delivery.
const LOOKS: i32 = i32::MAX;
/// How long deleting a queue may take that nobody leads.
const DELETED_IN: Duration = Duration::from_secs(30);
/// How long a note may be in its writer's hand, or in a reader's.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Makes a queue for notes, or finds it; whether there can be any in it. Nobody writes to one before a mark says that the
/// broker will not lose it.
///
/// RabbitMQ 3.10 writes down which files are a new queue's up to a second after it has confirmed it, and later while other
/// queues are made. If it dies before, or before the queue is made wholly, it has a queue ever after that is there, counts as
/// empty and answers nobody: its new member waits to be told to vote. One without a mark is made again then.
pub(in crate::rabbitmq) async fn make(
    url: &BrokerUrl,
    connection: &Connection,
    topology: &Topology,
    queue: &str,
) -> Result<bool, lapin::Error> {
    let names = &topology.names;
    let marks = Marks::ask(connection, names).await?;
    let is_marked = marks.has(queue).await?;
    let was_begun = is_marked || marks.has(&begun(queue)).await?;
    marks.end().await?;
    let is_made = is_marked && exists(connection, queue).await?;
    let channel = answer(connection.create_channel()).await?;
    if is_marked && !is_made {
        unmark(&channel, names, queue).await?; // what is left of one that somebody has deleted
    }
    if !was_begun {
        mark(&channel, names, &begun(queue)).await?;
    }
    // Somebody may also have deleted what binds it.
    declare(connection, names, queue).await?;
    if is_made {
        answer(channel.close(200, "done".into())).await?;
        // It was made long ago, so asking it ends no connection but one that it is silent to.
        let asked = ask(connection, &asked(queue), PATIENCE).await.map_err(|error| of_queue(error, queue))?;
        return if asked { Err(silence_of(queue)) } else { Ok(true) };
    }
    // Nothing is wrong with one that nobody has begun to make before.
    if was_begun && is_silent(url, &asked(queue), PATIENCE).await? {
        remove(connection, queue).await?;
        declare(connection, names, queue).await?;
    }
    sleep(topology.settles_in).await;
    // Over the same connection: the broker has lived since.
    mark(&channel, names, queue).await?;
    answer(channel.close(200, "done".into())).await?;
    Ok(false)
}

/// What is marked before a queue is made, so that it is known when that was interrupted.
fn begun(queue: &str) -> String {
    format!("{queue}.begun")
}

fn asked(queue: &str) -> Asked {
    Asked { name: queue.to_owned(), is_single_active: false }
}

async fn declare(connection: &Connection, names: &Names, queue: &str) -> Result<(), lapin::Error> {
    let channel = answer(connection.create_channel()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(LOOKS));
    answer(channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments)).await?;
    let (exchange, options) = (names.notes(), QueueBindOptions::default());
    answer(channel.queue_bind(queue.into(), exchange.into(), queue.into(), options, FieldTable::default())).await?;
    answer(channel.close(200, "done".into())).await
}

async fn remove(connection: &Connection, queue: &str) -> Result<(), lapin::Error> {
    tracing::debug!(queue.name = queue, "making a queue again whose making was interrupted");
    let channel = answer(connection.create_channel()).await?;
    // RabbitMQ 4 waits for a leader before it deletes a queue without one.
    let deleting = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
    timeout(DELETED_IN, deleting).await.map_err(|_| silence_of(queue))??;
    answer(channel.close(200, "done".into())).await
}

/// Stores bytes in a queue of notes, and resolves when they are durable.
pub(in crate::rabbitmq) async fn store(
    channel: &Channel,
    names: &Names,
    queue: &str,
    bytes: &[u8],
) -> Result<(), lapin::Error> {
    let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
    let publishing = async {
        // Nothing else is published over the channel, so what comes back is this.
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        channel.basic_publish(names.notes().into(), queue.into(), options, bytes, properties).await?.await
    };
    match answer(publishing).await? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => Err(std::io::Error::new(ErrorKind::NotFound, "no queue took a note").into()),
        _ => Err(std::io::Error::other("the broker refused to store a note").into()),
    }
}

/// Whether a note was not stored because its queue is not there, or not bound.
pub(super) fn is_unrouted(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::IOError(error) if error.kind() == ErrorKind::NotFound)
}

/// The last note in a queue, if there is such a queue and a note was ever written to it. It may be in somebody's hand
/// just now, so an empty queue is looked at for some time.
pub(in crate::rabbitmq) async fn last<T: DeserializeOwned>(
    connection: &Connection,
    names: &Names,
    queue: &str,
    number: impl Fn(&T) -> u64,
) -> Result<Option<T>, lapin::Error> {
    // One without a mark may not answer, or is just being made: RabbitMQ 3.10 ends the connection that gets from it then.
    if !Marks::has_one(connection, names, queue).await? {
        return Ok(None);
    }
    last_marked(connection, names, queue, number).await
}

/// The same of a queue that is marked.
pub(super) async fn last_marked<T: DeserializeOwned>(
    connection: &Connection,
    names: &Names,
    queue: &str,
    number: impl Fn(&T) -> u64,
) -> Result<Option<T>, lapin::Error> {
    if !exists(connection, queue).await? {
        // Somebody has deleted it. Asking for it again would be one more error in the broker's log.
        let channel = answer(connection.create_channel()).await?;
        unmark(&channel, names, queue).await?;
        answer(channel.close(200, "done".into())).await?;
        return Ok(None);
    }
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
    let begin = Instant::now();
    loop {
        let found = look(connection, queue, &number).await.map_err(|error| of_queue(error, queue))?;
        if found.is_some() || PATIENCE <= begin.elapsed() {
            return Ok(found);
        }
        sleep(backoff.next_wait()).await;
    }
}

/// The last note that nobody has in hand; everything stays there.
async fn look<T: DeserializeOwned>(
    connection: &Connection,
    queue: &str,
    number: impl Fn(&T) -> u64,
) -> Result<Option<T>, lapin::Error> {
    let channel = answer(connection.create_channel()).await?;
    let mut last: Option<T> = None;
    while let Some(got) = answer(channel.basic_get(queue.into(), BasicGetOptions::default())).await? {
        if let Ok(note) = serde_json::from_slice::<T>(&got.delivery.data)
            && last.as_ref().is_none_or(|last| number(last) <= number(&note))
        {
            last = Some(note);
        }
    }
    answer(channel.close(200, "done".into())).await?;
    Ok(last)
}
