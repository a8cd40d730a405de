//! `explain`: where one event is now, and what happened to it.

mod clues;
mod evidence;
mod story;

use refersion_relay_supervise::Parts;
use serde_json::json;

use crate::cli::ExplainArgs;
use crate::config::Settings;
use crate::exit::Exit;
use crate::output::output::say;

use evidence::Evidence;

pub(super) async fn run(settings: &Settings, args: &ExplainArgs, parts: &Parts) -> Result<(), Exit> {
    let evidence = Evidence::gather(settings, args, parts).await?;
    let explanation = story::tell(&evidence, std::time::SystemTime::now());
    if args.json {
        say!("{:#}", json!(explanation))?;
    } else {
        for line in explanation.lines() {
            say!("{line}")?;
        }
    }
    if explanation.events.is_empty() { Err(Exit::Said) } else { Ok(()) }
}
