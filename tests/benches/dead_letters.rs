//! What passing over very many dead letters costs: time, rate and peak memory of `dlq stats` and `dlq replay`.
//!
//! ```text
//! cargo build --release -p refersion-relay
//! cargo bench -p refersion-relay-tests --bench dead_letters -- [LETTERS [IN_FLIGHT…]]
//! ```
//!
//! Starts a broker of its own. Buries LETTERS (100,000) dead letters of about 500 bytes; then, for each `IN_FLIGHT` (1
//! and 200), replays the ten that match a filter.

use std::time::{Duration, Instant};

use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_tests::{Admin, Config, DeadLetter};

const CHUNK: usize = 10_000;
const MATCHING: usize = 10;

#[tokio::main]
async fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let letters = numbers.first().copied().unwrap_or(100_000);
    let in_flight = if numbers.len() < 2 { vec![1, 200] } else { numbers[1..].to_vec() };
    let broker = PrivateBroker::start().await.expect("a broker");
    let config = Config::new(&broker.url(), "http://127.0.0.1:9", &[]);
    let admin = Admin::of(&broker.url(), &config).await;

    let begin = Instant::now();
    for from in (0..letters).step_by(CHUNK) {
        admin.bury((from..letters.min(from + CHUNK)).map(letter)).await;
    }
    println!("{letters} letters were buried in {:.1} s", begin.elapsed().as_secs_f64());
    measure(&config, &["dlq", "stats"], letters).await;
    for (round, in_flight) in in_flight.iter().enumerate() {
        // A new generation for each round, since the last round's matches are gone.
        admin.bury((0..MATCHING).map(|n| matching(round, n))).await;
        let (generation, in_flight) = ((round + 1).to_string(), in_flight.to_string());
        let arguments = ["dlq", "replay", "--generation", &generation, "--in-flight", &in_flight, "--yes"];
        measure(&config, &arguments, letters).await;
        assert_eq!(admin.drain_work().await.len(), MATCHING);
    }
    assert_eq!(admin.ready("dead.rejected").await, letters);
}

fn letter(n: usize) -> DeadLetter {
    let padding = "x".repeat(400);
    let body =
        format!(r#"{{"type":"identify","messageId":"m{n}","traits":{{"email":"m{n}@example.com","x":"{padding}"}}}}"#);
    DeadLetter { body: body.into_bytes(), ..DeadLetter::new(&format!("m{n}")) }
}

fn matching(round: usize, n: usize) -> DeadLetter {
    let generation = u32::try_from(round + 1).expect("few rounds");
    DeadLetter { generation, ..DeadLetter::new(&format!("match-{round}-{n}")) }
}

/// Runs a command and prints what it took.
async fn measure(config: &Config, arguments: &[&str], letters: usize) {
    let begin = Instant::now();
    let command = config.begin(arguments);
    let status = format!("/proc/{}/status", command.pid());
    let watching = tokio::spawn(async move {
        let mut peak = 0;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        // The mark only rises, and it is gone with the process.
        while let Ok(status) = tokio::fs::read_to_string(&status).await {
            let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
            let Some(mark) = mark.and_then(|mark| mark.trim().parse::<u64>().ok()) else { break };
            peak = mark;
            ticks.tick().await;
        }
        peak
    });
    let output = command.output_at_leisure().await;
    let took = begin.elapsed();
    assert_eq!(output.code, Some(0), "{output:?}");
    let rate = letters as u128 * 1_000 / took.as_millis().max(1);
    let peak_kib = watching.await.expect("it ends with the process");
    println!("{}: {:.1} s, {rate} letters/s, peak memory {peak_kib} KiB", arguments.join(" "), took.as_secs_f64());
    println!("{}", output.stdout.trim_end());
}
