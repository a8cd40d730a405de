use std::time::SystemTime;

use refersion_relay_deadletter::{DeadLetters, WhenBusy};
use serde_json::json;

use super::plan::counts;
use crate::cli::StatsArgs;
use crate::commands::say;
use crate::exit::Exit;

pub(super) async fn stats(letters: &DeadLetters, args: &StatsArgs) -> Result<(), Exit> {
    let selection = args.filter.selection(SystemTime::now());
    let survey = letters.survey(&selection, args.scan.scan(), WhenBusy::CountOnly).await.map_err(Exit::failed)?;
    for class in survey.classes.iter().filter(|class| class.busy) {
        eprintln!("another command is working on the dead letters of class {}: they are only counted", class.class);
    }
    if args.json {
        say!("{}", json!(survey));
        return Ok(());
    }
    for class in &survey.classes {
        say!("{:<10} {:>10}  looked at {}, of which {} match", class.class, class.total, class.scanned, class.selected);
    }
    say!("{:<10} {:>10}  looked at {}, of which {} match", "all", survey.total, survey.scanned, survey.selected);
    for line in counts(&survey) {
        say!("{line}");
    }
    Ok(())
}
