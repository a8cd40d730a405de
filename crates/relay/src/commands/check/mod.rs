//! Looks at everything that a relay stands on, and says each thing in a line. What cannot be looked at is said too.

/// What there is to be found in the queue.
mod queue;
mod accounts;
mod clock;
mod directory;
mod effective;
mod files;
mod finding;
mod report;
mod tls;

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::{Metrics, init_logging};
use serde_json::json;
use tokio::time::timeout;

use crate::cli::CheckArgs;
use crate::config::{self, Examined};
use crate::exit::Exit;
use crate::output::output::say;
use crate::parts;
use finding::{Finding, Level};
use report::Report;

/// How long reading the configuration and its files may take: one may be on a share that does not answer.
const READING: Duration = Duration::from_secs(10);

pub(crate) async fn run(path: Option<&Path>, args: &CheckArgs, parts: &Parts) -> Result<(), Exit> {
    let examined = examine(path).await?;
    init_logging(examined.settings.log_format, "error").map_err(Exit::usage)?;
    let metrics = Metrics::new();
    let client = parts::client(&examined.settings, &metrics)?;

    let mut findings = files::findings(&examined);
    let stray = |(variable, why): (String, String)| Finding::warning("environment", format!("{variable} {why}"));
    findings.extend(config::strays().into_iter().map(stray));
    findings.push(files::base_url(&examined));
    findings.extend(files::proxy_url(&examined.settings));
    findings.extend(files::management_url(&examined.settings));
    if let Some(files) = &examined.settings.tls {
        findings.extend(tls::look(files, READING).await);
    }
    findings.extend(directory::look(&examined.settings));
    let looked = queue::queue::look(&examined, args, &metrics, parts).await;
    findings.extend(looked.findings);
    let asked = accounts::ask(&examined, &client).await;
    let mut clock = clock::judge(SystemTime::now(), &asked.readings, asked.answered);
    if clock.level == Level::Warning && !asked.answered {
        // There is nothing to compare with, for the reason that is said of the accounts.
        let cause = asked.findings.iter().find(|finding| finding.level != Level::Ok);
        clock.follows = cause.map(|cause| cause.follows.as_ref().unwrap_or(&cause.what).clone());
    }
    findings.extend(asked.findings);
    findings.extend(accounts::door_keys(&examined));
    findings.push(clock);

    let fine = findings.iter().all(|finding| finding.level != Level::Failed);
    let effective = effective::effective(&examined);
    if args.json {
        say!(
            "{}",
            json!({"fine": fine, "findings": findings, "ledger": looked.ledger, "conservation": looked.conservation, "effective": effective})
        )?;
    } else {
        if args.values {
            say!("{}", serde_json::to_string_pretty(&effective).map_err(Exit::failed)?)?;
        }
        say!("{}", Report::of(&findings))?;
    }
    if fine { Ok(()) } else { Err(Exit::Said) }
}

async fn examine(path: Option<&Path>) -> Result<Examined, Exit> {
    let path = path.map(Path::to_owned);
    let examining = tokio::task::spawn_blocking(move || config::examine(path.as_deref()));
    match timeout(READING, examining).await {
        Ok(Ok(examined)) => super::understood(examined),
        Ok(Err(panicked)) => Err(Exit::failed(panicked)),
        Err(_) => {
            let waited = READING.as_secs();
            Err(Exit::Failed(anyhow!("reading the configuration and the files it names took longer than {waited} s")))
        }
    }
}
