//! What it means for two accounts that a third one's keys are refused.
//!
//! ```text
//! cargo build --release -p refersion-relay
//! cargo bench -p refersion-relay-tests --bench neighbours -- [--seconds 20] [--rate 100] [--backlog] [--rabbitmq]
//! ```
//!
//! Runs the relay against a simulated Refersion that takes 20 ms for a call, under the same load for each of three accounts.
//! After some seconds the first one's keys are refused, so that its events wait unread, and after as many they work again, so
//! that what waited is worked. Prints how many affiliates of each were made in each phase. With
//! `--backlog` everything is sent before, at once, and each account is as fast as it can be; a rate that is high enough leaves
//! something for the last phase.

use std::time::Duration;

use clap::Parser;
use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_simulator::Settings;
use refersion_relay_tests::{Config, Refersion, Relay, account, eventually, identify};

const LATENCY: Duration = Duration::from_millis(20);
const WARM_UP: Duration = Duration::from_secs(5);
const ACCOUNTS: u64 = 3;
/// Of a batch.
const EVENTS: u64 = 100;

#[derive(Debug, Parser)]
#[command(name = "neighbours")]
struct Arguments {
    /// How long each phase takes.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Events in a second, for each account.
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Send everything at once.
    #[arg(long)]
    backlog: bool,
    /// On a broker of its own instead of the embedded queue.
    #[arg(long)]
    rabbitmq: bool,
    /// What `cargo bench` adds, and runners of tests do not.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("neighbours: not measured, this is not `cargo bench`");
        return;
    }
    let arguments = Arguments::parse();
    let refersion = Refersion::start_with(Settings { latency: LATENCY, ..Settings::default() }).await;
    let broker = if arguments.rabbitmq { Some(PrivateBroker::start().await.expect("a broker")) } else { None };
    let config = match &broker {
        Some(broker) => Config::new(&broker.url(), refersion.url(), &[]),
        None => Config::embedded(refersion.url(), &[]),
    };
    config.edit("filter = \"debug\"", "filter = \"info\"");
    config.edit("[[account]]\nname = \"acme\"", &format!("{}[[account]]\nname = \"acme\"", account("third", 3)));
    let relay = Relay::start("run", &config).await;

    let phase = Duration::from_secs(arguments.seconds);
    let total = arguments.rate * (WARM_UP + 3 * phase).as_secs();
    let load = send(&relay, &arguments, total);
    // The log of the calls is bounded, what came of them is not.
    let made = || {
        let affiliates = refersion.simulator.affiliates();
        ["pub_1", "pub_2", "pub_3"].map(|key| affiliates.iter().filter(|one| one.public_key == key).count())
    };
    let phases = async {
        tokio::time::sleep(WARM_UP).await;
        let mut rows = Vec::new();
        for (name, are_valid) in [("all keys work", true), ("one is refused", false), ("they work again", true)] {
            refersion.simulator.set_keys_valid("pub_1", are_valid);
            let before = made();
            tokio::time::sleep(phase).await;
            let after = made();
            rows.push((name, [0, 1, 2].map(|account| after[account] - before[account])));
        }
        rows
    };
    let phases = if arguments.backlog {
        load.await;
        phases.await
    } else {
        tokio::join!(load, phases).1
    };

    let ended = "refersion_relay_worker_ended_total";
    let mut so_far = 0;
    while so_far < ACCOUNTS * total {
        eventually("more have ended", || async { so_far < relay.metric(ended).await }).await;
        so_far = relay.metric(ended).await;
    }
    println!("affiliates made in {:>3} s   refused one   neighbour   neighbour", arguments.seconds);
    for (name, [first, second, third]) in phases {
        println!("{name:<22} {first:>13} {second:>11} {third:>11}");
    }
    println!("in all: {} of {} delivered", refersion.simulator.affiliates().len(), ACCOUNTS * total);
    println!("dead letters: {}", config.dead_letters().await.len());
    println!("publishes: {}", relay.metric(r#"refersion_relay_queue_publishes_total{outcome="confirmed"}"#).await);
    if let Some(mut broker) = broker {
        broker.stop().await;
    }
}

/// Posts so many events of each account, at the rate or at once.
async fn send(relay: &Relay, arguments: &Arguments, total: u64) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let size = if arguments.backlog { EVENTS } else { arguments.rate / 10 };
    let mut sent = 0;
    while sent < total {
        if !arguments.backlog {
            ticks.tick().await;
        }
        let last = total.min(sent + size);
        for account in 1..=ACCOUNTS {
            let event = |n| String::from_utf8(identify(&format!("person{n}-{account}@example.com"))).expect("JSON");
            let events: Vec<_> = (sent..last).map(event).collect();
            let batch = format!(r#"{{"batch":[{}]}}"#, events.join(","));
            let answer = relay.post_batch(&format!("write_{account}"), batch).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        sent = last;
    }
}
