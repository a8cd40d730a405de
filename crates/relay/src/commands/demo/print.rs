use std::fmt;

use super::observed::Answer;
use super::report::{Report, Shown};

/// How wide a line is at most, where nothing in it is one long word.
const WIDTH: usize = 100;

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
        writeln!(f, "What the senders heard ({events} events in {requests} requests)\n")?;
        let accepted: Vec<_> = self.answers.iter().filter(|answer| answer.status == 202).collect();
        if !accepted.is_empty() {
            writeln!(f, "  202  {} events, one a request: each was on disk before its answer", accepted.len())?;
        }
        let (batches, others): (Vec<_>, Vec<_>) =
            self.answers.iter().filter(|answer| answer.status != 202).partition(|answer| is_batch(answer));
        for batch in batches {
            writeln!(f, "  {}  {}: {} events", batch.status, batch.what, batch.events)?;
        }
        for other in others {
            wrapped(f, &format!("  {}  {:<41}  ", other.status, other.what), &other.message)?;
        }
        Ok(())
    }

    fn ends(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (refused, ignored) = (sum(&self.sent.refused), sum(&self.sent.ignored));
        let (sent, accepted, ledger) = (self.sent.events, self.sent.accepted, self.ledger);
        writeln!(f, "\nWhat became of them\n")?;
        writeln!(f, "  {sent} sent = {accepted} accepted + {refused} refused + {ignored} ignored at the doors")?;
        writeln!(f, "  {ledger}\n")?;
        let outcomes = &self.outcomes;
        for (how, count) in &outcomes.delivered {
            writeln!(f, "  {count:>4}  delivered, {:<17} {}", how.replace('_', " "), explained(how))?;
        }
        writeln!(f, "  {:>4}  {:<28} known by their message id; no call was made", outcomes.copies, "ignored, copies")?;
        for (reason, count) in &outcomes.dead_lettered {
            let what = format!("dead letter, {}", reason.replace('_', " "));
            writeln!(f, "  {count:>4}  {what:<28} see below")?;
        }
        let failed: Vec<_> = outcomes.attempts_failed.iter().map(|(why, count)| format!("{why} {count}")).collect();
        let failed = failed.join(", ");
        writeln!(f, "\n  {} waits for another attempt; attempts that failed: {failed}", outcomes.retries)
    }

    fn refersion(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (there, calls) = (self.affiliates.len(), self.refersion_calls);
        writeln!(f, "\nWhat Refersion has now ({there} affiliates, after {calls} calls)\n")?;
        for Shown { affiliate, shows } in &self.affiliates {
            let country = affiliate.country.as_deref().unwrap_or("-");
            let (account, status) = (&affiliate.account, affiliate.status);
            let (email, name) = (&affiliate.email, &affiliate.name);
            let line = format!("  {account:<10} {status:<8} {email:<23} {name:<19} {country:<2}  {shows}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn letters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nDead letters: what a person has to look at\n")?;
        for letter in &self.dead_letters {
            let id = &letter.message_id;
            let begin = format!("  {}  {:<8}  {:<15}  ", letter.id, letter.class, shortened(id, 15));
            wrapped(f, &begin, letter.error.as_deref().unwrap_or(&letter.reason))?;
        }
        Ok(())
    }

    fn metrics(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nSome of what {} showed\n", self.metrics.url)?;
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

fn sum(by: &std::collections::BTreeMap<String, u64>) -> u64 {
    by.values().sum()
}

fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1_000, ms % 1_000 / 100)
}

fn explained(how: &str) -> &'static str {
    match how {
        "created" => "a new affiliate",
        "existing" => "the address was taken, and stays as it is",
        "updated" => "the affiliate was there and got what is new",
        "unchanged" => "the affiliate was there with the same data",
        "left_inactive" => "somebody deleted it, and no event brings it back",
        "deactivated" => "a delete: Refersion has nothing that erases",
        "already_inactive" => "a delete of somebody who was deactivated",
        "not_found" => "a delete of somebody who is not there",
        _ => "",
    }
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
