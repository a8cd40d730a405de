use anyhow::ensure;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Connection, ConnectionProperties};

/// What [`Feed::queue`] has waiting for confirms.
const IN_FLIGHT: usize = 1_000;

/// Gives other programs something to work on.
pub(crate) struct Feed(Connection);

/// What a message looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// The event as its body.
    Plain,
    /// A call of a task of Celery, with the event as its argument.
    Celery,
}

impl Feed {
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        Ok(Self(Connection::connect(url, ConnectionProperties::default()).await?))
    }

    /// Makes a quorum queue with these events, of which all are confirmed.
    pub(crate) async fn queue(&self, name: &str, events: &[Bytes], form: Form) -> anyhow::Result<()> {
        let channel = self.0.create_channel().await?;
        let mut quorum = FieldTable::default();
        quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        channel.queue_declare(name.into(), QueueDeclareOptions::durable(), quorum).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let publishes = stream::iter(events.iter().enumerate()).map(async |(number, event)| {
            let (body, properties) = form.message(number, event);
            let sent = channel.basic_publish("".into(), name.into(), BasicPublishOptions::default(), &body, properties);
            ensure!(sent.await?.await?.is_ack(), "not confirmed");
            Ok(())
        });
        publishes.buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
        Ok(channel.close(200, "done".into()).await?)
    }

    /// Removes a queue with whatever is in it.
    pub(crate) async fn remove(&self, name: &str) -> anyhow::Result<()> {
        let channel = self.0.create_channel().await?;
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await?;
        Ok(channel.close(200, "done".into()).await?)
    }

    /// Empties a queue.
    pub(crate) async fn purge(&self, name: &str) -> anyhow::Result<()> {
        let channel = self.0.create_channel().await?;
        channel.queue_purge(name.into(), QueuePurgeOptions::default()).await?;
        Ok(channel.close(200, "done".into()).await?)
    }
}

impl Form {
    fn message(self, number: usize, event: &Bytes) -> (Bytes, BasicProperties) {
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
        match self {
            Self::Plain => (event.clone(), properties),
            Self::Celery => {
                let id = format!("bench-{number}");
                let mut headers = FieldTable::default();
                for (name, value) in [("lang", "py"), ("task", "bench.create"), ("id", &id), ("root_id", &id)] {
                    headers.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
                }
                let options = br#"{"callbacks":null,"errbacks":null,"chain":null,"chord":null}"#;
                let body = [b"[[", event.as_ref(), b"],{},", options, b"]"].concat();
                let properties = properties.with_content_encoding("utf-8".into()).with_headers(headers);
                (body.into(), properties.with_correlation_id(id.into()))
            }
        }
    }
}
