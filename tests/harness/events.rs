use serde_json::json;

/// The identify that Segment's documentation of the destination shows, to the byte.
pub const IDENTIFY: &[u8] = include_bytes!("../../crates/relay/src/commands/demo/identify.json");
/// The delete that it shows, to the byte.
pub const DELETE: &[u8] = include_bytes!("../../crates/relay/src/commands/demo/delete.json");

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
