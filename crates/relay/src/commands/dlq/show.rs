use anyhow::anyhow;
use refersion_relay_deadletter::{DeadLetters, Entry};

use super::bodies;
use crate::cli::ShowArgs;
use crate::commands::say;
use crate::exit::Exit;

pub(super) async fn show(letters: &DeadLetters, args: &ShowArgs) -> Result<(), Exit> {
    let scan = args.scan.scan();
    let found = letters.find(&args.id, &args.classes(), scan).await.map_err(Exit::failed)?;
    let Some(letter) = found else {
        let (id, scanned) = (&args.id, scan.letters);
        let why = anyhow!("no dead letter {id} among the first {scanned} of each class (--scan reads more)");
        return Err(Exit::Failed(why));
    };
    let entry = Entry::new(&letter, bodies(args.show_body));
    let shown = if args.json { serde_json::to_string(&entry) } else { serde_json::to_string_pretty(&entry) };
    say!("{}", shown.map_err(Exit::failed)?);
    if !args.json && !args.show_body {
        eprintln!("--show-body shows the event itself, which is personal data");
    }
    Ok(())
}
