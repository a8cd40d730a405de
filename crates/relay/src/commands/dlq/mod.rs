//! `dlq`: what a person does with dead letters.

mod export;
mod list;
mod plan;
mod show;
mod stats;
mod walk;

use refersion_relay_deadletter::Bodies;
use refersion_relay_telemetry::Metrics;

use crate::cli::DlqCommand;
use crate::config::Settings;
use crate::exit::Exit;
use crate::parts;

use super::up;

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

fn bodies(shown: bool) -> Bodies {
    if shown { Bodies::Shown } else { Bodies::Hidden }
}
