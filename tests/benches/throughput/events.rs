use bytes::Bytes;

use crate::arguments::Arguments;

/// As many different people, each identified once. No two rounds have a person or a message id in common.
pub(crate) fn bodies(arguments: &Arguments, round: u32) -> Vec<Bytes> {
    (0..arguments.events).map(|n| body(&format!("{round}-{n}"), arguments.bytes)).collect()
}

fn body(id: &str, bytes: usize) -> Bytes {
    let before = format!(
        r#"{{"type":"identify","messageId":"bench-{id}","userId":"user-{id}","timestamp":"2026-01-01T00:00:00Z","traits":{{"firstName":"Peter","lastName":"Gibbons","email":"peter-{id}@example.com","phone":"+1 555 0100"}},"context":{{"userAgent":""#
    );
    let after = r#""}}"#;
    let padding = bytes.saturating_sub(before.len() + after.len());
    Bytes::from(format!("{before}{}{after}", "x".repeat(padding)))
}

/// The body of a request with these events.
pub(crate) fn batch(events: &[Bytes]) -> Vec<u8> {
    let mut body = br#"{"batch":["#.to_vec();
    body.extend(events.join(&b","[..]));
    body.extend(b"]}");
    body
}
