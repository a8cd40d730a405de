use refersion_relay_tests::installed;
use tokio::process::Command;

use crate::arguments::Section;
use crate::child::Child;
use crate::events::bodies;
use crate::feed::Form;
use crate::programs::Program;
use crate::report::Table;
use crate::sections::{bare, relayed};
use crate::stage::{Backend, Stage};

const LOOP: &str = "lapin + reqwest by hand";
const TOGETHER: &str = "the same, 20 acknowledgements together";
const CONSUME: &str = "bare lapin consumer, no calls";

/// A program in another language.
struct Peer {
    row: &'static str,
    /// Below `target/peers`.
    interpreter: Interpreter,
    program: &'static str,
    form: Form,
    /// It works a part of the events, because it takes so much longer for each.
    part: u32,
}

#[derive(Clone, Copy)]
enum Interpreter {
    Python,
    Node,
}

const PEERS: [Peer; 4] = [
    Peer {
        row: "amqplib + undici (Node)",
        interpreter: Interpreter::Node,
        program: "amqplib_worker.js",
        form: Form::Plain,
        part: 1,
    },
    Peer {
        row: "rascal + undici (Node)",
        interpreter: Interpreter::Node,
        program: "rascal_worker.js",
        form: Form::Plain,
        part: 1,
    },
    Peer {
        row: "aio-pika + aiohttp (Python)",
        interpreter: Interpreter::Python,
        program: "aio_pika_worker.py",
        form: Form::Plain,
        part: 4,
    },
    Peer {
        row: "Celery, threads (Python)",
        interpreter: Interpreter::Python,
        program: "celery_worker.py",
        form: Form::Celery,
        part: 10,
    },
];

pub(super) async fn round(stage: &Stage<'_>, table: &mut Table) -> anyhow::Result<()> {
    let arguments = stage.arguments;
    let concurrency = format!("concurrency = {}", arguments.in_flight);
    for backend in Backend::BOTH {
        let config = stage.config(backend, &[("worker", &concurrency)]);
        let events = bodies(arguments, arguments.events, &stage.word());
        relayed::ingest(stage, &config, &events).await?;
        table.add(backend.row(), relayed::work(stage, &config, arguments.events).await?);
        if backend == Backend::RabbitMq {
            stage.feed.remove(&Stage::work_queue(&config)).await?;
        }
    }
    let events = bodies(arguments, arguments.events, &stage.word());
    for (row, together) in [(LOOP, 1), (TOGETHER, 20)] {
        let by_hand = |queue: &str| {
            let (url, refersion) = (stage.broker.url(), stage.stand_in.url().to_owned());
            let (queue, in_flight) = (queue.to_owned(), arguments.in_flight);
            Child::of(&Program::Work { url, queue, refersion, in_flight, together })
        };
        table.add(row, bare::work(stage, &events, Form::Plain, by_hand).await?);
    }
    table.add(CONSUME, bare::consume(stage, &events).await?);
    if arguments.wants(Section::Peers) {
        for peer in &PEERS {
            let events = &events[..usize::try_from(arguments.events / peer.part)?];
            table.add(peer.row, bare::work(stage, events, peer.form, |queue| peer.start(stage, queue)).await?);
        }
    }
    Ok(())
}

impl Peer {
    fn start(&self, stage: &Stage<'_>, queue: &str) -> anyhow::Result<Child> {
        let mut command = match self.interpreter {
            Interpreter::Python => {
                let mut command = Command::new(installed("peers/python/bin/python"));
                let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/python");
                command.arg(format!("{programs}/{}", self.program)).env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            Interpreter::Node => {
                let mut command = Command::new("node");
                command.arg(installed("peers/node").join(self.program));
                command
            }
        };
        command.args([&stage.broker.url(), queue, stage.stand_in.url(), &stage.arguments.in_flight.to_string()]);
        Child::start(command)
    }
}

pub(super) fn compare(table: &mut Table) {
    table.compare(Backend::RabbitMq.row(), LOOP);
    table.compare(Backend::RabbitMq.row(), TOGETHER);
    table.compare(Backend::RabbitMq.row(), CONSUME);
    table.compare(Backend::Embedded.row(), LOOP);
    table.compare(Backend::Embedded.row(), Backend::RabbitMq.row());
    for peer in &PEERS {
        table.compare(Backend::RabbitMq.row(), peer.row);
    }
}
