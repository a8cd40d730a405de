use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::counts::{ByGroup, Counts, by_group};
use crate::rabbitmq::topology::history::Known;

/// The largest entry, in bytes, and the longest name of a writer. Whoever can write to the journal can make some up.
const LARGEST: usize = 4 * 1024 * 1024;
const LONGEST_NAME: usize = 64;
/// For how many seconds a writer that is gone is known still: an entry of it may come to light, or itself come back.
const GONE_FOR: u64 = 3_600;
/// With more writers than that, those that are gone are forgotten with the next fold.
pub(super) const MANY_WRITERS: usize = 500;
/// The least that a death may have hidden: publishes that were confirmed and not counted yet.
const LEAST_LOST: u64 = 100;

/// One message of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Entry {
    Step(Box<Step>),
    Baseline(Baseline),
    Fold(Box<Sum>),
}

/// What a process has counted since its last entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// A name that no other process has.
    pub(crate) writer: String,
    /// Rises by one with every entry of the writer. One that may not have been stored is appended again with the same number.
    pub(crate) number: u64,
    pub(crate) counts: Counts,
    /// Not what has changed, but what is there.
    #[serde(deserialize_with = "by_group")]
    pub(crate) in_hand: ByGroup,
    /// The most movements that one entry of the writer has had.
    pub(crate) largest: u64,
    /// Whether the writer has ended in good order, so that nothing is missing.
    pub(crate) last: bool,
}

/// What was taken for right at some moment: everything is told from there on. Of several the highest number counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    pub(crate) number: u64,
    pub(crate) difference: i64,
    pub(crate) uncertain: u64,
    pub(crate) deaths: u64,
    pub(crate) lost: u64,
}

/// What a journal says, in whatever order its entries are read, and however often each. As an entry it takes the place of those
/// it is the sum of. They may be there still, if whoever wrote it died before taking them away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sum {
    /// Rises with every fold. Of several the highest number counts: the others are in it.
    number: u64,
    pub(crate) counts: Counts,
    /// Writers that ended without a word.
    pub(crate) deaths: u64,
    /// How much those may have counted after their last entries.
    pub(crate) lost: u64,
    pub(crate) baseline: Baseline,
    /// What was ever configured, if anybody has said so.
    pub(crate) known: Option<Known>,
    writers: BTreeMap<String, Writer>,
}

/// What is known of a writer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Writer {
    /// The number of its last entry: that and all below are counted.
    number: Option<u64>,
    #[serde(deserialize_with = "by_group")]
    in_hand: ByGroup,
    largest: u64,
    closed: bool,
    /// When a fold first found that it is gone, in seconds since 1970.
    gone_since: Option<u64>,
}

impl Entry {
    /// Reads one as carefully as everything from a queue. A field that is not known may change what the others mean.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let entry = if bytes.len() <= LARGEST { serde_json::from_slice(bytes).ok() } else { None };
        entry.filter(|entry| !matches!(entry, Self::Step(step) if LONGEST_NAME < step.writer.len()))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and names are JSON")
    }
}

impl Sum {
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let (mut sum, mut steps) = (Self::default(), BTreeMap::new());
        let mut baseline = Baseline::default();
        for entry in entries {
            match entry {
                Entry::Step(step) => drop(steps.entry((&step.writer, step.number)).or_insert(step)),
                Entry::Fold(fold) if sum.number < fold.number => sum = fold.as_ref().clone(),
                Entry::Baseline(found) if baseline.number < found.number => baseline = *found,
                Entry::Fold(_) | Entry::Baseline(_) => {}
            }
        }
        if sum.baseline.number < baseline.number {
            sum.baseline = baseline;
        }
        // Of each writer in the order of their numbers.
        for step in steps.into_values() {
            sum.count(step);
        }
        sum
    }

    fn count(&mut self, step: &Step) {
        let writer = self.writers.entry(step.writer.clone()).or_default();
        writer.gone_since = None; // as long as there is anything of it in the journal
        if Some(step.number) <= writer.number {
            return;
        }
        writer.number = Some(step.number);
        writer.in_hand = step.in_hand;
        writer.largest = writer.largest.max(step.largest);
        writer.closed |= step.last;
        self.counts = self.counts.plus(&step.counts);
    }

    /// Those who may still write.
    pub(crate) fn open_writers(&self) -> impl Iterator<Item = &str> {
        self.writers.iter().filter(|(_, writer)| !writer.closed).map(|(name, _)| name.as_str())
    }

    /// What is in hand of those who may still write.
    pub(crate) fn in_hand(&self) -> ByGroup {
        let open = self.writers.values().filter(|writer| !writer.closed);
        open.fold(ByGroup::default(), |sum, writer| {
            std::array::from_fn(|at| sum[at].saturating_add(writer.in_hand[at]))
        })
    }

    /// As it is when these have ended without a word: nothing is in their hands any more, and what they may not have written
    /// down is counted.
    pub(crate) fn without<'a>(mut self, gone: impl IntoIterator<Item = &'a String>) -> Self {
        for name in gone {
            if let Some(writer) = self.writers.remove(name)
                && !writer.closed
            {
                self.deaths = self.deaths.saturating_add(1);
                self.lost = self.lost.saturating_add(writer.largest.saturating_mul(2).max(LEAST_LOST));
            }
        }
        self
    }

    /// What takes the place of everything it was read from. `gone`: those who have ended without a word. `now`: in seconds since
    /// 1970.
    pub(crate) fn folded(mut self, gone: &BTreeSet<String>, now: u64) -> Self {
        self.number = self.number.saturating_add(1);
        let patience = if MANY_WRITERS < self.writers.len() { 1 } else { GONE_FOR };
        let mut forgotten = Vec::new();
        for (name, writer) in &mut self.writers {
            let is_gone = writer.closed || gone.contains(name);
            writer.gone_since = is_gone.then(|| writer.gone_since.unwrap_or(now));
            if writer.gone_since.is_some_and(|since| since.saturating_add(patience) <= now) {
                forgotten.push(name.clone());
            }
        }
        self.without(&forgotten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(writer: &str, number: u64, delivered: u64) -> Entry {
        let counts = Counts { delivered, ..Counts::default() };
        Entry::Step(Box::new(Step { writer: writer.to_owned(), number, counts, largest: delivered, ..Step::default() }))
    }

    fn fold(entries: &[Entry], gone: &[&str], now: u64) -> Entry {
        let gone = gone.iter().map(|name| (*name).to_owned()).collect();
        Entry::Fold(Box::new(Sum::of(entries).folded(&gone, now)))
    }

    fn delivered(entries: &[Entry]) -> u64 {
        Sum::of(entries).counts.delivered
    }

    #[test]
    fn who_ends_without_a_word_may_have_counted_more() {
        let sum = Sum::of(&[step("a", 0, 500), step("a", 1, 3), step("b", 0, 2), step("c", 0, 1)]);
        let now = sum.clone().without(&["a".to_owned(), "b".to_owned()]);
        assert_eq!((now.counts, now.deaths, now.lost), (sum.counts, 2, 1_000 + LEAST_LOST));
    }

    #[test]
    fn who_was_forgotten_and_comes_back_is_counted_on() {
        let mut journal = vec![step("a", 0, 5), step("b", 0, 7)];
        for now in [0, GONE_FOR - 1, GONE_FOR] {
            journal = vec![fold(&journal, &["a"], now)];
        }
        let sum = Sum::of(&journal);
        assert_eq!((sum.deaths, sum.lost, sum.open_writers().collect::<Vec<_>>()), (1, LEAST_LOST, vec!["b"]));
        journal.extend([step("a", 1, 20), step("a", 2, 300), step("a", 1, 20)]);
        assert_eq!((delivered(&journal), delivered(&[fold(&journal, &[], 0)])), (332, 332));
    }

    #[test]
    fn of_many_writers_those_that_are_gone_are_forgotten_with_the_next_fold() {
        let names: Vec<_> = (0..MANY_WRITERS).map(|number| number.to_string()).collect();
        let mut journal: Vec<_> = names.iter().map(|name| step(name, 0, 1)).collect();
        journal.push(step("living", 0, 1));
        let gone: Vec<_> = names.iter().map(String::as_str).collect();
        journal = vec![fold(&journal, &gone, 10)];
        // Some of what it replaces may be there still.
        assert_eq!(Sum::of(&journal).open_writers().count(), MANY_WRITERS + 1);
        let sum = Sum::of(&[fold(&journal, &gone, 11)]);
        assert_eq!((sum.deaths, sum.open_writers().collect::<Vec<_>>()), (MANY_WRITERS as u64, vec!["living"]));
    }

    #[test]
    fn absurd_numbers_add_up_to_something() {
        let journal =
            [step("a", u64::MAX, u64::MAX), step("a", u64::MAX - 1, 1), step("a", u64::MAX, 1), step("b", 0, 3)];
        let sum = Sum::of(&[fold(&journal, &["a"], u64::MAX)]).without(&["a".to_owned(), "b".to_owned()]);
        assert_eq!((sum.counts.delivered, sum.lost, sum.deaths), (u64::MAX, u64::MAX, 2));
    }

    #[test]
    fn an_entry_from_before_there_was_the_last_kind_of_places_counts_nothing_there() {
        let entry = step("a", 0, 5);
        let mut before = serde_json::to_value(&entry).unwrap();
        for place in ["/step/in_hand", "/step/counts/entered", "/step/counts/left"] {
            before.pointer_mut(place).unwrap().as_array_mut().unwrap().pop();
        }
        assert_eq!(Entry::parse(before.to_string().as_bytes()), Some(entry));
        before["step"]["in_hand"] = vec![0; 100].into();
        assert_eq!(Entry::parse(before.to_string().as_bytes()), None);
    }

    #[test]
    fn what_no_relay_has_written_is_no_entry() {
        let written = String::from_utf8(step("a", 0, 5).to_bytes()).unwrap();
        assert!(Entry::parse(written.as_bytes()).is_some());
        let more = written.replace(r#""number":0"#, r#""number":0,"more":1"#);
        let below_zero = written.replace(r#""number":0"#, r#""number":-1"#);
        let long = written.replace(r#""a""#, &format!(r#""{}""#, "a".repeat(LONGEST_NAME + 1)));
        let large = written.replace(r#""a""#, &format!(r#""a"{}"#, " ".repeat(LARGEST)));
        for text in ["", "{}", "[]", r#"{"step":{}}"#, r#"{"other":{}}"#, &more, &below_zero, &long, &large] {
            assert_eq!(Entry::parse(text.as_bytes()), None, "{}", &text[..text.len().min(100)]);
        }
    }
}
