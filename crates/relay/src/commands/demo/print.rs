use std::collections::BTreeMap;
use std::fmt;

use super::observed::Answer;
use super::report::{Report, Shown};
use crate::output::words::{counted, form};

/// How wide a line is at most, where nothing in it is one long word.
const WIDTH: usize = 100;

/// What the words of the metrics mean.
const DELIVERED: [(&str, &str); 8] = [
    ("created", "a new affiliate"),
    ("existing", "the address was taken: that affiliate stays as it is"),
    ("updated", "the affiliate got what is new (on_existing = \"update\")"),
    ("unchanged", "the affiliate had the same data already"),
    ("left_inactive", "it was deleted, and no event brings anybody back"),
    ("deactivated", "deleted, as far as Refersion can: its status is DISABLED"),
    ("already_inactive", "deleted before"),
    ("not_found", "deleted nobody: there is no such affiliate"),
];
const DEAD: [(&str, &str); 4] = [
    ("incomplete", "a batch cannot be told what its event lacks"),
    ("not_an_event", "nor that something in it is no event"),
    ("refused", "Refersion said no for good"),
    ("unsigned", "a write key gives no right to delete"),
];
const FAILED: [(&str, &str); 4] = [
    ("unavailable", "Refersion answered 5xx: tried again, later each time"),
    ("unclear", "the answer was cut off: tried again, and it had been done"),
    ("limited", "Refersion asked to wait: the whole account did, at no charge"),
    ("rejected", "a proper no: asking again cannot help"),
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.doors(f)?;
        self.ends(f)?;
        self.refersion(f)?;
        self.letters(f)?;
        self.metrics(f)?;
        self.verdict(f)?;
        self.next(f)
    }
}

impl Report {
    fn doors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, events) = (self.sent.requests, self.sent.events);
        writeln!(f, "WHAT THE SENDERS HEARD ({events} events in {requests} requests)\n")?;
        let stored = self.answers.iter().filter(|answer| answer.status == 202).count();
        writeln!(f, "  202  {stored} events in a request of their own: each was on disk before its answer")?;
        for batch in self.answers.iter().filter(|answer| is_batch(answer)) {
            writeln!(f, "  {}  {}: {}", batch.status, batch.what, counted(batch.events, "event"))?;
        }
        writeln!(f)?;
        let mut others: Vec<_> =
            self.answers.iter().filter(|answer| answer.status != 202 && !is_batch(answer)).collect();
        others.sort_by_key(|answer| answer.status);
        for other in others {
            wrapped(f, &format!("  {}  {:<33}  ", other.status, other.what), &other.message)?;
        }
        Ok(())
    }

    fn ends(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (refused, ignored) = (sum(&self.sent.refused), sum(&self.sent.ignored));
        let (sent, accepted, ledger) = (self.sent.events, self.sent.accepted, self.ledger);
        writeln!(f, "\nWHAT BECAME OF THEM\n")?;
        writeln!(f, "  {sent} sent = {accepted} accepted + {refused} refused + {ignored} ignored at the doors")?;
        writeln!(f, "  {ledger}\n")?;
        let outcomes = &self.outcomes;
        lines(f, "delivered", &outcomes.delivered, &DELIVERED)?;
        let completed = BTreeMap::from([("completed".to_owned(), outcomes.completed)]);
        let by_id = "by a userId alone: it goes on with its address";
        lines(f, "replaced", &completed, &[("completed", by_id)])?;
        let copies = BTreeMap::from([("copies".to_owned(), outcomes.copies)]);
        lines(f, "ignored", &copies, &[("copies", "known by message id and person: no call was made")])?;
        lines(f, "dead letter", &outcomes.dead_lettered, &DEAD)?;
        let failed: u64 = outcomes.attempts_failed.values().sum();
        let waits = counted(outcomes.retries, "wait");
        writeln!(
            f,
            "\n  {} failed on the way, and {waits} came of it:\n",
            form(failed, "1 try", &format!("{failed} tries"))
        )?;
        lines(f, "failed", &outcomes.attempts_failed, &FAILED)
    }

    fn refersion(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (there, calls) = (self.affiliates.len(), self.refersion_calls);
        writeln!(f, "\nWHAT REFERSION HAS NOW ({there} affiliates, after {calls} calls)\n")?;
        for Shown { affiliate, shows } in &self.affiliates {
            let country = affiliate.country.as_deref().unwrap_or("-");
            let (account, status) = (&affiliate.account, affiliate.status);
            let (email, name) = (&affiliate.email, &affiliate.name);
            let line = format!("  {account:<10}  {status:<8}  {email:<23}  {name:<19}  {country:<2}  {shows}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn letters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nDEAD LETTERS, for a person to look at\n")?;
        for letter in &self.dead_letters {
            let id = &letter.message_id;
            let begin = format!("  {}  {:<10}  {:<15}  ", letter.id, letter.class, shortened(id, 15));
            wrapped(f, &begin, letter.error.as_deref().unwrap_or(&letter.reason))?;
        }
        Ok(())
    }

    fn metrics(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nMETRICS, some of what {} showed\n", self.metrics.url)?;
        let told = ["events_accepted", "delivered_total{how=\"created", "copies", "retries", "limited", "rejected"];
        for (series, value) in &self.metrics.series {
            if told.iter().any(|part| series.contains(part)) {
                writeln!(f, "  {series} {value}")?;
            }
        }
        Ok(())
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, seconds) = (self.expectations.len(), seconds(self.elapsed_ms));
        let failed: Vec<_> = self.expectations.iter().filter(|expectation| !expectation.held).collect();
        if failed.is_empty() {
            return writeln!(f, "\nIn {seconds} s everything came out as it should: {all} of {all} expectations held.");
        }
        writeln!(f, "\n{} of {all} expectations did not hold:\n", failed.len())?;
        for expectation in failed {
            wrapped(f, "  - ", &format!("{} (found: {})", expectation.what, expectation.found))?;
        }
        Ok(())
    }

    fn next(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.next.kept {
            Some(folder) => writeln!(f, "\nThe queue and its configuration stay in {}. Try:\n", folder.display())?,
            None => writeln!(f, "\nNothing stays behind. Next:\n")?,
        }
        for next in &self.next.commands {
            writeln!(f, "  # {}\n  {}", next.what, next.command)?;
        }
        writeln!(f, "\nREADME.md says how to run it with an account of your own.")
    }
}

fn is_batch(answer: &Answer) -> bool {
    answer.door == "/v1/batch"
}

fn sum(by: &BTreeMap<String, u64>) -> u64 {
    by.values().sum()
}

fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1_000, ms % 1_000 / 100)
}

/// Counts by their words, in the order in which they are explained.
fn lines(f: &mut fmt::Formatter<'_>, what: &str, by: &BTreeMap<String, u64>, known: &[(&str, &str)]) -> fmt::Result {
    let mut by: Vec<_> = by.iter().collect();
    let position = |word: &str| known.iter().position(|(known, _)| *known == word);
    by.sort_by_key(|(word, _)| position(word).unwrap_or(known.len()));
    for (word, count) in by {
        let explained = position(word).map_or("", |at| known[at].1);
        let line = format!("  {count:>4}  {what:<12} {:<16}  {explained}", word.replace('_', " "));
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Writes `text` behind `begin`, and below itself where it is too long for a line.
fn wrapped(f: &mut fmt::Formatter<'_>, begin: &str, text: &str) -> fmt::Result {
    let indent = begin.chars().count();
    let mut line = begin.to_owned();
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && WIDTH < line.chars().count() + 1 + word.chars().count() {
            writeln!(f, "{line}")?;
            line = " ".repeat(indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    writeln!(f, "{}", line.trim_end())
}
