use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use refersion_relay_tests::{gzip, program};

use crate::events::bodies;
use crate::measuring::Measuring;
use crate::process::Process;
use crate::programs::Dress;
use crate::report::{Measure, Sample, Table};
use crate::sections::bare;
use crate::stage::{Backend, Stage};

const BARE: &str = "bare lapin publisher";
/// How exactly the end of the command is known.
const TICK: Duration = Duration::from_millis(5);

pub(super) async fn round(stage: &Stage<'_>, table: &mut Table) -> anyhow::Result<()> {
    for backend in Backend::BOTH {
        table.add(backend.row(), enqueue(stage, backend).await?);
    }
    table.add(BARE, bare::publish(stage, Dress::Bare).await?);
    Ok(())
}

/// From the start of the command to its end.
async fn enqueue(stage: &Stage<'_>, backend: Backend) -> anyhow::Result<Sample> {
    let (config, events) = (stage.config(backend, &[]), stage.arguments.events);
    let bodies = bodies(stage.arguments, events, &stage.word());
    let path = config.folder().join("events.gz");
    std::fs::write(&path, gzip(&bodies.join(&b'\n')))?;
    let mut command = Command::new(program());
    command.arg("--config").arg(config.path()).arg("enqueue").arg(&path).args(["--account", "acme", "--json"]);
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let process = Process::of(child.id());
    let measuring = Measuring::begin(&process, &stage.vm)?;
    let (mut ticks, mut peak) = (tokio::time::interval(TICK), None);
    // Nobody waits for it before its times are read.
    while !process.has_ended()? {
        peak = process.peak_mib()?.or(peak);
        ticks.tick().await;
    }
    let sample = measuring.end(events)?;
    ensure!(child.wait()?.success(), "the file was not enqueued");
    if backend == Backend::RabbitMq {
        stage.feed.remove(&Stage::work_queue(&config)).await?;
    }
    Ok(peak.map_or(sample.clone(), |peak| sample.with(Measure::Peak, peak)))
}

pub(super) fn compare(table: &mut Table) {
    table.compare(Backend::RabbitMq.row(), BARE);
    table.compare(Backend::Embedded.row(), BARE);
}
