//! One file for each table.

mod bare;
mod batch;
mod directory;
mod enqueue;
mod latency;
mod publish;
mod refersion;
mod relayed;
mod single;
mod traces;
mod worker;

use crate::arguments::{Arguments, Section};
use crate::machine::Machine;
use crate::report::{Report, Table};
use crate::stage::Stage;

/// Measures what was asked for. Within a section everything is measured in turns, so that whatever else the machine does meets all of it.
pub(crate) async fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    let machine = Machine::of(&Stage::set(arguments).await?.broker).await?;
    let mut tables = Vec::new();
    for (section, title) in SECTIONS {
        let wanted = arguments.wants(section) || (section == Section::Worker && arguments.wants(Section::Peers));
        if !wanted {
            continue;
        }
        let mut table = Table::new(title);
        let stage = Stage::set(arguments).await?;
        for round in 1..=arguments.rounds {
            eprintln!("throughput: {title}: round {round} of {}", arguments.rounds);
            match section {
                Section::Batch => batch::round(&stage, &mut table).await?,
                Section::Publish => publish::round(&stage, &mut table).await?,
                Section::Worker | Section::Peers => worker::round(&stage, &mut table).await?,
                Section::Single => single::round(&stage, &mut table).await?,
                Section::Latency => latency::round(&stage, &mut table).await?,
                Section::Refersion => refersion::round(&stage, &mut table).await?,
                Section::Enqueue => enqueue::round(&stage, &mut table).await?,
                Section::Traces => traces::round(&stage, &mut table).await?,
                Section::Directory => directory::round(&stage, &mut table).await?,
            }
        }
        match section {
            Section::Batch => batch::compare(&mut table),
            Section::Publish => publish::compare(&mut table),
            Section::Worker | Section::Peers => worker::compare(&mut table),
            Section::Single => single::compare(&mut table),
            Section::Enqueue => enqueue::compare(&mut table),
            Section::Traces => traces::compare(&mut table),
            Section::Directory => directory::compare(&mut table),
            Section::Latency | Section::Refersion => {}
        }
        tables.push(table);
    }
    Ok(Report { machine, tables })
}

/// Peers are rows of the worker's table.
const SECTIONS: [(Section, &str); 9] = [
    (Section::Batch, "batch: events until they are confirmed"),
    (Section::Publish, "publish: what a confirmed publish costs"),
    (Section::Worker, "worker: events to a Refersion that answers at once"),
    (Section::Single, "single: one event in each request"),
    (Section::Latency, "latency: from the sender to Refersion"),
    (Section::Refersion, "refersion: a Refersion that takes its time"),
    (Section::Enqueue, "enqueue: events of a file"),
    (Section::Traces, "traces: what they cost"),
    (Section::Directory, "directory: what it costs, and what skip_unchanged saves"),
];
