//! Notes of events that are about to be worked alone: bindings, which stay on the broker when the process dies.
//!
//! A note is a binding of `….notes` with a key of its own. It leads to the exchange `….alone`, behind which there is nothing but
//! the queue of whoever asks: what is published with the key of a note that is not there comes back.

use std::ops::Range;

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, ExchangeUnbindOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ExchangeKind};
use sha2::{Digest, Sha256};

use crate::port::delivery::MOST_NOTES;
use crate::rabbitmq::topology::marks::{Marks, drain};
use crate::rabbitmq::topology::names::Names;
use crate::rabbitmq::wire::requests::answer;
use crate::{Message, rfc3339_millis};

/// Makes the first note that is not there yet, and returns its number.
pub(crate) async fn note(connection: &Connection, names: &Names, message: &Message) -> Result<u32, lapin::Error> {
    let (event, channel) = (name(message), answer(connection.create_channel()).await?);
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let (exchange, kind) = (names.alone(), ExchangeKind::Fanout);
    answer(channel.exchange_declare(exchange.into(), kind, options, FieldTable::default())).await?;
    let asking = format!("{}.asking.{:016x}", names.alone(), rand::random::<u64>());
    drain(&channel, &asking, &names.alone(), "").await?;
    let marks = Marks::ask(connection, names).await?;
    let mut number = 0;
    while number < MOST_NOTES - 1 && marks.has_key(&names.alone_note(&event, number)).await? {
        number += 1;
    }
    marks.end().await?;
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
