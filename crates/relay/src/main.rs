//! `refersion-relay`: the Refersion destination for Twilio Segment, as one program with a role for each command.

#![deny(clippy::print_stdout, clippy::print_stderr)] // `output` does, and says when it cannot

mod cli;
/// The commands, one file or folder each.
mod commands;
/// From the file, the environment and files with secrets to settings that hold.
mod config;
mod parts;
/// A process that takes events in, works them, or both: its start, its reload, and what it shows.
mod run;
/// What commands print, and the files that they write.
mod output;
mod signals;
mod exit;

use std::process::ExitCode;

use clap::Parser;

/// An event is some hundred small allocations, on several threads.
#[cfg(all(feature = "jemalloc", target_os = "linux"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        // Also the help that was not asked for: a unit or a container that forgot the command must not look as if it had done its work.
        Err(error) if error.use_stderr() => {
            output::output::tell!("{}", error.render().to_string().trim_end());
            return ExitCode::from(2);
        }
        Err(help) => return output::output::help(&help).map_or_else(exit::Exit::report, |()| ExitCode::SUCCESS),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return exit::Exit::failed(anyhow::Error::new(error).context("cannot start")).report(),
    };
    let ended = runtime.block_on(commands::run(cli));
    // Whatever still runs now was told to stop and did not.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}
