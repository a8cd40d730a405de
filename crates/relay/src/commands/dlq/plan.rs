use refersion_relay_deadletter::{Age, LetterStats, visible};
use refersion_relay_model::MAX_EVENT_BYTES;

use crate::exit::Exit;
use crate::output::output::say;
use crate::output::words::{counted, form};

/// Says what would be done.
pub(super) fn print(plan: &LetterStats, would: &str) -> Result<(), Exit> {
    let (total, scanned) = (counted(plan.total, "dead letter"), plan.scanned);
    let were = form(scanned, "was", "were");
    say!("of {total}, {scanned} {were} looked at and {} would be {would}", plan.selected)?;
    for line in counts(plan) {
        say!("{line}")?;
    }
    if 0 < plan.left_out {
        let (are, they) = (form(plan.left_out, "is", "are"), form(plan.left_out, "its id", "their ids"));
        say!(
            "  {} more {are} left out: nothing shows that the sender may do what it asks for; name --class unverified, or {they}",
            plan.left_out
        )?;
    }
    if 0 < plan.without_account {
        say!("  {} of them {} no account", plan.without_account, form(plan.without_account, "names", "name"))?;
    }
    if 0 < plan.too_large {
        let are = form(plan.too_large, "is", "are");
        say!("  {} of them {are} larger than {} KiB", plan.too_large, MAX_EVENT_BYTES / 1024)?;
    }
    for id in &plan.not_found {
        say!("  {id} is not among the letters looked at (--scan looks at more)")?;
    }
    Ok(())
}

/// The statistics, a line for each kind.
pub(super) fn counts(stats: &LetterStats) -> impl Iterator<Item = String> {
    let by_age = stats.by_age.iter().map(|(age, count)| (Age::as_str(*age), count)).collect();
    let named = [
        ("class", &stats.by_class),
        ("account", &stats.by_account),
        ("type", &stats.by_type),
        ("reason", &stats.by_reason),
    ];
    let named = named.map(|(what, counts)| (what, counts.iter().map(|(key, count)| (key.as_str(), count)).collect()));
    named.into_iter().chain([("age", by_age)]).map(|(what, counts): (_, Vec<(&str, &u64)>)| {
        let counts: Vec<_> = counts.into_iter().map(|(key, count)| format!("{} {count}", visible(name(key)))).collect();
        format!("  by {what}: {}", if counts.is_empty() { "-".to_owned() } else { counts.join(", ") })
    })
}

fn name(key: &str) -> &str {
    if key.is_empty() { "(none)" } else { key }
}
