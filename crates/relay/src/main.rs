//! `refersion-relay`: the Refersion destination for Twilio Segment, as one program with a role for each command.

#![deny(clippy::print_stdout, clippy::print_stderr)] // `output` does, and says when it cannot

mod certificates;
mod cli;
mod commands;
mod config;
mod descriptors;
mod exit;
mod flow;
mod left_behind;
mod look;
mod ops;
mod output;
mod parts;
mod policies;
mod poll;
mod private_file;
mod progress;
mod reload;
mod signals;
mod usage;
mod words;

use std::process::ExitCode;

use clap::Parser;

/// An event is some hundred small allocations, on several threads.
#[cfg(all(feature = "jemalloc", target_os = "linux"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => match usage::mistake(&error, std::env::args_os()) {
            Some(mistake) => return exit::Exit::usage(anyhow::Error::msg(mistake)).report(),
            // Help that was not asked for is an answer, and no success: a unit or a container that forgot the command
            // must not look as if it had done its work.
            None if usage::lacks_command(&error) => {
                return output::help(&error).map_or_else(exit::Exit::report, |()| ExitCode::from(2));
            }
            None => return output::help(&error).map_or_else(exit::Exit::report, |()| ExitCode::SUCCESS),
        },
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
