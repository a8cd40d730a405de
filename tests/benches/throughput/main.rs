//! How fast the relay is, next to the least that a program has to do for the same, and to what others use for it: see
//! `docs/performance.md`. Nothing here judges; it prints tables, or one line of JSON for machines.
//!
//! Everything shares one machine: the broker, the relay, this program as sender and as Refersion, and whatever the relay is measured
//! beside. So the rates say less than their ratio, and the ratio less than the CPU time for each event.

mod arguments;
mod child;
mod events;
mod feed;
mod load;
mod machine;
mod measuring;
mod process;
mod programs;
mod report;
mod sections;
mod stage;
mod stand_in;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use clap::Parser;

use crate::arguments::Arguments;

fn main() -> anyhow::Result<()> {
    // Runners of tests start it too when they are asked for all targets, with arguments of their own.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("throughput: not measured, this is not `cargo bench`");
        return Ok(());
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(program) = arguments.program {
        return runtime.block_on(program.run());
    }
    build()?;
    let report = runtime.block_on(sections::measure(&arguments))?;
    if arguments.json {
        println!("{}", report.json(&arguments));
    } else {
        print!("{}", report.markdown(&arguments));
    }
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
