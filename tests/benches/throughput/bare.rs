use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use crate::arguments::Arguments;
use crate::cpu::Process;
use crate::report::{Measuring, Sample};

/// As the worker's default.
const PREFETCH: u16 = 512;
/// Of its own.
const QUEUE: &str = "bench";

/// The least a program has to do: lapin and nothing else.
pub(crate) struct Bare {
    connection: Connection,
    url: String,
}

impl Bare {
    /// Declares a queue of its own.
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let mut quorum = FieldTable::default();
        quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        channel.queue_declare(QUEUE.into(), QueueDeclareOptions::durable(), quorum).await?;
        Ok(Self { connection, url: url.to_owned() })
    }

    /// Publishes everything with confirms over one channel, and empties the queue afterwards.
    pub(crate) async fn publish(
        &self,
        arguments: &Arguments,
        broker: &Process,
        bodies: &[Bytes],
    ) -> anyhow::Result<Sample> {
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let measuring = Measuring::begin(None, broker)?;
        let publishes = stream::iter(bodies).map(async |body| {
            let (options, properties) =
                (BasicPublishOptions::default(), BasicProperties::default().with_delivery_mode(2));
            let sent = channel.basic_publish("".into(), QUEUE.into(), options, body, properties).await?;
            ensure!(sent.await?.is_ack(), "not confirmed");
            Ok(())
        });
        publishes.buffer_unordered(arguments.in_flight()).try_collect::<()>().await?;
        let sample = measuring.end(arguments.events)?;
        channel.queue_purge(QUEUE.into(), QueuePurgeOptions::default()).await?;
        channel.close(200, "done".into()).await?;
        Ok(sample)
    }

    /// Takes what is in the account's work queue and acknowledges each, from the first to the last.
    pub(crate) async fn consume(
        &self,
        arguments: &Arguments,
        broker: &Process,
        prefix: &str,
    ) -> anyhow::Result<Sample> {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let measuring = Measuring::begin(None, broker)?;
        let channel = connection.create_channel().await?;
        tokio::spawn(drain(channel, work_queue(prefix), arguments.events)).await??;
        let sample = measuring.end(arguments.events)?;
        connection.close(200, "done".into()).await?;
        Ok(sample)
    }

    /// Empties the account's work queue. The broker notes acknowledgements after it has read them; what it has not noted
    /// when the connection closes comes back.
    pub(crate) async fn clear(&self, prefix: &str) -> anyhow::Result<()> {
        let channel = self.connection.create_channel().await?;
        let name = work_queue(prefix);
        let left = channel.queue_purge(name.as_str().into(), QueuePurgeOptions::default()).await?;
        if 0 < left {
            eprintln!("throughput: {left} events came back to {name}");
        }
        channel.close(200, "done".into()).await?;
        Ok(())
    }
}

async fn drain(channel: Channel, queue: String, events: u32) -> anyhow::Result<()> {
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let consuming =
        channel.basic_consume(queue.as_str().into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = consuming.await?;
    for _ in 0..events {
        let delivery = consumer.next().await.context("the queue is still there")??;
        delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

/// Of the account whose events are measured.
fn work_queue(prefix: &str) -> String {
    format!("{prefix}.events.acme")
}
