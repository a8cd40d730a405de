use std::time::{Duration, SystemTime};

use bytes::Bytes;
use refersion_relay_model::{AccountName, Class, DeadReason, MAX_PLAIN_ID};
use rusqlite::types::ValueRef;
use rusqlite::{Row, Statement, params};

use crate::instant::believed;
use crate::{Death, Headers, Message};

/// What [`read`] reads, in its order.
pub(crate) const COLUMNS: &str = "number, deliveries, message_id, type, account, subject, received_at, attempts, \
     first_failed_at, generation, traceparent, reason, status, error, dead_at, body, create_only, was_due_at, vouched";

pub(crate) const INSERT: &str = "INSERT INTO event (number, place, due_at, due_place, deliveries, message_id, type, \
     account, subject, received_at, attempts, first_failed_at, generation, traceparent, reason, status, error, dead_at, \
     body, create_only, was_due_at, vouched) VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, \
     ?17, ?18, ?19, ?20, ?21)";

/// The longest text beside a body that is believed.
const MAX_TEXT_BYTES: usize = 1024;

/// Where an event is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) place: i64,
    /// In milliseconds, and where it goes then.
    pub(crate) due: Option<(i64, i64)>,
}

/// An event as it stands in the file.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) number: i64,
    /// How often it was delivered before.
    pub(crate) deliveries: i64,
    pub(crate) message: Message,
}

pub(crate) fn insert(
    statement: &mut Statement<'_>,
    number: i64,
    address: Address,
    headers: &Headers,
    body: &[u8],
) -> rusqlite::Result<()> {
    let Headers {
        message_id,
        kind,
        account,
        subject,
        received_at,
        attempts,
        first_failed_at,
        due_at,
        generation,
        create_only,
        vouched,
        traceparent,
        death,
    } = headers;
    let death = death.as_ref();
    statement.execute(params![
        number,
        address.place,
        address.due.map(|(at, _)| at),
        address.due.map(|(_, place)| place),
        message_id,
        kind,
        account.as_ref().map(AccountName::as_str),
        subject,
        millis(*received_at),
        attempts,
        first_failed_at.map(millis),
        generation,
        traceparent,
        death.map(|death| death.reason.as_str()),
        death.and_then(|death| death.status),
        death.and_then(|death| death.error.as_deref()),
        death.and_then(|death| death.dead_at).map(millis),
        body,
        create_only,
        due_at.map(millis),
        vouched,
    ])?;
    Ok(())
}

/// Reads an event. Somebody may have edited the file, so everything in it is untrusted: what cannot be right is left out
/// or replaced.
pub(crate) fn read(row: &Row<'_>, class: Option<Class>) -> rusqlite::Result<Stored> {
    let text = |index| row.get_ref(index).map(text);
    let number = |index| row.get_ref(index).map(whole);
    let instant = |index| number(index).map(|millis| millis.and_then(at));
    let shown = |index| -> rusqlite::Result<String> {
        Ok(text(index)?.unwrap_or_default().chars().take(MAX_PLAIN_ID).collect())
    };
    let small = |index| number(index).map(|value| value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0));
    let death = match class {
        None => None,
        Some(class) => Some(Death {
            class,
            // Whoever puts away an event says why, but a person can move one.
            reason: text(11)?.unwrap_or_else(|| DeadReason::DeliveryLimit.as_str().to_owned()),
            status: number(12)?.and_then(|status| u16::try_from(status).ok()),
            error: text(13)?,
            dead_at: instant(14)?,
        }),
    };
    let headers = Headers {
        message_id: shown(2)?,
        kind: shown(3)?,
        account: text(4)?.and_then(|name| AccountName::try_from(name).ok()),
        subject: text(5)?,
        received_at: instant(6)?.unwrap_or(SystemTime::UNIX_EPOCH),
        attempts: small(7)?,
        first_failed_at: instant(8)?,
        due_at: instant(17)?,
        generation: small(9)?,
        // Whatever but zero stands there: it only takes away.
        create_only: number(16)? != Some(0),
        // It gives a right, so nothing else will do.
        vouched: number(18)? == Some(1),
        traceparent: text(10)?,
        death,
    };
    let body = match row.get_ref(15)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Bytes::copy_from_slice(bytes),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => Bytes::new(),
    };
    Ok(Stored {
        number: whole(row.get_ref(0)?).unwrap_or(0),
        deliveries: whole(row.get_ref(1)?).unwrap_or(0),
        message: Message { body, headers },
    })
}

fn text(value: ValueRef<'_>) -> Option<String> {
    let ValueRef::Text(bytes) = value else { return None };
    let text = std::str::from_utf8(bytes).ok()?;
    (text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn whole(value: ValueRef<'_>) -> Option<i64> {
    match value {
        ValueRef::Integer(value) => Some(value),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => None,
    }
}

/// Milliseconds since 1970; a time before that is 1970.
pub(crate) fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn at(millis: i64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(millis).ok()?)).and_then(believed)
}
