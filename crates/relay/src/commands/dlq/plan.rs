use refersion_relay_deadletter::{Age, Survey};
use refersion_relay_model::MAX_EVENT_BYTES;

use crate::commands::say;

/// Says what would be done.
pub(super) fn print(plan: &Survey, would: &str) {
    say!("of {} dead letters, {} were looked at and {} would be {would}", plan.total, plan.scanned, plan.selected);
    for line in counts(plan) {
        say!("{line}");
    }
    if 0 < plan.left_out {
        say!(
            "  {} more are left out: nothing shows that their senders may do what they ask for; name --class unverified, or their ids",
            plan.left_out
        );
    }
    if 0 < plan.without_account {
        say!("  {} of them name no account", plan.without_account);
    }
    if 0 < plan.too_large {
        say!("  {} of them are larger than {} KiB", plan.too_large, MAX_EVENT_BYTES / 1024);
    }
    for id in &plan.not_found {
        say!("  {id} is not among the letters looked at (--scan looks at more)");
    }
}

/// The counts of a survey, a line for each kind.
pub(super) fn counts(survey: &Survey) -> impl Iterator<Item = String> {
    let by_age = survey.by_age.iter().map(|(age, count)| (Age::as_str(*age), count)).collect();
    let named = [
        ("class", &survey.by_class),
        ("account", &survey.by_account),
        ("type", &survey.by_type),
        ("reason", &survey.by_reason),
    ];
    let named = named.map(|(what, counts)| (what, counts.iter().map(|(key, count)| (key.as_str(), count)).collect()));
    named.into_iter().chain([("age", by_age)]).map(|(what, counts): (_, Vec<(&str, &u64)>)| {
        let counts: Vec<_> = counts.into_iter().map(|(key, count)| format!("{} {count}", name(key))).collect();
        format!("  by {what}: {}", if counts.is_empty() { "-".to_owned() } else { counts.join(", ") })
    })
}

fn name(key: &str) -> &str {
    if key.is_empty() { "(none)" } else { key }
}
