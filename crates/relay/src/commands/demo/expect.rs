use std::fmt::Display;

use refersion_relay_deadletter::Entry;
use serde::Serialize;

use super::observed::{Affiliate, Answer, Observed};
use super::page::Page;
use super::script::{Expected, ExpectedLetter, Script};

/// Something that has to be so, and whether it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Expectation {
    pub(super) what: String,
    pub(super) held: bool,
    /// What is so; where it did not hold, that is something else.
    pub(super) found: String,
}

impl Expectation {
    fn equal<T: PartialEq + Display>(what: impl Into<String>, expected: &T, found: &T) -> Self {
        Self { what: what.into(), held: expected == found, found: found.to_string() }
    }

    fn holds(what: impl Into<String>, held: bool, found: impl Into<String>) -> Self {
        Self { what: what.into(), held, found: found.into() }
    }
}

/// Compares what should have happened with what could be seen.
pub(super) fn expectations(script: &Script, observed: &Observed) -> Vec<Expectation> {
    let mut expectations = answers(script, observed);
    expectations.extend(sums(script, observed));
    expectations.extend(metrics(script, observed));
    expectations.extend(affiliates(&script.affiliates, &observed.affiliates));
    expectations.extend(letters(script.letters(), &observed.letters));
    expectations
}

fn answers(script: &Script, observed: &Observed) -> Vec<Expectation> {
    let heard = |answer: &Answer| {
        let what = format!("{} is answered with {}", answer.what, answer.expected);
        Expectation::equal(what, &answer.expected, &answer.status)
    };
    let sent: u64 = observed.answers.iter().map(|answer| answer.events).sum();
    let mut answers: Vec<_> = observed.answers.iter().map(heard).collect();
    answers.push(Expectation::equal("every event was sent and answered", &(script.events() as u64), &sent));
    answers
}

/// Nothing is lost and nothing is made up, between the senders and the end.
fn sums(script: &Script, observed: &Observed) -> Vec<Expectation> {
    let Observed { ledger, page, .. } = observed;
    let at_doors = ["events_accepted_total", "events_refused_total", "events_ignored_total"].map(|name| page.sum(name));
    // Each of these is one more in the queue than was sent, and one that ended by it.
    let completed = page.get(&format!("{}directory_resolved_total{{how=\"completed\"}}", Page::PREFIX));
    vec![
        Expectation::equal(
            "sent = accepted + refused + ignored at the doors",
            &(script.events() as u64),
            &at_doors.iter().sum(),
        ),
        Expectation::equal(
            "the queue's ledger has what the senders were told, and deletes whose address was found",
            &(at_doors[0] + completed),
            &ledger.accepted,
        ),
        Expectation::equal("the queue's ledger adds up", &0, &ledger.difference()),
        Expectation::holds(
            "every accepted event came to its end",
            observed.ended && ledger.waiting == 0,
            format!("{} waiting", ledger.waiting),
        ),
        Expectation::equal("nothing was dropped", &0, &ledger.dropped),
        Expectation::equal(
            "the ledger and the metrics agree on what was delivered",
            &ledger.delivered,
            &(page.sum("events_delivered_total") + completed),
        ),
        Expectation::equal(
            "the ledger and the metrics agree on copies",
            &ledger.ignored,
            &page.sum("events_copies_total"),
        ),
        Expectation::equal(
            "the ledger and the metrics agree on dead letters",
            &ledger.dead,
            &page.sum("events_dead_lettered_total"),
        ),
        Expectation::equal(
            "Refersion was called as often as the metrics say",
            &observed.calls,
            &page.sum("refersion_calls_total"),
        ),
    ]
}

fn metrics(script: &Script, observed: &Observed) -> Vec<Expectation> {
    let series = script.series().into_iter();
    let series = series.map(|(series, expected)| {
        Expectation::equal(format!("{series} is {expected}"), &expected, &observed.page.get(&series))
    });
    let mut expectations: Vec<_> = series.collect();
    let page = if observed.names_somebody { "there is an @ on it" } else { "nobody" };
    expectations.push(Expectation::holds("the metrics name nobody", !observed.names_somebody, page));
    expectations
}

fn affiliates(expected: &[Expected], found: &[Affiliate]) -> Vec<Expectation> {
    let one = |expected: &Expected| {
        let Expected { account, status, email, name, country, .. } = expected;
        let there = |affiliate: &&Affiliate| affiliate.account == *account && affiliate.email == *email;
        let there: Vec<_> = found.iter().filter(there).collect();
        let held = matches!(there.as_slice(), [only]
            if only.status == status && only.name == *name && only.country == *country);
        let said: Vec<_> = there
            .iter()
            .map(|it| format!("{} {} {}", it.status, it.name, it.country.as_deref().unwrap_or("-")))
            .collect();
        let said = if said.is_empty() { "nobody".to_owned() } else { said.join("; ") };
        let country = country.as_deref().unwrap_or("no country");
        let what = format!("{account} has one affiliate {email}: {status}, {name}, {country}");
        Expectation::holds(what, held, said)
    };
    let mut expectations: Vec<_> = expected.iter().map(one).collect();
    expectations.push(Expectation::equal("nobody else is at Refersion", &expected.len(), &found.len()));
    expectations
}

/// Exactly these, in any order.
fn letters(expected: Vec<ExpectedLetter>, found: &[Entry]) -> Vec<Expectation> {
    let mut left: Vec<_> = found.iter().collect();
    let count = expected.len();
    let one = |expected: ExpectedLetter| {
        let ExpectedLetter { class, reason, message_id } = expected;
        let is_it = |letter: &&Entry| {
            let same_id = message_id.as_ref().is_none_or(|id| *id == letter.message_id);
            letter.class == class && letter.reason == reason && same_id
        };
        let at = left.iter().position(is_it);
        let found = at.map(|at| left.remove(at)).map_or_else(|| "none".to_owned(), |letter| letter.id.clone());
        let which = message_id.unwrap_or_else(|| "one without an id".to_owned());
        Expectation::holds(format!("{which} is a dead letter: {class}, {reason}"), at.is_some(), found)
    };
    let mut expectations: Vec<_> = expected.into_iter().map(one).collect();
    expectations.push(Expectation::equal("there is no other dead letter", &count, &found.len()));
    expectations
}
