pub(crate) mod commands;
pub(crate) mod deletes;
pub(crate) mod kept;
pub(crate) mod lessons;

use refersion_relay_tests::{Config, Refersion, Relay, shared_broker};
use serde_json::json;

/// Everything waits half a second, and a delete of somebody unknown two.
const SHORT: [(&str, &str); 1] = [("retry", "in_hand = \"0\"\ntiers = [\"500ms\"]")];

/// The queue that is between doors and worker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Embedded,
    RabbitMq,
}

/// A test of each of these names on both queues.
macro_rules! on_both_queues {
    ($($test:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test] async fn $test() { super::$test(crate::directory::On::Embedded).await; })+
        }
        mod rabbitmq {
            $(#[tokio::test] async fn $test() { super::$test(crate::directory::On::RabbitMq).await; })+
        }
    };
}
pub(crate) use on_both_queues;

/// An embedded queue with a directory beside it.
fn with_directory(refersion: &Refersion) -> Config {
    with_directory_on(On::Embedded, refersion)
}

/// A directory that the only worker keeps.
fn with_directory_on(on: On, refersion: &Refersion) -> Config {
    let broker = if on == On::RabbitMq { shared_broker() } else { "sqlite:relay.db".to_owned() };
    let config = Config::new(&broker, refersion.url(), &SHORT);
    let keeps = if on == On::RabbitMq { "path = \"directory.db\"\n" } else { "" };
    config.edit("[log]", &format!("[directory]\nenabled = true\nwait = \"2s\"\n{keeps}\n[log]"));
    config
}

/// A relay with that, which runs.
async fn started(on: On) -> (Refersion, Config, Relay) {
    let refersion = Refersion::start().await;
    let config = with_directory_on(on, &refersion);
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
