use bytes::Bytes;

use crate::arguments::Arguments;

/// As many different people as there are events, each identified once. No two with different words have a person or a message id
/// in common.
pub(crate) fn bodies(arguments: &Arguments, events: u32, word: &str) -> Vec<Bytes> {
    (0..events).map(|n| body(word, n, arguments.bytes)).collect()
}

/// Event number `n` of those with this word.
pub(crate) fn body(word: &str, n: u32, bytes: usize) -> Bytes {
    body_about(word, n, n, bytes)
}

/// The same about this person.
pub(crate) fn body_about(word: &str, n: u32, person: u32, bytes: usize) -> Bytes {
    let id = format!("{word}-{person}");
    let before = format!(
        r#"{{"type":"identify","messageId":"bench-{word}-{n}","userId":"user-{id}","timestamp":"2026-01-01T00:00:00Z","traits":{{"firstName":"Peter","lastName":"Gibbons","email":"peter-{id}@example.com","phone":"+1 555 0100"}},"context":{{"userAgent":""#
    );
    let after = r#""}}"#;
    let padding = bytes.saturating_sub(before.len() + after.len());
    Bytes::from(format!("{before}{}{after}", "x".repeat(padding)))
}

/// The number of the event with this word that a call is about.
pub(crate) fn number(call: &[u8], word: &str) -> Option<usize> {
    let text = std::str::from_utf8(call).ok()?;
    let (_, rest) = text.split_once("peter-")?;
    rest.strip_prefix(word)?.strip_prefix('-')?.split_once('@')?.0.parse().ok()
}

/// The body of a request with these events.
pub(crate) fn batch(events: &[Bytes]) -> Vec<u8> {
    let mut body = br#"{"batch":["#.to_vec();
    body.extend(events.join(&b","[..]));
    body.extend(b"]}");
    body
}
