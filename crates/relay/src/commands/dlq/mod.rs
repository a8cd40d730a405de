//! `dlq`: what a person does with dead letters.

mod export;
mod list;
mod plan;
mod show;
mod stats;
mod text;
mod walk;

use anyhow::anyhow;
use refersion_relay_deadletter::Bodies;
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;

use crate::cli::DlqCommand;
use crate::config::Settings;
use crate::exit::Exit;
use crate::parts;

use super::up;

/// Nobody replays or drops everything by forgetting an argument. Said before anything is read.
pub(super) fn check_usage(command: &DlqCommand) -> Result<(), Exit> {
    let (verb, filter) = match command {
        DlqCommand::Replay(args) => ("replay", &args.filter),
        DlqCommand::Drop(args) => ("drop", &args.filter),
        DlqCommand::Stats(_) | DlqCommand::List(_) | DlqCommand::Show(_) | DlqCommand::Export(_) => return Ok(()),
    };
    if filter.means_everything() {
        return Err(Exit::Usage(anyhow!(
            "say which letters to {verb}: ids, --class or another filter (see `refersion-relay dlq {verb} --help`)"
        )));
    }
    Ok(())
}

pub(super) async fn run(settings: &Settings, mut command: DlqCommand, parts: &Parts) -> Result<(), Exit> {
    if let Some(filter) = command.filter_mut() {
        filter.message_id = parts::known_as(settings, &filter.message_id).into_iter().collect();
    }
    let metrics = Metrics::new();
    let queue = parts::queue(settings, &metrics, parts);
    up(queue.as_ref()).await?;
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
