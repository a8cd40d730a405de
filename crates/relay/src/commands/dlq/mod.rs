//! `dlq`: what a person does with dead letters.

mod export;
mod list;
mod plan;
mod show;
mod stats;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use refersion_relay_deadletter::Bodies;
use refersion_relay_queue::{BrokerState, Queue, RabbitMq};
use refersion_relay_telemetry::Metrics;
use tokio::time::timeout;

use crate::cli::DlqCommand;
use crate::config::Settings;
use crate::exit::Exit;
use crate::parts;

/// How long the broker may take to be reached.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(settings: &Settings, command: DlqCommand) -> Result<(), Exit> {
    let metrics = Metrics::new();
    let queue = parts::queue(settings, &metrics);
    up(&queue).await?;
    let letters = parts::dead_letters(settings, queue.clone());
    let done = match command {
        DlqCommand::Stats(args) => stats::stats(&letters, &args).await,
        DlqCommand::List(args) => list::list(&letters, &args).await,
        DlqCommand::Show(args) => show::show(&letters, &args).await,
        DlqCommand::Replay(args) => walk::replay(&letters, &args).await,
        DlqCommand::Drop(args) => walk::drop(&letters, &args).await,
        DlqCommand::Export(args) => export::export(&letters, &args).await,
    };
    queue.close().await;
    done
}

async fn up(queue: &Arc<RabbitMq>) -> Result<(), Exit> {
    let mut state = queue.state();
    let settled = |state: &BrokerState| !matches!(state, BrokerState::Away { .. });
    let reached = timeout(PATIENCE, state.wait_for(settled)).await.is_ok_and(|state| state.is_ok());
    let state = queue.state().borrow().clone();
    if reached && !matches!(state, BrokerState::Mismatch { .. }) {
        Ok(())
    } else {
        Err(Exit::Failed(anyhow!("{state}")))
    }
}

fn bodies(shown: bool) -> Bodies {
    if shown { Bodies::Shown } else { Bodies::Hidden }
}
