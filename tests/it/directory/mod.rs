pub(crate) mod commands;
pub(crate) mod deletes;
pub(crate) mod lessons;

use refersion_relay_tests::{Config, Refersion, Relay};
use serde_json::json;

/// Everything waits half a second, and a delete of somebody unknown two.
const SHORT: [(&str, &str); 1] = [("retry", "in_hand = \"0\"\ntiers = [\"500ms\"]")];

/// An embedded queue with a directory beside it.
fn with_directory(refersion: &Refersion) -> Config {
    let config = Config::embedded(refersion.url(), &SHORT);
    config.edit("[log]", "[directory]\nenabled = true\nwait = \"2s\"\n\n[log]");
    config
}

/// A relay with that, which runs.
async fn started() -> (Refersion, Config, Relay) {
    let refersion = Refersion::start().await;
    let config = with_directory(&refersion);
    let relay = Relay::start("run", &config).await;
    (refersion, config, relay)
}

/// An identify of `person@example.com`, whose `userId` is `user-person`.
fn identify_user(person: &str) -> Vec<u8> {
    identify_as(&format!("user-{person}"), &format!("{person}@example.com"))
}

fn identify_as(user: &str, email: &str) -> Vec<u8> {
    let traits = json!({"firstName": "Test", "lastName": "Person", "email": email});
    json!({"type": "identify", "messageId": format!("{user}-is-{email}"), "userId": user, "traits": traits})
        .to_string()
        .into_bytes()
}

/// A delete by the same `userId`, and by nothing else.
fn delete_user(person: &str) -> Vec<u8> {
    let user = format!("user-{person}");
    json!({"type": "delete", "messageId": format!("delete-{user}"), "userId": user}).to_string().into_bytes()
}
