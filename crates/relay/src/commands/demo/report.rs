use std::collections::BTreeMap;
use std::fmt;

use refersion_relay_deadletter::Entry;
use serde::Serialize;

use super::samples;

/// What happened in the demo.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What each sender heard.
    pub(super) answered: Vec<Answered>,
    /// Whether every accepted event came to its end in time.
    pub(super) ended: bool,
    /// Events that were delivered or became dead letters.
    pub(super) ended_events: u64,
    /// Waits for another attempt.
    pub(super) retries: u64,
    /// Calls of the simulated Refersion.
    pub(super) calls: usize,
    pub(super) dead_letters: Vec<Entry>,
    pub(super) affiliates: Vec<Affiliate>,
    /// Where the metrics were.
    pub(super) metrics: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Answered {
    pub(super) what: &'static str,
    pub(super) expected: u16,
    pub(super) status: u16,
    pub(super) message: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Affiliate {
    email: String,
    name: String,
    status: &'static str,
    country: Option<String>,
}

impl From<&refersion_relay_simulator::Affiliate> for Affiliate {
    fn from(affiliate: &refersion_relay_simulator::Affiliate) -> Self {
        Self {
            email: affiliate.email.clone(),
            name: format!("{} {}", affiliate.first_name, affiliate.last_name),
            status: affiliate.status.as_str(),
            country: affiliate.country.clone(),
        }
    }
}

impl Report {
    /// Each expectation of the demo, and whether it held.
    fn expectations(&self) -> Vec<(String, bool)> {
        let accepted = self.answered.iter().filter(|answered| answered.status == 202).count() as u64;
        let mut expectations: Vec<_> = self
            .answered
            .iter()
            .map(|answered| {
                (
                    format!("{} is answered with {}", answered.what, answered.expected),
                    answered.status == answered.expected,
                )
            })
            .collect();
        expectations.push((
            format!("{accepted} accepted = {} delivered or dead", self.ended_events),
            self.ended && accepted == self.ended_events,
        ));
        for (email, status) in samples::AFFILIATES {
            let found: Vec<_> = self.affiliates.iter().filter(|affiliate| affiliate.email == email).collect();
            let fine = matches!(found.as_slice(), [only] if only.status == status);
            expectations.push((format!("there is one affiliate {email}, and it is {status}"), fine));
        }
        let nobody_else = self.affiliates.len() == samples::AFFILIATES.len();
        expectations.push(("there is nobody else".to_owned(), nobody_else));
        for (class, id) in samples::DEAD_LETTERS {
            let fine = self.dead_letters.iter().any(|letter| letter.class == class && letter.message_id == id);
            expectations.push((format!("{id} is a dead letter of class {class}"), fine));
        }
        let nothing_else = self.dead_letters.len() == samples::DEAD_LETTERS.len();
        expectations.push(("there is no other dead letter".to_owned(), nothing_else));
        expectations.push(("something was retried".to_owned(), 0 < self.retries));
        expectations
    }

    pub(super) fn is_as_expected(&self) -> bool {
        self.expectations().iter().all(|(_, held)| *held)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_status: BTreeMap<u16, usize> = BTreeMap::new();
        for answered in &self.answered {
            *by_status.entry(answered.status).or_default() += 1;
        }
        writeln!(f, "\nWhat the senders heard")?;
        for answered in &self.answered {
            writeln!(f, "  {}  {:<42} {}", answered.status, answered.what, answered.message)?;
        }
        writeln!(f, "\nWhat Refersion has now ({} calls, {} waits for another attempt)", self.calls, self.retries)?;
        for Affiliate { email, name, status, country } in &self.affiliates {
            writeln!(f, "  {status:<9} {email:<22} {name:<22} {}", country.as_deref().unwrap_or(""))?;
        }
        writeln!(f, "\nDead letters")?;
        for letter in &self.dead_letters {
            let why = letter.error.as_deref().unwrap_or("");
            writeln!(f, "  {}  {}  {}  {why}", letter.id, letter.class, letter.message_id)?;
        }
        let answers: Vec<_> = by_status.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        writeln!(f, "\nAnswers by status: {}. Metrics were at {}", answers.join(", "), self.metrics)?;
        let expectations = self.expectations();
        let failed: Vec<_> = expectations.iter().filter(|(_, held)| !held).collect();
        if failed.is_empty() {
            writeln!(f, "All {} expectations held.", expectations.len())?;
            writeln!(f, "\nNext: README.md shows how to run it with an account of yours.")
        } else {
            writeln!(f, "{} of {} expectations did not hold:", failed.len(), expectations.len())?;
            failed.iter().try_for_each(|(what, _)| writeln!(f, "  {what}"))
        }
    }
}
