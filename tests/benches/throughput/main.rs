//! How fast the relay is, next to the least that a program has to do for the same: a loop over lapin with the same bodies,
//! the same confirms and the same kind of queue; and how fast it is on its embedded queue. Nothing here judges; it prints a table, and one line of JSON for machines.
//!
//! Everything shares one machine: the broker, the relay, and this program as sender, as Refersion and as the bare loop.
//! So the rates say less than their ratio, and the ratio less than the CPU time for each event.

mod arguments;
mod bare;
mod cpu;
mod events;
mod relayed;
mod report;
mod stand_in;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use clap::Parser;
use refersion_relay_private_broker::PrivateBroker;
use refersion_relay_tests::{Config, Relay};

use crate::arguments::Arguments;
use crate::bare::Bare;
use crate::cpu::Process;
use crate::report::Report;
use crate::stand_in::StandIn;

fn main() -> anyhow::Result<()> {
    // Runners of tests start it too when they are asked for all targets, with arguments of their own.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("throughput: not measured, this is not `cargo bench`");
        return Ok(());
    }
    let arguments = Arguments::parse();
    build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(measure(&arguments))?;
    print!("{}", report.table());
    println!("{}", report.json(&arguments));
    Ok(())
}

/// Cargo builds only this package for a benchmark; the program belongs to another.
fn build() -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").context("run it with `cargo bench`")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?;
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--package", "refersion-relay"]).current_dir(root);
    // What the outer cargo says about this package would make the inner one build some libraries anew each time.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            build.env_remove(name);
        }
    }
    ensure!(build.status()?.success(), "the program could not be built");
    Ok(())
}

async fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    let broker = PrivateBroker::start().await?;
    let stand_in = StandIn::start().await?;
    let config = Config::new(&broker.url(), stand_in.url(), &[]);
    config.edit("filter = \"debug\"", "filter = \"info\"");
    let ingest = Relay::start("ingest", &config).await;
    let embedded = Config::embedded(stand_in.url(), &[]);
    embedded.edit("filter = \"debug\"", "filter = \"info\"");
    let embedded_ingest = Relay::start("ingest", &embedded).await;
    let bare = Bare::connect(&broker.url()).await?;
    let vm = Process::of(broker.pid());
    let mut report = Report::default();
    for round in 1..=arguments.rounds {
        eprintln!("throughput: round {round} of {}", arguments.rounds);
        let bodies = events::bodies(arguments, round);
        // In turns, so that whatever else the machine does meets all of them.
        report.add("POST /v1/batch", relayed::ingest(arguments, &ingest, &vm, &bodies).await?);
        report.add("worker", relayed::work(arguments, &config, &stand_in, &vm).await?);
        report.add("POST /v1/batch, embedded", relayed::ingest(arguments, &embedded_ingest, &vm, &bodies).await?);
        report.add("worker, embedded", relayed::work(arguments, &embedded, &stand_in, &vm).await?);
        bare.clear(&config.prefix).await?;
        report.add("bare publish", bare.publish(arguments, &vm, &bodies).await?);
        report.add("POST /v1/batch", relayed::ingest(arguments, &ingest, &vm, &bodies).await?);
        report.add("bare consume and ack", bare.consume(arguments, &vm, &config.prefix).await?);
        bare.clear(&config.prefix).await?;
    }
    report.compare("ingest", "POST /v1/batch", "bare publish");
    report.compare("worker", "worker", "bare consume and ack");
    report.compare("embedded ingest", "POST /v1/batch, embedded", "POST /v1/batch");
    report.compare("embedded worker", "worker, embedded", "worker");
    Ok(report)
}
