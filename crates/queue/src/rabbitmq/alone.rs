//! Notes of events that are about to be worked alone: bindings, which stay on the broker when the process dies.
//!
//! A note is a binding of `….notes` with a key of its own. It leads to the exchange `….alone`, behind which there is nothing but
//! the queue of whoever asks: what is published with the key of a note that is not there comes back.

use std::io;
use std::ops::Range;

use lapin::options::{
    BasicPublishOptions, ExchangeBindOptions, ExchangeDeclareOptions, ExchangeUnbindOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind};
use sha2::{Digest, Sha256};

use super::names::Names;
use super::reader::{answer, confirming};
use crate::{Message, rfc3339_millis};

/// The notes of one event. There are never more than this: whoever finds so many gives the event up.
const MOST: u32 = 8;

/// Makes the first note that is not there yet, and returns its number.
pub(crate) async fn note(connection: &Connection, names: &Names, message: &Message) -> Result<u32, lapin::Error> {
    let (event, channel) = (name(message), confirming(connection).await?);
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let (exchange, kind) = (names.alone(), ExchangeKind::Fanout);
    answer(channel.exchange_declare(exchange.into(), kind, options, FieldTable::default())).await?;
    let asking = format!("{}.asking.{:016x}", names.alone(), rand::random::<u64>());
    listen(&channel, names, &asking).await?;
    let mut number = 0;
    while number < MOST && is_there(&channel, names, &names.alone_note(&event, number)).await? {
        number += 1;
    }
    let (to, from, key) = (names.alone(), names.notes(), names.alone_note(&event, number));
    let options = ExchangeBindOptions::default();
    answer(channel.exchange_bind(to.into(), from.into(), key.into(), options, FieldTable::default())).await?;
    answer(channel.queue_delete(asking.into(), QueueDeleteOptions::default())).await?;
    close(channel).await?;
    Ok(number)
}

/// Takes notes away by their numbers, those that are there.
pub(crate) async fn erase(
    connection: &Connection,
    names: &Names,
    message: &Message,
    notes: Range<u32>,
) -> Result<(), lapin::Error> {
    let (event, channel) = (name(message), answer(connection.create_channel()).await?);
    for number in notes {
        let (to, from, key) = (names.alone(), names.notes(), names.alone_note(&event, number));
        let options = ExchangeUnbindOptions::default();
        answer(channel.exchange_unbind(to.into(), from.into(), key.into(), options, FieldTable::default())).await?;
    }
    close(channel).await
}

/// Takes what is published with the key of a note, and drops it.
async fn listen(channel: &Channel, names: &Names, queue: &str) -> Result<(), lapin::Error> {
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
    answer(channel.queue_declare(queue.into(), options, arguments)).await?;
    let (exchange, options) = (names.alone(), QueueBindOptions::default());
    answer(channel.queue_bind(queue.into(), exchange.into(), "".into(), options, FieldTable::default())).await
}

async fn is_there(channel: &Channel, names: &Names, key: &str) -> Result<bool, lapin::Error> {
    let publishing = async {
        // One at a time, so what comes back is this.
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        channel.basic_publish(names.notes().into(), key.into(), options, b"", BasicProperties::default()).await?.await
    };
    match answer(publishing).await? {
        Confirmation::Ack(None) => Ok(true),
        Confirmation::Ack(Some(_)) => Ok(false),
        Confirmation::Nack(_) | Confirmation::NotRequested => {
            Err(io::Error::other("the broker does not say which notes there are").into())
        }
    }
}

async fn close(channel: Channel) -> Result<(), lapin::Error> {
    answer(channel.close(200, "done".into())).await
}

/// Stands for an event where it is: the same event that was sent twice was received twice.
fn name(message: &Message) -> String {
    let headers = &message.headers;
    let mut hash = Sha256::new();
    let account = headers.account.as_ref().map_or("", |account| account.as_str());
    for part in [account, &headers.message_id, &rfc3339_millis(headers.received_at)] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(headers.generation.to_be_bytes());
    hash.update(&message.body);
    let digest: [u8; 32] = hash.finalize().into();
    format!("{:032x}", u128::from_be_bytes(std::array::from_fn(|index| digest[index])))
}
