use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::arguments::Arguments;
use crate::machine::Machine;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Events in a second.
    Rate,
    /// Events that were sent in a second.
    Offered,
    /// Of the most that the calls in flight and how long they take allow.
    OfLimit,
    /// Of the answers at the door, in milliseconds.
    Door50,
    Door99,
    /// From the sender to the call, in milliseconds.
    P50,
    P90,
    P99,
    /// CPU time for each event, in microseconds.
    ProgramCpu,
    BrokerCpu,
    BenchCpu,
    /// The most that was resident, in MiB.
    Peak,
    BrokerPeak,
}

impl Measure {
    const ALL: [Self; 13] = [
        Self::Rate,
        Self::Offered,
        Self::OfLimit,
        Self::Door50,
        Self::Door99,
        Self::P50,
        Self::P90,
        Self::P99,
        Self::ProgramCpu,
        Self::BrokerCpu,
        Self::BenchCpu,
        Self::Peak,
        Self::BrokerPeak,
    ];

    fn heading(self) -> &'static str {
        match self {
            Self::Rate => "events/s",
            Self::Offered => "offered/s",
            Self::OfLimit => "of the limit",
            Self::Door50 => "answer p50 ms",
            Self::Door99 => "answer p99 ms",
            Self::P50 => "end to end p50 ms",
            Self::P90 => "p90 ms",
            Self::P99 => "p99 ms",
            Self::ProgramCpu => "CPU µs/event",
            Self::BrokerCpu => "broker's",
            Self::BenchCpu => "bench's",
            Self::Peak => "peak MiB",
            Self::BrokerPeak => "broker's MiB",
        }
    }

    /// For machines.
    fn key(self) -> &'static str {
        match self {
            Self::Rate => "events_per_second",
            Self::Offered => "offered_per_second",
            Self::OfLimit => "of_limit",
            Self::Door50 => "answer_p50_ms",
            Self::Door99 => "answer_p99_ms",
            Self::P50 => "end_to_end_p50_ms",
            Self::P90 => "end_to_end_p90_ms",
            Self::P99 => "end_to_end_p99_ms",
            Self::ProgramCpu => "cpu_us_per_event",
            Self::BrokerCpu => "broker_cpu_us_per_event",
            Self::BenchCpu => "bench_cpu_us_per_event",
            Self::Peak => "peak_mib",
            Self::BrokerPeak => "broker_peak_mib",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Rate | Self::Offered => thousands(value),
            Self::Peak | Self::BrokerPeak => format!("{value:.0}"),
            Self::ProgramCpu | Self::BrokerCpu | Self::BenchCpu => format!("{value:.1}"),
            Self::OfLimit | Self::Door50 | Self::Door99 | Self::P50 | Self::P90 | Self::P99 => format!("{value:.2}"),
        }
    }
}

/// What one measurement found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<(Measure, f64)>);

impl Sample {
    pub(crate) fn with(mut self, measure: Measure, value: f64) -> Self {
        self.0.push((measure, value));
        self
    }

    pub(crate) fn get(&self, measure: Measure) -> Option<f64> {
        self.0.iter().find(|(of, _)| *of == measure).map(|(_, value)| *value)
    }
}

/// The measurements of a section, by name in order of appearance.
pub(crate) struct Table {
    title: &'static str,
    rows: Vec<(String, Vec<Sample>)>,
    ratios: Vec<Ratio>,
}

/// How the medians of two rows compare.
struct Ratio {
    what: String,
    rate: Option<f64>,
    cpu: Option<f64>,
}

impl Table {
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, rows: Vec::new(), ratios: Vec::new() }
    }

    pub(crate) fn add(&mut self, name: &str, sample: Sample) {
        let rate = sample.get(Measure::Rate).unwrap_or_default();
        eprintln!("throughput: {}: {name}: {}/s", self.title, thousands(rate));
        match self.rows.iter_mut().find(|(row, _)| row == name) {
            Some((_, samples)) => samples.push(sample),
            None => self.rows.push((name.to_owned(), vec![sample])),
        }
    }

    /// Takes down how two rows compare, if both are there.
    pub(crate) fn compare(&mut self, row: &str, to: &str) {
        if self.row(row).zip(self.row(to)).is_none() {
            return;
        }
        let of = |measure| Some(self.median(row, measure)? / self.median(to, measure).filter(|value| 0.0 < *value)?);
        let (rate, cpu) = (of(Measure::Rate), of(Measure::ProgramCpu));
        let section = self.title.split(':').next().unwrap_or_default();
        self.ratios.push(Ratio { what: format!("{section}: {row} / {to}"), rate, cpu });
    }

    fn row(&self, name: &str) -> Option<&[Sample]> {
        self.rows.iter().find(|(row, _)| row == name).map(|(_, samples)| samples.as_slice())
    }

    fn median(&self, row: &str, measure: Measure) -> Option<f64> {
        median(self.row(row)?.iter().filter_map(|sample| sample.get(measure)))
    }

    fn columns(&self) -> Vec<Measure> {
        let any = |measure| self.rows.iter().flat_map(|(_, samples)| samples).any(|one| one.get(measure).is_some());
        Measure::ALL.into_iter().filter(|measure| any(*measure)).collect()
    }

    fn markdown(&self) -> String {
        let columns = self.columns();
        let mut lines = vec![vec![self.title.to_owned()]];
        for column in &columns {
            lines[0].push(column.heading().to_owned());
            if *column == Measure::Rate {
                lines[0].push("least to most".to_owned());
            }
        }
        for (name, samples) in &self.rows {
            let mut line = vec![name.clone()];
            for column in &columns {
                let values = samples.iter().filter_map(|sample| sample.get(*column));
                line.push(median(values.clone()).map_or_else(|| "-".to_owned(), |value| column.show(value)));
                if *column == Measure::Rate {
                    let [least, most] = [values.clone().reduce(f64::min), values.reduce(f64::max)];
                    let [least, most] = [least, most].map(Option::unwrap_or_default).map(thousands);
                    line.push(format!("{least} to {most}"));
                }
            }
            lines.push(line);
        }
        aligned(&lines)
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|(name, samples)| {
            let mut row = Map::new();
            row.insert("name".to_owned(), json!(name));
            row.insert("samples".to_owned(), json!(samples.len()));
            for measure in Measure::ALL {
                let values = samples.iter().filter_map(|sample| sample.get(measure));
                let spread = [values.clone().reduce(f64::min), median(values.clone()), values.reduce(f64::max)];
                if let [Some(least), Some(median), Some(most)] = spread.map(|value| value.map(rounded)) {
                    row.insert(measure.key().to_owned(), json!({"least": least, "median": median, "most": most}));
                }
            }
            Value::Object(row)
        });
        let ratios = self
            .ratios
            .iter()
            .map(|ratio| json!({"what": ratio.what, "rate": ratio.rate.map(rounded), "cpu": ratio.cpu.map(rounded)}));
        json!({"section": self.title, "rows": rows.collect::<Vec<_>>(), "ratios": ratios.collect::<Vec<_>>()})
    }
}

/// All sections.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) tables: Vec<Table>,
}

impl Report {
    /// For people, and for documents.
    pub(crate) fn markdown(&self, arguments: &Arguments) -> String {
        let mut text = self.machine.markdown();
        let Arguments { events, rounds, seconds, bytes, in_flight, .. } = arguments;
        let _ = writeln!(
            text,
            "\n{events} events of {bytes} bytes, or {seconds} seconds, in each measurement; {in_flight} calls in flight; \
             medians of {rounds} rounds."
        );
        for table in &self.tables {
            let _ = write!(text, "\n{}", table.markdown());
        }
        let ratios: Vec<_> = self.tables.iter().flat_map(|table| &table.ratios).collect();
        if !ratios.is_empty() {
            let mut lines = vec![["ratios", "events/s", "CPU"].map(str::to_owned).to_vec()];
            let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
            lines.extend(ratios.iter().map(|ratio| vec![ratio.what.clone(), show(ratio.rate), show(ratio.cpu)]));
            let _ = write!(text, "\n{}", aligned(&lines));
        }
        text
    }

    /// For machines: one line.
    pub(crate) fn json(&self, arguments: &Arguments) -> Value {
        json!({
            "benchmark": "throughput",
            "machine": self.machine.json(),
            "events": arguments.events,
            "seconds": arguments.seconds,
            "rounds": arguments.rounds,
            "connections": arguments.connections,
            "batch": arguments.batch,
            "bytes": arguments.bytes,
            "in_flight": arguments.in_flight,
            "sections": self.tables.iter().map(Table::json).collect::<Vec<_>>(),
        })
    }
}

/// A table of Markdown whose columns stand below each other: the first to the left, the others to the right.
pub(crate) fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width =
        |column: usize| lines.iter().map(|line: &Vec<String>| line[column].chars().count()).max().unwrap_or(0).max(3);
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            let _ = match column {
                0 => write!(text, "| {cell:<width$} |"),
                _ => write!(text, " {cell:>width$} |"),
            };
        }
        text.push('\n');
        if number == 0 {
            text.push('|');
            for column in 0..columns {
                let dashes = "-".repeat(width(column) + 1);
                let _ = if column == 0 { write!(text, "-{dashes}|") } else { write!(text, "{dashes}:|") };
            }
            text.push('\n');
        }
    }
    text
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if 0 < place && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}
