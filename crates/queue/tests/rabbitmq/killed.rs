//! This program once more, as another process, which is killed.

use std::env;
use std::process::Stdio;

use refersion_relay_queue::{BrokerUrl, Queue, RabbitMqSettings};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use refersion_relay_queue_testkit::events::{crowd, work};
use refersion_relay_queue_testkit::rabbitmq::{Relay, shared_broker};
use refersion_relay_queue_testkit::waiting::{PATIENCE, eventually};

const PREFIX: &str = "RELAY_TEST_PREFIX";

#[tokio::test]
async fn a_process_that_is_killed_while_it_publishes_is_within_the_tolerance() {
    let relay = Relay::start().await;
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "killed::another_process_publishes_until_it_is_killed", "--nocapture"])
        .env(PREFIX, &relay.settings.prefix)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stored = 0;
    while stored < 4_000 {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it says nothing").unwrap().expect("it lives");
        stored = line.strip_prefix("> ").map_or(stored, |number| number.parse().unwrap());
    }

    child.kill().await.unwrap();

    let dead = async || relay.queue.conservation().await.ok().filter(|sum| sum.tolerance.deaths == 1);
    let sum = eventually("its death", dead).await;
    assert!(stored <= sum.waiting(), "{sum}");
    assert!(sum.holds() && 100 <= sum.tolerance.lost, "{sum}");
    relay.clean().await;
}

/// Does nothing unless it is another process.
#[tokio::test]
async fn another_process_publishes_until_it_is_killed() {
    let Ok(prefix) = env::var(PREFIX) else { return };
    let url = shared_broker();
    let settings = refersion_relay_queue_testkit::rabbitmq::settings(&url);
    let settings = RabbitMqSettings { url: BrokerUrl::parse(&url).unwrap(), prefix, ..settings };
    let relay = Relay::start_with(&url, settings).await;
    for batch in 0.. {
        relay.store(&work(), crowd(batch * 20..(batch + 1) * 20)).await;
        println!("\n> {}", (batch + 1) * 20);
    }
}
