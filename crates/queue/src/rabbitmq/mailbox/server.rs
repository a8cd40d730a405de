use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::parcel::{Numbered, pack, unpack};
use crate::Backoff;
use crate::rabbitmq::topology::topology::Topology;
use crate::rabbitmq::wire::cause::Cause;
use crate::rabbitmq::wire::connection;
use crate::rabbitmq::wire::requests::{answer, io_error};
use crate::rabbitmq::wire::url::BrokerUrl;

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
    let connection = connection::connect(url, "mailbox reader").await.map_err(|error| io_error(error.to_string()))?;
    let served = async {
        let channel = answer(connection.create_channel()).await?;
        read(&channel, topology, reader, stop, began).await
    };
    let served = served.await;
    connection::close(&connection).await;
    served
}

async fn read(
    channel: &Channel,
    topology: &Topology,
    reader: &dyn Reader,
    stop: &CancellationToken,
    mut began: impl FnMut(),
) -> Result<(), lapin::Error> {
    topology.declare_mailbox(channel).await?;
    answer(channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
    let (queue, options) = (topology.mailbox_name(), BasicConsumeOptions::default());
    let consuming = channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default());
    let mut deliveries = answer(consuming).await?;
    began();
    loop {
        let delivery = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            delivery = deliveries.next() => delivery,
            () = sleep(IDLE) => {
                look(channel, &queue).await?;
                continue;
            }
        };
        let delivery = delivery.unwrap_or_else(|| Err(io_error("the connection was lost".to_owned())))?;
        let requests = unpack(Bytes::from(delivery.data)).unwrap_or_else(|| {
            tracing::warn!("a message in the directory's queue was not written by a relay, and is dropped");
            Vec::new()
        });
        let Some(answers) = answers(reader, requests, stop).await else { return Ok(()) };
        let to = delivery.properties.reply_to().as_ref().map(ShortString::as_str);
        // Only somebody who asks: with another key it could become anything.
        if let Some(to) = to.filter(|to| topology.names.is_answers(to) && !answers.is_empty()) {
            let (exchange, options) = (topology.names.notes(), BasicPublishOptions::default());
            let (body, properties) = (pack(&answers), BasicProperties::default());
            // Whoever has gone meanwhile gets none.
            let publishing = channel.basic_publish(exchange.into(), to.into(), options, &body, properties);
            answer(async { publishing.await.map(drop) }).await?;
        }
        answer(channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default())).await?;
    }
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

/// Has requests read, as often as it takes. `None`: it was stopped.
async fn answers(reader: &dyn Reader, requests: Vec<Numbered>, stop: &CancellationToken) -> Option<Vec<Numbered>> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    while !requests.is_empty() {
        let bytes = requests.iter().map(|request| request.bytes.clone()).collect();
        if let Some(answers) = reader.read(bytes).await {
            let numbers = requests.iter().map(|request| request.number);
            let answered =
                numbers.zip(answers).filter_map(|(number, answer)| Some(Numbered { number, bytes: answer? }));
            return Some(answered.collect());
        }
        stop.run_until_cancelled(sleep(backoff.next_wait())).await?;
    }
    Some(Vec::new())
}
