use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::parcel::{Numbered, pack, unpack};
use crate::rabbitmq::publish::publisher::Publisher;
use crate::rabbitmq::topology::topology::Topology;
use crate::rabbitmq::wire::cause::Cause;
use crate::rabbitmq::wire::connection;
use crate::rabbitmq::wire::queue_counts;
use crate::rabbitmq::wire::requests::{answer, io_error};
use crate::rabbitmq::wire::url::BrokerUrl;
use crate::{Backoff, QueueError};

/// Messages that are on their way while one is worked.
const PREFETCH: u16 = 16;
/// How long nothing may be delivered until it is looked at whether something waits.
const IDLE: Duration = Duration::from_secs(5);
/// So many tries in vain are told.
const SAID_AFTER: u32 = 3;

/// Whoever answers what comes to a mailbox.
#[async_trait]
pub trait Reader: Send + Sync {
    /// Does what these requests say, in their order, and answers each that asks for something. What was done is durable
    /// when this returns. `None`: it could not be done now; the same requests come again.
    async fn read(&self, requests: Vec<Bytes>) -> Option<Vec<Option<Bytes>>>;
}

/// How much waits in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxDepth {
    /// Messages, each of one or more requests.
    pub messages: u64,
    /// Whether somebody reads it. Whoever stands by does not count.
    pub is_read: bool,
}

/// How much waits in the mailbox now.
pub(crate) async fn depth(publisher: &Publisher) -> Result<MailboxDepth, QueueError> {
    let link = publisher.link().map_err(|error| QueueError::Away(error.to_string()))?;
    let count = queue_counts::count(&link.connection, &publisher.topology.mailbox_name()).await?;
    Ok(MailboxDepth { messages: count.ready, is_read: 0 < count.consumers })
}

/// Reads the mailbox until `stop`. Of several processes that do, one has it at a time; the others stand by.
pub(crate) async fn serve(url: &BrokerUrl, topology: &Topology, reader: &dyn Reader, stop: &CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
    let mut failures = 0_u32;
    while !stop.is_cancelled() {
        let served = serve_once(url, topology, reader, stop, || {
            if SAID_AFTER <= std::mem::take(&mut failures) {
                tracing::info!("the directory's queue can be read again");
            }
            backoff.reset();
        });
        if let Err(error) = served.await {
            failures = failures.saturating_add(1);
            let error = Cause::of(&error);
            if failures == SAID_AFTER {
                tracing::warn!(queue.error = %error, "the directory's queue cannot be read, trying again until it works");
            } else {
                tracing::debug!(queue.error = %error, "the directory's queue cannot be read");
            }
        }
        let _ = stop.run_until_cancelled(sleep(backoff.next_wait())).await;
    }
}

async fn serve_once(
    url: &BrokerUrl,
    topology: &Topology,
    reader: &dyn Reader,
    stop: &CancellationToken,
    began: impl FnMut(),
) -> Result<(), lapin::Error> {
    let connect = async |purpose| connection::connect(url, purpose).await.map_err(|error| io_error(error.to_string()));
    let connection = connect("mailbox reader").await?;
    let served = async {
        // A broker in need stops reading a connection that publishes, acknowledgements included.
        let answering = connect("mailbox answers").await?;
        let reading = async {
            let (channel, answers) = (create(&connection).await?, create(&answering).await?);
            let answers = Answers { connection: &answering, channel: answers, topology };
            read(&channel, &answers, reader, stop, began).await
        };
        let read = reading.await;
        connection::close(&answering).await;
        read
    };
    let served = served.await;
    connection::close(&connection).await;
    served
}

async fn create(connection: &Connection) -> Result<Channel, lapin::Error> {
    answer(connection.create_channel()).await
}

async fn read(
    channel: &Channel,
    answering: &Answers<'_>,
    reader: &dyn Reader,
    stop: &CancellationToken,
    mut began: impl FnMut(),
) -> Result<(), lapin::Error> {
    let topology = answering.topology;
    topology.declare_mailbox(channel).await?;
    answer(channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
    let (queue, options) = (topology.mailbox_name(), BasicConsumeOptions::default());
    let consuming = channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default());
    let mut deliveries = answer(consuming).await?.ready_chunks(PREFETCH.into());
    began();
    loop {
        let together = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            together = deliveries.next() => together,
            () = sleep(IDLE) => {
                look(channel, &queue).await?;
                continue;
            }
        };
        let together = together.unwrap_or_default().into_iter().collect::<Result<Vec<_>, _>>()?;
        let Some(up_to) = together.last().map(|delivery| delivery.delivery_tag) else {
            return Err(io_error("the connection was lost".to_owned()));
        };
        let Some(messages) = answered(channel, reader, together, stop).await? else { return Ok(()) };
        for (to, answers) in messages {
            answering.publish(to.as_ref(), &answers).await?;
        }
        answer(channel.basic_ack(up_to, BasicAckOptions { multiple: true })).await?;
    }
}

/// Where answers are published.
struct Answers<'a> {
    connection: &'a Connection,
    channel: Channel,
    topology: &'a Topology,
}

impl Answers<'_> {
    /// Whoever gets no answer asks again.
    async fn publish(&self, to: Option<&ShortString>, answers: &[Numbered]) -> Result<(), lapin::Error> {
        // Only somebody who asks: with another key it could become anything.
        let Some(to) = to.filter(|to| self.topology.names.is_answers(to.as_str())) else { return Ok(()) };
        // One that broke while it was blocked is taken for blocked.
        let status = self.connection.status();
        if !status.connected() {
            return Err(io_error("the connection for answers was lost".to_owned()));
        }
        if answers.is_empty() || status.blocked() {
            return Ok(());
        }
        let (exchange, options) = (self.topology.names.notes(), BasicPublishOptions::default());
        let (body, properties) = (pack(answers), BasicProperties::default());
        let publishing = self.channel.basic_publish(exchange.into(), to.clone(), options, &body, properties);
        answer(async { publishing.await.map(drop) }).await
    }
}

/// What is answered to whom.
type Answered = Vec<(Option<ShortString>, Vec<Numbered>)>;

/// Has the requests in these messages read, as often as it takes. `None`: it was stopped.
async fn answered(
    channel: &Channel,
    reader: &dyn Reader,
    together: Vec<Delivery>,
    stop: &CancellationToken,
) -> Result<Option<Answered>, lapin::Error> {
    let messages: Vec<_> = together
        .into_iter()
        .map(|delivery| {
            let requests = unpack(Bytes::from(delivery.data)).unwrap_or_else(|| {
                tracing::warn!("a message in the directory's queue was not written by a relay, and is dropped");
                Vec::new()
            });
            (delivery.properties.reply_to().clone(), requests)
        })
        .collect();
    let requests: Vec<_> = messages.iter().flat_map(|(_, requests)| requests).map(|one| one.bytes.clone()).collect();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let answers = loop {
        if requests.is_empty() {
            break Vec::new();
        }
        if let Some(answers) = reader.read(requests.clone()).await {
            break answers;
        }
        if stop.run_until_cancelled(sleep(backoff.next_wait())).await.is_none() {
            return Ok(None);
        }
        // Somebody else may have read them meanwhile, and what came after them.
        if !channel.status().connected() {
            return Err(io_error("the channel was closed".to_owned()));
        }
    };
    let mut answers = answers.into_iter();
    let answered = messages.into_iter().map(|(to, requests)| {
        let numbers = requests.into_iter().map(|request| request.number);
        let of_these =
            numbers.zip(answers.by_ref()).filter_map(|(number, answer)| Some(Numbered { number, bytes: answer? }));
        (to, of_these.collect())
    });
    Ok(Some(answered.collect()))
}

/// Fails if something waits that is not delivered. Where a queue is deleted and made again at once, RabbitMQ consumes the new one for whoever
/// consumed the old one, and may never deliver anything. Whoever stands by registers anew, which disturbs nobody.
async fn look(channel: &Channel, queue: &str) -> Result<(), lapin::Error> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match answer(channel.queue_declare(queue.into(), options, FieldTable::default())).await?.message_count() {
        0 => Ok(()),
        waiting => Err(io_error(format!("{waiting} messages wait, and none is delivered"))),
    }
}
