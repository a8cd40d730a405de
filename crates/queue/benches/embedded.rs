//! The embedded queue: confirmed publishes beside plain inserts, and a large backlog. `--help` stands behind a further `--`.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

use bytes::Bytes;
use clap::{Parser, Subcommand};
use refersion_relay_model::AccountName;
use refersion_relay_queue::{
    BrokerState, Ending, Headers, Message, Place, Queue, Room, Settle, Sqlite, SqlitePath, SqliteSettings,
};
use refersion_relay_telemetry::Metrics;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const ACCOUNTS: usize = 8;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Bytes of each event.
    #[arg(long, global = true, default_value_t = 400)]
    bytes: usize,
    /// Where the files are made, to measure another disk.
    #[arg(long, global = true)]
    folder: Option<std::path::PathBuf>,
    /// What cargo says to every benchmark.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Clone, Subcommand)]
enum What {
    /// Confirmed publishes of concurrent senders beside plain batched inserts of the same rows, in turns.
    Rate {
        #[arg(long, default_value_t = 64)]
        senders: usize,
        /// Events in one publish of a sender.
        #[arg(long, default_value_t = NonZeroUsize::MIN)]
        events: NonZeroUsize,
        /// Rows in one transaction of the plain inserts.
        #[arg(long, default_value_t = 64)]
        rows: usize,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Many waiting events: rates, memory, size, starting, and the space of what is settled.
    Backlog {
        #[arg(long, default_value_t = 1_000_000)]
        events: usize,
    },
}

fn main() {
    let args = Args::parse();
    let runtime = Runtime::new().expect("a runtime");
    let default = What::Rate { senders: 64, events: NonZeroUsize::MIN, rows: 64, rounds: 5, seconds: 3 };
    match args.what.clone().unwrap_or(default) {
        What::Rate { senders, events, rows, rounds, seconds } => {
            let duration = Duration::from_secs(seconds);
            runtime.block_on(rate(&args, senders, events.get(), rows, rounds, duration));
        }
        What::Backlog { events } => runtime.block_on(backlog(&args, events)),
    }
}

impl Args {
    fn folder(&self) -> TempDir {
        match &self.folder {
            Some(folder) => TempDir::new_in(folder).expect("a folder there"),
            None => TempDir::new().expect("a temporary folder"),
        }
    }
}

fn settings(path: &Path) -> SqliteSettings {
    let path = SqlitePath::parse(&format!("sqlite:{}", path.display()), Path::new("")).expect("a path");
    let accounts = (0..ACCOUNTS).map(account).collect();
    SqliteSettings { path, accounts, tiers: Vec::new(), confirm_timeout: Duration::from_mins(1) }
}

async fn open(path: &Path) -> Arc<Sqlite> {
    let queue = Sqlite::start(settings(path), Metrics::new());
    queue.state().wait_for(BrokerState::is_up).await.expect("it runs");
    Arc::new(queue)
}

fn account(number: usize) -> AccountName {
    AccountName::try_from(format!("account-{}", number % ACCOUNTS)).expect("a name")
}

/// Event number so and so: its own id and subject, as many bytes as were asked for.
fn event(number: usize, body: &Bytes) -> (Place, Message) {
    let account = account(number);
    let (id, subject) = (format!("message-{number:012}"), format!("{number:016x}"));
    let headers = Headers::received(&id, "identify", account.clone(), subject, SystemTime::now());
    (Place::Work(account), Message { body: body.clone(), headers })
}

async fn rate(args: &Args, senders: usize, events: usize, rows: usize, rounds: usize, duration: Duration) {
    let body = Bytes::from(vec![b'x'; args.bytes]);
    let mut rates = Vec::new();
    for round in 0..rounds {
        let plain = {
            let folder = args.folder();
            let body = body.clone();
            let path = folder.path().join("plain.db");
            tokio::task::spawn_blocking(move || plain_inserts(&path, &body, rows, duration)).await.expect("it ends")
        };
        let folder = args.folder();
        let queue = open(&folder.path().join("relay.db")).await;
        let published = published(&queue, &body, senders, events, duration).await;
        queue.close().await;
        println!("round {round}: plain {plain:.0}/s, published {published:.0}/s, ratio {:.2}", published / plain);
        rates.push((plain, published, published / plain));
    }
    let median = |pick: fn(&(f64, f64, f64)) -> f64| {
        let mut values: Vec<_> = rates.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (plain, published, ratio) = (median(|r| r.0), median(|r| r.1), median(|r| r.2));
    println!(
        "{senders} senders, {events} events a publish, {} bytes; plain inserts of {rows} rows a transaction\n\
         median: plain {plain:.0}/s, published {published:.0}/s, ratio {ratio:.2}",
        args.bytes
    );
    println!("{}", json!({"plain": plain, "published": published, "ratio": ratio}));
}

/// The same rows, with the same index, under the same settings, and nothing else.
fn plain_inserts(path: &Path, body: &Bytes, rows: usize, duration: Duration) -> f64 {
    let connection = Connection::open(path).expect("a file");
    connection.pragma_update(None, "journal_mode", "WAL").expect("a log");
    for (name, value) in [("synchronous", 2), ("cache_size", -8 * 1024), ("wal_autocheckpoint", 4_000)] {
        connection.pragma_update(None, name, value).expect("a setting");
    }
    connection
        .execute_batch(
            "CREATE TABLE event (number INTEGER PRIMARY KEY, place INTEGER NOT NULL, due_at INTEGER, due_place INTEGER, \
             deliveries INTEGER NOT NULL, message_id TEXT NOT NULL, type TEXT NOT NULL, account TEXT, subject TEXT, \
             received_at INTEGER NOT NULL, attempts INTEGER NOT NULL, first_failed_at INTEGER, generation INTEGER NOT \
             NULL, traceparent TEXT, reason TEXT, status INTEGER, error TEXT, dead_at INTEGER, body \
             BLOB NOT NULL, create_only INTEGER NOT NULL DEFAULT 0) STRICT;
             CREATE INDEX event_by_place ON event (place, number);
             CREATE INDEX event_by_tier ON event (place, due_at) WHERE due_at IS NOT NULL;",
        )
        .expect("a table");
    let mut insert = connection
        .prepare(
            "INSERT INTO event (place, deliveries, message_id, type, account, subject, received_at, attempts, generation, \
             body) VALUES (?1, 0, ?2, 'identify', 'acme', ?3, ?4, 0, 0, ?5)",
        )
        .expect("a statement");
    let (begin, mut count) = (Instant::now(), 0_usize);
    while begin.elapsed() < duration {
        connection.execute_batch("BEGIN IMMEDIATE").expect("begins");
        for _ in 0..rows {
            let place = i64::try_from(count % ACCOUNTS).expect("a remainder");
            let (id, subject) = (format!("message-{count:012}"), format!("{count:016x}"));
            insert.execute((place, id, subject, 1_764_000_000_000_i64, body.as_ref())).expect("a row");
            count += 1;
        }
        connection.execute_batch("COMMIT").expect("is stored");
    }
    per_second(count, begin.elapsed())
}

async fn published(queue: &Arc<Sqlite>, body: &Bytes, senders: usize, events: usize, duration: Duration) -> f64 {
    let begin = Instant::now();
    let sending: Vec<_> = (0..senders)
        .map(|sender| {
            let (queue, body) = (queue.clone(), body.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while begin.elapsed() < duration {
                    let batch = (0..events).map(|n| event(sender + senders * (count + n), &body)).collect();
                    let stored = queue.publish(batch).await;
                    assert!(stored.iter().all(Result::is_ok), "{stored:?}");
                    count += events;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for sender in sending {
        count += sender.await.expect("it ends");
    }
    per_second(count, begin.elapsed())
}

async fn backlog(args: &Args, events: usize) {
    const STEP: usize = 100_000;
    let body = Bytes::from(vec![b'x'; args.bytes]);
    let folder = args.folder();
    let path = folder.path().join("relay.db");
    let queue = open(&path).await;
    let mut rates = Vec::new();
    for step in 0..events / STEP {
        let begin = Instant::now();
        let sending: Vec<_> = (0..64_usize)
            .map(|sender| {
                let (queue, body) = (queue.clone(), body.clone());
                tokio::spawn(async move {
                    for first in (sender * 100..STEP).step_by(6_400) {
                        let numbers = step * STEP + first..step * STEP + (first + 100).min(STEP);
                        let stored = queue.publish(numbers.map(|number| event(number, &body)).collect()).await;
                        assert!(stored.iter().all(Result::is_ok), "{stored:?}");
                    }
                })
            })
            .collect();
        for sender in sending {
            sender.await.expect("it ends");
        }
        let rate = per_second(STEP, begin.elapsed());
        println!(
            "{:>9} waiting: {rate:>7.0}/s, {:>4} MiB of memory, {:>5} MiB of files",
            (step + 1) * STEP,
            memory_mib(),
            files_mib(folder.path())
        );
        rates.push(rate);
    }
    let ratio = rates.last().unwrap_or(&0.0) / rates.first().unwrap_or(&1.0);
    queue.close().await;
    drop(queue);

    let begin = Instant::now();
    let queue = open(&path).await;
    let up = begin.elapsed();
    let mut owned = Vec::new();
    for number in 0..ACCOUNTS {
        owned.push(queue.own(Place::Work(account(number)), Room { events: 64 }).await.expect("ours"));
    }
    let first = owned[0].next().await.expect("an event");
    let delivering = begin.elapsed();
    println!("opened in {} ms, the first event delivered after {} ms", up.as_millis(), delivering.as_millis());
    first.settle(Settle::Done(Ending::Delivered)).await.expect("ours");

    let begin = Instant::now();
    let draining: Vec<_> = owned
        .into_iter()
        .map(|mut owned| {
            tokio::spawn(async move {
                let (mut count, mut settling) = (0_usize, tokio::task::JoinSet::new());
                while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_millis(300), owned.next()).await {
                    settling.spawn(delivery.settle(Settle::Done(Ending::Delivered)));
                    count += 1;
                    while settling.try_join_next().is_some() {}
                }
                while settling.join_next().await.is_some() {}
                owned.release().await;
                count
            })
        })
        .collect();
    let mut count = 0;
    for draining in draining {
        count += draining.await.expect("it ends");
    }
    let settled = per_second(count, begin.elapsed());
    let ledger = queue.ledger().await.expect("it can be read");
    let (peak, files) = (memory_mib(), files_mib(folder.path()));
    println!("settled {settled:.0}/s; {peak} MiB of memory, {files} MiB of files; {ledger}");

    let again = published(&queue, &body, 64, 100, Duration::from_secs(3)).await;
    println!("published again {again:.0}/s into the space of what is gone: {} MiB of files", files_mib(folder.path()));
    queue.close().await;
    println!(
        "{}",
        json!({"events": events, "last_to_first": ratio, "opened_ms": up.as_millis(), "settled": settled, "memory_mib": peak})
    );
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// Resident, at its highest so far.
fn memory_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux says so");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

fn files_mib(folder: &Path) -> u64 {
    let sizes = fs::read_dir(folder)
        .and_then(|files| files.map(|file| file?.metadata().map(|metadata| metadata.len())).sum::<io::Result<u64>>());
    sizes.expect("it is ours") / 1024 / 1024
}
