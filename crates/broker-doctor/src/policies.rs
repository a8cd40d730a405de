use serde_json::{Map, Value};

/// What one key of a policy would do to queues of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyHarm {
    /// The policy it stands in, or the policies, where the broker has merged two.
    pub policy: String,
    /// The key and its value, as `message-ttl = 5000`.
    pub setting: String,
    /// The queues it is in force on.
    pub queues: Vec<String>,
    /// What it would do to their messages.
    pub does: String,
    /// How bad that is.
    pub gravity: Gravity,
}

/// How much a policy matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// Something the relay promises would not hold: a message would be lost, or leave its place.
    Breaks,
    /// Somebody may want it; nothing is lost.
    Limits,
}

/// One key of a policy, judged for one queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) setting: String,
    pub(crate) does: String,
    pub(crate) gravity: Gravity,
}

/// How long a delivery may stay unsettled, in milliseconds: no worker keeps one for longer.
const LONGEST_IN_HAND_MS: i64 = 10 * 60 * 1_000;

/// Keys that a quorum queue ignores, or that only say where and how its messages are kept.
const HARMLESS: [&str; 17] = [
    "alternate-exchange",
    "ha-mode",
    "ha-params",
    "ha-promote-on-failure",
    "ha-promote-on-shutdown",
    "ha-sync-batch-size",
    "ha-sync-mode",
    "initial-cluster-size",
    "max-age",
    "max-in-memory-bytes",
    "max-in-memory-length",
    "max-priority",
    "queue-leader-locator",
    "queue-master-locator",
    "queue-mode",
    "queue-version",
    "target-group-size",
];

/// Judges the policy in force on a queue, `policy`, by the arguments that we declared the queue with.
///
/// On a quorum queue the smaller number of the two is in force, whichever it is. An overflow and a dead-letter strategy of
/// the policy win over the queue's; a dead-letter exchange and routing key of the queue win over the policy's.
pub(crate) fn judge(arguments: &Map<String, Value>, policy: &Map<String, Value>) -> Vec<Judged> {
    let judged = policy.iter().filter_map(|(key, value)| {
        let (gravity, does) = judge_key(arguments, policy, key, value)?;
        Some(Judged { setting: format!("{key} = {}", shown(value)), does, gravity })
    });
    judged.collect()
}

fn judge_key(
    arguments: &Map<String, Value>,
    policy: &Map<String, Value>,
    key: &str,
    value: &Value,
) -> Option<(Gravity, String)> {
    let ours = arguments.get(&format!("x-{key}"));
    let number = value.as_i64();
    let lower = || ours.and_then(Value::as_i64).is_none_or(|ours| number.is_none_or(|number| number < ours));
    let is_retry = arguments.contains_key("x-message-ttl");
    let harm = match key {
        "message-ttl" if !lower() => return None,
        "message-ttl" if is_retry => "events would come back sooner than after their delay".to_owned(),
        "message-ttl" => format!("messages that wait for longer {}", leave(arguments)),
        "expires" => {
            "the queue would be deleted, with all that is in it, when nobody has used it for that long".to_owned()
        }
        "max-length" | "max-length-bytes" if overflow(arguments, policy) == Some("reject-publish") => {
            let full = "when it is full it takes nothing more: senders hear 503, and workers wait";
            return Some((Gravity::Limits, full.to_owned()));
        }
        "max-length" | "max-length-bytes" => format!("when it is full its oldest messages {}", leave(arguments)),
        "overflow" if value == "reject-publish" => return None,
        "overflow" => {
            "messages on their way to another queue would be lost when the broker crashes, since at-least-once \
                       dead-lettering needs reject-publish"
                .to_owned()
        }
        "dead-letter-strategy" if ours.is_none() || value == "at-least-once" => return None,
        "dead-letter-strategy" => {
            "messages on their way to another queue would be lost when the broker crashes".to_owned()
        }
        "dead-letter-exchange" if ours.is_some() => return None,
        "dead-letter-exchange" => {
            return Some((Gravity::Limits, "what the broker gives up on here would go there".to_owned()));
        }
        "dead-letter-routing-key" if ours.is_some() || !is_retry => return None,
        "dead-letter-routing-key" => "events would come back with that key and not with their account's".to_owned(),
        // Nobody consumes from a retry queue.
        "delivery-limit" if ours.is_none() || !lower() => return None,
        "delivery-limit" => {
            let zero =
                if number.is_some_and(i64::is_negative) { ", and a negative one is 0 before RabbitMQ 4" } else { "" };
            format!("after so many lost connections a message {}{zero}", leave(arguments))
        }
        "consumer-timeout" if is_retry || number.is_some_and(|ms| LONGEST_IN_HAND_MS <= ms) => return None,
        "consumer-timeout" => {
            let taken = "events would be taken from a worker that still works on them, and come again";
            return Some((Gravity::Limits, taken.to_owned()));
        }
        key if HARMLESS.contains(&key) => return None,
        _ => {
            return Some((Gravity::Limits, "the relay does not know what this would do to its queues".to_owned()));
        }
    };
    Some((Gravity::Breaks, harm))
}

/// What becomes of a message that the queue gives up on.
fn leave(arguments: &Map<String, Value>) -> String {
    let text = |key: &str| arguments.get(key).and_then(Value::as_str);
    match (text("x-dead-letter-exchange"), text("x-dead-letter-routing-key")) {
        (Some(exchange), Some(key)) => format!("would leave it for {exchange}.{key}"),
        (Some(exchange), None) => format!("would leave it for {exchange}"),
        (None, _) => "would be lost".to_owned(),
    }
}

fn overflow<'a>(arguments: &'a Map<String, Value>, policy: &'a Map<String, Value>) -> Option<&'a str> {
    policy.get("overflow").or_else(|| arguments.get("x-overflow")).and_then(Value::as_str)
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Puts queues together to which the same policy does the same.
pub(crate) fn gather(judged: impl IntoIterator<Item = (String, String, Judged)>) -> Vec<PolicyHarm> {
    let mut harms: Vec<PolicyHarm> = Vec::new();
    for (queue, policy, Judged { setting, does, gravity }) in judged {
        let same = |harm: &&mut PolicyHarm| harm.policy == policy && harm.setting == setting && harm.does == does;
        if let Some(harm) = harms.iter_mut().find(same) {
            harm.queues.push(queue);
        } else {
            harms.push(PolicyHarm { policy, setting, queues: vec![queue], does, gravity });
        }
    }
    harms
}

#[cfg(test)]
mod tests;
