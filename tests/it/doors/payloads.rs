//! What senders really send, `tests/payloads`: each of it through each door, and what then lies on the queue, to the byte.

use std::collections::BTreeMap;

use refersion_relay_tests::{Config, Relay, signature};
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The files, by the type of what is in them. What is in `odd` and is worked is an identify.
const FILES: [(&str, &str); 8] = [
    ("identify", include_str!("../../payloads/identify.json")),
    ("delete", include_str!("../../payloads/delete.json")),
    ("track", include_str!("../../payloads/track.json")),
    ("page", include_str!("../../payloads/page.json")),
    ("screen", include_str!("../../payloads/screen.json")),
    ("group", include_str!("../../payloads/group.json")),
    ("alias", include_str!("../../payloads/alias.json")),
    ("odd", include_str!("../../payloads/odd.json")),
];
/// The types that have a path of their own.
const PATHS: [&str; 6] = ["identify", "track", "page", "screen", "group", "alias"];

/// One payload, as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    /// Who sends such events, and what is special about it.
    from: String,
    /// What becomes of it where Segment has filtered: `work`, or why it is ignored or dead.
    fate: String,
    /// The same where a library sends it in a batch, if that differs.
    library: Option<String>,
    /// The same on the path of its type, if that differs.
    single: Option<String>,
    /// That path, where the event does not say its type itself.
    path: Option<String>,
    /// The message id on the queue, where that is the sender's.
    id: Option<String>,
    /// The event, to the byte.
    event: Box<RawValue>,
}

impl Payload {
    fn library(&self) -> &str {
        self.library.as_ref().unwrap_or(&self.fate)
    }

    fn single(&self) -> &str {
        self.single.as_deref().unwrap_or(self.library())
    }

    fn body(&self) -> Vec<u8> {
        self.event.get().as_bytes().to_vec()
    }
}

/// Every payload with its file's type, and one of exactly 32 KiB, the most that Segment takes.
fn payloads() -> Vec<(&'static str, Payload)> {
    let read = |(kind, text): (&'static str, &str)| {
        let payloads: Vec<Payload> = serde_json::from_str(text).unwrap_or_else(|error| panic!("{kind}: {error}"));
        payloads.into_iter().map(move |payload| (kind, payload))
    };
    let mut payloads: Vec<_> = FILES.into_iter().flat_map(read).collect();
    let event = |bio: &str| {
        let traits = format!(r#"{{"name":"Lar Ge","email":"large@example.com","bio":"{bio}"}}"#);
        format!(r#"{{"type":"identify","messageId":"l1","traits":{traits}}}"#)
    };
    let event = event(&"x".repeat(32 * 1024 - event("").len()));
    payloads.push((
        "identify",
        Payload {
            from: "the largest event that Segment takes".to_owned(),
            fate: "work".to_owned(),
            library: None,
            single: None,
            path: None,
            id: Some("l1".to_owned()),
            event: RawValue::from_string(event).expect("JSON"),
        },
    ));
    payloads
}

/// What lies on the queue for an event: its bytes, its type, and why it is dead.
type Row = (Vec<u8>, String, Option<String>);

/// What is to lie there for an event with this fate, if anything.
fn row(kind: &str, fate: &str, payload: &Payload) -> Option<Row> {
    let kind = match fate {
        "anonymous" | "computed" | "opted_out" | "unsupported_type" => return None,
        "not_an_event" | "unreadable" => "unknown",
        _ if kind == "odd" => "identify",
        _ => kind,
    };
    Some((payload.body(), kind.to_owned(), (fate != "work").then(|| fate.to_owned())))
}

/// A relay without a worker, with its payloads' expectations.
struct Stage {
    config: Config,
    relay: Relay,
    payloads: Vec<(&'static str, Payload)>,
}

impl Stage {
    async fn start() -> Self {
        let config = Config::embedded("http://127.0.0.1:1/v2", &[]);
        config.edit(
            "write_key = \"write_1\"",
            "write_key = \"write_1\"\nwrite_key_may_delete = true\nwebhook_secret = \"shared\"",
        );
        let relay = Relay::start("ingest", &config).await;
        Self { config, relay, payloads: payloads() }
    }

    /// Compares what lies on the queue.
    #[track_caller]
    fn check<'a>(&'a self, fate: impl Fn(&str, &'a Payload) -> Option<&'a str>) {
        let all = self.payloads.iter();
        let mut expected: Vec<Row> =
            all.filter_map(|(kind, payload)| row(kind, fate(kind, payload)?, payload)).collect();
        let path = self.config.folder().join("relay.db");
        let queue = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the queue's file");
        let mut rows = queue.prepare("SELECT body, type, reason, message_id FROM event").expect("the table is there");
        let rows = rows.query_map([], |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?)));
        let stored: Vec<(Row, String)> = rows.expect("rows").collect::<Result<_, _>>().expect("the columns are there");
        let ids: BTreeMap<_, _> = stored.iter().map(|((body, ..), id)| (body.as_slice(), id.as_str())).collect();
        for (_, payload) in &self.payloads {
            let (Some(id), Some(stored)) = (&payload.id, ids.get(payload.event.get().as_bytes())) else { continue };
            assert_eq!(stored, id, "{}", payload.from);
        }
        assert!(stored.iter().all(|(_, id)| !id.is_empty() && id.len() <= 100 && !id.contains('@')), "{ids:?}");
        let mut stored: Vec<Row> = stored.into_iter().map(|(row, _)| row).collect();
        stored.sort();
        expected.sort();
        let text = |rows: &[Row]| -> Vec<String> {
            rows.iter().map(|(body, kind, why)| format!("{kind} {why:?} {}", String::from_utf8_lossy(body))).collect()
        };
        assert_eq!(text(&stored), text(&expected));
        assert_eq!(stored, expected);
    }
}

/// Everything between brackets, with odd white space around each event.
fn array(payloads: &[(&str, Payload)]) -> Vec<u8> {
    let events: Vec<_> = payloads.iter().map(|(_, payload)| payload.event.get()).collect();
    format!("[ {}\n]", events.join(" ,\r\n\t")).into_bytes()
}

const JSON: (&str, &str) = ("content-type", "application/json");
/// `pub_1.sec_1:` and `write_1:`.
const KEY_PAIR: (&str, &str) = ("authorization", "Basic cHViXzEuc2VjXzE6");
const WRITE_KEY: (&str, &str) = ("authorization", "Basic d3JpdGVfMTo=");

#[test]
fn there_are_many_and_no_two_are_the_same() {
    let payloads = payloads();
    let bodies: std::collections::BTreeSet<_> = payloads.iter().map(|(_, payload)| payload.body()).collect();
    assert!((120..).contains(&bodies.len()), "{}", bodies.len());
    // One page of Segment's has the same bytes for a page and a screen.
    assert_eq!(bodies.len(), payloads.len() - 1);
    assert_eq!(payloads.last().map(|(_, payload)| payload.body().len()), Some(32 * 1024));
}

#[tokio::test]
async fn each_at_the_direct_destination() {
    let stage = Stage::start().await;
    for (_, payload) in &stage.payloads {
        let answer = stage.relay.request("POST", "/v1/destination", &[JSON, KEY_PAIR], payload.body()).await;

        let status = match payload.fate.as_str() {
            "work" => 202,
            "anonymous" | "computed" | "opted_out" => 200,
            "unsupported_type" => 501,
            _ => 400,
        };
        assert_eq!(answer.status, status, "{}: {answer:?}", payload.from);
    }
    stage.check(|_, payload| (payload.fate == "work").then_some("work"));
}

#[tokio::test]
async fn all_at_once_at_the_direct_destination() {
    let stage = Stage::start().await;
    let answer = stage.relay.request("POST", "/v1/destination", &[JSON, KEY_PAIR], array(&stage.payloads)).await;

    assert_eq!(answer.status, 202, "{answer:?}");
    stage.check(|_, payload| Some(&payload.fate));
}

#[tokio::test]
async fn each_at_the_webhook() {
    let stage = Stage::start().await;
    for (_, payload) in &stage.payloads {
        let signature = signature("shared", &payload.body());
        let headers = [JSON, ("x-signature", signature.as_str())];
        let answer = stage.relay.request("POST", "/v1/webhook/acme", &headers, payload.body()).await;

        assert_eq!(answer.status, 200, "{}: {answer:?}", payload.from);
    }
    stage.check(|_, payload| Some(&payload.fate));
}

#[tokio::test]
async fn each_on_the_path_of_its_type() {
    let stage = Stage::start().await;
    let has_path = |kind: &str| PATHS.contains(&kind);
    for (kind, payload) in stage.payloads.iter().filter(|(kind, _)| has_path(kind)) {
        let path = format!("/v1/{}", payload.path.as_deref().unwrap_or(kind));
        let answer = stage.relay.request("POST", &path, &[("content-type", "text/plain"), WRITE_KEY], payload.body());

        let answer = answer.await;
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"success":true}"#), "{}", payload.from);
    }
    stage.check(|kind, payload| has_path(kind).then(|| payload.single()));
}

#[tokio::test]
async fn all_in_one_batch() {
    let stage = Stage::start().await;
    let body = [b"{\"sentAt\":null, \"batch\" :".as_slice(), &array(&stage.payloads), b",\"context\":{}}"].concat();
    let answer = stage.relay.request("POST", "/v1/batch", &[JSON, WRITE_KEY], body).await;

    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"success":true}"#), "{answer:?}");
    stage.check(|_, payload| Some(payload.library()));
}
