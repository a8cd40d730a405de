use tokio::process::Command;

use super::{Key, Site, key, libraries, lines, program};

/// How often they try again while the relay cannot store anything. By themselves most of them try three times within
/// a second.
const RETRIES: &str = "30";

/// The program, with a version of the library.
fn send(library: &str, site: &Site, email: &str) -> Command {
    let modules = libraries().join("npm/node_modules");
    assert!(modules.join(library).exists(), "{library} is missing: run tests/run --prepare");
    let name = if library == "analytics-node-deprecated" { "node/send-deprecated.js" } else { "node/send.js" };
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules).arg(program(name)).args([library, &site.url(), email]);
    command
}

async fn delivers(library: &str, of: Key, in_requests: usize) {
    let site = Site::start().await;

    site.send(&mut send(library, &site, "ada@example.com")).await;

    let (requests, _) = site.is_settled(&["ada@example.com"]).await;
    assert_eq!(lines(&requests), vec!["POST /v1/batch"; in_requests], "none sends anything twice");
    assert!(requests.iter().all(|request| key(request) == Some(of)), "{requests:#?}");
}

async fn outlasts_an_outage(library: &str, in_requests: u64) {
    let site = Site::start().await;

    site.send_into_an_outage(send(library, &site, "ada@example.com").arg(RETRIES)).await;

    let (requests, refused) = site.is_settled(&["ada@example.com"]).await;
    assert_eq!(requests.len() as u64, refused + in_requests);
}

#[tokio::test]
async fn node_1_delivers() {
    delivers("analytics-node-1", Key::Header, 1).await;
}

#[tokio::test]
async fn node_2_delivers() {
    delivers("analytics-node-2", Key::Body, 1).await;
}

#[tokio::test]
async fn node_3_delivers() {
    delivers("analytics-node-3", Key::Both, 1).await;
}

#[tokio::test]
async fn the_deprecated_library_for_node_delivers() {
    delivers("analytics-node-deprecated", Key::Header, 2).await;
}

#[tokio::test]
async fn node_1_outlasts_an_outage() {
    outlasts_an_outage("analytics-node-1", 1).await;
}

#[tokio::test]
async fn node_2_outlasts_an_outage() {
    outlasts_an_outage("analytics-node-2", 1).await;
}

#[tokio::test]
async fn node_3_outlasts_an_outage() {
    outlasts_an_outage("analytics-node-3", 1).await;
}

#[tokio::test]
async fn the_deprecated_library_for_node_outlasts_an_outage() {
    outlasts_an_outage("analytics-node-deprecated", 2).await;
}
