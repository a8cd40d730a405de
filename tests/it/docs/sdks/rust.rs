use std::process::Stdio;

use refersion_relay_tests::Output;
use tokio::process::Command;

use super::{Key, REFUSED, Site, key, libraries, lines};

/// The program with this library.
fn send(library: &str, site: &Site, email: &str, strategy: &str) -> Command {
    let program = libraries().join("rust/debug").join(format!("send-{library}"));
    assert!(program.exists(), "{} is missing: run tests/run --prepare", program.display());
    let mut command = Command::new(program);
    command.args([&site.url(), email, strategy]);
    command
}

async fn delivers(library: &str) {
    let site = Site::start().await;

    site.send(&mut send(library, &site, "single@example.com", "single")).await;
    site.send(&mut send(library, &site, "batch@example.com", "batch")).await;

    let (requests, _) = site.is_settled(&["single@example.com", "batch@example.com"]).await;
    let calls =
        ["identify", "track", "page", "screen", "group", "alias", "batch"].map(|call| format!("POST /v1/{call}"));
    assert_eq!(lines(&requests), calls, "nothing is sent twice");
    assert!(requests.iter().all(|request| key(request) == Some(Key::Header)), "{requests:#?}");
}

/// It repeats nothing by itself: its program hears of a 503, and may send the same again.
async fn leaves_repeating_to_its_program(library: &str, strategy: &str, in_requests: u64) {
    let site = Site::start().await;
    let mut program = send(library, &site, "ada@example.com", strategy);

    let output: Output = site.during_an_outage(program.stdin(Stdio::null()).output()).await.expect("it starts").into();
    assert!(output.code == Some(1) && output.stderr.contains("503"), "{output:#?}");
    assert_eq!(site.relay.metric(REFUSED).await, 1, "it sent once");
    site.relay.until_ready().await;
    site.send(&mut program).await;

    let (requests, refused) = site.is_settled(&["ada@example.com"]).await;
    assert_eq!((requests.len() as u64, refused), (1 + in_requests, 1));
}

#[tokio::test]
async fn rust_segment_delivers_one_by_one_and_in_batches() {
    delivers("segment").await;
}

#[tokio::test]
async fn rust_analytics_delivers_one_by_one_and_in_batches() {
    delivers("analytics").await;
}

#[tokio::test]
async fn rust_segment_leaves_repeating_to_its_program() {
    leaves_repeating_to_its_program("segment", "single", 6).await;
}

#[tokio::test]
async fn rust_segment_leaves_repeating_a_batch_to_its_program() {
    leaves_repeating_to_its_program("segment", "batch", 1).await;
}

#[tokio::test]
async fn rust_analytics_leaves_repeating_to_its_program() {
    leaves_repeating_to_its_program("analytics", "single", 6).await;
}

#[tokio::test]
async fn rust_analytics_leaves_repeating_a_batch_to_its_program() {
    leaves_repeating_to_its_program("analytics", "batch", 1).await;
}
