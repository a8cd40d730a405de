use std::time::Duration;

use bytes::Bytes;

use crate::events::body_about;
use crate::report::Table;
use crate::sections::relayed;
use crate::stage::{Backend, Stage};

/// A worker with a directory beside one without.
struct Pair {
    backend: Backend,
    plain: &'static str,
    learning: &'static str,
    /// Events about each person.
    each: u32,
    /// How long a call takes.
    call: Duration,
}

const PAIRS: [Pair; 6] = [
    Pair {
        backend: Backend::Embedded,
        plain: "worker, embedded",
        learning: "worker, embedded, everybody learnt",
        each: 1,
        call: Duration::ZERO,
    },
    Pair {
        backend: Backend::Embedded,
        plain: "worker, embedded, ten events of each",
        learning: "worker, embedded, ten events of each, everybody learnt",
        each: 10,
        call: Duration::ZERO,
    },
    Pair {
        backend: Backend::RabbitMq,
        plain: "worker, RabbitMQ",
        learning: "worker, RabbitMQ, everybody learnt",
        each: 1,
        call: Duration::ZERO,
    },
    Pair {
        backend: Backend::RabbitMq,
        plain: "worker, RabbitMQ, ten events of each",
        learning: "worker, RabbitMQ, ten events of each, everybody learnt",
        each: 10,
        call: Duration::ZERO,
    },
    Pair {
        backend: Backend::Embedded,
        plain: "worker, embedded, calls of 20 ms",
        learning: "worker, embedded, calls of 20 ms, everybody learnt",
        each: 1,
        call: SLOW,
    },
    Pair {
        backend: Backend::RabbitMq,
        plain: "worker, RabbitMQ, calls of 20 ms",
        learning: "worker, RabbitMQ, calls of 20 ms, everybody learnt",
        each: 1,
        call: SLOW,
    },
];
const REPEATING: &str = "nine of ten say nothing new, calls of 20 ms";
const SKIPPING: &str = "the same, with skip_unchanged";

/// A Refersion that takes its time.
const SLOW: Duration = Duration::from_millis(20);
/// Calls under way, where they take their time.
const CALLS: &str = "concurrency = 32";

pub(super) async fn round(stage: &Stage<'_>, table: &mut Table) -> anyhow::Result<()> {
    let events = stage.arguments.events;
    let concurrency = format!("concurrency = {}", stage.arguments.in_flight);
    for Pair { backend, plain, learning, each, call } in PAIRS {
        let events = if call.is_zero() { events } else { events / 5 };
        let concurrency = if call.is_zero() { concurrency.as_str() } else { CALLS };
        // Whatever is measured second is slower on some machines.
        for learns in [false, true, true, false] {
            let config = stage.config(backend, &[("worker", concurrency)]);
            if learns {
                let directory = "[directory]\nenabled = true\npath = \"directory.db\"\n\n[log]";
                config.edit("[log]", directory);
                config.edit("write_key = \"write_1\"", "write_key = \"write_1\"\nwrite_key_may_teach = true");
            }
            let word = stage.word();
            // Those of one person not one after the other, as they come.
            let body = |n| body_about(&word, n, n % (events / each), stage.arguments.bytes);
            relayed::ingest(stage, &config, &(0..events).map(body).collect::<Vec<Bytes>>()).await?;
            stage.stand_in.take(call);
            let sample = relayed::work(stage, &config, events).await;
            stage.stand_in.take(Duration::ZERO);
            table.add(if learns { learning } else { plain }, sample?);
        }
    }
    let fewer = events / 5;
    for row in [REPEATING, SKIPPING] {
        let keys = [("worker", CALLS), ("worker", "skip_unchanged = \"1h\"")];
        let config = stage.config(Backend::Embedded, if row == SKIPPING { &keys } else { &keys[..1] });
        let word = stage.word();
        let body = |n| body_about(&word, n, n / 10, stage.arguments.bytes);
        relayed::ingest(stage, &config, &(0..fewer).map(body).collect::<Vec<Bytes>>()).await?;
        stage.stand_in.take(SLOW);
        let sample = relayed::work_to_the_end(stage, &config, fewer).await;
        stage.stand_in.take(Duration::ZERO);
        table.add(row, sample?);
    }
    Ok(())
}

pub(super) fn compare(table: &mut Table) {
    for Pair { plain, learning, .. } in PAIRS {
        table.compare(learning, plain);
    }
    table.compare(SKIPPING, REPEATING);
}
