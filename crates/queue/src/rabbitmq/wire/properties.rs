use std::time::{Duration, SystemTime};

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use refersion_relay_model::{AccountName, Class, MAX_PLAIN_ID};

use crate::instant::believed;
use crate::port::message::NO_QUEUE;
use crate::{Death, Headers, Message, rfc3339_millis};

const ACCOUNT: &str = "x-relay-account";
const SUBJECT: &str = "x-relay-subject";
const RECEIVED_AT: &str = "x-relay-received-at";
const ATTEMPTS: &str = "x-relay-attempts";
const FIRST_FAILED_AT: &str = "x-relay-first-failed-at";
const DUE_AT: &str = "x-relay-due-at";
const GENERATION: &str = "x-relay-generation";
const CREATE_ONLY: &str = "x-relay-create-only";
const VOUCHED: &str = "x-relay-vouched";
const TRACEPARENT: &str = "traceparent";
const CLASS: &str = "x-relay-class";
const REASON: &str = "x-relay-reason";
const STATUS: &str = "x-relay-status";
const ERROR: &str = "x-relay-error";
const DEAD_AT: &str = "x-relay-dead-at";

/// What a quorum queue counts in.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// What a dead letter without a reason of ours died of: only the broker itself makes such letters.
const BROKER_GAVE_UP: &str = "delivery_limit";
/// What the sender of a message wanted: that it is worth nothing after some time.
const EXPIRED: &str = "expired";
/// The longest header value that is believed.
pub(crate) const MAX_HEADER_BYTES: usize = 1024;

/// Writes headers as AMQP properties. Builds them anew, so nothing that the broker or a stranger added travels on.
pub(crate) fn write(headers: &Headers) -> BasicProperties {
    let mut table = FieldTable::default();
    let mut number = |key: &str, value: u32| {
        table.insert(key.into(), AMQPValue::LongLongInt(value.into()));
    };
    // The broker reads and stores each header of each message. One that is not there stands for zero.
    for (key, count) in [(ATTEMPTS, headers.attempts), (GENERATION, headers.generation)] {
        if count != 0 {
            number(key, count);
        }
    }
    if let Some(status) = headers.death.as_ref().and_then(|death| death.status) {
        number(STATUS, status.into());
    }
    let mut text = |key: &str, value: &str| {
        table.insert(key.into(), AMQPValue::LongString(value.into()));
    };
    text(RECEIVED_AT, &rfc3339_millis(headers.received_at));
    if let Some(account) = &headers.account {
        text(ACCOUNT, account.as_str());
    }
    if headers.create_only {
        text(CREATE_ONLY, "true");
    }
    if headers.vouched {
        text(VOUCHED, "true");
    }
    let optional = [
        (SUBJECT, headers.subject.clone()),
        (FIRST_FAILED_AT, headers.first_failed_at.map(rfc3339_millis)),
        (DUE_AT, headers.due_at.map(rfc3339_millis)),
        (TRACEPARENT, headers.traceparent.clone()),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            text(key, &value);
        }
    }
    if let Some(dead_at) = headers.death.as_ref().and_then(|death| death.dead_at) {
        text(DEAD_AT, &rfc3339_millis(dead_at));
    }
    if let Some(death) = &headers.death {
        text(CLASS, death.class.as_str());
        text(REASON, &death.reason);
        if let Some(error) = &death.error {
            text(ERROR, error);
        }
    }
    let seconds = headers.received_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_message_id(short(&headers.message_id))
        .with_type(short(&headers.kind))
        .with_timestamp(seconds)
        .with_headers(table)
}

/// Reads a message off a queue. Everything in it is untrusted: what cannot be right is left out or replaced.
pub(crate) fn read(body: Vec<u8>, properties: &BasicProperties, class: Option<Class>) -> Message {
    let none = FieldTable::default();
    let table = properties.headers().as_ref().unwrap_or(&none);
    let text = |key: &str| text(table, key);
    let number = |key: &str| text(key).and_then(|value| value.parse().ok());
    let seconds = properties
        .timestamp()
        .map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    let received_at = instant(text(RECEIVED_AT)).or(seconds).unwrap_or(SystemTime::UNIX_EPOCH);
    let death = class.map(|class| Death {
        class,
        reason: text(REASON).unwrap_or_else(|| broker_death(class, properties).reason),
        status: text(STATUS).and_then(|status| status.parse().ok()),
        error: text(ERROR),
        dead_at: instant(text(DEAD_AT)).or_else(|| died_at(properties)),
    });
    let headers = Headers {
        message_id: shown(properties.message_id().as_ref()),
        kind: shown(properties.kind().as_ref()),
        account: text(ACCOUNT).and_then(|name| AccountName::try_from(name).ok()),
        subject: text(SUBJECT),
        received_at,
        attempts: number(ATTEMPTS).unwrap_or(0),
        first_failed_at: instant(text(FIRST_FAILED_AT)),
        due_at: instant(text(DUE_AT)),
        generation: number(GENERATION).unwrap_or(0),
        // Whatever stands there: it only takes away.
        create_only: table.contains_key(CREATE_ONLY),
        // It gives a right, so nothing else will do.
        vouched: text(VOUCHED).as_deref() == Some("true"),
        traceparent: text(TRACEPARENT),
        death,
    };
    Message { body: Bytes::from(body), headers }
}

/// How often a quorum queue delivered a message before, as it says when it delivers it again.
pub(crate) fn delivery_count(properties: &BasicProperties) -> u32 {
    let table = properties.headers().as_ref();
    let count = table.and_then(|table| text(table, DELIVERY_COUNT)).and_then(|count| count.parse().ok());
    count.unwrap_or(0)
}

/// What is known of a letter that only the broker can have put where it is.
pub(crate) fn broker_death(class: Class, properties: &BasicProperties) -> Death {
    let expired = last_death(properties).is_some_and(|death| match death.inner().get("reason") {
        Some(AMQPValue::LongString(reason)) => reason.as_bytes() == EXPIRED.as_bytes(),
        _ => false,
    });
    let reason = match class {
        Class::Unrouted => NO_QUEUE,
        _ if expired => EXPIRED,
        _ => BROKER_GAVE_UP,
    };
    Death { class, reason: reason.to_owned(), status: None, error: None, dead_at: died_at(properties) }
}

/// When the broker put a letter away, to the second.
fn died_at(properties: &BasicProperties) -> Option<SystemTime> {
    match last_death(properties)?.inner().get("time")? {
        AMQPValue::Timestamp(seconds) => {
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs((*seconds).min(u64::from(u32::MAX))))
        }
        _ => None,
    }
}

/// What the broker wrote last about why it moved a message. For people only: a publisher can have written it too.
fn last_death(properties: &BasicProperties) -> Option<&FieldTable> {
    match properties.headers().as_ref()?.inner().get("x-death")? {
        AMQPValue::FieldArray(deaths) => match deaths.as_slice().first()? {
            AMQPValue::FieldTable(death) => Some(death),
            _ => None,
        },
        _ => None,
    }
}

fn text(table: &FieldTable, key: &str) -> Option<String> {
    let value = match table.inner().get(key)? {
        AMQPValue::LongString(value) if value.len() <= MAX_HEADER_BYTES => {
            std::str::from_utf8(value.as_bytes()).ok()?.to_owned()
        }
        AMQPValue::ShortString(value) => value.as_str().to_owned(),
        AMQPValue::LongInt(value) => value.to_string(),
        AMQPValue::LongLongInt(value) => value.to_string(),
        _ => return None,
    };
    (!value.chars().any(char::is_control)).then_some(value)
}

fn shown(value: Option<&ShortString>) -> String {
    let value = value.map_or("", ShortString::as_str);
    value.chars().filter(|c| !c.is_control()).take(MAX_PLAIN_ID).collect()
}

/// Cut to what a short string holds; everything that gets here is shorter.
fn short(value: &str) -> ShortString {
    let value: String = value.chars().take(MAX_PLAIN_ID).collect();
    ShortString::try_new(value).unwrap_or_default()
}

fn instant(text: Option<String>) -> Option<SystemTime> {
    humantime::parse_rfc3339(&text?).ok().and_then(believed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rabbitmq::wire::connection::OUR_FRAME_BYTES;

    fn headers() -> Headers {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        Headers {
            attempts: 3,
            first_failed_at: Some(at),
            due_at: Some(at),
            generation: 2,
            create_only: true,
            vouched: true,
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            death: Some(Death {
                class: Class::Rejected,
                reason: "refused".to_owned(),
                status: Some(422),
                error: Some("too long".to_owned()),
                dead_at: Some(at),
            }),
            ..Headers::received("m1", "identify", AccountName::try_from("acme").unwrap(), "0123".to_owned(), at)
        }
    }

    #[test]
    fn headers_survive_the_wire() {
        let read = read(b"{}".to_vec(), &write(&headers()), Some(Class::Rejected));
        assert_eq!(read.headers, headers());
    }

    #[test]
    fn a_new_event_has_no_headers_for_zeros_and_is_read_as_it_was() {
        let Headers { message_id, kind, account, subject, received_at, .. } = headers();
        let new = Headers::received(&message_id, &kind, account.unwrap(), subject.unwrap(), received_at);
        let written = write(&new);
        let names: Vec<_> =
            written.headers().iter().flat_map(FieldTable::inner).map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [ACCOUNT, RECEIVED_AT, SUBJECT]);
        assert_eq!(read(Vec::new(), &written, None).headers, new);
    }

    #[test]
    fn the_largest_headers_are_far_smaller_than_a_frame() {
        let most = || "x".repeat(MAX_HEADER_BYTES);
        let death = headers().death.map(|death| Death { reason: most(), error: Some(most()), ..death });
        let (subject, traceparent, kind) = (Some(most()), Some(most()), "x".repeat(300));
        let headers = Headers { subject, traceparent, message_id: kind.clone(), kind, death, ..headers() };
        let bytes = |(key, value): (&ShortString, &AMQPValue)| match value {
            AMQPValue::LongString(value) => key.as_str().len() + value.as_bytes().len(),
            _ => key.as_str().len(),
        };
        let written: usize = write(&headers).headers().iter().flat_map(FieldTable::inner).map(bytes).sum();
        assert!((4 * MAX_HEADER_BYTES..OUR_FRAME_BYTES as usize / 4).contains(&written), "{written}");
    }

    #[test]
    fn what_the_broker_and_strangers_add_does_not_travel_on() {
        let mut table = write(&headers()).headers().clone().unwrap();
        table.insert("x-death".into(), AMQPValue::LongString("broker".into()));
        table.insert("x-first-death-reason".into(), AMQPValue::LongString("expired".into()));
        let properties = write(&headers()).with_headers(table).with_expiration("1".into());
        let again = write(&read(Vec::new(), &properties, None).headers);
        assert!(again.expiration().is_none());
        let table = again.headers().clone().unwrap();
        assert!(table.inner().keys().all(|key| key.as_str().starts_with("x-relay-") || key.as_str() == "traceparent"));
        assert!(!table.contains_key(CLASS), "a letter that is sent again is no dead letter");
    }

    #[test]
    fn forged_headers_are_left_out() {
        let mut table = FieldTable::default();
        table.insert(ACCOUNT.into(), AMQPValue::LongString("../../etc".into()));
        table.insert(ATTEMPTS.into(), AMQPValue::LongString("-1".into()));
        table.insert(FIRST_FAILED_AT.into(), AMQPValue::LongString("9999-12-31T23:59:60Z".into()));
        table.insert(DEAD_AT.into(), AMQPValue::LongString("10000-01-01T00:00:00Z".into()));
        table.insert(GENERATION.into(), AMQPValue::FieldTable(FieldTable::default()));
        table.insert(SUBJECT.into(), AMQPValue::LongString("x".repeat(2_000).into()));
        table.insert(RECEIVED_AT.into(), AMQPValue::LongString("yesterday".into()));
        table.insert(TRACEPARENT.into(), AMQPValue::LongString("a\nb".into()));
        let headers = read(Vec::new(), &BasicProperties::default().with_headers(table), None).headers;
        assert_eq!((headers.account, headers.attempts, headers.generation), (None, 0, 0));
        assert_eq!((headers.subject, headers.traceparent), (None, None));
        assert_eq!(headers.received_at, SystemTime::UNIX_EPOCH);
    }
}
