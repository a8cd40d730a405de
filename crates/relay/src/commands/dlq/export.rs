use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use refersion_relay_deadletter::{DeadLetters, Deed, Done, Export, Lines};
use tokio::fs::OpenOptions;
use tokio::io::{AsyncWrite, BufWriter};

use super::walk::{ended, orders, run};
use crate::cli::ExportArgs;
use crate::exit::Exit;
use crate::progress::Progress;
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
    let mut output = output(args.output.as_deref()).await?;
    let on_terminal = args.output.is_none() && io::stdout().is_terminal();
    let total = letters.count(&selection.classes).await.map_err(Exit::failed)?;
    let progress = if on_terminal { Progress::in_lines } else { Progress::start };
    let mut progress = progress("export", Some(total));
    let mut watch = |done: &Done| progress.at(done.seen, || format!("{} written", done.acted));
    let deed = Deed::Export(Export::new(&mut output, lines));
    let walked = run(letters.walk(deed, &selection, &orders(&args.walk, &stop), &mut watch), &stop).await?;
    progress.end();
    let (done, _) = &walked;
    eprintln!("{} dead letters were written, {} of {} were looked at", done.acted, done.seen, done.total);
    if 0 < done.left_out {
        eprintln!("{} unverified ones were left out: name --class unverified to have them", done.left_out);
    }
    if 0 < done.not_json {
        eprintln!("{} are no JSON, and so no events; they are exported without --events", done.not_json);
    }
    ended(walked, &stop)?.all_found()
}

async fn output(path: Option<&Path>) -> Result<BufWriter<Box<dyn AsyncWrite + Send + Unpin>>, Exit> {
    let output: Box<dyn AsyncWrite + Send + Unpin> = match path {
        None => Box::new(tokio::io::stdout()),
        Some(path) => {
            // Personal data.
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).await;
            Box::new(file.with_context(|| format!("cannot write {}", path.display())).map_err(Exit::Failed)?)
        }
    };
    Ok(BufWriter::with_capacity(64 * 1024, output))
}
