use tokio::process::Command;

use super::{Key, Site, key, libraries, lines, program};

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
    let single = ["i", "t", "p", "s", "g", "a"].map(|call| format!("POST /v1/{call}"));
    let (batch, rest) = lines(&requests).split_last().map(|(last, rest)| (*last, rest.to_vec())).expect("some");
    assert_eq!((rest, batch), (single.iter().map(String::as_str).collect(), "POST /v1/b"), "nothing is sent twice");
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
