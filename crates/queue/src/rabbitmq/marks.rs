//! Marks: what is there or not there, and can be asked for without an error.
//!
//! Asking a broker for a queue or an exchange that does not exist is an error, which ends the channel and stands in the broker's
//! log. A binding is different: what is published with a key that nothing is bound to comes back, and nobody minds. So a
//! mark is a binding of `….notes` with a key of its own. One that is to stay leads to the exchange `….marks`; one that is to go
//! with a connection leads to a queue which is that connection's own. Who asks publishes nothing, with that key, and keeps a queue
//! behind `….marks` meanwhile; whatever comes to such a queue is dropped at once.

use std::io;

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeBindOptions, ExchangeDeclareOptions, ExchangeUnbindOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};

use super::names::Names;
use super::reader::answer;

/// Somebody who asks for marks.
pub(crate) struct Marks {
    channel: Channel,
    names: Names,
}

impl Marks {
    /// Begins to ask, over a channel of its own. Makes the exchanges that marks need.
    pub(crate) async fn ask(connection: &Connection, names: &Names) -> Result<Self, lapin::Error> {
        let channel = answer(connection.create_channel()).await?;
        answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        for (exchange, kind) in [(names.notes(), ExchangeKind::Direct), (names.marks(), ExchangeKind::Fanout)] {
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            answer(channel.exchange_declare(exchange.into(), kind, options, FieldTable::default())).await?;
        }
        let queue = names.asking(rand::random());
        own(&channel, &queue).await?;
        bind(&channel, &queue, &names.marks(), "").await?;
        Ok(Self { channel, names: names.clone() })
    }

    /// Whether something is marked.
    pub(crate) async fn has(&self, name: &str) -> Result<bool, lapin::Error> {
        let publishing = async {
            // One at a time, so what comes back is this.
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let (exchange, key) = (self.names.notes().into(), key(name).into());
            self.channel.basic_publish(exchange, key, options, b"", BasicProperties::default()).await?.await
        };
        match answer(publishing).await? {
            Confirmation::Ack(None) => Ok(true),
            Confirmation::Ack(Some(_)) => Ok(false),
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                Err(io::Error::other("the broker does not say what is marked").into())
            }
        }
    }

    /// Ends asking.
    pub(crate) async fn end(self) -> Result<(), lapin::Error> {
        answer(self.channel.close(200, "done".into())).await
    }

    /// Asks for one mark only.
    pub(crate) async fn has_one(connection: &Connection, names: &Names, name: &str) -> Result<bool, lapin::Error> {
        let marks = Self::ask(connection, names).await?;
        let found = marks.has(name).await?;
        marks.end().await?;
        Ok(found)
    }
}

/// Marks something, until [`unmark`]. The exchanges have to be there.
pub(super) async fn mark(channel: &Channel, names: &Names, name: &str) -> Result<(), lapin::Error> {
    let (to, from, options) = (names.marks(), names.notes(), ExchangeBindOptions::default());
    answer(channel.exchange_bind(to.into(), from.into(), key(name).into(), options, FieldTable::default())).await
}

/// Takes a mark away, if there is one.
pub(super) async fn unmark(channel: &Channel, names: &Names, name: &str) -> Result<(), lapin::Error> {
    let (to, from, options) = (names.marks(), names.notes(), ExchangeUnbindOptions::default());
    answer(channel.exchange_unbind(to.into(), from.into(), key(name).into(), options, FieldTable::default())).await
}

/// Makes a queue that is this connection's for as long as it lives, and marked as long; `RESOURCE_LOCKED` where it is another
/// one's. That is an error, so who can expect it asks for the mark before.
pub(super) async fn lock(connection: &Connection, names: &Names, holder: &str) -> Result<(), lapin::Error> {
    let channel = answer(connection.create_channel()).await?;
    own(&channel, holder).await?;
    bind(&channel, holder, &names.notes(), &key(holder)).await?;
    answer(channel.close(200, "done".into())).await
}

async fn own(channel: &Channel, queue: &str) -> Result<(), lapin::Error> {
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
    answer(channel.queue_declare(queue.into(), options, arguments)).await.map(drop)
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), lapin::Error> {
    let options = QueueBindOptions::default();
    answer(channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default())).await
}

/// Not a name of a queue: what is published with one is a note.
fn key(name: &str) -> String {
    format!("{name}.made")
}
