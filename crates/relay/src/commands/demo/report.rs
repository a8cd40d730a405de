use std::collections::BTreeMap;

use refersion_relay_deadletter::Entry;
use refersion_relay_queue::Ledger;
use serde::Serialize;

use super::expect::{Expectation, expectations};
use super::next::Next;
use super::observed::{Affiliate, Answer, Observed};
use super::page::Page;
use super::script::Script;

/// What happened in the demo, and whether it is what should have. Printed by its `Display`, or as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether every expectation held.
    pub(super) held: bool,
    /// From the first request to the end of the last event.
    pub(super) elapsed_ms: u64,
    pub(super) sent: Sent,
    /// What each sender heard, in order.
    pub(super) answers: Vec<Answer>,
    /// What became of what was accepted: the queue's own account.
    pub(super) ledger: Ledger,
    pub(super) outcomes: Outcomes,
    /// How often Refersion was called.
    pub(super) refersion_calls: u64,
    /// Who is at Refersion now.
    pub(super) affiliates: Vec<Shown>,
    pub(super) dead_letters: Vec<Entry>,
    pub(super) metrics: Seen,
    pub(super) expectations: Vec<Expectation>,
    pub(super) next: Next,
}

/// What became of everything that was sent, at the doors.
#[derive(Debug, Serialize)]
pub(super) struct Sent {
    pub(super) requests: usize,
    pub(super) events: u64,
    /// Stored before the answer.
    pub(super) accepted: u64,
    /// By reason.
    pub(super) refused: BTreeMap<String, u64>,
    /// By reason.
    pub(super) ignored: BTreeMap<String, u64>,
}

/// What became of what was accepted, in the words of the metrics.
#[derive(Debug, Serialize)]
pub(super) struct Outcomes {
    /// By how.
    pub(super) delivered: BTreeMap<String, u64>,
    pub(super) copies: u64,
    /// Deletes by an id alone whose address was found; each goes on as an ordinary one.
    pub(super) completed: u64,
    /// By reason.
    pub(super) dead_lettered: BTreeMap<String, u64>,
    /// Waits for another attempt.
    pub(super) retries: u64,
    /// Attempts that failed, by failure.
    pub(super) attempts_failed: BTreeMap<String, u64>,
}

/// An affiliate, and what can be seen by it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    pub(super) affiliate: Affiliate,
    pub(super) shows: String,
}

/// Where the metrics were, and some of what they showed.
#[derive(Debug, Serialize)]
pub(super) struct Seen {
    pub(super) url: String,
    pub(super) series: BTreeMap<String, u64>,
}

impl Report {
    pub(super) fn new(script: &Script, observed: Observed, next: Next) -> Self {
        let expectations = expectations(script, &observed);
        let Observed { took, answers, ledger, metrics_url, page, calls, affiliates, letters, .. } = observed;
        Self {
            held: expectations.iter().all(|expectation| expectation.held),
            elapsed_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            sent: Sent {
                requests: answers.len(),
                events: answers.iter().map(|answer| answer.events).sum(),
                accepted: page.sum("events_accepted_total"),
                refused: page.by("events_refused_total", "reason"),
                ignored: page.by("events_ignored_total", "reason"),
            },
            answers,
            ledger,
            outcomes: Outcomes {
                delivered: page.by("events_delivered_total", "how"),
                copies: page.sum("events_copies_total"),
                completed: page.get(&format!("{}directory_resolved_total{{how=\"completed\"}}", Page::PREFIX)),
                dead_lettered: page.by("events_dead_lettered_total", "reason"),
                retries: page.sum("retries_total"),
                attempts_failed: page.by("attempts_failed_total", "failure"),
            },
            refersion_calls: calls,
            affiliates: shown(script, affiliates),
            dead_letters: letters,
            metrics: Seen {
                url: metrics_url,
                series: script.series().into_keys().map(|series| (series.clone(), page.get(&series))).collect(),
            },
            expectations,
            next,
        }
    }
}

/// In the order of the script, then whoever else is there.
fn shown(script: &Script, affiliates: Vec<Affiliate>) -> Vec<Shown> {
    let position = |affiliate: &Affiliate| {
        let mut expected = script.affiliates.iter();
        expected.position(|expected| expected.account == affiliate.account && expected.email == affiliate.email)
    };
    let mut shown: Vec<_> = affiliates.into_iter().map(|affiliate| (position(&affiliate), affiliate)).collect();
    shown.sort_by_key(|(position, _)| position.unwrap_or(usize::MAX));
    let what = |position: Option<usize>| position.map_or_else(String::new, |at| script.affiliates[at].shows.clone());
    shown.into_iter().map(|(position, affiliate)| Shown { affiliate, shows: what(position) }).collect()
}

#[cfg(test)]
mod tests;
