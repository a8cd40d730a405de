use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio_util::sync::CancellationToken;

use crate::SHARDS;
use crate::arguments::Arguments;
use crate::cpu::Process;
use crate::report::{Measuring, Sample};

/// As the worker's default.
const PREFETCH: u16 = 64;

/// The least a program has to do: lapin and nothing else.
pub(crate) struct Bare {
    connection: Connection,
    url: String,
}

impl Bare {
    /// Declares queues of its own, as many as there are shards.
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        for index in 0..SHARDS {
            let mut quorum = FieldTable::default();
            quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            channel.queue_declare(queue(index).as_str().into(), QueueDeclareOptions::durable(), quorum).await?;
        }
        Ok(Self { connection, url: url.to_owned() })
    }

    /// Publishes everything with confirms over one channel, to as many queues in turn, and empties them afterwards.
    pub(crate) async fn publish(
        &self,
        arguments: &Arguments,
        broker: &Process,
        bodies: &[Bytes],
        queues: u16,
    ) -> anyhow::Result<Sample> {
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let queues: Vec<_> = (0..queues).map(queue).collect();
        let measuring = Measuring::begin(None, broker)?;
        let publishes = stream::iter(bodies.iter().zip(queues.iter().cycle())).map(async |(body, queue)| {
            let (options, properties) =
                (BasicPublishOptions::default(), BasicProperties::default().with_delivery_mode(2));
            let sent = channel.basic_publish("".into(), queue.as_str().into(), options, body, properties).await?;
            ensure!(sent.await?.is_ack(), "not confirmed");
            Ok(())
        });
        publishes.buffer_unordered(arguments.in_flight()).try_collect::<()>().await?;
        let sample = measuring.end(arguments.events)?;
        for queue in &queues {
            channel.queue_purge(queue.as_str().into(), QueuePurgeOptions::default()).await?;
        }
        channel.close(200, "done".into()).await?;
        Ok(sample)
    }

    /// Takes what is in the relay's shards and acknowledges each, from the first to the last.
    pub(crate) async fn consume(
        &self,
        arguments: &Arguments,
        broker: &Process,
        prefix: &str,
        shards: u16,
    ) -> anyhow::Result<Sample> {
        // As in the relay, giving up is closing the connection.
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let counter = Arc::new(Counter { left: AtomicU32::new(arguments.events), done: CancellationToken::new() });
        let measuring = Measuring::begin(None, broker)?;
        let consumers = (0..shards).map(async |index| {
            let channel = connection.create_channel().await?;
            tokio::spawn(drain(channel, shard(prefix, index, shards), counter.clone())).await?
        });
        try_join_all(consumers).await?;
        let sample = measuring.end(arguments.events)?;
        connection.close(200, "done".into()).await?;
        Ok(sample)
    }

    /// Empties the relay's shards. The broker notes acknowledgements after it has read them; what it has not noted when
    /// the connection closes comes back.
    pub(crate) async fn clear(&self, prefix: &str, shards: u16) -> anyhow::Result<()> {
        let channel = self.connection.create_channel().await?;
        for index in 0..shards {
            let name = shard(prefix, index, shards);
            let left = channel.queue_purge(name.as_str().into(), QueuePurgeOptions::default()).await?;
            if 0 < left {
                eprintln!("throughput: {left} events came back to {name}");
            }
        }
        channel.close(200, "done".into()).await?;
        Ok(())
    }
}

/// How many are not acknowledged yet.
struct Counter {
    left: AtomicU32,
    done: CancellationToken,
}

async fn drain(channel: Channel, queue: String, counter: Arc<Counter>) -> anyhow::Result<()> {
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let consuming =
        channel.basic_consume(queue.as_str().into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = consuming.await?;
    loop {
        let delivery = tokio::select! {
            () = counter.done.cancelled() => return Ok(()),
            delivery = consumer.next() => delivery.context("the queue is still there")??,
        };
        delivery.acker.ack(BasicAckOptions::default()).await?;
        if counter.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            counter.done.cancel();
        }
    }
}

fn queue(index: u16) -> String {
    format!("bench.{index}")
}

fn shard(prefix: &str, index: u16, shards: u16) -> String {
    format!("{prefix}.events.n{shards}.{index}")
}
