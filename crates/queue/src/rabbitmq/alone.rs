//! Notes of events that are about to be worked alone: marks that stay on the broker when the process dies.

use std::ops::Range;

use lapin::{Channel, Connection};
use sha2::{Digest, Sha256};

use super::marks::{Marks, mark, unmark};
use super::names::Names;
use super::reader::answer;
use crate::{Message, rfc3339_millis};

/// The notes of one event. There are never more than this: whoever finds so many gives the event up.
const MOST: u32 = 8;

/// Makes the first note that is not there yet, and returns its number.
pub(crate) async fn note(connection: &Connection, names: &Names, message: &Message) -> Result<u32, lapin::Error> {
    let event = name(message);
    let marks = Marks::ask(connection, names).await?;
    let mut number = 0;
    while number < MOST && marks.has(&names.alone(&event, number)).await? {
        number += 1;
    }
    marks.end().await?;
    let channel = answer(connection.create_channel()).await?;
    mark(&channel, names, &names.alone(&event, number)).await?;
    close(channel).await?;
    Ok(number)
}

/// Takes notes away by their numbers.
pub(crate) async fn erase(
    connection: &Connection,
    names: &Names,
    message: &Message,
    notes: Range<u32>,
) -> Result<(), lapin::Error> {
    let event = name(message);
    let channel = answer(connection.create_channel()).await?;
    for number in notes {
        unmark(&channel, names, &names.alone(&event, number)).await?;
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
