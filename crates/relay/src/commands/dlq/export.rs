use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use refersion_relay_deadletter::{DeadLetters, Export, LetterOperation, Lines, SweepError, SweepReport};
use tokio::fs::File;
use tokio::io::BufWriter;

use super::walk::{ended, options, run};
use crate::cli::ExportArgs;
use crate::exit::Exit;
use crate::output::output::{self, tell};
use crate::output::private_file::{self, Present};
use crate::output::progress::Progress;
use crate::output::words::{counted, form};
use crate::signals::Stop;

pub(super) async fn export(letters: &DeadLetters, args: &ExportArgs) -> Result<(), Exit> {
    let now = SystemTime::now();
    // Events alone can be sent again like any other; letters say what they are.
    let (lines, selection) = if args.events {
        (Lines::Events, args.filter.selection_to_send(now))
    } else {
        (Lines::Letters, args.filter.selection(now))
    };
    let stop = Stop::on_signals().map_err(Exit::failed)?;
    // Before what an earlier export wrote is emptied: a queue that is away leaves it as it is.
    let total = letters.count(&selection.classes).await.map_err(Exit::failed)?;
    let mut output = output(args.output.as_deref()).await?;
    let on_terminal = args.output.is_none() && io::stdout().is_terminal();
    let progress = if on_terminal { Progress::in_lines } else { Progress::start };
    let mut progress = progress("export", Some(total));
    let mut watch = |done: &SweepReport| progress.at(done.seen, || format!("{} written", done.acted));
    let operation = LetterOperation::Export(Export::new(&mut output, lines).for_terminal(on_terminal));
    let walked = run(letters.walk(operation, &selection, &options(&args.walk, &stop), &mut watch), &stop).await?;
    progress.end();
    let walked = match walked {
        // Whoever read it has seen enough, and what of it was read nobody knows.
        (_, Err(SweepError::Output(error))) if output::unread(&error) => return Ok(()),
        // Nor where it could not be written.
        (_, Err(error @ SweepError::Output(_))) => return Err(Exit::failed(error)),
        walked => walked,
    };
    let done = &walked.0;
    let SweepReport { acted, seen, not_json, left_out, misleading, .. } = *done;
    tell!(
        "{} {} written, {seen} of {} {} looked at",
        counted(acted, "dead letter"),
        form(acted, "was", "were"),
        done.total,
        form(seen, "was", "were")
    );
    if 0 < left_out {
        let (were, them) = (form(left_out, "one was", "ones were"), form(left_out, "it", "them"));
        tell!("{left_out} unverified {were} left out: name --class unverified to have {them}");
    }
    if 0 < misleading {
        let (says, its) = (form(misleading, "says itself", "say themselves"), form(misleading, "its id", "their ids"));
        tell!(
            "{misleading} {says} to be of another type than the door took for right, and stayed out: name {its} to have them"
        );
    }
    if 0 < not_json {
        let (is, they) = (form(not_json, "is", "are"), form(not_json, "it is", "they are"));
        tell!(
            "{not_json} {is} no JSON, and so no {}; {they} exported without --events",
            form(not_json, "event", "events")
        );
    }
    ended(walked, &stop)?.all_found()
}

async fn output(path: Option<&Path>) -> Result<BufWriter<File>, Exit> {
    let file = match path.map(Path::to_owned) {
        None => output::stdout().context("cannot write to standard output").map_err(Exit::Failed)?,
        Some(path) => {
            let opening = tokio::task::spawn_blocking(move || private_file::open(&path, Present::Replaced));
            opening.await.context("cannot write").and_then(|opened| opened).map_err(Exit::Failed)?
        }
    };
    Ok(BufWriter::with_capacity(64 * 1024, File::from_std(file)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use refersion_relay_supervise::Parts;
    use refersion_relay_telemetry::Metrics;

    use super::*;
    use crate::config;
    use crate::parts;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: ExportArgs,
    }

    #[tokio::test]
    async fn an_export_from_a_queue_that_is_away_leaves_the_last_one_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters");
        std::fs::write(&path, "the last export").unwrap();
        // Nobody listens at this port.
        let settings = config::from_toml(
            "[queue]\nurl = \"amqp://127.0.0.1:1\"\n\
             [[account]]\nname = \"acme\"\npublic_key = \"pub\"\nsecret_key = \"sec\"\n",
        )
        .unwrap();
        let queue = parts::queue(&settings, &Metrics::new(), &Parts::default());
        let letters = parts::dead_letters(&settings, queue.clone());
        let command = Command::parse_from(["export", "--output", path.to_str().unwrap()]);

        let exported = export(&letters, &command.args).await;

        queue.close().await;
        assert!(exported.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the last export");
    }
}
