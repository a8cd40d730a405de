//! What the relay is measured beside: the least that does the same, each in a process of its own, so that its CPU time and memory are
//! known as the relay's are. They say `ready` when they are, and wait for a line before they begin where that matters.

mod consume;
mod door;
mod publish;
mod work;

use std::io::Write as _;
use std::net::SocketAddr;

use clap::Subcommand;
use lapin::{Connection, ConnectionProperties};

pub(crate) use publish::Dress;

/// The program that this one is when it has started itself.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Program {
    /// Publishes bodies with confirms, over one channel.
    #[command(hide = true)]
    Publish { url: String, queue: String, dress: Dress, events: u32, bytes: usize, in_flight: usize },
    /// Takes events and acknowledges each.
    #[command(hide = true)]
    Consume { url: String, queue: String, events: u32 },
    /// Takes events, calls Refersion for each, and acknowledges them, so many at a time.
    #[command(hide = true)]
    Work { url: String, queue: String, refersion: String, in_flight: u16, together: usize },
    /// Takes events over HTTP, and answers when they are confirmed.
    #[command(hide = true)]
    Door { url: String, queue: String },
}

impl Program {
    /// What makes it this program, behind the program's own name.
    pub(crate) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Publish { url, queue, dress, events, bytes, in_flight } => {
                let numbers = [events.to_string(), bytes.to_string(), in_flight.to_string()];
                let words = ["publish", url, queue, dress.name()].map(str::to_owned);
                [words.as_slice(), &numbers].concat()
            }
            Self::Consume { url, queue, events } => {
                vec!["consume".to_owned(), url.clone(), queue.clone(), events.to_string()]
            }
            Self::Work { url, queue, refersion, in_flight, together } => {
                let numbers = [in_flight.to_string(), together.to_string()];
                [vec!["work".to_owned(), url.clone(), queue.clone(), refersion.clone()], numbers.to_vec()].concat()
            }
            Self::Door { url, queue } => vec!["door".to_owned(), url.clone(), queue.clone()],
        }
    }

    /// Runs until it is killed.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Publish { url, queue, dress, events, bytes, in_flight } => {
                publish::run(&url, &queue, dress, events, bytes, in_flight).await?;
            }
            Self::Consume { url, queue, events } => consume::run(&url, &queue, events).await?,
            Self::Work { url, queue, refersion, in_flight, together } => {
                work::run(&url, &queue, &refersion, in_flight, together).await?;
            }
            Self::Door { url, queue } => door::run(&url, &queue).await?,
        }
        std::future::pending().await
    }
}

async fn connect(url: &str) -> anyhow::Result<Connection> {
    Ok(Connection::connect(url, ConnectionProperties::default()).await?)
}

fn say(what: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{what}")?;
    Ok(stdout.flush()?)
}

fn say_address(address: SocketAddr) -> anyhow::Result<()> {
    say(&format!("ready {address}"))
}

/// Says that it is ready, and waits for leave.
async fn leave() -> anyhow::Result<()> {
    say("ready")?;
    let line = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    line.await??;
    Ok(())
}
