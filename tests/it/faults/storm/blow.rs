use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use refersion_relay_simulator::{Fault, FaultRule};
use refersion_relay_tests::{Network, Proxy};

use super::installation::{Installation, Role};

/// Something that goes wrong, for a while.
#[derive(Clone, Debug)]
pub(super) enum Blow {
    /// A crash of a process, which is started again.
    Kill(Victim),
    /// It stands still.
    Freeze(Victim, Duration),
    /// A network to the broker, or to Refersion.
    Network(Wire, Network, Duration),
    /// Every connection is cut once.
    Cut(Wire),
    /// Refersion does so for a while.
    Refersion(Fault, Duration),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Victim {
    Ingest,
    Worker(usize),
    Broker,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Wire {
    IngestToBroker,
    WorkerToBroker(usize),
    WorkersToRefersion,
}

impl Blow {
    /// Anything but a kill.
    pub(super) fn draw(random: &mut StdRng, has_broker: bool) -> Self {
        let lasting = Duration::from_millis(random.random_range(100..1_500));
        match random.random_range(0..10) {
            0..2 => Self::Freeze(Victim::draw(random, has_broker), lasting),
            2..4 => Self::Cut(Wire::draw(random, has_broker)),
            4..7 => Self::Network(Wire::draw(random, has_broker), network(random), lasting),
            _ => Self::Refersion(fault(random), lasting),
        }
    }

    /// The crash of some process.
    pub(super) fn kill(random: &mut StdRng, installation: &Installation) -> Self {
        Self::Kill(Victim::draw(random, installation.has_broker()))
    }

    /// Lets it happen, and returns when it is over.
    pub(super) async fn fall(&self, installation: &Installation) {
        match self {
            Self::Kill(Victim::Broker) => {
                let mut node = broker(installation).node.lock().await;
                node.kill().await;
                node.restart().await.expect("it starts again");
            }
            Self::Kill(Victim::Ingest) => restart(&installation.ingest, installation).await,
            Self::Kill(Victim::Worker(index)) => restart(&installation.workers[*index], installation).await,
            Self::Freeze(victim, lasting) => freeze(*victim, *lasting, installation).await,
            Self::Network(wire, network, lasting) => {
                let wire = wire.of(installation);
                wire.set(*network);
                tokio::time::sleep(*lasting).await;
                wire.set(Network::Fine);
            }
            Self::Cut(wire) => wire.of(installation).cut(),
            Self::Refersion(fault, lasting) => {
                let for_ms = Some(u64::try_from(lasting.as_millis()).expect("short"));
                installation.refersion.simulator.add_fault(FaultRule { for_ms, ..FaultRule::always(fault.clone()) });
                tokio::time::sleep(*lasting).await;
            }
        }
    }
}

impl Victim {
    fn draw(random: &mut StdRng, has_broker: bool) -> Self {
        match random.random_range(0..if has_broker { 10 } else { 8 }) {
            0..2 => Self::Ingest,
            2..8 => Self::Worker(random.random_range(0..2)),
            _ => Self::Broker,
        }
    }
}

impl Wire {
    fn draw(random: &mut StdRng, has_broker: bool) -> Self {
        match random.random_range(0..if has_broker { 6 } else { 2 }) {
            0..2 => Self::WorkersToRefersion,
            2..3 => Self::IngestToBroker,
            _ => Self::WorkerToBroker(random.random_range(0..2)),
        }
    }

    fn of(self, installation: &Installation) -> &Proxy {
        match self {
            Self::IngestToBroker => &broker(installation).to_ingest,
            Self::WorkerToBroker(index) => &broker(installation).to_workers[index],
            Self::WorkersToRefersion => &installation.to_refersion,
        }
    }
}

fn broker(installation: &Installation) -> &super::installation::Broker {
    installation.broker.as_ref().expect("nothing is drawn for a broker that is not there")
}

async fn restart(role: &tokio::sync::RwLock<Role>, installation: &Installation) {
    // What it was just answering stays unanswered, and is not waited for.
    role.read().await.process().signal("KILL").await;
    let mut role = role.write().await;
    role.reap().await;
    role.start(installation.config());
}

async fn freeze(victim: Victim, lasting: Duration, installation: &Installation) {
    let role = match victim {
        Victim::Broker => {
            let node = broker(installation).node.lock().await;
            node.freeze();
            tokio::time::sleep(lasting).await;
            return node.thaw();
        }
        Victim::Ingest => &installation.ingest,
        Victim::Worker(index) => &installation.workers[index],
    };
    let role = role.read().await;
    role.process().signal("STOP").await;
    tokio::time::sleep(lasting).await;
    role.process().signal("CONT").await;
}

fn network(random: &mut StdRng) -> Network {
    match random.random_range(0..5) {
        0 => Network::Slow(Duration::from_millis(30)),
        1 => Network::Narrow(50_000),
        2 => Network::Silent,
        3 => Network::Refusing,
        _ => Network::HalfOpen,
    }
}

/// Everything that may be over later. What Refersion says no with for good is not among it.
fn fault(random: &mut StdRng) -> Fault {
    match random.random_range(0..12) {
        0 => Fault::status(500, None),
        1 => Fault::status(503, Some(r#"{"error":"Service Unavailable"}"#)),
        2 => Fault::Html { status: 502 },
        3 => Fault::Hang,
        4 => Fault::Reset,
        5 => Fault::NotHttp,
        6 => Fault::TooManyRequests { retry_after: Some("1".to_owned()) },
        7 => Fault::TooManyRequests { retry_after: None },
        8 => Fault::Latency { ms: 300 },
        9 => Fault::after_effect(Fault::Reset),
        10 => Fault::after_effect(Fault::status(500, None)),
        _ => Fault::Truncated,
    }
}
