use std::time::{Duration, SystemTime};

use refersion_relay_model::Class;
use rusqlite::{Connection, params};

use super::{places, row};
use crate::Headers;

/// Where an event is in the file of an embedded queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What stands beside it; with why it is dead, if it is.
    pub headers: Headers,
    /// Where.
    pub whereabouts: Whereabouts,
    /// An earlier event about the same subject that has not ended, if there is one.
    pub behind: Option<Box<Found>>,
}

/// The kinds of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// In its work queue, behind so many events of its account.
    Waiting {
        /// Those before it.
        before: u64,
    },
    /// Delivered to a worker, and not settled; if that has died, to be delivered again.
    InHand,
    /// In a retry queue of this delay, until then.
    Tier {
        /// How long it waits in all.
        delay: Duration,
        /// When it comes back.
        until: SystemTime,
    },
    /// Among the dead letters of a class.
    Dead(Class),
    /// In a place that this release does not know.
    Elsewhere,
}

/// The most events with one message id that are looked at.
const MOST: i64 = 16;

/// Finds events by their message id. Reads every row: who asks about one event can wait a second.
pub(crate) fn find(connection: &Connection, message_ids: &[String]) -> rusqlite::Result<Vec<Found>> {
    let mut found = Vec::new();
    for message_id in message_ids {
        let condition = "event.message_id = ?1 ORDER BY event.number LIMIT ?2";
        let events = select(connection, condition, params![message_id, MOST])?;
        for (number, mut event) in events {
            event.behind = earlier(connection, number, &event)?.map(Box::new);
            found.push(event);
        }
    }
    Ok(found)
}

/// The first event of the same subject that was accepted before and has not ended.
fn earlier(connection: &Connection, number: i64, event: &Found) -> rusqlite::Result<Option<Found>> {
    let (Some(account), Some(subject)) = (&event.headers.account, &event.headers.subject) else { return Ok(None) };
    if matches!(event.whereabouts, Whereabouts::Dead(_)) {
        return Ok(None);
    }
    let condition = "event.account = ?1 AND event.subject = ?2 AND event.number <> ?3 AND place.name NOT GLOB 'dead.*' \
                     AND (event.received_at, event.number) < (?4, ?3) ORDER BY event.received_at, event.number LIMIT 1";
    let received = row::millis(event.headers.received_at);
    let found = select(connection, condition, params![account.as_str(), subject, number, received])?;
    Ok(found.into_iter().next().map(|(_, event)| event))
}

fn select(
    connection: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<(i64, Found)>> {
    // Bodies are personal, and may be large.
    let columns = row::COLUMNS.split(", ").map(|column| {
        if column.trim() == "body" { "x'' AS body".to_owned() } else { format!("event.{}", column.trim()) }
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT {columns}, place.name, event.number <= place.delivered_up_to, event.due_at, (SELECT count(*) FROM event AS other \
         WHERE other.place = event.place AND other.number < event.number) FROM event JOIN place ON place.id = event.place WHERE \
         {condition}"
    );
    let mut statement = connection.prepare(&sql)?;
    let found = statement.query_map(values, |row| {
        let extra = row::COLUMNS.split(',').count();
        let (name, delivered): (String, bool) = (row.get(extra)?, row.get(extra + 1)?);
        let (due_at, before): (Option<i64>, i64) = (row.get(extra + 2)?, row.get(extra + 3)?);
        let class = name.strip_prefix("dead.").and_then(|class| class.parse::<Class>().ok());
        let whereabouts = match (class, places::delay(&name), due_at.and_then(row::at)) {
            (Some(class), ..) => Whereabouts::Dead(class),
            (None, Some(delay), Some(until)) => Whereabouts::Tier { delay, until },
            (None, ..) if !name.starts_with("events.") => Whereabouts::Elsewhere,
            (None, ..) if delivered => Whereabouts::InHand,
            (None, ..) => Whereabouts::Waiting { before: u64::try_from(before).unwrap_or(0) },
        };
        let row::Stored { number, message, .. } = row::read(row, class)?;
        Ok((number, Found { headers: message.headers, whereabouts, behind: None }))
    })?;
    found.collect()
}
