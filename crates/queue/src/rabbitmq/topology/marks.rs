//! Marks: what is there or not there, and can be asked for without an error.
//!
//! Asking a broker for a queue that does not exist, or that another connection has to itself, is an error, which ends the
//! channel and stands in the broker's log. A binding is different: what is published with a key that nothing is bound to comes
//! back, and nobody minds. So a mark is a binding of `….notes` with a key of its own. It leads to a queue that is a connection's
//! own, goes with that, and drops whatever comes to it. Who asks publishes nothing, with that key.

use std::io;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};

use super::names::Names;
use crate::Backoff;
use crate::rabbitmq::wire::requests::{answer, confirming};

/// How often a broker that refuses to say is asked.
const ASKED: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Somebody who asks for marks.
pub(crate) struct Marks {
    channel: Channel,
    names: Names,
}

impl Marks {
    /// Begins to ask, over a channel of its own.
    pub(crate) async fn ask(connection: &Connection, names: &Names) -> Result<Self, lapin::Error> {
        Ok(Self { channel: confirming(connection).await?, names: names.clone() })
    }

    /// Whether something is marked.
    pub(crate) async fn has(&self, name: &str) -> Result<bool, lapin::Error> {
        self.has_key(&key(name)).await
    }

    /// Whether anything is bound to a key.
    ///
    /// RabbitMQ 4.3 refuses what goes to a connection's own queue that is just ending with its connection. So what was refused is
    /// asked again: by then the queue is gone.
    pub(crate) async fn has_key(&self, key: &str) -> Result<bool, lapin::Error> {
        let mut backoff = Backoff::new(FIRST_WAIT, LAST_WAIT);
        for _ in 0..ASKED {
            match self.publish(key).await? {
                Confirmation::Ack(None) => return Ok(true),
                Confirmation::Ack(Some(_)) => return Ok(false),
                Confirmation::Nack(_) | Confirmation::NotRequested => tokio::time::sleep(backoff.next_wait()).await,
            }
        }
        Err(io::Error::other("the broker does not say what is marked").into())
    }

    async fn publish(&self, key: &str) -> Result<Confirmation, lapin::Error> {
        let publishing = async {
            // One at a time, so what comes back is this.
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let exchange = self.names.notes().into();
            self.channel.basic_publish(exchange, key.into(), options, b"", BasicProperties::default()).await?.await
        };
        answer(publishing).await
    }

    /// Ends asking.
    pub(crate) async fn end(self) -> Result<(), lapin::Error> {
        answer(self.channel.close(200, "done".into())).await
    }
}

/// Marks something for as long as this connection lives. Several connections can.
pub(crate) async fn mark(connection: &Connection, names: &Names, name: &str) -> Result<(), lapin::Error> {
    own(connection, names, name, &format!("{name}.{:016x}", rand::random::<u64>())).await
}

/// The same for one connection at a time; `RESOURCE_LOCKED` where it is another one's. That is an error, so who can expect it
/// asks for the mark before.
pub(crate) async fn lock(connection: &Connection, names: &Names, name: &str) -> Result<(), lapin::Error> {
    own(connection, names, name, name).await
}

async fn own(connection: &Connection, names: &Names, name: &str, queue: &str) -> Result<(), lapin::Error> {
    let channel = answer(connection.create_channel()).await?;
    drain(&channel, queue, &names.notes(), &key(name)).await?;
    answer(channel.close(200, "done".into())).await
}

/// Binds a queue that is this connection's own, and drops whatever comes to it.
pub(crate) async fn drain(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), lapin::Error> {
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
    answer(channel.queue_declare(queue.into(), options, arguments)).await?;
    let options = QueueBindOptions::default();
    answer(channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default())).await
}

/// Not a name of a queue: what is published with one is for that queue.
fn key(name: &str) -> String {
    format!("{name}.mark")
}
