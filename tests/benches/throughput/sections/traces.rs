use refersion_relay_tests::Collector;

use crate::events::bodies;
use crate::report::Table;
use crate::sections::relayed;
use crate::stage::{Backend, Stage};

/// The rows: taken in and worked, each without traces and with them.
const fn row(backend: Backend, works: bool, traced: bool) -> &'static str {
    match (backend, works, traced) {
        (Backend::RabbitMq, false, false) => "doors, RabbitMQ",
        (Backend::RabbitMq, false, true) => "doors, RabbitMQ, 1 % traced",
        (Backend::RabbitMq, true, false) => "worker, RabbitMQ",
        (Backend::RabbitMq, true, true) => "worker, RabbitMQ, 1 % traced",
        (Backend::Embedded, false, false) => "doors, embedded",
        (Backend::Embedded, false, true) => "doors, embedded, 1 % traced",
        (Backend::Embedded, true, false) => "worker, embedded",
        (Backend::Embedded, true, true) => "worker, embedded, 1 % traced",
    }
}

pub(super) async fn round(stage: &Stage<'_>, table: &mut Table) -> anyhow::Result<()> {
    let collector = Collector::start().await;
    let telemetry = format!("[telemetry]\notlp_endpoint = \"{}\"\ntrace_ratio = 0.01\n\n[log]", collector.url());
    let concurrency = format!("concurrency = {}", stage.arguments.in_flight);
    for backend in Backend::BOTH {
        // Whatever is measured second is slower on some machines.
        for traced in [false, true, true, false] {
            let config = stage.config(backend, &[("worker", &concurrency)]);
            if traced {
                config.edit("[log]", &telemetry);
            }
            let events = bodies(stage.arguments, stage.arguments.events, &stage.word());
            table.add(row(backend, false, traced), relayed::ingest(stage, &config, &events).await?);
            table.add(row(backend, true, traced), relayed::work(stage, &config, stage.arguments.events).await?);
            if backend == Backend::RabbitMq {
                stage.feed.remove(&Stage::work_queue(&config)).await?;
            }
        }
    }
    anyhow::ensure!(!collector.all().is_empty(), "no span came");
    Ok(())
}

pub(super) fn compare(table: &mut Table) {
    for backend in Backend::BOTH {
        for works in [false, true] {
            table.compare(row(backend, works, true), row(backend, works, false));
        }
    }
}
