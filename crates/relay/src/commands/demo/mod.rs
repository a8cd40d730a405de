//! The whole product in one process: an embedded queue, a simulated Refersion, real HTTP, and a report.

mod expect;
mod folder;
mod next;
mod observed;
mod page;
mod play;
mod print;
mod report;
mod script;
mod stage;

use refersion_relay_model::DeadReason;

use crate::cli::DemoArgs;
use crate::exit::Exit;
use crate::output::output::{say, tell};
use crate::signals::Stop;
use folder::Folder;
use next::Next;
use observed::Observed;
use play::Play;
use report::Report;
use script::Script;
use stage::{Stage, joined};

pub(super) async fn run(args: &DemoArgs) -> Result<(), Exit> {
    let stop = Stop::on_signals().map_err(Exit::failed)?;
    let script = Script::built_in();
    let folder = Folder::make(args.keep.as_ref())?;
    let seen = show(&script, &folder, &stop).await;
    let report = seen.map(|(observed, keys)| {
        let next = Next::new(&program(), &folder, &keys, mendable(&observed));
        Report::new(&script, observed, next)
    });
    folder.end()?;
    let report = report?;
    if args.json {
        say!("{}", serde_json::to_string(&report).map_err(Exit::failed)?)?;
    } else {
        say!("{}", report.to_string().trim_end())?;
    }
    verdict(&report)
}

/// A report whose expectations did not all hold has said which.
fn verdict(report: &Report) -> Result<(), Exit> {
    if report.held { Ok(()) } else { Err(Exit::Said) }
}

/// Plays the script, and clears everything away however that ends. Also returns the keys that Refersion knows.
async fn show(script: &Script, folder: &Folder, stop: &Stop) -> Result<(Observed, Vec<String>), Exit> {
    tell!("starting the doors, a worker, an embedded queue and a simulated Refersion");
    let stage = Stage::set(folder.path(), &script.faults, stop).await?;
    let play = Play::new(&stage, script)?;
    let observed = tokio::select! {
        observed = play.perform() => observed,
        () = stop.stop.cancelled() => Err(stop.reason()),
    };
    let keys = stage.settings.accounts.iter().map(joined).collect();
    let ended = stage.strike().await;
    let observed = observed?;
    ended?;
    Ok((observed, keys))
}

/// How it was called, so that what is printed can be called again.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "refersion-relay".to_owned())
}

/// A letter that Refersion refused for a reason that has gone since.
fn mendable(observed: &Observed) -> Option<&str> {
    let mut letters = observed.letters.iter();
    letters.find(|letter| letter.reason == DeadReason::Refused.as_str()).map(|letter| letter.id.as_str())
}
