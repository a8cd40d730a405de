use std::time::Duration;

use refersion_relay_deadletter::Entry;
use refersion_relay_queue::Ledger;
use serde::Serialize;

use super::page::Page;

/// What could be seen of the demo from outside.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// From the first request to the end of the last event.
    pub(super) took: Duration,
    /// What each sender heard, in order.
    pub(super) answers: Vec<Answer>,
    /// Whether every accepted event came to its end in time.
    pub(super) ended: bool,
    /// The queue's own account of everything it accepted.
    pub(super) ledger: Ledger,
    /// Where the metrics were.
    pub(super) metrics_url: String,
    pub(super) page: Page,
    /// Whether the page of metrics has anything on it that could be an e-mail address.
    pub(super) names_somebody: bool,
    /// How often the simulated Refersion was called.
    pub(super) calls: u64,
    /// Who is there.
    pub(super) affiliates: Vec<Affiliate>,
    pub(super) letters: Vec<Entry>,
}

/// What the sender of a request heard.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Answer {
    pub(super) what: String,
    pub(super) door: &'static str,
    /// How many events were in it.
    pub(super) events: u64,
    pub(super) status: u16,
    pub(super) expected: u16,
    pub(super) message: String,
}

/// An affiliate as the simulated Refersion has it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Affiliate {
    pub(super) account: String,
    pub(super) status: &'static str,
    pub(super) email: String,
    pub(super) name: String,
    pub(super) country: Option<String>,
}
