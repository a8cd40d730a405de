use std::fs;
use std::os::unix::fs::PermissionsExt;

use refersion_relay_queue::{Ahead, BrokerState, Ledger, Queue, Sqlite, SqlitePath};
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;
use tokio::time::timeout;

use super::conservation;
use super::left_behind;
use super::queue::{Looked, PATIENCE, reached};
use super::waiting;
use crate::cli::CheckArgs;
use crate::commands::check::finding::Finding;
use crate::config::Examined;
use crate::parts;

/// Whether the file of the embedded queue can be used, is whole, and accounts for every event.
pub(crate) async fn look(
    path: &SqlitePath,
    examined: &Examined,
    args: &CheckArgs,
    metrics: &Metrics,
    parts: &Parts,
) -> Looked {
    let queue = parts::sqlite(path, &examined.settings, metrics, parts);
    let mut findings = vec![file(path, &queue).await];
    findings.extend(permissions(path));
    findings.push(waiting::look(&queue, &examined.settings.accounts).await);
    findings.extend(left_behind::judge(queue.left_behind().await));
    findings.extend(queue.ahead().await.unwrap_or_default().into_iter().map(ahead));
    let ledger = queue.ledger().await.ok();
    findings.extend(ledger.map(adds_up));
    if args.new_baseline {
        let says = "there is none on the embedded queue: its sum is exact from the first event on";
        findings.push(Finding::warning("baseline", says));
    }
    let conservation = if args.conservation { conservation::exact(&queue).await } else { None };
    let _ = timeout(PATIENCE, queue.close()).await;
    Looked { findings, ledger, conservation }
}

async fn file(path: &SqlitePath, queue: &Sqlite) -> Finding {
    let what = "queue";
    if let Err(why) = reached(queue).await {
        return Finding::failed(what, why);
    }
    let state = queue.state().borrow().clone();
    match state {
        BrokerState::Up => {}
        BrokerState::Connecting
        | BrokerState::Away { .. }
        | BrokerState::Mismatch { .. }
        | BrokerState::Blocked { .. } => {
            return Finding::failed(what, state.to_string());
        }
    }
    match queue.examine(PATIENCE).await {
        Ok(None) => Finding::ok(what, format!("{} can be written, and no damage was found", path.as_path().display())),
        Ok(Some(damage)) => Finding::failed(what, format!("{} is damaged: {damage}", path.as_path().display())),
        Err(error) => Finding::failed(what, error.to_string()),
    }
}

/// It is full of personal data.
fn permissions(path: &SqlitePath) -> Option<Finding> {
    let mode = fs::metadata(path.as_path()).ok()?.permissions().mode();
    let shown = path.as_path().display();
    (mode & 0o004 != 0)
        .then(|| Finding::warning("queue", format!("every user of this machine can read {shown}: chmod o-r")))
}

/// What waits for a time that the clock has not written as it is now.
fn ahead(Ahead { place, events }: Ahead) -> Finding {
    let events = if events == 1 { "1 event".to_owned() } else { format!("{events} events") };
    let says = "wait for longer than its delay, so the clock was set back: a worker takes them for due at once";
    Finding::warning("clock", format!("{events} at {place} {says}"))
}

fn adds_up(ledger: Ledger) -> Finding {
    let what = "conservation";
    match ledger.difference() {
        0 => Finding::ok(what, ledger.to_string()),
        difference => Finding::failed(what, format!("{ledger} does not add up: {difference:+}")),
    }
}
