//! The whole product in one process: a private broker, a simulated Refersion, real HTTP, and a report.

mod report;
mod samples;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use refersion_relay_deadletter::{Bodies, Entry, Filter, Selection};
use refersion_relay_model::Class;
use refersion_relay_private_broker::{PrivateBroker, StartError};
use refersion_relay_queue::{BrokerState, Letter, Queue, Scan};
use refersion_relay_simulator::{Settings as SimulatorSettings, Simulator};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::role::{self, Roles, Running};
use crate::cli::DemoArgs;
use crate::config::{self, Settings};
use crate::exit::Exit;
use crate::parts;
use crate::signals::Stop;
use report::{Answered, Report};
use samples::{KEY, Sample};

/// How long each stage may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(args: &DemoArgs) -> Result<(), Exit> {
    let stop = Stop::on_signals().map_err(Exit::failed)?;
    let shown = tokio::select! {
        shown = show(&stop) => shown?,
        () = stop.stop.cancelled() => return Err(Exit::Failed(anyhow!("interrupted"))),
    };
    if args.json {
        println!("{}", serde_json::to_string(&shown).map_err(Exit::failed)?);
    } else {
        print!("{shown}");
    }
    if shown.is_as_expected() { Ok(()) } else { Err(Exit::Said) }
}

async fn show(interrupted: &Stop) -> Result<Report, Exit> {
    say("starting a private RabbitMQ");
    let broker = PrivateBroker::start().await.map_err(|error| match error {
        StartError::NotInstalled => Exit::Failed(anyhow!(
            "the demo needs RabbitMQ to be installed, and starts a private one itself: apt-get install rabbitmq-server"
        )),
        error => Exit::failed(error),
    })?;

    say("starting a simulated Refersion, the doors and a worker");
    let stop = Stop { stop: interrupted.stop.child_token(), abort: interrupted.abort.child_token() };
    let simulator = Simulator::new(SimulatorSettings::default());
    let (listener, refersion) = listen().await?;
    let api = tokio::spawn({
        let (simulator, stop) = (simulator.clone(), stop.abort.clone());
        async move { simulator.serve(listener, stop).await }
    });
    let settings = config::from_toml(&samples::configuration(&broker.url(), refersion)).map_err(Exit::usage)?;
    let running = role::start(&settings, Roles::BOTH, settings.ops_listen, &stop).await?;
    let ops = running.ops;
    let mut state = running.queue.state();
    let up = timeout(PATIENCE, state.wait_for(BrokerState::is_up)).await;
    up.context("the private RabbitMQ does not answer").map_err(Exit::Failed)?.map_err(Exit::failed)?;

    let samples = samples::all();
    for fault in samples::faults() {
        simulator.add_fault(fault);
    }
    let door = running.ingest.ok_or_else(|| Exit::Failed(anyhow!("there is no door")))?;
    say(&format!("posting {} events to http://{door}/v1/destination", samples.len()));
    let answered = post(door, &samples).await?;

    say("waiting until each of them has ended");
    let accepted = answered.iter().filter(|answered| answered.status == 202).count() as u64;
    let ended = timeout(PATIENCE, ended(&running, accepted)).await.is_ok();
    let report = gather(&settings, &running, &simulator, answered, ended, ops).await?;

    stop.stop.cancel();
    running.end(&settings, &stop).await?;
    stop.abort.cancel();
    let _ = api.await;
    Ok(report)
}

async fn listen() -> Result<(TcpListener, SocketAddr), Exit> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Exit::failed)?;
    let address = listener.local_addr().map_err(Exit::failed)?;
    Ok((listener, address))
}

/// One after the other, as a sender who waits for each answer.
async fn post(door: SocketAddr, samples: &[Sample]) -> Result<Vec<Answered>, Exit> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build().map_err(Exit::failed)?;
    let mut answered = Vec::new();
    for sample in samples {
        let request = client.post(format!("http://{door}/v1/destination")).basic_auth(KEY, Some(""));
        let response = request.header("content-type", "application/json").body(sample.body.clone()).send().await;
        let response = response.map_err(Exit::failed)?;
        let status = response.status().as_u16();
        let body = response.text().await.map_err(Exit::failed)?;
        let message = serde_json::from_str::<serde_json::Value>(&body).ok();
        let message = message.and_then(|body| body.get("message")?.as_str().map(str::to_owned)).unwrap_or_default();
        say(&format!("  {status}  {}", sample.what));
        answered.push(Answered { what: sample.what, expected: sample.status, status, message });
    }
    Ok(answered)
}

/// Waits until every accepted event was delivered or is a dead letter.
async fn ended(running: &Running, accepted: u64) {
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while running.metrics.ended() < accepted {
        ticks.tick().await;
    }
}

async fn gather(
    settings: &Settings,
    running: &Running,
    simulator: &Simulator,
    answered: Vec<Answered>,
    ended: bool,
    ops: SocketAddr,
) -> Result<Report, Exit> {
    let letters = parts::dead_letters(settings, running.queue.clone());
    let selection = Selection { classes: Class::ALL.to_vec(), filter: Filter::default() };
    let mut dead_letters = Vec::new();
    let mut visit = |letter: Letter| dead_letters.push(Entry::new(&letter, Bodies::Hidden));
    letters.list(&selection, Scan { letters: 100 }, &mut visit).await.map_err(Exit::failed)?;
    let affiliates = simulator.affiliates();
    Ok(Report {
        answered,
        ended,
        ended_events: running.metrics.ended(),
        retries: running.metrics.retries(),
        calls: simulator.calls().len(),
        dead_letters,
        affiliates: affiliates.iter().map(report::Affiliate::from).collect(),
        metrics: format!("http://{ops}/metrics"),
    })
}

fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}
