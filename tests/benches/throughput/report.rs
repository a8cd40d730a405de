use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::cpu::Process;

/// What one measurement found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    events: u32,
    took: Duration,
    /// CPU time of the relay, the broker and this program. A bare loop has no relay.
    cpu: [Option<Duration>; 3],
}

/// A measurement under way.
pub(crate) struct Measuring {
    processes: [Option<Process>; 3],
    before: [Option<Duration>; 3],
    begun: Instant,
}

impl Measuring {
    pub(crate) fn begin(relay: Option<Process>, broker: &Process) -> anyhow::Result<Self> {
        let processes = [relay, Some(broker.clone()), Some(Process::own())];
        Ok(Self { before: used(&processes)?, processes, begun: Instant::now() })
    }

    pub(crate) fn end(self, events: u32) -> anyhow::Result<Sample> {
        let took = self.begun.elapsed();
        let mut cpu = used(&self.processes)?;
        for (now, before) in cpu.iter_mut().zip(self.before) {
            *now = now.zip(before).map(|(now, before)| now.saturating_sub(before));
        }
        Ok(Sample { events, took, cpu })
    }
}

fn used(processes: &[Option<Process>; 3]) -> anyhow::Result<[Option<Duration>; 3]> {
    let mut used = [None; 3];
    for (used, process) in used.iter_mut().zip(processes) {
        *used = process.as_ref().map(Process::used).transpose()?;
    }
    Ok(used)
}

impl Sample {
    fn rate(&self) -> f64 {
        f64::from(self.events) / self.took.as_secs_f64()
    }

    /// In microseconds for each event.
    fn cost(&self, whose: usize) -> Option<f64> {
        self.cpu[whose].map(|cpu| cpu.as_secs_f64() * 1e6 / f64::from(self.events))
    }
}

/// All measurements, by name in order of appearance.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<(&'static str, Vec<Sample>)>,
    ratios: Vec<(&'static str, f64)>,
}

impl Report {
    pub(crate) fn add(&mut self, name: &'static str, sample: Sample) {
        eprintln!("throughput: {name}: {:.0}/s", sample.rate());
        match self.rows.iter_mut().find(|(row, _)| *row == name) {
            Some((_, samples)) => samples.push(sample),
            None => self.rows.push((name, vec![sample])),
        }
    }

    /// Takes down how the median rates of two rows compare.
    pub(crate) fn compare(&mut self, name: &'static str, relay: &str, bare: &str) {
        let rate = |of: &str| {
            let row = self.rows.iter().find(|(row, _)| *row == of);
            row.and_then(|(_, samples)| median(samples.iter().map(Sample::rate)))
        };
        if let Some((relay, bare)) = rate(relay).zip(rate(bare)) {
            self.ratios.push((name, relay / bare));
        }
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut table = format!(
            "\n{:<24}{:>10}{:>18}   {}\n{:<24}{:>10}{:>18}{:>9}{:>9}{:>9}\n",
            "", "events/s", "", "CPU, µs for each event", "", "median", "least to most", "relay", "broker", "bench"
        );
        for (name, samples) in &self.rows {
            let [least, median, most] = spread(samples.iter().map(Sample::rate));
            let _ = write!(table, "{name:<24}{median:>10.0}{:>18}", format!("{least:.0} to {most:.0}"));
            for whose in 0..3 {
                let cost = self::median(samples.iter().filter_map(|sample| sample.cost(whose)));
                let cost = cost.map_or_else(|| "-".to_owned(), |cost| format!("{cost:.1}"));
                let _ = write!(table, "{cost:>9}");
            }
            table.push('\n');
        }
        for (name, ratio) in &self.ratios {
            let _ = writeln!(table, "{name}: {ratio:.2} of the bare loop's rate");
        }
        table
    }

    /// For machines: one line.
    pub(crate) fn json(&self, arguments: &Arguments) -> Value {
        let rows = self.rows.iter().map(|(name, samples)| {
            let [least, median, most] = spread(samples.iter().map(Sample::rate)).map(f64::round);
            let cost = |whose| {
                let cost = self::median(samples.iter().filter_map(|sample| sample.cost(whose)));
                cost.map(|cost| (cost * 10.0).round() / 10.0)
            };
            json!({
                "name": name,
                "events_per_second": {"median": median, "least": least, "most": most, "samples": samples.len()},
                "cpu_us_per_event": {"relay": cost(0), "broker": cost(1), "bench": cost(2)},
            })
        });
        let ratios: serde_json::Map<_, _> = self
            .ratios
            .iter()
            .map(|(name, ratio)| ((*name).to_owned(), json!((ratio * 1000.0).round() / 1000.0)))
            .collect();
        json!({
            "benchmark": "throughput",
            "events": arguments.events,
            "rounds": arguments.rounds,
            "connections": arguments.connections,
            "batch": arguments.batch,
            "bytes": arguments.bytes,
            "rows": rows.collect::<Vec<_>>(),
            "ratios": ratios,
        })
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

/// The least, the median and the most. Of no values: zeros.
fn spread(values: impl Iterator<Item = f64> + Clone) -> [f64; 3] {
    let least = values.clone().reduce(f64::min);
    let most = values.clone().reduce(f64::max);
    [least, median(values), most].map(Option::unwrap_or_default)
}
