//! What a person with the broker's own tools could do, and see.

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use refersion_relay_model::Class;
use refersion_relay_queue::RabbitMqSettings;
use tokio::time::timeout;

use crate::waiting::PATIENCE;

/// A connection that knows nothing of the crate under test.
pub struct Admin(Connection);

impl Admin {
    pub async fn connect(url: &str) -> Self {
        Self(Connection::connect(url, ConnectionProperties::default()).await.expect("the broker is there"))
    }

    pub async fn channel(&self) -> Channel {
        self.0.create_channel().await.unwrap()
    }

    pub async fn delete_queue(&self, name: &str) {
        let channel = self.channel().await;
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
        channel.close(200, "done".into()).await.unwrap();
    }

    /// Takes away what is ready in a queue.
    pub async fn purge(&self, name: &str) {
        let channel = self.channel().await;
        channel.queue_purge(name.into(), QueuePurgeOptions::default()).await.unwrap();
        channel.close(200, "done".into()).await.unwrap();
    }

    pub async fn queue_exists(&self, name: &str) -> bool {
        let channel = self.channel().await;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        // One that does not exist closes the channel.
        channel.queue_declare(name.into(), options, FieldTable::default()).await.is_ok()
    }

    pub async fn delete_exchange(&self, name: &str) {
        let channel = self.channel().await;
        channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await.unwrap();
        channel.close(200, "done".into()).await.unwrap();
    }

    /// A durable queue of the broker's default type.
    pub async fn declare_classic_queue(&self, name: &str) {
        self.declare_queue(name, FieldTable::default()).await;
    }

    pub async fn declare_queue(&self, name: &str, arguments: FieldTable) {
        let channel = self.channel().await;
        channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await.unwrap();
        channel.close(200, "done".into()).await.unwrap();
    }

    pub async fn unbind(&self, queue: &str, exchange: &str, key: &str) {
        let channel = self.channel().await;
        channel.queue_unbind(queue.into(), exchange.into(), key.into(), FieldTable::default()).await.unwrap();
        channel.close(200, "done".into()).await.unwrap();
    }

    /// Publishes as some other program would, with a confirm.
    pub async fn publish(&self, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = BasicPublishOptions::default();
        let confirm = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.unwrap();
        assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
        channel.close(200, "done".into()).await.unwrap();
    }

    /// The properties of the first message, which is put back.
    pub async fn peek(&self, queue: &str) -> BasicProperties {
        self.read(queue, 1, false).await.remove(0).1
    }

    /// Takes as many messages off a queue and returns their bodies.
    pub async fn drain(&self, queue: &str, count: u16) -> Vec<String> {
        let read = self.read(queue, count, true).await;
        read.into_iter().map(|(body, _)| String::from_utf8(body).unwrap()).collect()
    }

    async fn read(&self, queue: &str, count: u16, settle: bool) -> Vec<(Vec<u8>, BasicProperties)> {
        let channel = self.channel().await;
        channel.basic_qos(count, BasicQosOptions::default()).await.unwrap();
        let consuming =
            channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let mut consumer = consuming.await.unwrap();
        let mut read = Vec::new();
        while read.len() < usize::from(count) {
            let next = timeout(PATIENCE, consumer.next()).await;
            let next = next.unwrap_or_else(|_| panic!("only {} of {count} messages are on {queue}", read.len()));
            let delivery = next.expect("the queue is not deleted").unwrap();
            if settle {
                delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
            }
            read.push((delivery.data, delivery.properties));
        }
        channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await.unwrap();
        channel.close(200, "done".into()).await.unwrap();
        read
    }

    /// Takes everything that is ready in a queue into the hand, with its bodies. It goes back when the channel is closed.
    pub async fn hold(&self, queue: &str) -> (Channel, Vec<Vec<u8>>) {
        let (channel, mut bodies) = (self.channel().await, Vec::new());
        while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap() {
            bodies.push(got.delivery.data);
        }
        (channel, bodies)
    }

    /// The bodies of everything that is ready in a queue, which is put back.
    pub async fn bodies(&self, queue: &str) -> Vec<Vec<u8>> {
        let (channel, bodies) = self.hold(queue).await;
        channel.close(200, "done".into()).await.unwrap();
        bodies
    }

    /// How much is ready in a queue.
    pub async fn ready(&self, queue: &str) -> u32 {
        let channel = self.channel().await;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
        channel.close(200, "done".into()).await.unwrap();
        found.message_count()
    }

    /// Reads a queue, with at most one message in hand, until the channel is closed.
    pub async fn consume(&self, queue: &str) -> Channel {
        let channel = self.channel().await;
        channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
        let options = BasicConsumeOptions::default();
        channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap();
        channel
    }

    /// What a relay with these settings declares.
    pub async fn delete_everything(&self, settings: &RabbitMqSettings) {
        let name = |rest: &str| format!("{}.{rest}", settings.prefix);
        let mut queues = vec![name("intake"), name("unrouted"), name("tally")];
        let mut exchanges = vec![name("events"), name("dead"), name("unrouted"), name("notes")];
        queues.extend(
            Class::ALL.iter().filter(|class| **class != Class::Unrouted).map(|class| name(&format!("dead.{class}"))),
        );
        for tier in &settings.tiers {
            let tier = name(&format!("retry.{}s", tier.as_secs()));
            queues.push(tier.clone());
            exchanges.push(tier);
        }
        for account in &settings.accounts {
            exchanges.push(name(&format!("intake.{account}")));
            queues.push(name(&format!("events.{account}")));
        }
        for queue in queues {
            self.delete_queue(&queue).await; // deleting what does not exist succeeds
        }
        for exchange in exchanges {
            self.delete_exchange(&exchange).await;
        }
    }
}

/// The headers of raw properties, by name.
pub fn header_names(properties: &BasicProperties) -> Vec<String> {
    let headers = properties.headers().clone().unwrap_or_default();
    headers.inner().keys().map(ToString::to_string).collect()
}

/// A header that is a number on the wire too, so that other tools can compare it.
pub fn number(properties: &BasicProperties, name: &str) -> Option<i64> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongLongInt(value) => Some(*value),
        other => panic!("{name} is {other:?}"),
    }
}
