use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use crate::{Config, PATIENCE};

/// A dead letter to be put into a class, as a worker would.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The class.
    pub class: &'static str,
    /// Why it is dead.
    pub reason: &'static str,
    /// The account.
    pub account: Option<&'static str>,
    /// The type.
    pub kind: &'static str,
    /// The message id.
    pub message_id: String,
    /// Stands for the person.
    pub subject: String,
    /// How often it was replayed.
    pub generation: u32,
    /// For how long it is dead.
    pub age: Duration,
    /// The event.
    pub body: Vec<u8>,
}

impl DeadLetter {
    /// An identify that Refersion refused just now, of class `rejected` and account `acme`.
    #[must_use]
    pub fn new(message_id: &str) -> Self {
        let person = format!(r#""email":"{message_id}@example.com""#);
        let body = format!(r#"{{"type":"identify","messageId":"{message_id}","traits":{{{person}}}}}"#);
        Self {
            class: "rejected",
            reason: "refused",
            account: Some("acme"),
            kind: "identify",
            message_id: message_id.to_owned(),
            subject: format!("subject-{message_id}"),
            generation: 0,
            age: Duration::ZERO,
            body: body.into_bytes(),
        }
    }

    fn properties(&self) -> BasicProperties {
        let mut table = FieldTable::default();
        let dead_at = SystemTime::now() - self.age;
        let dead_at = humantime::format_rfc3339_millis(dead_at).to_string();
        let mut text = |key: &str, value: &str| {
            table.insert(key.into(), AMQPValue::LongString(value.into()));
        };
        text("x-relay-subject", &self.subject);
        text("x-relay-received-at", &dead_at);
        text("x-relay-class", self.class);
        text("x-relay-reason", self.reason);
        text("x-relay-dead-at", &dead_at);
        if let Some(account) = self.account {
            text("x-relay-account", account);
        }
        table.insert("x-relay-attempts".into(), AMQPValue::LongLongInt(1));
        table.insert("x-relay-generation".into(), AMQPValue::LongLongInt(self.generation.into()));
        BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_message_id(self.message_id.as_str().into())
            .with_type(self.kind.into())
            .with_headers(table)
    }
}

/// The broker as somebody with its own tools sees it.
pub struct Admin {
    connection: Connection,
    prefix: String,
}

impl Admin {
    /// For the relay of `config`, whose queues are declared first.
    ///
    /// # Panics
    /// When there is no broker.
    pub async fn of(url: &str, config: &Config) -> Self {
        let declared = config.command(&["dlq", "list"]).await;
        assert_eq!(declared.code, Some(0), "{declared:?}");
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a broker");
        Self { connection, prefix: config.prefix.clone() }
    }

    async fn channel(&self) -> Channel {
        self.connection.create_channel().await.expect("a channel")
    }

    /// Stores dead letters, in this order.
    ///
    /// # Panics
    /// When one is not confirmed.
    pub async fn bury(&self, letters: impl IntoIterator<Item = DeadLetter>) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        let exchange = format!("{}.dead", self.prefix);
        let publishing = stream::iter(letters).map(|letter| {
            let (channel, exchange) = (channel.clone(), exchange.as_str());
            async move {
                let (options, properties) = (BasicPublishOptions::default(), letter.properties());
                let key = letter.class.into();
                channel.basic_publish(exchange.into(), key, options, &letter.body, properties).await?.await
            }
        });
        let mut confirms = publishing.buffered(500);
        while let Some(confirm) = confirms.next().await {
            assert_eq!(confirm.expect("a confirm"), Confirmation::Ack(None));
        }
        channel.close(200, "done".into()).await.expect("it closes");
    }

    /// How many messages are ready in a queue, by the rest of its name.
    ///
    /// # Panics
    /// When there is no such queue.
    pub async fn ready(&self, queue: &str) -> usize {
        let channel = self.channel().await;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = format!("{}.{queue}", self.prefix);
        let declared = channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await;
        let ready = declared.expect("a queue").message_count();
        channel.close(200, "done".into()).await.expect("it closes");
        usize::try_from(ready).expect("a count")
    }

    /// How many events are ready on the work queues.
    pub async fn replayed(&self) -> usize {
        let mut ready = 0;
        for account in Config::ACCOUNTS {
            ready += self.ready(&format!("events.{account}")).await;
        }
        ready
    }

    /// Makes a queue of a kind that the relay does not make. `queue` is without the prefix.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn declare_classic_queue(&self, queue: &str) {
        let channel = self.channel().await;
        let name = format!("{}.{queue}", self.prefix);
        let declared = channel.queue_declare(name.into(), QueueDeclareOptions::durable(), FieldTable::default());
        declared.await.expect("it is not there yet");
        channel.close(200, "done".into()).await.expect("it closes");
    }

    /// Deletes a queue. `queue` is without the prefix.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn delete_queue(&self, queue: &str) {
        let channel = self.channel().await;
        let name = format!("{}.{queue}", self.prefix);
        let deleted = channel.queue_delete(name.into(), QueueDeleteOptions::default());
        deleted.await.expect("the administrator may do that");
        channel.close(200, "done".into()).await.expect("it closes");
    }

    /// Takes everything from a queue: the message ids, in order.
    ///
    /// # Panics
    /// When the broker keeps something back.
    pub async fn drain(&self, queue: &str) -> Vec<String> {
        let id = |delivery: &Delivery| delivery.properties.message_id().as_ref().map(ToString::to_string);
        self.drained(queue).await.iter().map(|delivery| id(delivery).unwrap_or_default()).collect()
    }

    /// Takes everything from a queue: the bodies, in order.
    ///
    /// # Panics
    /// When the broker keeps something back.
    pub async fn drain_bodies(&self, queue: &str) -> Vec<Vec<u8>> {
        self.drained(queue).await.into_iter().map(|delivery| delivery.data).collect()
    }

    async fn drained(&self, queue: &str) -> Vec<Delivery> {
        let count = self.ready(queue).await;
        let channel = self.channel().await;
        channel.basic_qos(1_000, BasicQosOptions::default()).await.expect("a prefetch");
        let (name, options) = (format!("{}.{queue}", self.prefix), BasicConsumeOptions::default());
        let consuming = channel.basic_consume(name.as_str().into(), "".into(), options, FieldTable::default());
        let mut consumer = consuming.await.expect("a consumer");
        let mut drained = Vec::new();
        while drained.len() < count {
            let next = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("they come");
            let delivery = next.expect("the queue is there").expect("a delivery");
            delivery.acker.ack(BasicAckOptions::default()).await.expect("it is acknowledged");
            drained.push(delivery);
        }
        channel.basic_cancel(consumer.tag(), lapin::options::BasicCancelOptions::default()).await.expect("cancelled");
        channel.close(200, "done".into()).await.expect("it closes");
        drained
    }

    /// Takes everything from the work queues: how often each message id is there.
    pub async fn drain_work(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for account in Config::ACCOUNTS {
            for id in self.drain(&format!("events.{account}")).await {
                *counts.entry(id).or_default() += 1;
            }
        }
        counts
    }
}
