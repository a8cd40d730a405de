use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::output::output::print_bytes;

/// Prints a script for a shell.
pub(super) fn completions(shell: Shell) -> Result<(), Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "refersion-relay", &mut script);
    print_bytes(&script)
}

/// Prints the page of the program, or writes one for it and for each command.
pub(super) fn man(folder: Option<&Path>) -> Result<(), Exit> {
    let command = Cli::command();
    if let Some(folder) = folder {
        let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
        return written.with_context(|| format!("cannot write to {}", folder.display())).map_err(Exit::Failed);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(Exit::failed)?;
    print_bytes(&page)
}
