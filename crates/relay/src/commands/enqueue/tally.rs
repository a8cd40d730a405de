use std::collections::BTreeMap;
use std::time::Duration;

use refersion_relay_model::Ignored;
use serde::Serialize;

use super::rejects::BadText;
use crate::output::words::{counted, form};

/// Bad lines that are named; further ones are only counted.
const NAMED: u64 = 1_000;

/// What became of the lines up to the last durable one. What is repeated after an interruption is counted when it is durable.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct LineCounts {
    /// Every line up to this one is dealt with: durable, ignored or bad.
    pub(super) durable: u64,
    /// Lines before the first that was looked at.
    skipped: u64,
    /// Events that are in the queue, the incomplete ones among them.
    pub(super) stored: u64,
    /// Events that lack what Refersion needs: dead letters of class `invalid`.
    pub(super) incomplete: u64,
    /// Events that are not for Refersion, by reason.
    ignored: BTreeMap<&'static str, u64>,
    /// Lines that are no events.
    pub(super) bad: u64,
    /// Lines with nothing in them.
    pub(super) blank: u64,
}

/// What becomes of a line.
pub(super) enum Fate {
    /// It is an event, and in the queue.
    Stored,
    /// It is one that lacks something, and in the queue as a dead letter.
    StoredIncomplete,
    /// It is an event that is not for Refersion.
    Ignored(Ignored),
    /// It is no event.
    Bad {
        /// Without anything of the line itself.
        why: String,
        text: BadText,
    },
    /// There is nothing in it.
    Blank,
}

impl LineCounts {
    pub(super) fn after(skipped: u64) -> Self {
        Self { durable: skipped, skipped, ..Self::default() }
    }

    /// Counts a line that is dealt with.
    pub(super) fn count(&mut self, fate: &Fate) {
        match fate {
            Fate::Stored => self.stored += 1,
            Fate::StoredIncomplete => {
                self.stored += 1;
                self.incomplete += 1;
            }
            Fate::Ignored(why) => *self.ignored.entry(why.as_str()).or_default() += 1,
            Fate::Bad { .. } => self.bad += 1,
            Fate::Blank => self.blank += 1,
        }
    }

    /// What to say about the bad line that was just counted, if anything.
    pub(super) fn report(&self, number: u64, why: &str) -> Option<String> {
        match self.bad {
            bad if bad <= NAMED => Some(format!("line {number}: {why}")),
            bad if bad == NAMED + 1 => Some("further bad lines are only counted".to_owned()),
            _ => None,
        }
    }

    /// One line for a person.
    pub(super) fn sentence(&self, took: Duration) -> String {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = self.stored.saturating_mul(1_000) / millis;
        let Self { durable, incomplete, .. } = self;
        let (stored, bad) = (counted(self.stored, "event"), counted(self.bad, "bad line"));
        let letters = form(*incomplete, "a dead letter", "dead letters");
        let ignored: u64 = self.ignored.values().sum();
        let reasons: Vec<_> = self.ignored.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        let seconds = took.as_secs_f64();
        format!(
            "durable up to line {durable}: {stored} stored, {incomplete} of them as {letters} (invalid), \
             {ignored} ignored{reasons}, {bad}; {seconds:.1} s, {rate}/s"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_has_every_number() {
        let mut tally = LineCounts { durable: 12, stored: 8, bad: 1, ..LineCounts::after(0) };
        for fate in [Fate::Ignored(Ignored::Anonymous), Fate::StoredIncomplete, Fate::Ignored(Ignored::Anonymous)] {
            tally.count(&fate);
        }
        let expected = "durable up to line 12: 9 events stored, 1 of them as a dead letter (invalid), 2 ignored \
                        (anonymous 2), 1 bad line; 3.0 s, 3/s";
        assert_eq!(tally.sentence(Duration::from_secs(3)), expected);
    }

    #[test]
    fn a_file_of_nothing_but_bad_lines_does_not_flood() {
        let mut tally = LineCounts::default();
        let said = (1..=2_000).filter(|number| {
            tally.bad += 1;
            tally.report(*number, "no").is_some()
        });
        assert_eq!(said.count(), 1_001);
    }
}
