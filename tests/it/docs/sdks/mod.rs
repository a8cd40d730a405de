//! Segment's own libraries, unmodified as their registries have them, against a running relay.

mod browser;
mod node;
mod python;
mod rust;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use flate2::read::GzDecoder;
use refersion_relay_tests::{Config, Output, PATIENCE, Refersion, Relay, Request, Tap, eventually, installed};
use serde_json::Value;
use tokio::process::Command;

/// Every program makes one of each call, and only the identify is for Refersion.
const OTHERS: u64 = 5;
const ACCEPTED: &str = r#"refersion_relay_events_accepted_total{door="tracking"}"#;
const IGNORED: &str = r#"refersion_relay_events_ignored_total{at="tracking",reason="unsupported_type"}"#;
const TAKEN: &str = r#"refersion_relay_ingest_requests_total{door="tracking",status="200"}"#;
const REFUSED: &str = r#"refersion_relay_ingest_requests_total{door="tracking",status="503"}"#;
const ENDED: &str = "refersion_relay_worker_ended_total";

/// Where `tests/run` puts the libraries.
fn libraries() -> PathBuf {
    installed("sdks")
}

/// A program that uses one.
fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdks").join(name)
}

/// A relay with everything around it.
struct Site {
    refersion: Refersion,
    config: Config,
    relay: Relay,
    tap: Tap,
}

impl Site {
    async fn start() -> Self {
        let refersion = Refersion::start().await;
        let config = Config::embedded(refersion.url(), &[]);
        let relay = Relay::start("run", &config).await;
        let tap = Tap::before(relay.door()).await;
        Self { refersion, config, relay, tap }
    }

    /// Where the library is to send to.
    fn host(&self) -> String {
        self.tap.address().to_string()
    }

    fn url(&self) -> String {
        format!("http://{}", self.host())
    }

    /// Runs a program that has nothing to complain about.
    async fn send(&self, command: &mut Command) {
        let command = command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends");
        let output: Output = output.expect("the program starts").into();
        assert!(output.code == Some(0) && output.stdout.is_empty() && output.stderr.is_empty(), "{output:#?}");
    }

    /// Does something against a relay that cannot store anything until it has said so to somebody.
    async fn during_an_outage<T>(&self, doing: impl Future<Output = T>) -> T {
        let (file, aside) = (self.config.folder().join("relay.db"), self.config.folder().join("aside"));
        std::fs::rename(&file, &aside).expect("the folder is ours");
        let mending = async {
            eventually("it hears a 503", || async { 0 < self.relay.metric(REFUSED).await }).await;
            std::fs::rename(&aside, &file).expect("the folder is ours");
        };
        tokio::join!(doing, mending).0
    }

    /// Runs a program that has nothing to complain about all the same.
    async fn send_into_an_outage(&self, command: &mut Command) {
        self.during_an_outage(self.send(command)).await;
    }

    /// Every identify has become one affiliate, and nothing is lost or came twice. Returns the requests that were
    /// taken, and those that were not, apart from the questions of browsers.
    #[track_caller]
    fn is_settled(&self, emails: &[&str]) -> impl Future<Output = (Vec<Request>, u64)> {
        let (programs, emails) =
            (emails.len() as u64, emails.iter().map(|&email| email.to_owned()).collect::<Vec<_>>());
        async move {
            let relay = &self.relay;
            eventually("everything has ended", || async { relay.metric(ENDED).await == programs }).await;
            assert_eq!(relay.metric(ACCEPTED).await, programs);
            assert_eq!(relay.metric(IGNORED).await, programs * OTHERS);
            let mut affiliates = self.refersion.simulator.affiliates();
            affiliates.sort_by_key(|affiliate| affiliate.created_at);
            let found: Vec<_> = affiliates.iter().map(|affiliate| &affiliate.email).collect();
            assert_eq!(found, emails.iter().collect::<Vec<_>>());
            assert!(affiliates.iter().all(|affiliate| affiliate.first_name == "Ada"));
            let (taken, refused) = (relay.metric(TAKEN).await, relay.metric(REFUSED).await);
            let mut requests = self.tap.requests();
            requests.retain(|request| request.line.starts_with("POST "));
            assert_eq!(requests.len() as u64, taken + refused, "nothing else was answered: {requests:#?}");
            (requests, refused)
        }
    }
}

/// Where a library puts the write key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Header,
    Body,
    Both,
}

fn key(request: &Request) -> Option<Key> {
    // `write_1:` in base64.
    let header = request.header("authorization") == Some("Basic d3JpdGVfMTo=");
    let mut body: Value = serde_json::from_slice(&unpacked(request)).expect("JSON");
    if body["batch"][0]["writeKey"].is_string() {
        body = body["batch"][0].take();
    }
    match (header, body["writeKey"] == "write_1") {
        (true, true) => Some(Key::Both),
        (true, false) => Some(Key::Header),
        (false, true) => Some(Key::Body),
        (false, false) => None,
    }
}

fn is_packed(request: &Request) -> bool {
    request.header("content-encoding") == Some("gzip")
}

fn unpacked(request: &Request) -> Vec<u8> {
    if !is_packed(request) {
        return request.body.clone();
    }
    let mut body = Vec::new();
    GzDecoder::new(request.body.as_slice()).read_to_end(&mut body).expect("it is packed");
    body
}

fn lines(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(|request| request.line.as_str()).collect()
}
