//! What holds for the headers of a message whatever a publisher wrote.

use std::time::{Duration, SystemTime};

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};
use refersion_relay_model::{AccountName, Class, MAX_PLAIN_ID};

use crate::Headers;
use crate::rabbitmq::wire::properties::{MAX_HEADER_BYTES, read, write};

/// What begins 2,932,897 days after 1970, and has no date of four digits.
const YEAR_10000: Duration = Duration::from_hours(24 * 2_932_897);

/// Reads the properties of a message and checks what comes of them.
///
/// Each line of the input is a property (`message-id`, `type`, `timestamp`), the class of the queue (`class`), a header
/// with the letter that AMQP has for the type of its value (`S x-relay-account acme`), or what the broker would say
/// of the last death (`death expired 1700000000`).
///
/// # Panics
/// When something does not hold.
pub fn headers(input: &[u8]) {
    let (properties, class) = published(input);
    let message = read(input.to_vec(), &properties, class);
    assert_eq!(message.body, input, "the body is as it was");
    let headers = message.headers;
    check(&headers, class);

    // What was read is written, and read again. Only parts of a millisecond do not travel.
    let properties = write(&headers);
    let again = read(Vec::new(), &properties, class).headers;
    assert_eq!(again, to_the_millisecond(headers));
    assert_eq!(write(&again), properties, "what is written twice does not change any more");
    check(&again.replayed(), None);
}

fn check(headers: &Headers, class: Option<Class>) {
    for shown in [&headers.message_id, &headers.kind] {
        assert!(shown.chars().count() <= MAX_PLAIN_ID && !shown.contains(char::is_control), "{shown:?}");
    }
    if let Some(account) = &headers.account {
        assert_eq!(AccountName::try_from(account.as_str()).as_ref(), Ok(account));
    }
    let death = headers.death.as_ref();
    assert_eq!(death.map(|death| death.class), class, "the queue says which class a letter has, and no header");
    let texts = [headers.subject.as_ref(), headers.traceparent.as_ref(), death.map(|death| &death.reason)];
    for text in texts.into_iter().chain([death.and_then(|death| death.error.as_ref())]).flatten() {
        assert!(text.len() <= MAX_HEADER_BYTES && !text.contains(char::is_control), "{text:?}");
    }
    let times = [Some(headers.received_at), headers.first_failed_at, headers.due_at];
    for time in times.into_iter().chain([death.and_then(|death| death.dead_at)]).flatten() {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("not before there were clocks");
        assert!(since < YEAR_10000, "it would not be written");
    }
}

fn to_the_millisecond(headers: Headers) -> Headers {
    let cut = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("it was checked");
        time - Duration::from_nanos(u64::from(since.subsec_nanos() % 1_000_000))
    };
    let mut headers = Headers { received_at: cut(headers.received_at), ..headers };
    let death = headers.death.as_mut().map(|death| &mut death.dead_at);
    for time in [&mut headers.first_failed_at, &mut headers.due_at].into_iter().chain(death) {
        *time = time.map(cut);
    }
    headers
}

/// The properties that the lines stand for, as far as they stand for any.
fn published(input: &[u8]) -> (BasicProperties, Option<Class>) {
    let (mut properties, mut class, mut table) = (BasicProperties::default(), None, FieldTable::default());
    for line in input.split(|byte| *byte == b'\n') {
        let (word, rest) = split(line);
        properties = match (word, std::str::from_utf8(rest).ok(), short(rest)) {
            (b"message-id", _, Some(id)) => properties.with_message_id(id),
            (b"type", _, Some(kind)) => properties.with_type(kind),
            (b"timestamp", Some(number), _) => match number.parse() {
                Ok(seconds) => properties.with_timestamp(seconds),
                Err(_) => properties,
            },
            (b"class", Some(name), _) => {
                class = name.parse().ok();
                properties
            }
            _ => {
                let (key, value) = split(rest);
                if word == b"death" {
                    table.insert("x-death".into(), death(key, value));
                } else if let Some(key) = short(key) {
                    table.insert(key, typed(word, value));
                }
                properties
            }
        };
    }
    (properties.with_headers(table), class)
}

fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    (&line[..end], line.get(end + 1..).unwrap_or_default())
}

fn short(bytes: &[u8]) -> Option<ShortString> {
    ShortString::try_new(std::str::from_utf8(bytes).ok()?.to_owned()).ok()
}

fn number<T: std::str::FromStr + Default>(bytes: &[u8]) -> T {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The letters are those of the protocol's type tags as brokers use them, and `s` is what lapin calls a short string.
fn typed(letter: &[u8], value: &[u8]) -> AMQPValue {
    match letter {
        b"S" => AMQPValue::LongString(value.into()),
        b"s" => short(value).map_or(AMQPValue::Void, AMQPValue::ShortString),
        b"I" => AMQPValue::LongInt(number(value)),
        b"l" => AMQPValue::LongLongInt(number(value)),
        b"T" => AMQPValue::Timestamp(number(value)),
        b"t" => AMQPValue::Boolean(value == b"true"),
        b"F" => AMQPValue::FieldTable(FieldTable::default()),
        b"A" => AMQPValue::FieldArray(FieldArray::default()),
        _ => AMQPValue::Void,
    }
}

fn death(reason: &[u8], time: &[u8]) -> AMQPValue {
    let mut table = FieldTable::default();
    table.insert("reason".into(), AMQPValue::LongString(reason.into()));
    table.insert("time".into(), AMQPValue::Timestamp(number(time)));
    AMQPValue::FieldArray(vec![AMQPValue::FieldTable(table)].into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn whatever_the_headers_are() {
        refersion_relay_mutations::drive("headers", super::headers);
    }
}
