use tokio::process::Command;

use super::{Key, Site, key, libraries, lines, program};

/// One of each call, one by one.
const SINGLE: [&str; 6] = ["POST /v1/i", "POST /v1/t", "POST /v1/p", "POST /v1/s", "POST /v1/g", "POST /v1/a"];

/// A page in a browser, with a version of the library.
fn send(library: &str, site: &Site, email: &str, strategy: &str) -> Command {
    let modules = libraries().join("npm/node_modules");
    assert!(modules.join(library).exists(), "{library} is missing: run tests/run --prepare");
    let chromium = std::env::var("RELAY_TEST_CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules).arg(program("browser/send.js"));
    command.args([&chromium, library, &site.host(), email, strategy]);
    command
}

/// What the browser asked before it sent anything.
fn preflights(site: &Site) -> usize {
    site.tap.requests().iter().filter(|request| request.line.starts_with("OPTIONS ")).count()
}

async fn delivers(library: &str, of: Key) {
    let site = Site::start().await;

    site.send(&mut send(library, &site, "single@example.com", "single")).await;
    site.send(&mut send(library, &site, "batch@example.com", "batch")).await;

    let (requests, _) = site.is_settled(&["single@example.com", "batch@example.com"]).await;
    assert_eq!(lines(&requests), [&SINGLE[..], &["POST /v1/b"]].concat(), "nothing is sent twice");
    assert!(requests.iter().all(|request| key(request) == Some(of)), "{requests:#?}");
    assert!(requests.iter().all(|request| request.header("sec-fetch-mode") == Some("cors")), "{requests:#?}");
    assert!(0 < preflights(&site), "a page may not send the key in a header unasked");
}

async fn outlasts_an_outage(library: &str, strategy: &str, in_requests: u64) {
    let site = Site::start().await;

    site.send_into_an_outage(&mut send(library, &site, "ada@example.com", strategy)).await;

    let (requests, refused) = site.is_settled(&["ada@example.com"]).await;
    assert_eq!(requests.len() as u64, refused + in_requests);
    let again = requests.iter().any(|request| request.header("x-retry-count").is_some());
    assert!(again && 0 < preflights(&site));
}

/// A version from before the key went into a header. Its batches always go to https, where no test listens.
#[tokio::test]
async fn browser_1_70_delivers_one_by_one() {
    let site = Site::start().await;

    site.send(&mut send("analytics-next-1.70", &site, "ada@example.com", "single")).await;

    let (requests, _) = site.is_settled(&["ada@example.com"]).await;
    assert_eq!(lines(&requests), SINGLE, "nothing is sent twice");
    assert!(requests.iter().all(|request| key(request) == Some(Key::Body)), "{requests:#?}");
    assert_eq!(preflights(&site), 0, "it asks nothing that a browser has to ask about first");
}

#[tokio::test]
async fn browser_1_84_delivers_one_by_one_and_in_batches() {
    delivers("analytics-next-1.84", Key::Both).await;
}

#[tokio::test]
async fn browser_1_84_outlasts_an_outage_one_by_one() {
    outlasts_an_outage("analytics-next-1.84", "single", 6).await;
}

#[tokio::test]
async fn browser_1_84_outlasts_an_outage_in_batches() {
    outlasts_an_outage("analytics-next-1.84", "batch", 1).await;
}
