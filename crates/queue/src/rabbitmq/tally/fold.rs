use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::counts::{ByGroup, Counts, by_group};
use crate::rabbitmq::history::Known;

/// The longest name of a writer, and the most writers that a fold has. Whoever can write to the journal can make some up.
const LONGEST_NAME: usize = 64;
pub(super) const MOST_WRITERS: usize = 1_000;
/// So many numbers of a writer may come out of turn. With more, those that are missing between them are given up.
const MOST_OUT_OF_TURN: usize = 100;
/// How many seconds after it was found gone a writer is forgotten. One that comes back later is counted right too, but for an
/// entry of which it does not know whether it was stored. Of one that has ended in good order nothing comes any more.
const GONE_FOR: u64 = 3_600;
const CLOSED_FOR: u64 = 60;
/// The least that a death may have hidden: publishes that were confirmed and not counted yet.
const LEAST_LOST: u64 = 100;

/// One message of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Entry {
    Step(Box<Step>),
    Baseline(Baseline),
    Fold(Box<Fold>),
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

/// Takes the place of the entries that it is the sum of. They may be there still, when whoever wrote it died before taking them
/// away: steps are known by their numbers then, and other folds by their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fold {
    pub(super) id: String,
    pub(super) replaces: BTreeSet<String>,
    pub(super) sum: Sum,
}

/// What a journal says, in whatever order its entries are read, and however often each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sum {
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
    seen: Seen,
    /// What the entry with the highest number says.
    #[serde(deserialize_with = "by_group")]
    in_hand: ByGroup,
    largest: u64,
    closed: bool,
    /// When a fold first found that it is gone, in seconds since 1970.
    gone_since: Option<u64>,
}

/// Which numbers of a writer are counted: all `below` one, and some beyond.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    below: u64,
    beyond: BTreeSet<u64>,
}

impl Entry {
    /// Reads one as carefully as everything from a queue. A field that is not known may change what the others mean.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let is_name = |name: &str| name.len() <= LONGEST_NAME;
        let entry = serde_json::from_slice(bytes).ok()?;
        let is_sound = match &entry {
            Self::Step(step) => is_name(&step.writer),
            Self::Baseline(_) => true,
            Self::Fold(fold) => {
                let Sum { writers, .. } = &fold.sum;
                writers.len() <= MOST_WRITERS
                    && writers
                        .iter()
                        .all(|(name, writer)| is_name(name) && writer.seen.beyond.len() <= MOST_OUT_OF_TURN)
            }
        };
        is_sound.then_some(entry)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and names are JSON")
    }
}

impl Sum {
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let mut sum = Self::default();
        let folds: BTreeMap<_, _> = folds(entries).map(|fold| (&fold.id, fold)).collect();
        let replaced: BTreeSet<_> = folds.values().flat_map(|fold| &fold.replaces).collect();
        for (_, fold) in folds.iter().filter(|(id, _)| !replaced.contains(**id)) {
            sum.join(&fold.sum);
        }
        for entry in entries {
            match entry {
                Entry::Step(step) => sum.count(step),
                Entry::Baseline(baseline) => sum.rebase(*baseline),
                Entry::Fold(_) => {}
            }
        }
        sum
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
    pub(crate) fn without(mut self, gone: &BTreeSet<String>) -> Self {
        for name in gone {
            self.forget(name);
        }
        self
    }

    /// Without those writers that were gone long ago. `fresh`: writers with entries that a fold of this is to replace, which
    /// may come to light once more.
    fn tidied(mut self, gone: &BTreeSet<String>, fresh: &BTreeSet<&str>, now: u64) -> Self {
        for (name, writer) in &mut self.writers {
            let since = writer.gone_since.filter(|_| !fresh.contains(name.as_str())).unwrap_or(now);
            writer.gone_since = (writer.closed || gone.contains(name)).then_some(since);
        }
        let forgotten_at = |writer: &Writer| match writer.gone_since {
            Some(since) => since.saturating_add(if writer.closed { CLOSED_FOR } else { GONE_FOR }),
            None => u64::MAX,
        };
        let mut next: Vec<_> = self.writers.iter().map(|(name, writer)| (forgotten_at(writer), name.clone())).collect();
        next.sort_unstable();
        let too_many = next.len().saturating_sub(MOST_WRITERS);
        for (at, (time, name)) in next.into_iter().enumerate() {
            if at < too_many || time <= now {
                self.forget(&name);
            }
        }
        self
    }

    fn forget(&mut self, name: &str) {
        if let Some(writer) = self.writers.remove(name)
            && !writer.closed
        {
            self.deaths = self.deaths.saturating_add(1);
            self.lost = self.lost.saturating_add(writer.largest.saturating_mul(2).max(LEAST_LOST));
        }
    }

    fn count(&mut self, step: &Step) {
        let writer = self.writers.entry(step.writer.clone()).or_default();
        let is_latest = writer.seen.last() <= Some(step.number);
        if !writer.seen.is_new(step.number) {
            return;
        }
        if is_latest {
            writer.in_hand = step.in_hand;
        }
        writer.largest = writer.largest.max(step.largest);
        writer.closed |= step.last;
        self.counts = self.counts.plus(&step.counts);
    }

    fn rebase(&mut self, baseline: Baseline) {
        if self.baseline.number <= baseline.number {
            self.baseline = baseline;
        }
    }

    /// Adds what was counted apart from this: a fold may be in somebody's hand while the next one is written.
    fn join(&mut self, other: &Self) {
        self.counts = self.counts.plus(&other.counts);
        self.deaths = self.deaths.saturating_add(other.deaths);
        self.lost = self.lost.saturating_add(other.lost);
        self.rebase(other.baseline);
        if let Some(known) = &other.known {
            self.known.get_or_insert_default().join(known);
        }
        for (name, theirs) in &other.writers {
            let ours = self.writers.entry(name.clone()).or_default();
            if ours.seen.last() <= theirs.seen.last() {
                (ours.in_hand, ours.gone_since) = (theirs.in_hand, theirs.gone_since);
            }
            ours.seen.join(&theirs.seen);
            ours.largest = ours.largest.max(theirs.largest);
            ours.closed |= theirs.closed;
        }
    }
}

impl Fold {
    /// Of entries with this sum. `gone`: those that have ended without a word. `now`: in seconds since 1970.
    pub(crate) fn of(entries: &[Entry], sum: Sum, gone: &BTreeSet<String>, now: u64) -> Self {
        let fresh = entries.iter().filter_map(|entry| match entry {
            Entry::Step(step) => Some(step.writer.as_str()),
            Entry::Baseline(_) | Entry::Fold(_) => None,
        });
        let sum = sum.tidied(gone, &fresh.collect(), now);
        let replaces = folds(entries).map(|fold| fold.id.clone()).collect();
        Self { id: format!("{:032x}", rand::random::<u128>()), replaces, sum }
    }
}

impl Seen {
    /// Whether a number comes for the first time.
    fn is_new(&mut self, number: u64) -> bool {
        let is_new = self.below <= number && self.beyond.insert(number);
        self.close_ranks();
        is_new
    }

    fn last(&self) -> Option<u64> {
        self.beyond.last().copied().or(self.below.checked_sub(1))
    }

    fn join(&mut self, other: &Self) {
        self.below = self.below.max(other.below);
        self.beyond = self.beyond.union(&other.beyond).copied().filter(|number| self.below <= *number).collect();
        self.close_ranks();
    }

    fn close_ranks(&mut self) {
        if MOST_OUT_OF_TURN < self.beyond.len()
            && let Some(first) = self.beyond.first()
        {
            self.below = *first;
        }
        while self.below < u64::MAX && self.beyond.remove(&self.below) {
            self.below += 1;
        }
    }
}

fn folds(entries: &[Entry]) -> impl Iterator<Item = &Fold> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Fold(fold) => Some(fold.as_ref()),
        Entry::Step(_) | Entry::Baseline(_) => None,
    })
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
        Entry::Fold(Box::new(Fold::of(entries, Sum::of(entries), &gone, now)))
    }

    fn delivered(entries: &[Entry]) -> u64 {
        Sum::of(entries).counts.delivered
    }

    #[test]
    fn who_ends_without_a_word_may_have_counted_more() {
        let sum = Sum::of(&[step("a", 0, 500), step("a", 1, 3), step("b", 0, 2), step("c", 0, 1)]);
        let now = sum.clone().without(&["a".to_owned(), "b".to_owned()].into());
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
    fn a_number_that_never_comes_is_given_up() {
        // Somebody has purged the queue, say.
        let mut journal = vec![step("a", 7, 1)];
        journal.extend((9..200).map(|number| step("a", number, 1)));
        let folded = [fold(&journal, &[], 0)];
        let (Entry::Fold(fold), sum) = (&folded[0], Sum::of(&folded)) else { panic!("it is a fold") };
        assert_eq!(fold.sum.writers["a"].seen, Seen { below: 200, beyond: BTreeSet::new() });
        assert_eq!(sum.counts.delivered, 192);
    }

    #[test]
    fn of_too_many_writers_those_that_have_been_gone_for_longest_are_forgotten() {
        let mut journal = vec![step("old", 0, 1)];
        journal = vec![fold(&journal, &["old"], 10)];
        journal.push(step("living", 0, 1));
        let names: Vec<_> = (0..MOST_WRITERS - 1).map(|number| number.to_string()).collect();
        journal.extend(names.iter().map(|name| step(name, 0, 1)));
        let gone: Vec<_> = names.iter().map(String::as_str).chain(["old"]).collect();
        let sum = Sum::of(&[fold(&journal, &gone, 20)]);
        assert_eq!((sum.deaths, sum.open_writers().count()), (1, MOST_WRITERS));
        assert!(sum.open_writers().any(|name| name == "living"));
    }

    #[test]
    fn absurd_numbers_add_up_to_something() {
        let journal =
            [step("a", u64::MAX, u64::MAX), step("a", u64::MAX - 1, 1), step("a", u64::MAX, 1), step("b", 0, 3)];
        let sum = Sum::of(&[fold(&journal, &["a"], u64::MAX)]).without(&["a".to_owned(), "b".to_owned()].into());
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
        let many: Vec<_> = (0..=MOST_WRITERS).map(|number| step(&number.to_string(), 0, 1)).collect();
        let many = Fold { id: String::new(), replaces: BTreeSet::new(), sum: Sum::of(&many) };
        let many = String::from_utf8(Entry::Fold(Box::new(many)).to_bytes()).unwrap();
        for text in ["", "{}", "[]", r#"{"step":{}}"#, r#"{"other":{}}"#, &more, &below_zero, &long, &many] {
            assert_eq!(Entry::parse(text.as_bytes()), None, "{text}");
        }
    }
}
