use std::time::Duration;

use bytes::Bytes;

use crate::events::body_about;
use crate::report::Table;
use crate::sections::relayed;
use crate::stage::{Backend, Stage};

const PLAIN: &str = "worker, embedded";
const LEARNING: &str = "worker, embedded, everybody learnt";
const TEN_PLAIN: &str = "worker, embedded, ten events of each";
const TEN_LEARNING: &str = "the same, everybody learnt";
const REPEATING: &str = "nine of ten say nothing new, calls of 20 ms";
const SKIPPING: &str = "the same, with skip_unchanged";

/// Calls under way, where they take their time.
const CALLS: &str = "concurrency = 32";

pub(super) async fn round(stage: &Stage<'_>, table: &mut Table) -> anyhow::Result<()> {
    let events = stage.arguments.events;
    let concurrency = format!("concurrency = {}", stage.arguments.in_flight);
    // Whatever is measured second is slower on some machines.
    for row in [PLAIN, LEARNING, LEARNING, PLAIN, TEN_PLAIN, TEN_LEARNING, TEN_LEARNING, TEN_PLAIN] {
        let config = stage.config(Backend::Embedded, &[("worker", &concurrency)]);
        if [LEARNING, TEN_LEARNING].contains(&row) {
            config.edit("[log]", "[directory]\nenabled = true\n\n[log]");
            config.edit("write_key = \"write_1\"", "write_key = \"write_1\"\nwrite_key_may_teach = true");
        }
        let (word, each) = (stage.word(), if [TEN_PLAIN, TEN_LEARNING].contains(&row) { 10 } else { 1 });
        // Those of one person not one after the other, as they come.
        let body = |n| body_about(&word, n, n % (events / each), stage.arguments.bytes);
        relayed::ingest(stage, &config, &(0..events).map(body).collect::<Vec<Bytes>>()).await?;
        table.add(row, relayed::work(stage, &config, events).await?);
    }
    let fewer = events / 5;
    for row in [REPEATING, SKIPPING] {
        let keys = [("worker", CALLS), ("worker", "skip_unchanged = \"1h\"")];
        let config = stage.config(Backend::Embedded, if row == SKIPPING { &keys } else { &keys[..1] });
        let word = stage.word();
        let body = |n| body_about(&word, n, n / 10, stage.arguments.bytes);
        relayed::ingest(stage, &config, &(0..fewer).map(body).collect::<Vec<Bytes>>()).await?;
        stage.stand_in.take(Duration::from_millis(20));
        let sample = relayed::work_to_the_end(stage, &config, fewer).await;
        stage.stand_in.take(Duration::ZERO);
        table.add(row, sample?);
    }
    Ok(())
}

pub(super) fn compare(table: &mut Table) {
    table.compare(LEARNING, PLAIN);
    table.compare(TEN_LEARNING, TEN_PLAIN);
    table.compare(SKIPPING, REPEATING);
}
