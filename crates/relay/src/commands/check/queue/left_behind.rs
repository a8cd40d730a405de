use refersion_relay_queue::{LeftBehind, QueueError};

use crate::commands::check::finding::Finding;

const WHAT: &str = "left behind";

/// A line for each thing that events wait for in vain, since no configuration names it, and for what could not be known.
pub(crate) fn judge(found: Result<LeftBehind, QueueError>) -> Vec<Finding> {
    let LeftBehind { remnants, unseen } = match found {
        Ok(found) => found,
        Err(error) => return vec![Finding::warning(WHAT, format!("was not looked at: {error}"))],
    };
    let mut findings: Vec<_> = remnants.iter().map(|remnant| Finding::failed(WHAT, remnant.to_string())).collect();
    if findings.is_empty() && unseen.is_empty() {
        findings.push(Finding::ok(WHAT, "nothing: whatever is stored belongs to something that is configured"));
    }
    findings.extend(unseen.into_iter().map(|unseen| Finding::warning(WHAT, unseen)));
    findings
}
