//! What several sections do with the programs that the relay is measured beside.

use bytes::Bytes;

use crate::child::Child;
use crate::feed::Form;
use crate::measuring::Measuring;
use crate::programs::{Dress, Program};
use crate::report::Sample;
use crate::stage::Stage;

/// Publishes as many events as the relay does, and takes the time until the last one is confirmed.
pub(super) async fn publish(stage: &Stage<'_>, dress: Dress) -> anyhow::Result<Sample> {
    let arguments = stage.arguments;
    let queue = stage.word();
    stage.feed.queue(&queue, &[], Form::Plain).await?;
    let (events, bytes, in_flight) = (arguments.events, arguments.bytes, arguments.confirms());
    let url = stage.broker.url();
    let child = Child::of(&Program::Publish { url, queue: queue.clone(), dress, events, bytes, in_flight })?;
    let sample = timed(stage, child).await?;
    stage.feed.remove(&queue).await?;
    Ok(sample)
}

/// Takes as many events as the worker does and acknowledges them.
pub(super) async fn consume(stage: &Stage<'_>, events: &[Bytes]) -> anyhow::Result<Sample> {
    let queue = stage.word();
    stage.feed.queue(&queue, events, Form::Plain).await?;
    let url = stage.broker.url();
    let child = Child::of(&Program::Consume { url, queue: queue.clone(), events: stage.arguments.events })?;
    let sample = timed(stage, child).await?;
    stage.feed.remove(&queue).await?;
    Ok(sample)
}

async fn timed(stage: &Stage<'_>, mut child: Child) -> anyhow::Result<Sample> {
    child.says("ready").await?;
    let measuring = Measuring::begin(&child.process()?, &stage.vm)?;
    child.go().await?;
    child.says("done").await?;
    let sample = measuring.end(stage.arguments.events)?;
    child.end().await?;
    Ok(sample)
}

/// Fills a queue, starts a program on it that does a worker's job, and takes the time from the first call to the last.
pub(super) async fn work(
    stage: &Stage<'_>,
    events: &[Bytes],
    form: Form,
    start: impl FnOnce(&str) -> anyhow::Result<Child>,
) -> anyhow::Result<Sample> {
    let (queue, count) = (stage.word(), u32::try_from(events.len())?);
    stage.feed.queue(&queue, events, form).await?;
    stage.stand_in.expect(count);
    let mut child = start(&queue)?;
    child.until(stage.stand_in.until(1)).await?;
    let measuring = Measuring::begin(&child.process()?, &stage.vm)?;
    child.until(stage.stand_in.until(count)).await?;
    let sample = measuring.end(count)?;
    child.end().await?;
    stage.feed.remove(&queue).await?;
    Ok(sample)
}
