use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;

/// The identify that Segment's documentation of the destination shows, to the byte.
pub const IDENTIFY: &[u8] = include_bytes!("../../crates/relay/src/commands/demo/data/identify.json");
/// The delete that it shows, to the byte.
pub const DELETE: &[u8] = include_bytes!("../../crates/relay/src/commands/demo/data/delete.json");

/// An identify of `email`, with an id made from it.
#[must_use]
pub fn identify(email: &str) -> Vec<u8> {
    let (local, _) = email.split_once('@').expect("an address");
    let traits = json!({"firstName": "Test", "lastName": "Person", "email": email});
    json!({"type": "identify", "messageId": format!("identify-{local}"), "traits": traits}).to_string().into_bytes()
}

/// A delete of `email`, with an id made from it.
#[must_use]
pub fn delete(email: &str) -> Vec<u8> {
    let (local, _) = email.split_once('@').expect("an address");
    json!({"type": "delete", "messageId": format!("delete-{local}"), "email": email}).to_string().into_bytes()
}

/// The same event under another message id, so that it is no copy.
///
/// # Panics
/// When it is not a JSON object.
#[must_use]
pub fn with_id(event: &[u8], message_id: &str) -> Vec<u8> {
    let mut event: Value = serde_json::from_slice(event).expect("JSON");
    event["messageId"] = message_id.into();
    event.to_string().into_bytes()
}

/// As a Webhooks destination of Segment signs: HMAC-SHA1 in hexadecimal, over a body or the first element of a batch.
///
/// # Panics
/// Never: a key may have any length.
#[must_use]
pub fn signature(secret: &str, bytes: &[u8]) -> String {
    let mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("a key of any length").chain_update(bytes);
    mac.finalize().into_bytes().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// Packs bytes.
///
/// # Panics
/// Never: memory takes everything.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}
