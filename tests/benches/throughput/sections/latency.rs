use std::time::{Duration, Instant};

use anyhow::ensure;
use refersion_relay_tests::{Relay, eventually};

use crate::load::{Load, Pace, percentile};
use crate::measuring::Measuring;
use crate::process::Process;
use crate::report::{Measure, Sample, Table};
use crate::stage::{Backend, Stage};

/// What finds out how much is possible has so many connections.
const SUSTAINED: u16 = 64;
/// Enough for whatever is late.
const OPEN: u16 = 256;
/// Hundredths of what is possible.
const PARTS: [u32; 3] = [25, 50, 75];

pub(super) async fn round(stage: &Stage<'_>, table: &mut Table) -> anyhow::Result<()> {
    for backend in Backend::BOTH {
        let config = stage.config(backend, &[]);
        let mut relay = Relay::start("run", &config).await;
        // What is worked grows with what has been worked well.
        sustained(stage, &relay).await?;
        let (most, sample) = sustained(stage, &relay).await?;
        table.add(&format!("{}, the most", backend.row()), sample);
        for part in PARTS {
            let sample = open(stage, &relay, most * part / 100).await?;
            table.add(&format!("{}, {part} % of it", backend.row()), sample);
        }
        ensure!(relay.terminate().await.success(), "the relay did not end in good order");
    }
    Ok(())
}

/// The events that are delivered in a second while as many as possible come in.
async fn sustained(stage: &Stage<'_>, relay: &Relay) -> anyhow::Result<(u32, Sample)> {
    let (door, word, bytes) = (relay.door(), stage.word(), stage.arguments.bytes);
    let load = Load { door, word, bytes, connections: SUSTAINED };
    let seconds = stage.arguments.seconds;
    stage.stand_in.expect(u32::MAX);
    let measuring = Measuring::begin(&Process::of(relay.pid()), &stage.vm)?;
    let sent = load.send(Pace::Closed(Instant::now() + Duration::from_secs(seconds.into()))).await?;
    let delivered = stage.stand_in.created().max(1);
    let sample = measuring.end(delivered)?.with(Measure::Offered, f64::from(u32::try_from(sent.len())? / seconds));
    all_arrive(stage, sent.len()).await;
    Ok((delivered / seconds, sample))
}

/// So many in a second, whatever becomes of them.
async fn open(stage: &Stage<'_>, relay: &Relay, rate: u32) -> anyhow::Result<Sample> {
    let rate = rate.max(1);
    let (door, word, bytes) = (relay.door(), stage.word(), stage.arguments.bytes);
    let load = Load { door, word, bytes, connections: OPEN };
    let events = rate * stage.arguments.seconds;
    stage.stand_in.expect(events);
    let arrivals = stage.stand_in.note(&load.word, usize::try_from(events)?);
    let measuring = Measuring::begin(&Process::of(relay.pid()), &stage.vm)?;
    let sent = load.send(Pace::Open { events, every: Duration::from_secs(1) / rate }).await?;
    all_arrive(stage, sent.len()).await;
    let sample = measuring.end(events)?.with(Measure::Offered, f64::from(rate));
    let mut answered: Vec<_> = sent.iter().map(|sent| sent.answered).collect();
    answered.sort();
    let arrived = sent.iter().filter_map(|sent| {
        let arrived = arrivals.of(usize::try_from(sent.number).ok()?)?;
        Some(arrived.saturating_duration_since(sent.at))
    });
    let mut arrived: Vec<_> = arrived.collect();
    arrived.sort();
    let sample = [(Measure::Door50, 50), (Measure::Door99, 99)]
        .into_iter()
        .fold(sample, |sample, (measure, hundredths)| sample.with(measure, percentile(&answered, hundredths)));
    let ends = [(Measure::P50, 50), (Measure::P90, 90), (Measure::P99, 99)];
    Ok(ends
        .into_iter()
        .fold(sample, |sample, (measure, hundredths)| sample.with(measure, percentile(&arrived, hundredths))))
}

async fn all_arrive(stage: &Stage<'_>, events: usize) {
    let arrived = || u32::try_from(events).is_ok_and(|events| events <= stage.stand_in.created());
    eventually("every event has arrived", || async { arrived() }).await;
}
