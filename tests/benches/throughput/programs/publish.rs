use std::time::UNIX_EPOCH;

use anyhow::ensure;
use clap::ValueEnum;
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, ExchangeKind};

use super::{connect, leave, say};
use crate::events::body;

/// What a publish has besides its body, each with all that stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Dress {
    /// Nothing, and it goes to the queue by name.
    Bare,
    /// An exchange with another one for what it cannot route.
    Routed,
    /// Message id, type, content type and time.
    Named,
    /// The headers that the relay writes for an event.
    Headed,
}

impl Dress {
    pub(crate) const ALL: [Self; 4] = [Self::Bare, Self::Routed, Self::Named, Self::Headed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Routed => "routed",
            Self::Named => "named",
            Self::Headed => "headed",
        }
    }

    fn properties(self, n: u32) -> BasicProperties {
        let properties = BasicProperties::default().with_delivery_mode(2);
        if self < Self::Named {
            return properties;
        }
        let id = ShortString::from(format!("bench-{n}"));
        let named = properties.with_message_id(id).with_type("identify".into());
        let seconds = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let named = named.with_content_type("application/json".into()).with_timestamp(seconds);
        if self < Self::Headed {
            return named;
        }
        let mut headers = FieldTable::default();
        let subject = format!("acme/peter-{n}@example.com");
        let texts = [
            ("x-relay-account", "acme"),
            ("x-relay-received-at", "2026-01-01T00:00:00.000Z"),
            ("x-relay-subject", &subject),
        ];
        for (name, value) in texts {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        named.with_headers(headers)
    }
}

pub(super) async fn run(
    url: &str,
    queue: &str,
    dress: Dress,
    events: u32,
    bytes: usize,
    in_flight: usize,
) -> anyhow::Result<()> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let exchange = if dress < Dress::Routed { String::new() } else { route(&channel, queue).await? };
    let bodies: Vec<_> = (0..events).map(|n| (n, body("bare", n, bytes))).collect();
    leave().await?;
    let publishes = stream::iter(&bodies).map(async |(n, body)| {
        let (exchange, properties) = (exchange.as_str().into(), dress.properties(*n));
        let sent = channel.basic_publish(exchange, queue.into(), BasicPublishOptions::default(), body, properties);
        ensure!(sent.await?.await?.is_ack(), "not confirmed");
        Ok(())
    });
    publishes.buffer_unordered(in_flight).try_collect::<()>().await?;
    say("done")
}

/// Makes an exchange that leads to the queue by its name. All of it goes with the queue and the connection.
async fn route(channel: &Channel, queue: &str) -> anyhow::Result<String> {
    let (exchange, alternate) = (format!("{queue}.exchange"), format!("{queue}.alternate"));
    let options = ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() };
    let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.exchange_declare(alternate.as_str().into(), ExchangeKind::Fanout, options, none.clone()).await?;
    let lost = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let lost = channel.queue_declare("".into(), lost, none.clone()).await?;
    channel.queue_bind(lost.name().clone(), alternate.as_str().into(), "".into(), bind, none.clone()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("alternate-exchange".into(), AMQPValue::LongString(alternate.into()));
    channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Direct, options, arguments).await?;
    channel.queue_bind(queue.into(), exchange.as_str().into(), queue.into(), bind, none).await?;
    Ok(exchange)
}
