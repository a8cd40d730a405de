use std::time::Duration;

use crate::events::bodies;
use crate::report::{Measure, Table};
use crate::sections::relayed;
use crate::stage::{Backend, Stage};

const CONCURRENCY: [u32; 2] = [32, 256];
const LATENCY_MS: [u32; 3] = [0, 20, 200];
/// How long the calls would take if as many as are allowed were under way from the beginning.
const SECONDS: u32 = 4;

pub(super) async fn round(stage: &Stage<'_>, table: &mut Table) -> anyhow::Result<()> {
    for concurrency in CONCURRENCY {
        for latency in LATENCY_MS {
            let limit = (concurrency * 1_000).checked_div(latency);
            let events = limit.map_or(stage.arguments.events, |limit| stage.arguments.events.min(limit * SECONDS));
            for backend in Backend::BOTH {
                let config = stage.config(backend, &[("worker", &format!("concurrency = {concurrency}"))]);
                let bodies = bodies(stage.arguments, events, &stage.word());
                relayed::ingest(stage, &config, &bodies).await?;
                stage.stand_in.take(Duration::from_millis(latency.into()));
                let sample = relayed::work(stage, &config, events).await?;
                stage.stand_in.take(Duration::ZERO);
                if backend == Backend::RabbitMq {
                    stage.feed.remove(&Stage::work_queue(&config)).await?;
                }
                let of_limit = limit.and_then(|limit| Some(sample.get(Measure::Rate)? / f64::from(limit)));
                let sample = of_limit.map_or(sample.clone(), |share| sample.with(Measure::OfLimit, share));
                table.add(&format!("{}, {concurrency} calls of {latency} ms", backend.row()), sample);
            }
        }
    }
    Ok(())
}
