//! One file for each subcommand.

mod check;
mod demo;
mod dlq;
mod role;
mod simulate;

/// Prints a line of what was asked for. A reader that has seen enough, such as `head`, is no failure.
macro_rules! say {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($what)*);
    }};
}
pub(crate) use say;

use std::path::Path;

use refersion_relay_telemetry::{LogFormat, init_logging};

use crate::cli::{Cli, Command};
use crate::config::{self, Settings};
use crate::exit::Exit;
use role::Roles;

pub(crate) async fn run(cli: Cli) -> Result<(), Exit> {
    let config = cli.config.as_deref();
    match cli.command {
        Command::Demo(args) => {
            init_logging(LogFormat::Text, "warn").map_err(Exit::usage)?;
            demo::run(&args).await
        }
        Command::Run(args) => role::run(&settings(config)?, Roles::BOTH, &args).await,
        Command::Ingest(args) => role::run(&settings(config)?, Roles::INGEST, &args).await,
        Command::Worker(args) => role::run(&settings(config)?, Roles::WORKER, &args).await,
        Command::Dlq { command } => dlq::run(&quiet(config)?, command).await,
        Command::Check(args) => check::run(config, &args).await,
        Command::Simulate(args) => {
            init_logging(LogFormat::Text, "info").map_err(Exit::usage)?;
            simulate::run(args).await
        }
    }
}

fn settings(path: Option<&Path>) -> Result<Settings, Exit> {
    let settings = config::load(path).map_err(Exit::usage)?;
    init_logging(settings.log_format, &settings.log_filter).map_err(Exit::usage)?;
    Ok(settings)
}

/// For commands that a person reads the output of: what they have to say is not in the log.
fn quiet(path: Option<&Path>) -> Result<Settings, Exit> {
    let settings = config::load(path).map_err(Exit::usage)?;
    init_logging(settings.log_format, "error").map_err(Exit::usage)?;
    Ok(settings)
}
