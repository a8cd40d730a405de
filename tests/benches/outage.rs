//! What an outage of Refersion costs, at a size that no test has time for.
//!
//! ```text
//! cargo build --release -p refersion-relay
//! cargo bench -p refersion-relay-tests --bench outage -- [--seconds 3600] [--rate 200] [--how gone] [--single]
//! ```
//!
//! Runs the relay on its embedded queue against a simulated Refersion that takes 20 ms for a call, under a steady load;
//! takes Refersion away and brings it back; and prints dead letters, attempts charged, the probes and their density, how
//! long it took from the return to the rate before, and the most calls in flight. With `--single` the load ends before
//! the outage, and one event comes in the middle of it.

use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use refersion_relay_simulator::{Call, Fault, FaultRule, Operation, Settings};
use refersion_relay_tests::{Config, Refersion, Relay, eventually, identify};

const LATENCY: Duration = Duration::from_millis(20);
/// Two accounts with 32 calls each.
const CEILING: u64 = 64;
const WARM_UP: Duration = Duration::from_secs(10);

#[derive(Debug, Parser)]
#[command(name = "outage")]
struct Arguments {
    /// How long Refersion is away.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Events in a second.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// In which way.
    #[arg(long, value_enum, default_value = "gone")]
    how: How,
    /// Only one event comes while Refersion is away.
    #[arg(long)]
    single: bool,
    /// What `cargo bench` adds, and runners of tests do not.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// Nobody listens.
    Gone,
    /// Nothing is answered.
    Hang,
    /// Everything is answered with a 500.
    Status,
    /// Everything is answered with a page for people.
    Html,
}

#[tokio::main]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("outage: not measured, this is not `cargo bench`");
        return;
    }
    let arguments = Arguments::parse();
    // The simulator counts its milliseconds from about here.
    let started = Instant::now();
    let mut refersion = Refersion::start_with(Settings { latency: LATENCY, ..Settings::default() }).await;
    let config = Config::embedded(refersion.url(), &[]);
    config.edit("filter = \"debug\"", "filter = \"info\"");
    config.edit("timeout_ms = 2000", "timeout_ms = 10000");
    let relay = Relay::start("run", &config).await;

    let mut sent = send(&relay, &arguments, 0, WARM_UP).await;
    begin(&mut refersion, arguments.how).await;
    let began = Instant::now();
    let outage = Duration::from_secs(arguments.seconds);
    if arguments.single {
        tokio::time::sleep(outage / 2).await;
        assert_eq!(relay.post(1, identify("single@example.com")).await.status, 202);
        sent += 1;
        tokio::time::sleep(outage.saturating_sub(began.elapsed())).await;
    } else {
        sent = send(&relay, &arguments, sent, outage).await;
    }
    let calls_before = refersion.simulator.calls().len();
    end(&mut refersion, arguments.how);
    let (returned, lasted) = (Instant::now(), began.elapsed());
    let returned_ms = u64::try_from(started.elapsed().as_millis()).expect("not that long");
    if !arguments.single {
        sent = send(&relay, &arguments, sent, WARM_UP).await;
    }
    let ended = "refersion_relay_worker_ended_total";
    eventually("all have ended", || async { relay.metric(ended).await >= sent }).await;
    let done = returned.elapsed();

    let calls = refersion.simulator.calls();
    let after = &calls[calls_before.min(calls.len())..];
    let struck: Vec<_> = calls.iter().filter(|call| call.fault.is_some()).cloned().collect();
    let probes = times(&struck, Operation::List);
    println!("Refersion was away ({:?}) for {:.1} s; {sent} events were sent", arguments.how, lasted.as_secs_f64());
    println!("delivered:               {}", refersion.simulator.affiliates().len());
    println!("dead letters:            {}", config.dead_letters().await.len());
    println!("attempts charged:        {}", relay.metric("refersion_relay_attempts_charged_total").await);
    println!("attempts spared:         {}", relay.metric("refersion_relay_attempts_spared_total").await);
    let failed = relay.metric(r#"refersion_relay_refersion_probes_total{result="failed"}"#).await;
    let answered = relay.metric(r#"refersion_relay_refersion_probes_total{result="answered"}"#).await;
    println!("probes:                  {failed} failed, {answered} answered");
    println!("probes in any second:    {} at most, as far as Refersion saw them", densest(&probes));
    let news = times(after, Operation::New);
    let first = news.first().map(|first| first.saturating_sub(returned_ms));
    println!("first event after:       {}", seconds(first));
    if !arguments.single {
        let reached = news.iter().find(|from| {
            let within = news.iter().filter(|at| (**from..**from + 500).contains(*at)).count() as u64;
            arguments.rate / 2 <= within
        });
        let reached = reached.map(|at| (at + 500).saturating_sub(returned_ms));
        println!("the rate before after:   {}", seconds(reached));
    }
    println!("all worked after:        {:.1} s", done.as_secs_f64());
    println!("calls in flight at most: {} of {CEILING}", refersion.simulator.stats().max_in_flight);
}

/// Posts events for so long at the rate, in batches ten times a second. Returns how many there are then.
async fn send(relay: &Relay, arguments: &Arguments, sent: u64, time: Duration) -> u64 {
    let (begin, mut sent) = (Instant::now(), sent);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut account = 2;
    while begin.elapsed() < time {
        ticks.tick().await;
        let events: Vec<_> = (sent..sent + (arguments.rate / 10).max(1))
            .map(|n| String::from_utf8(identify(&format!("person{n}@example.com"))).expect("JSON"))
            .collect();
        // By both accounts in turn.
        account = 3 - account;
        let answer =
            relay.post_batch(&format!("write_{account}"), format!(r#"{{"batch":[{}]}}"#, events.join(","))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        sent += events.len() as u64;
    }
    sent
}

async fn begin(refersion: &mut Refersion, how: How) {
    let fault = match how {
        How::Gone => return refersion.kill().await,
        How::Hang => Fault::Hang,
        How::Status => Fault::status(500, None),
        How::Html => Fault::Html { status: 502 },
    };
    refersion.simulator.add_fault(FaultRule::always(fault));
}

fn end(refersion: &mut Refersion, how: How) {
    match how {
        How::Gone => refersion.restart(),
        How::Hang | How::Status | How::Html => refersion.simulator.clear_faults(),
    }
}

/// When the calls of an operation began, in milliseconds of the simulator's clock.
fn times(calls: &[Call], operation: Operation) -> Vec<u64> {
    calls.iter().filter(|call| call.operation == operation).map(|call| call.started_ms).collect()
}

fn densest(probes: &[u64]) -> usize {
    let within = |from: u64| probes.iter().filter(|at| (from..from + 1_000).contains(*at)).count();
    probes.iter().map(|from| within(*from)).max().unwrap_or_default()
}

fn seconds(ms: Option<u64>) -> String {
    ms.map_or("never".to_owned(), |ms| format!("{:.1} s", Duration::from_millis(ms).as_secs_f64()))
}
