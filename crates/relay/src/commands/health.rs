use anyhow::anyhow;

use super::ops_client::{ask, reachable};
use crate::cli::HealthArgs;
use crate::config::Settings;
use crate::exit::Exit;
use crate::output::output::say;

/// Prints what `/health/ready` of a process on this machine says, and fails unless it is ready: for containers without a shell.
pub(super) async fn run(settings: &Settings, args: &HealthArgs) -> Result<(), Exit> {
    let ops = args.ops_listen.unwrap_or(settings.ops_listen);
    let asked = ask(ops, "/health/ready", &[]).await;
    let (status, body) = asked.map_err(|why| Exit::Failed(anyhow!("{}: {why}", reachable(ops))))?;
    say!("{}", String::from_utf8_lossy(&body))?;
    if status == 200 { Ok(()) } else { Err(Exit::Said) }
}
