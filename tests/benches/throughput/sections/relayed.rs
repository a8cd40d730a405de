//! What several sections do with the relay.

use anyhow::ensure;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use refersion_relay_tests::{Config, Relay, eventually};

use crate::events::batch;
use crate::measuring::Measuring;
use crate::process::Process;
use crate::report::Sample;
use crate::stage::Stage;

/// Posts everything in batches, and takes the time until the last one is confirmed. The events stay in the account's work queue.
pub(super) async fn ingest(stage: &Stage<'_>, config: &Config, events: &[Bytes]) -> anyhow::Result<Sample> {
    let arguments = stage.arguments;
    let mut relay = Relay::start("ingest", config).await;
    let batches: Vec<_> = events.chunks(usize::from(arguments.batch)).map(batch).collect();
    let measuring = Measuring::begin(&Process::of(relay.pid()), &stage.vm)?;
    let posts = stream::iter(batches).map(async |batch| {
        let answer = relay.post_batch("write_1", batch).await;
        ensure!(answer.status == 200, "a batch was answered with {}: {}", answer.status, answer.body);
        Ok(())
    });
    posts.buffer_unordered(usize::from(arguments.connections)).try_collect::<()>().await?;
    let sample = measuring.end(u32::try_from(events.len())?)?;
    ensure!(relay.terminate().await.success(), "the doors did not end in good order");
    Ok(sample)
}

/// Starts a worker on what is in the work queue, and takes the time from the first call to the last.
pub(super) async fn work(stage: &Stage<'_>, config: &Config, events: u32) -> anyhow::Result<Sample> {
    stage.stand_in.expect(events);
    let mut relay = Relay::launch("worker", config);
    stage.stand_in.until(1).await?;
    let measuring = Measuring::begin(&Process::of(relay.pid()), &stage.vm)?;
    stage.stand_in.until(events).await?;
    let sample = measuring.end(events)?;
    let (ended, all) = ("refersion_relay_worker_ended_total", u64::from(events));
    eventually("every event has ended", || async { relay.metric(ended).await == all }).await;
    ensure!(relay.terminate().await.success(), "the worker did not end in good order");
    Ok(sample)
}

/// The same, until the last event has ended: not each of them is a call.
pub(super) async fn work_to_the_end(stage: &Stage<'_>, config: &Config, events: u32) -> anyhow::Result<Sample> {
    stage.stand_in.expect(events);
    let mut relay = Relay::launch("worker", config);
    stage.stand_in.until(1).await?;
    let measuring = Measuring::begin(&Process::of(relay.pid()), &stage.vm)?;
    let (ended, all) = ("refersion_relay_worker_ended_total", u64::from(events));
    eventually("every event has ended", || async { relay.metric(ended).await == all }).await;
    let sample = measuring.end(events)?;
    ensure!(relay.terminate().await.success(), "the worker did not end in good order");
    Ok(sample)
}
