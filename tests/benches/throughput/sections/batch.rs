use crate::events::bodies;
use crate::programs::Dress;
use crate::report::Table;
use crate::sections::{bare, relayed};
use crate::stage::{Backend, Stage};

const BARE: &str = "bare lapin publisher";

pub(super) async fn round(stage: &Stage<'_>, table: &mut Table) -> anyhow::Result<()> {
    for backend in Backend::BOTH {
        let config = stage.config(backend, &[]);
        let events = bodies(stage.arguments, stage.arguments.events, &stage.word());
        table.add(backend.row(), relayed::ingest(stage, &config, &events).await?);
        if backend == Backend::RabbitMq {
            stage.feed.remove(&Stage::work_queue(&config)).await?;
        }
    }
    table.add(BARE, bare::publish(stage, Dress::Bare).await?);
    Ok(())
}

pub(super) fn compare(table: &mut Table) {
    table.compare(Backend::RabbitMq.row(), BARE);
    table.compare(Backend::Embedded.row(), BARE);
    table.compare(Backend::Embedded.row(), Backend::RabbitMq.row());
}
