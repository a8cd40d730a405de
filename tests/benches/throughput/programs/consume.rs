use anyhow::Context;
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;

use super::{connect, leave, say};

/// As the worker's default.
const PREFETCH: u16 = 512;

pub(super) async fn run(url: &str, queue: &str, events: u32) -> anyhow::Result<()> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    leave().await?;
    let consuming =
        channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = consuming.await?;
    for _ in 0..events {
        let delivery = consumer.next().await.context("the queue is still there")??;
        delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    say("done")
}
