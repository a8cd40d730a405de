//! One file for each subcommand.

mod check;
mod demo;
mod directory;
mod dlq;
mod enqueue;
mod explain;
mod health;
mod manual;
mod ops_client;
mod init;
mod simulate;

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use refersion_relay_queue::{BrokerState, Queue};
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::{LogFormat, init_logging};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command};
use crate::config::{self, ConfigError, Settings};
use crate::exit::Exit;
use crate::output::output::{say, tell};
use crate::run::role::Roles;

pub(crate) async fn run(cli: Cli) -> Result<(), Exit> {
    let config = cli.config.as_deref();
    match cli.command {
        Command::Demo(args) => {
            // What goes wrong in it is meant to, and is in its report.
            init_logging(LogFormat::Text, "error").map_err(Exit::usage)?;
            demo::run(&args).await
        }
        Command::Run(args) => crate::run::role::run(config, Roles::BOTH, &args).await,
        Command::Ingest(args) => crate::run::role::run(config, Roles::INGEST, &args).await,
        Command::Worker(args) => crate::run::role::run(config, Roles::WORKER, &args).await,
        Command::Enqueue(args) => enqueue::run(&quiet(config)?, &args).await,
        Command::Dlq { command } => {
            dlq::check_usage(&command)?;
            let settings = quiet(config)?;
            whole(async |parts| dlq::run(&settings, command, parts).await).await
        }
        Command::Directory { command } => directory::run(&quiet(config)?, &command),
        Command::Explain(args) => {
            let settings = quiet(config)?;
            whole(async |parts| explain::run(&settings, &args, parts).await).await
        }
        Command::Health(args) => health::run(&quiet(config)?, &args).await,
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { dir } => manual::man(dir.as_deref()),
        Command::Check(args) => whole(async |parts| check::run(config, &args, parts).await).await,
        Command::Init(args) => init::run(config, &args),
        Command::Version => say!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
        Command::Simulate(args) => {
            init_logging(LogFormat::Text, "info").map_err(Exit::usage)?;
            simulate::run(args).await
        }
    }
}

/// Runs a command that needs all its parts. It is cut off when one of them ends unasked.
async fn whole(command: impl AsyncFnOnce(&Parts) -> Result<(), Exit>) -> Result<(), Exit> {
    let failed = CancellationToken::new();
    let parts = Parts::new(failed.clone());
    let done = failed.run_until_cancelled(command(&parts)).await;
    done.filter(|_| parts.failure().is_none()).unwrap_or(Err(Exit::Said))
}

/// How long the queue may take to be reached by a command.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until the queue is there.
async fn up(queue: &dyn Queue) -> Result<(), Exit> {
    let mut state = queue.state();
    let settled = |state: &BrokerState| !state.is_away();
    let reached = timeout(PATIENCE, state.wait_for(settled)).await.is_ok_and(|state| state.is_ok());
    let state = queue.state().borrow().clone();
    if reached && !matches!(state, BrokerState::Mismatch { .. }) {
        Ok(())
    } else {
        Err(Exit::Failed(anyhow!("{state}")))
    }
}

pub(crate) fn settings(path: Option<&Path>) -> Result<Settings, Exit> {
    let settings = understood(config::load(path))?;
    init_logging(settings.log_format, &settings.log_filter).map_err(Exit::usage)?;
    for (variable, why) in config::strays() {
        tracing::warn!("the environment's {variable} {why}");
    }
    Ok(settings)
}

/// For commands that a person reads the output of: what they have to say is not in the log.
fn quiet(path: Option<&Path>) -> Result<Settings, Exit> {
    let settings = understood(config::load(path))?;
    init_logging(settings.log_format, "error").map_err(Exit::usage)?;
    warn_of_strays();
    Ok(settings)
}

/// A configuration that cannot be used may lack what a variable was meant to give.
fn understood<T>(loaded: Result<T, ConfigError>) -> Result<T, Exit> {
    loaded.map_err(|error| {
        warn_of_strays();
        Exit::usage(error)
    })
}

fn warn_of_strays() {
    for (variable, why) in config::strays() {
        tell!("refersion-relay: warning: the environment's {variable} {why}");
    }
}
