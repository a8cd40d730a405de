use std::net::SocketAddr;

use refersion_relay_simulator::{Fault, FaultRule, Operation};
use serde_json::{Value, json};

/// The key a merchant would paste into Segment.
pub(super) const KEY: &str = "pub_demo.sec_demo";

/// An event of the demo, and what its sender should hear.
pub(super) struct Sample {
    pub(super) what: &'static str,
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Who should exist at the end, and how.
pub(super) const AFFILIATES: [(&str, &str); 5] = [
    ("peter@example.com", "DISABLED"),
    ("samir@example.com", "PENDING"),
    ("michael@example.com", "PENDING"),
    ("milton@example.com", "PENDING"),
    ("tom@example.com", "PENDING"),
];

/// What should be among the dead letters at the end.
pub(super) const DEAD_LETTERS: [(&str, &str); 1] = [("rejected", "demo-rejected")];

pub(super) fn all() -> Vec<Sample> {
    let sample = |what, status, event: Value| Sample { what, status, body: event.to_string().into_bytes() };
    let person = |id: &str, name: &str, email: &str| json!({"type": "identify", "messageId": id, "userId": id, "traits": {"name": name, "email": email}});
    vec![
        Sample {
            what: "identify: the documented example",
            status: 202,
            body: include_bytes!("identify.json").to_vec(),
        },
        Sample { what: "delete: the documented example", status: 202, body: include_bytes!("delete.json").to_vec() },
        sample("identify: a name in one field", 202, person("demo-1", "Samir Nagheenanajar", "samir@example.com")),
        sample(
            "identify: snake_case",
            202,
            json!({
                "type": "identify", "messageId": "demo-2", "anonymousId": "a-1",
                "traits": {
                    "first_name": "Michael", "last_name": "Bolton", "email": "michael@example.com", "phone": 5_550_100,
                    "address": {"postal_code": 94103, "country": "United States"},
                },
            }),
        ),
        sample("identify: again, by a sender who repeats", 202, person("demo-1", "Samir N", "samir@example.com")),
        sample("identify: Refersion fails twice at it", 202, person("demo-3", "Milton Waddams", "milton@example.com")),
        sample("identify: Refersion fails after doing it", 202, person("demo-4", "Tom Smykowski", "tom@example.com")),
        sample(
            "identify: Refersion rejects it for good",
            202,
            person("demo-rejected", "Bill Lumbergh", "bill@example.com"),
        ),
        sample("identify: one-word name, no address", 400, person("demo-5", "Cher", "")),
        sample("identify: of nobody", 200, json!({"type": "identify", "userId": "u", "traits": {"plan": "free"}})),
        sample("delete: without an address", 400, json!({"type": "delete", "userId": "5678"})),
        sample(
            "track: Refersion has nothing for it",
            501,
            json!({"type": "track", "event": "Signed Up", "userId": "u"}),
        ),
        Sample { what: "not JSON at all", status: 400, body: b"{\"type\": identify}".to_vec() },
    ]
}

/// What goes wrong at the simulated Refersion.
pub(super) fn faults() -> Vec<FaultRule> {
    let on_new = |email: &str, times, fault| FaultRule {
        operation: Some(Operation::New),
        email_contains: Some(email.to_owned()),
        times,
        ..FaultRule::always(fault)
    };
    let no = Fault::status(422, Some(r#"{"errors":["Value exceed the char limit'"]}"#));
    vec![
        on_new("milton@", Some(2), Fault::status(503, None)),
        on_new("tom@", Some(1), Fault::after_effect(Fault::status(500, None))),
        on_new("bill@", None, no),
    ]
}

/// Two lines would do for a real installation; the addresses are free ports here.
pub(super) fn configuration(broker_url: &str, refersion: SocketAddr) -> String {
    format!(
        r#"
        [queue]
        url = "{broker_url}"
        [ingest]
        listen = "127.0.0.1:0"
        [ops]
        listen = "127.0.0.1:0"
        [refersion]
        base_url = "http://{refersion}/v2"
        [[account]]
        name = "demo"
        public_key = "pub_demo"
        secret_key = "sec_demo"
        "#
    )
}
