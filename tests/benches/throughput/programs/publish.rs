use anyhow::ensure;
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};

use super::{connect, leave, say};
use crate::events::body;

pub(super) async fn run(url: &str, queue: &str, events: u32, bytes: usize, in_flight: usize) -> anyhow::Result<()> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let bodies: Vec<_> = (0..events).map(|n| body("bare", n, bytes)).collect();
    leave().await?;
    let publishes = stream::iter(&bodies).map(async |body| {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let sent = channel.basic_publish("".into(), queue.into(), BasicPublishOptions::default(), body, properties);
        ensure!(sent.await?.await?.is_ack(), "not confirmed");
        Ok(())
    });
    publishes.buffer_unordered(in_flight).try_collect::<()>().await?;
    say("done")
}
