use std::net::IpAddr;
use std::time::Duration;

use refersion_relay_queue::Queue;
use refersion_relay_telemetry::Metrics;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cli::CheckArgs;
use crate::config::{QueueUrl, Settings};
use crate::exit::Exit;
use crate::parts;

use super::say;

/// How long the broker may take to be reached.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    level: Level,
    says: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// Allowed, and worth a word.
    Warning,
    Failed,
}

impl Level {
    fn of(fine: bool) -> Self {
        if fine { Self::Ok } else { Self::Failed }
    }
}

pub(super) async fn run(settings: &Settings, args: &CheckArgs) -> Result<(), Exit> {
    let metrics = Metrics::new();
    let mut findings = vec![broker(settings, &metrics).await];
    findings.extend(warnings(settings));
    let client = parts::client(settings, &metrics)?;
    for account in &settings.accounts {
        let checked = client.check_keys(&account.keys).await;
        let (fine, says) =
            checked.map_or_else(|failure| (false, failure.to_string()), |()| (true, "its keys work".to_owned()));
        findings.push(Finding { what: format!("account {}", account.name), level: Level::of(fine), says });
    }
    let fine = findings.iter().all(|finding| finding.level != Level::Failed);
    let effective = effective(settings);
    if args.json {
        say!("{}", json!({"fine": fine, "findings": findings, "effective": effective}));
    } else {
        say!("{}", serde_json::to_string_pretty(&effective).map_err(Exit::failed)?);
        for Finding { what, level, says } in &findings {
            let level = match level {
                Level::Ok => "ok  ",
                Level::Warning => "WARN",
                Level::Failed => "FAIL",
            };
            say!("{level} {what}: {says}");
        }
    }
    if fine { Ok(()) } else { Err(Exit::Said) }
}

async fn broker(settings: &Settings, metrics: &Metrics) -> Finding {
    let queue = parts::queue(settings, metrics);
    let mut state = queue.state();
    // A difference is told apart below, in full; being away is not.
    let reached =
        timeout(PATIENCE, state.wait_for(|state| !matches!(state, refersion_relay_queue::BrokerState::Away { .. })));
    let reached = reached.await.is_ok_and(|state| state.is_ok());
    let (fine, says) = if reached {
        match queue.check().await {
            Ok(report) if report.differences.is_empty() => {
                (true, format!("reachable; {} exchanges and queues are as they should be", report.in_order))
            }
            Ok(report) => (false, report.differences.join("; ")),
            Err(error) => (false, error.to_string()),
        }
    } else {
        let state = queue.state().borrow().to_string();
        (false, state)
    };
    queue.close().await;
    Finding { what: "queue".to_owned(), level: Level::of(fine), says }
}

/// What is allowed and still worth a word.
fn warnings(settings: &Settings) -> Vec<Finding> {
    let url = url::Url::parse(&settings.base_url).ok();
    let plain = url.as_ref().is_some_and(|url| url.scheme() == "http");
    let loopback = url.as_ref().and_then(url::Url::host_str).is_some_and(|host| {
        host == "localhost"
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    let warning = "the keys travel unencrypted: use https".to_owned();
    let finding = Finding { what: "refersion.base_url".to_owned(), level: Level::Warning, says: warning };
    if plain && !loopback { vec![finding] } else { Vec::new() }
}

/// The values in force, without any secret.
fn effective(settings: &Settings) -> Value {
    let span = |duration: Duration| humantime::format_duration(duration).to_string();
    let QueueUrl::RabbitMq(url) = &settings.queue_url;
    let accounts: Vec<_> = settings
        .accounts
        .iter()
        .map(|account| {
            json!({
                "name": account.name, "public_key": "***", "secret_key": "***",
                "write_key": account.write_key.as_ref().map(|_| "***"),
                "status": account.defaults.status.as_str(), "send_welcome": account.defaults.send_welcome,
                "on_existing": account.existing.as_str(),
            })
        })
        .collect();
    json!({
        "queue": {
            "url": url.to_string(), "prefix": settings.prefix, "shards": settings.shards,
            "confirm_timeout": span(settings.confirm_timeout),
        },
        "ingest": {"listen": settings.ingest_listen, "behind_tls_proxy": settings.behind_tls_proxy},
        "worker": {
            "concurrency": settings.concurrency, "prefetch": settings.prefetch,
            "shutdown_grace": span(settings.shutdown_grace),
        },
        "ops": {"listen": settings.ops_listen},
        "refersion": {"base_url": settings.base_url, "timeout_ms": settings.timeout.as_millis()},
        "retry": {
            "in_hand": span(settings.retry.in_hand),
            "tiers": settings.retry.tiers.iter().map(|tier| span(*tier)).collect::<Vec<_>>(),
            "max_attempts": settings.retry.max_attempts, "max_age": span(settings.retry.max_age),
            "max_held": span(settings.retry.max_held),
        },
        "log": {
            "format": match settings.log_format {
                refersion_relay_telemetry::LogFormat::Text => "text",
                refersion_relay_telemetry::LogFormat::Json => "json",
            },
            "filter": settings.log_filter,
        },
        "account": accounts,
    })
}
