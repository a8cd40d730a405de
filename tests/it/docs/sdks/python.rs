use tokio::process::Command;

use super::{Key, Site, is_packed, key, libraries, lines, program};

/// The program, with a version of the library.
fn send(version: &str, site: &Site, email: &str) -> Command {
    let folder = libraries().join("python");
    let library = folder.join(version);
    assert!(library.exists(), "{version} is missing: run tests/run --prepare");
    let mut command = Command::new(folder.join("venv/bin/python"));
    command.env("PYTHONPATH", library).arg(program("python/send.py")).args([&site.url(), email]);
    command
}

async fn delivers(version: &str, of: Key) {
    let site = Site::start().await;

    site.send(&mut send(version, &site, "plain@example.com")).await;
    site.send(send(version, &site, "packed@example.com").arg("gzip")).await;

    let (requests, _) = site.is_settled(&["plain@example.com", "packed@example.com"]).await;
    assert_eq!(lines(&requests), ["POST /v1/batch"; 2], "neither sends anything twice");
    assert_eq!(requests.iter().map(is_packed).collect::<Vec<_>>(), [false, true]);
    assert!(requests.iter().all(|request| key(request) == Some(of)), "{requests:#?}");
}

async fn outlasts_an_outage(version: &str) {
    let site = Site::start().await;

    site.send_into_an_outage(&mut send(version, &site, "ada@example.com")).await;

    let (requests, refused) = site.is_settled(&["ada@example.com"]).await;
    assert_eq!(requests.len() as u64, refused + 1);
}

#[tokio::test]
async fn python_1_4_delivers_packed_and_not() {
    delivers("analytics-python==1.4.post1", Key::Header).await;
}

#[tokio::test]
async fn python_2_2_delivers_packed_and_not() {
    delivers("segment-analytics-python==2.2.3", Key::Header).await;
}

#[tokio::test]
async fn python_2_3_delivers_packed_and_not() {
    delivers("segment-analytics-python==2.3.6", Key::Body).await;
}

#[tokio::test]
async fn python_2_4_delivers_packed_and_not() {
    delivers("segment-analytics-python==2.4.0", Key::Both).await;
}

#[tokio::test]
async fn python_1_4_outlasts_an_outage() {
    outlasts_an_outage("analytics-python==1.4.post1").await;
}

#[tokio::test]
async fn python_2_2_outlasts_an_outage() {
    outlasts_an_outage("segment-analytics-python==2.2.3").await;
}

#[tokio::test]
async fn python_2_3_outlasts_an_outage() {
    outlasts_an_outage("segment-analytics-python==2.3.6").await;
}

#[tokio::test]
async fn python_2_4_outlasts_an_outage() {
    outlasts_an_outage("segment-analytics-python==2.4.0").await;
}
