use lapin::options::{BasicGetOptions, ConfirmSelectOptions};
use lapin::{Channel, Connection};

use super::connection;
use super::marks::{Marks, lock};
use super::names::Names;
use super::reader::{RESOURCE_LOCKED, answer, io_error, is, of_queue};
use super::tally::{remove_unfinished, store};
use super::url::BrokerUrl;

/// Puts into the gate of a set of shards what it begins with, if really nothing is in it: it is new, or whoever wanted to
/// close it died at the last moment. The set is open then; but one that `was_used` never is closed at once, since there is
/// nothing to wait for.
///
/// Over a connection of its own: RabbitMQ 3.10 ends one that gets from a quorum queue which is just being made.
pub(super) async fn begin(url: &BrokerUrl, names: &Names, shards: u16, was_used: bool) -> Result<(), lapin::Error> {
    let connection = connection::connect(url, "shards").await;
    let connection = connection.map_err(|error| io_error(error.to_string()))?;
    let begun = begin_over(url, &connection, names, shards, was_used).await;
    let is_blocked = connection.status().blocked();
    // What was got is back then.
    connection::close(&connection).await;
    let blocked = |_| io_error("the broker takes no messages: it is short of memory or disk".to_owned());
    if is_blocked { begun.map_err(blocked) } else { begun }
}

async fn begin_over(
    url: &BrokerUrl,
    connection: &Connection,
    names: &Names,
    shards: u16,
    was_used: bool,
) -> Result<(), lapin::Error> {
    // Nobody closes the set meanwhile.
    let holder = names.gate_holder(shards);
    if Marks::has_one(connection, names, &holder).await? {
        return Ok(());
    }
    match lock(connection, names, &holder).await {
        Err(error) if is(&error, RESOURCE_LOCKED) => return Ok(()),
        locked => locked?,
    }
    for queue in [names.gate(shards), names.closed(shards)] {
        remove_unfinished(url, connection, names, &queue).await?;
    }
    let channel = answer(connection.create_channel()).await?;
    // Unlike a count, getting needs the leader of the queue.
    if has_something(&channel, &names.gate(shards)).await? || has_something(&channel, &names.closed(shards)).await? {
        return Ok(());
    }
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    if was_used { open(&channel, names, shards).await } else { close(&channel, names, shards).await }
}

async fn has_something(channel: &Channel, queue: &str) -> Result<bool, lapin::Error> {
    let got = answer(channel.basic_get(queue.into(), BasicGetOptions::default())).await;
    Ok(got.map_err(|error| of_queue(error, queue))?.is_some())
}

/// Opens a set, on a channel with confirms.
pub(super) async fn open(channel: &Channel, names: &Names, shards: u16) -> Result<(), lapin::Error> {
    store(channel, names, &names.gate(shards), b"{}").await
}

/// Closes a set whose gate is empty.
pub(super) async fn close(channel: &Channel, names: &Names, shards: u16) -> Result<(), lapin::Error> {
    store(channel, names, &names.closed(shards), b"{}").await
}
