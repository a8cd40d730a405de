use std::time::Duration;

use refersion_relay_broker_doctor::{Gravity, PolicyHarm};
use refersion_relay_directory::Keys;
use refersion_relay_queue::{BrokerState, BrokerUrl, Queue, QueueError, RabbitMq};
use refersion_relay_supervise::Parts;
use refersion_relay_telemetry::Metrics;
use tokio::time::timeout;

use super::conservation;
use super::left_behind;
use super::queue::{Looked, PATIENCE, reached};
use super::waiting;
use crate::cli::CheckArgs;
use crate::commands::check::directory;
use crate::commands::check::finding::Finding;
use crate::config::Examined;
use crate::parts;
use crate::run::left_behind::shown;

/// How long looking at the policies may take. The management API hears of a new queue's some seconds late.
const POLICY_PATIENCE: Duration = Duration::from_secs(30);

/// Whether the broker is there, has what it should have, and no policies that undo it.
pub(crate) async fn look(
    url: &BrokerUrl,
    examined: &Examined,
    args: &CheckArgs,
    metrics: &Metrics,
    parts: &Parts,
) -> Looked {
    let settings = &examined.settings;
    // What is the matter with them is found already.
    let keys = settings.directory.enabled.then(|| Keys::read(&settings.directory.key_file).ok()).flatten();
    let queue = parts::rabbitmq(url, settings, keys.as_ref(), metrics, parts);
    // The queues are declared first, so that there is something for policies to be in force on.
    let mut findings = vec![topology(&queue).await];
    findings.extend(alarm(&queue).await);
    findings.extend(limits(&queue, examined).await);
    findings.extend(policies(&queue, examined).await);
    findings.push(sharing(&queue, examined).await);
    findings.push(waiting::look(&queue, &settings.accounts).await);
    if let Some(keys) = &keys {
        findings.push(directory::kept(&queue, keys).await);
    }
    findings.extend(left(&queue, examined).await);
    let mut conservation = None;
    if args.conservation {
        let (finding, found) = conservation::still(&queue, args.new_baseline).await;
        findings.push(finding);
        conservation = found;
    }
    let _ = timeout(PATIENCE, queue.close()).await;
    Looked { findings, ledger: None, conservation }
}

async fn topology(queue: &RabbitMq) -> Finding {
    let what = "queue";
    if let Err(why) = reached(queue).await {
        return Finding::failed(what, why);
    }
    let state = queue.state().borrow().clone();
    match timeout(PATIENCE, queue.check()).await {
        // Everything may be there, and be of no use.
        Ok(Ok(report)) if report.differences.is_empty() && matches!(state, BrokerState::Mismatch { .. }) => {
            Finding::failed(what, state.to_string())
        }
        Ok(Ok(report)) if report.differences.is_empty() => {
            Finding::ok(what, format!("reachable; {} exchanges and queues are as they should be", report.in_order))
        }
        Ok(Ok(report)) => Finding::failed(what, report.differences.join("; ")),
        Ok(Err(error)) => Finding::failed(what, error.to_string()),
        Err(_) => Finding::failed(what, format!("the broker did not answer within {} s", PATIENCE.as_secs())),
    }
}

/// Whether the broker takes messages: under an alarm it takes none, and the doors answer 503.
async fn alarm(queue: &RabbitMq) -> Option<Finding> {
    // That it cannot be asked is found already.
    let why = timeout(PATIENCE, queue.alarm()).await.ok()?.ok()??;
    let says = format!(
        "the broker takes no messages ({why}), so that the doors answer 503: give it what it is short of; `rabbitmqctl status` \
         shows its alarms"
    );
    Some(Finding::failed("alarm", says))
}

/// Whether what the broker allows is enough, where a limit is set and shown.
async fn limits(queue: &RabbitMq, examined: &Examined) -> Vec<Finding> {
    let Some(api) = &examined.settings.management_url else { return Vec::new() };
    // That the API does not answer is said by who looks at the policies.
    let Ok(Ok(limits)) = timeout(PATIENCE, api.limits(queue.url())).await else { return Vec::new() };
    let needs = queue.needs();
    let of = [
        ("queues", limits.queues, needs.queues),
        ("connections", limits.connections, needs.connections),
        ("channels", limits.channels, needs.channels),
    ];
    let set = of.into_iter().filter_map(|(what, most, needed)| Some((what, most?, needed)));
    let findings = set.map(|(what, most, needed)| {
        let says = format!(
            "the broker allows {most} {what}, and a process that does everything needs about {needed}, with a command beside it"
        );
        if most < needed {
            Finding::failed(format!("limit of {what}"), format!("{says}: raise it"))
        } else {
            Finding::ok(format!("limit of {what}"), says)
        }
    });
    findings.collect()
}

async fn policies(queue: &RabbitMq, examined: &Examined) -> Vec<Finding> {
    let what = "policies";
    let key = "queue.management_url";
    let Some(api) = &examined.settings.management_url else {
        let says = if examined.file_of(key).is_some() {
            format!("were not looked at: mend {key}_file and check again")
        } else {
            format!("were not looked at: AMQP does not show them; set {key} to RabbitMQ's management API")
        };
        // Where it is configured and not known, its secret could not be read.
        return vec![Finding::warning(what, says).following(key)];
    };
    let report = match timeout(POLICY_PATIENCE, api.policies(queue.url(), queue.prefix(), &queue.queue_names())).await {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => return vec![Finding::warning(what, format!("were not looked at: {error}; see {key}"))],
        Err(_) => {
            let waited = POLICY_PATIENCE.as_secs();
            let says = format!("were not looked at: the management API took longer than {waited} s; see {key}");
            return vec![Finding::warning(what, says)];
        }
    };
    let mut findings: Vec<_> = report.harms.iter().map(harm).collect();
    if findings.is_empty() && report.not_shown.is_empty() && report.not_told.is_empty() {
        findings.push(Finding::ok(what, format!("none does harm to the {} queues", report.queues)));
    }
    if !report.not_shown.is_empty() {
        let queues = report.not_shown.join(", ");
        let says = format!("not looked at for {queues}: {key} does not show them, is it of the same broker?");
        findings.push(Finding::warning(what, says));
    }
    if !report.not_told.is_empty() {
        let queues = report.not_told.join(", ");
        let says = format!(
            "not looked at for {queues}: the management API does not know theirs; see that its statistics are not \
             disabled, and check again in a minute"
        );
        findings.push(Finding::warning(what, says));
    }
    findings
}

/// What no configuration names. A broker that cannot be reached has its own line already.
async fn left(queue: &RabbitMq, examined: &Examined) -> Vec<Finding> {
    if queue.state().borrow().is_away() {
        return Vec::new();
    }
    let looking = async {
        let shown = shown(examined.settings.management_url.as_ref(), queue.url()).await;
        queue.left_behind(shown).await
    };
    let looking = timeout(PATIENCE, looking).await;
    left_behind::judge(looking.unwrap_or_else(|_| {
        let waited = PATIENCE.as_secs();
        Err(QueueError::Away(format!("the broker took longer than {waited} s")))
    }))
}

/// Whether the broker spreads the accounts over several workers, which depends on its version.
async fn sharing(queue: &RabbitMq, examined: &Examined) -> Finding {
    let what = "workers";
    let unknown = |why: &str| {
        let says = format!(
            "it is not known whether RabbitMQ spreads the accounts over several workers, as it does from 4.0 on: {why}; \
             before 4.0 the first worker has them all, and the others stand by"
        );
        Finding::warning(what, says)
    };
    let key = "queue.management_url";
    let Some(api) = &examined.settings.management_url else {
        return unknown(&format!("set {key}")).following(key);
    };
    let version = match timeout(PATIENCE, api.version(queue.url())).await {
        Ok(Ok(version)) => version,
        Ok(Err(error)) => return unknown(&error.to_string()),
        Err(_) => return unknown("the management API took too long"),
    };
    match version.spreads_accounts() {
        Some(true) => Finding::ok(what, format!("RabbitMQ {version} spreads the accounts over all workers")),
        Some(false) => {
            let says = format!("RabbitMQ {version} gives all accounts to the first worker, and the others stand by");
            Finding::ok(what, says)
        }
        None => unknown(&format!("its version is {version}")),
    }
}

fn harm(harm: &PolicyHarm) -> Finding {
    let PolicyHarm { policy, setting, queues, does, gravity } = harm;
    let says = format!("{setting} on {}: {does}; change the policy, or keep it off these queues", queues.join(", "));
    match gravity {
        Gravity::Breaks => Finding::failed(policy, says),
        Gravity::Limits => Finding::warning(policy, says),
    }
}
