use std::net::SocketAddr;
use std::time::{Duration, Instant};

use refersion_relay_tests::Relay;

use crate::child::Child;
use crate::feed::Form;
use crate::load::{Load, Pace, percentile};
use crate::measuring::Measuring;
use crate::process::Process;
use crate::programs::Program;
use crate::report::{Measure, Sample, Table};
use crate::stage::{Backend, Stage};

const CONNECTIONS: [u16; 4] = [1, 16, 64, 256];
const BARE: &str = "bare axum + lapin door";

pub(super) async fn round(stage: &Stage<'_>, table: &mut Table) -> anyhow::Result<()> {
    let relays = Backend::BOTH.map(|backend| (backend, stage.config(backend, &[])));
    let mut doors = Vec::new();
    for (backend, config) in &relays {
        doors.push((*backend, config, Relay::start("ingest", config).await));
    }
    let queue = stage.word();
    stage.feed.queue(&queue, &[], Form::Plain).await?;
    let mut bare = Child::of(&Program::Door { url: stage.broker.url(), queue: queue.clone() })?;
    let address = bare.says("ready").await?.parse()?;
    for connections in CONNECTIONS {
        for (backend, config, relay) in &doors {
            let sample = load(stage, relay.door(), &Process::of(relay.pid()), connections).await?;
            table.add(&row(backend.row(), connections), sample);
            if *backend == Backend::RabbitMq {
                stage.feed.purge(&Stage::work_queue(config)).await?;
            }
        }
        let sample = load(stage, address, &bare.process()?, connections).await?;
        table.add(&row(BARE, connections), sample);
        stage.feed.purge(&queue).await?;
    }
    bare.end().await?;
    stage.feed.remove(&queue).await
}

async fn load(stage: &Stage<'_>, door: SocketAddr, of: &Process, connections: u16) -> anyhow::Result<Sample> {
    let load = Load { door, word: stage.word(), bytes: stage.arguments.bytes, connections };
    let measuring = Measuring::begin(of, &stage.vm)?;
    let sent = load.send(Pace::Closed(Instant::now() + Duration::from_secs(stage.arguments.seconds.into()))).await?;
    let sample = measuring.end(u32::try_from(sent.len())?)?;
    let mut answered: Vec<_> = sent.iter().map(|sent| sent.answered).collect();
    answered.sort();
    Ok(sample.with(Measure::Door50, percentile(&answered, 50)).with(Measure::Door99, percentile(&answered, 99)))
}

fn row(what: &str, connections: u16) -> String {
    format!("{what}, {connections} {}", if connections == 1 { "connection" } else { "connections" })
}

pub(super) fn compare(table: &mut Table) {
    for backend in Backend::BOTH {
        for connections in CONNECTIONS {
            table.compare(&row(backend.row(), connections), &row(BARE, connections));
        }
    }
}
