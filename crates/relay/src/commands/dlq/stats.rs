use std::time::SystemTime;

use refersion_relay_deadletter::{DeadLetters, WhenBusy};
use serde_json::json;

use super::plan::counts;
use crate::cli::StatsArgs;
use crate::exit::Exit;
use crate::output::output::{say, tell};
use crate::output::words::form;

pub(super) async fn stats(letters: &DeadLetters, args: &StatsArgs) -> Result<(), Exit> {
    let selection = args.filter.selection(SystemTime::now());
    let stats = letters.stats(&selection, args.scan.scan(), WhenBusy::CountOnly).await.map_err(Exit::failed)?;
    for class in stats.classes.iter().filter(|class| class.busy) {
        tell!("another command is working on the dead letters of class {}: they are only counted", class.class);
    }
    if args.json {
        return say!("{}", json!(stats));
    }
    let classes = stats.classes.iter().map(|class| (class.class, class.total, class.scanned, class.selected));
    for (class, total, scanned, selected) in classes.chain([("all", stats.total, stats.scanned, stats.selected)]) {
        let matches = form(selected, "matches", "match");
        say!("{class:<10} {total:>10}  looked at {scanned}, of which {selected} {matches}")?;
    }
    for line in counts(&stats) {
        say!("{line}")?;
    }
    Ok(())
}
