use anyhow::ensure;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use refersion_relay_tests::{Config, Relay, eventually};

use crate::arguments::Arguments;
use crate::cpu::Process;
use crate::events::batch;
use crate::report::{Measuring, Sample};
use crate::stand_in::StandIn;

/// Posts everything in batches, and takes the time until the last one is confirmed. The events stay in the account's work queue.
pub(crate) async fn ingest(
    arguments: &Arguments,
    relay: &Relay,
    broker: &Process,
    bodies: &[Bytes],
) -> anyhow::Result<Sample> {
    let batches: Vec<_> = bodies.chunks(usize::from(arguments.batch)).map(batch).collect();
    let measuring = Measuring::begin(Some(Process::of(relay.pid())), broker)?;
    let posts = stream::iter(batches).map(async |batch| {
        let answer = relay.post_batch("write_1", batch).await;
        ensure!(answer.status == 200, "a batch was answered with {}: {}", answer.status, answer.body);
        Ok(())
    });
    posts.buffer_unordered(usize::from(arguments.connections)).try_collect::<()>().await?;
    measuring.end(arguments.events)
}

/// Starts a worker on what is in the work queue, and takes the time from the first call to the last.
pub(crate) async fn work(
    arguments: &Arguments,
    config: &Config,
    stand_in: &StandIn,
    broker: &Process,
) -> anyhow::Result<Sample> {
    stand_in.expect(arguments.events);
    let mut relay = Relay::launch("worker", config);
    stand_in.until(1).await?;
    let measuring = Measuring::begin(Some(Process::of(relay.pid())), broker)?;
    stand_in.until(arguments.events).await?;
    let sample = measuring.end(arguments.events)?;
    let (ended, all) = ("refersion_relay_worker_ended_total", u64::from(arguments.events));
    eventually("every event has ended", || async { relay.metric(ended).await == all }).await;
    ensure!(relay.terminate().await.success(), "the worker did not end in good order");
    Ok(sample)
}
