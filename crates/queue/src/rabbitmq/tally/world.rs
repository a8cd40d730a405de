//! A simple model of a journal: processes that append to it, are cut off, end and die, and readers that fold it and die
//! meanwhile. Whatever happens, every step that was ever stored is in the sum once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::appender::Steps;
use super::counts::{ByGroup, Counts, State};
use super::fold::{Baseline, Entry, Step, Sum};

const PROCESSES: usize = 4;
/// The longest time that a process is cut off here. One that comes back after an hour has died to the others.
const LONGEST_CUT: u64 = 3_000;

#[derive(Clone, Copy, Debug)]
enum Op {
    Count(usize, u64),
    Append(usize, Fate),
    Cut(usize),
    Return(usize),
    Close(usize),
    Die(usize),
    /// What was late is there now.
    Land,
    Baseline,
    BeginReading,
    Fold(Crash),
    Wait(u64),
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Confirmed,
    /// It is stored, and the answer is lost.
    Stored,
    /// It is stored some time later, and the answer is lost.
    Late,
    Lost,
}

/// When a folder dies.
#[derive(Clone, Copy, Debug)]
enum Crash {
    Never,
    BeforeItIsStored,
    /// Of what it has read, some entries are taken away.
    Between(u64),
}

#[derive(Default)]
struct Process {
    name: String,
    state: State,
    steps: Steps,
    /// Since when it is cut off.
    cut: Option<u64>,
}

#[derive(Default)]
struct World {
    now: u64,
    started: usize,
    processes: Vec<Process>,
    /// By a number for each message.
    journal: BTreeMap<u64, Entry>,
    next_message: u64,
    late: Vec<Entry>,
    reading: Option<(BTreeSet<u64>, Vec<Entry>, BTreeSet<String>)>,
    /// Every step that was ever stored.
    stored: BTreeMap<String, BTreeMap<u64, Box<Step>>>,
    dead: BTreeSet<String>,
    baselines: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self::default();
        for at in 0..PROCESSES {
            world.start(at);
        }
        world
    }

    fn start(&mut self, at: usize) {
        self.started += 1;
        let process = Process { name: format!("{}", self.started), ..Process::default() };
        if at < self.processes.len() {
            self.processes[at] = process;
        } else {
            self.processes.push(process);
        }
        self.append(at, false, Fate::Confirmed);
    }

    fn push(&mut self, entry: Entry) {
        if let Entry::Step(step) = &entry {
            let steps = self.stored.entry(step.writer.clone()).or_default();
            assert_eq!(steps.entry(step.number).or_insert_with(|| step.clone()), step, "a repetition is the same");
        }
        self.journal.insert(self.next_message, entry);
        self.next_message += 1;
    }

    fn append(&mut self, at: usize, last: bool, fate: Fate) -> bool {
        let process = &mut self.processes[at];
        let step = process.steps.next(&process.name, process.state, last);
        let is_last = step.last;
        match fate {
            Fate::Confirmed => {
                process.steps.appended();
                self.push(Entry::Step(Box::new(step)));
            }
            Fate::Stored => self.push(Entry::Step(Box::new(step))),
            Fate::Late => self.late.push(Entry::Step(Box::new(step))),
            Fate::Lost => {}
        }
        is_last
    }

    fn land(&mut self) {
        for entry in std::mem::take(&mut self.late) {
            self.push(entry);
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Count(at, events) => {
                let state = &mut self.processes[at].state;
                state.counts.delivered += events;
                state.counts.left[0] += events;
                state.in_hand[0] = events % 7;
            }
            Op::Append(at, fate) if self.processes[at].cut.is_none() => drop(self.append(at, false, fate)),
            Op::Cut(at) => drop(self.processes[at].cut.get_or_insert(self.now)),
            Op::Return(at) => self.come_back(at),
            Op::Close(at) if self.processes[at].cut.is_none() => {
                while !self.append(at, true, Fate::Confirmed) {}
                self.start(at);
            }
            Op::Die(at) => {
                self.dead.insert(self.processes[at].name.clone());
                self.start(at);
            }
            Op::Land => self.land(),
            Op::Append(..) | Op::Close(_) => {}
            Op::Baseline => {
                self.baselines += 1;
                self.push(Entry::Baseline(Baseline { number: self.baselines, ..Baseline::default() }));
            }
            Op::BeginReading => self.begin_reading(),
            Op::Fold(crash) => self.fold(crash),
            Op::Wait(seconds) => {
                // Nothing is late for so long, and nobody reads.
                self.land();
                self.reading = None;
                for at in 0..PROCESSES {
                    if self.processes[at].cut.is_some_and(|since| LONGEST_CUT < self.now + seconds - since) {
                        self.come_back(at);
                    }
                }
                self.now += seconds;
            }
        }
    }

    fn come_back(&mut self, at: usize) {
        if self.processes[at].cut.take().is_some() {
            self.append(at, false, Fate::Confirmed);
        }
    }

    /// Those without a mark who have not said that they end.
    fn gone(&self, sum: &Sum) -> BTreeSet<String> {
        let is_marked =
            |writer: &str| self.processes.iter().any(|process| process.name == writer && process.cut.is_none());
        sum.open_writers().filter(|writer| !is_marked(writer)).map(str::to_owned).collect()
    }

    fn begin_reading(&mut self) {
        if self.reading.is_none() {
            // In whatever order.
            let entries: Vec<_> = self.journal.values().rev().cloned().collect();
            let gone = self.gone(&Sum::of(&entries));
            self.reading = Some((self.journal.keys().copied().collect(), entries, gone));
        }
    }

    fn fold(&mut self, crash: Crash) {
        self.begin_reading();
        let Some((hand, entries, gone)) = self.reading.take() else { return };
        let fold = Sum::of(&entries).folded(&gone, self.now);
        if matches!(crash, Crash::BeforeItIsStored) {
            return;
        }
        let fold = Entry::Fold(Box::new(fold));
        assert_eq!(Entry::parse(&fold.to_bytes()).as_ref(), Some(&fold));
        self.push(fold);
        self.journal.retain(|id, _| match crash {
            Crash::Between(which) => !hand.contains(id) || which >> (id % 64) & 1 == 1,
            Crash::Never | Crash::BeforeItIsStored => !hand.contains(id),
        });
    }

    fn check(&self) {
        // What is late is missing until it is there.
        if self.reading.is_some() || !self.late.is_empty() {
            return;
        }
        let entries: Vec<_> = self.journal.values().cloned().collect();
        let sum = Sum::of(&entries);
        let gone = self.gone(&sum);
        let sum = sum.without(&gone);

        let steps = || self.stored.values().flat_map(BTreeMap::values);
        assert_eq!(sum.counts, steps().fold(Counts::default(), |sum, step| sum.plus(&step.counts)));
        assert_eq!(sum.baseline.number, self.baselines);
        let cut = self.processes.iter().filter(|process| process.cut.is_some()).map(|process| &process.name);
        let gone: BTreeSet<_> = self.dead.iter().chain(cut).collect();
        let lost = gone.iter().map(|writer| self.stored[*writer].values().map(|step| step.largest).max().unwrap());
        assert_eq!((sum.deaths, sum.lost), (gone.len() as u64, lost.map(|largest| (2 * largest).max(100)).sum()));
        let living = self.processes.iter().filter(|process| process.cut.is_none());
        let in_hand = living.map(|process| self.stored[&process.name].last_key_value().unwrap().1.in_hand);
        let in_hand = in_hand.fold(ByGroup::default(), |sum, more| std::array::from_fn(|at| sum[at] + more[at]));
        assert_eq!(sum.in_hand(), in_hand);
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let process = || 0..PROCESSES;
    let fate =
        prop_oneof![4 => Just(Fate::Confirmed), 1 => Just(Fate::Stored), 1 => Just(Fate::Late), 1 => Just(Fate::Lost)];
    let crash = prop_oneof![2 => Just(Crash::Never), 1 => Just(Crash::BeforeItIsStored), 2 => any::<u64>().prop_map(Crash::Between)];
    let op = prop_oneof![
        6 => (process(), 0..1_000_u64).prop_map(|(at, events)| Op::Count(at, events)),
        8 => (process(), fate).prop_map(|(at, fate)| Op::Append(at, fate)),
        1 => process().prop_map(Op::Cut),
        1 => process().prop_map(Op::Return),
        1 => process().prop_map(Op::Close),
        1 => process().prop_map(Op::Die),
        3 => Just(Op::Land),
        1 => Just(Op::Baseline),
        1 => Just(Op::BeginReading),
        3 => crash.prop_map(Op::Fold),
        2 => (0..5_000_u64).prop_map(Op::Wait),
    ];
    vec(op, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_step_is_in_the_sum_once(ops in ops()) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
            world.check();
        }
        world.apply(Op::Fold(Crash::Never));
        world.land();
        world.check();
    }
}
