use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use refersion_relay_deadletter::visible;

use crate::output::output::tell;

/// How far a long command is, on stderr: a bar on a terminal, elsewhere a line now and then.
pub(crate) struct Progress {
    what: &'static str,
    total: Option<u64>,
    /// Steps that were done before it began.
    before: u64,
    begin: Instant,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Lines { last: Instant },
}

/// How often a line is written at most.
const EVERY: Duration = Duration::from_secs(5);

impl Progress {
    /// `what`: the work, in a word or two. `total`: how many steps it has, where that is known.
    pub(crate) fn start(what: &'static str, total: Option<u64>) -> Self {
        if !io::stderr().is_terminal() {
            return Self::in_lines(what, total);
        }
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{prefix} {bar:30} {pos} of {len}, {rate}, {eta} left{msg}"),
            None => (ProgressBar::no_length(), "{prefix} {spinner} {pos}, {rate}, {elapsed}{msg}"),
        };
        let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = write!(text, "{:.0}/s", state.per_sec());
        };
        let style = ProgressStyle::with_template(template).expect("a constant").with_key("rate", rate);
        bar.set_style(style);
        bar.set_prefix(what);
        Self { what, total, before: 0, begin: Instant::now(), shown: Shown::Bar(bar) }
    }

    /// Never a bar: something else is written to the same terminal.
    pub(crate) fn in_lines(what: &'static str, total: Option<u64>) -> Self {
        let begin = Instant::now();
        Self { what, total, before: 0, begin, shown: Shown::Lines { last: begin } }
    }

    /// So many steps are done. `message` says the rest, without personal data; it is made only when it is shown.
    pub(crate) fn at(&mut self, done: u64, message: impl FnOnce() -> String) {
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_position(done);
                bar.set_message(format!(", {}", message()));
            }
            Shown::Lines { last } if EVERY <= last.elapsed() => {
                *last = Instant::now();
                let line = line(self.what, done, self.before, self.total, self.begin.elapsed(), &message());
                tell!("{line}");
            }
            Shown::Lines { .. } => {}
        }
    }

    /// So many steps are done, and the last one deserves a line.
    pub(crate) fn step(&self, done: u64, line: &str) {
        if let Shown::Bar(bar) = &self.shown {
            bar.set_position(done);
        }
        self.line(line);
    }

    /// So many steps were done before, and say nothing about how fast it is.
    pub(crate) fn after(mut self, before: u64) -> Self {
        self.before = before;
        if let Shown::Bar(bar) = &self.shown {
            bar.set_position(before);
            bar.reset_eta();
        }
        self
    }

    /// The work turns out to have about so many steps.
    pub(crate) fn expect(&mut self, total: u64) {
        self.total = Some(total);
        if let Shown::Bar(bar) = &self.shown {
            bar.set_length(total);
        }
    }

    /// Says something else beside it.
    pub(crate) fn line(&self, line: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.println(visible(line)),
            Shown::Lines { .. } => tell!("{line}"),
        }
    }

    /// Takes the bar away, so that what is printed next stands alone.
    pub(crate) fn end(self) {
        match self.shown {
            Shown::Bar(bar) => bar.finish_and_clear(),
            Shown::Lines { .. } => {}
        }
    }
}

/// A step takes as long as those before it did.
fn line(what: &str, done: u64, before: u64, total: Option<u64>, elapsed: Duration, message: &str) -> String {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let new = done.saturating_sub(before);
    let rate = new.saturating_mul(1_000) / millis;
    let (of, left) = match total {
        Some(total) if 0 < new => {
            let left = millis.saturating_mul(total.saturating_sub(done)) / new / 1_000;
            let left = humantime::format_duration(Duration::from_secs(left));
            (format!(" of {total}"), format!(", {left} left"))
        }
        Some(total) => (format!(" of {total}"), String::new()),
        None => (String::new(), String::new()),
    };
    format!("{what}: {done}{of}, {rate}/s{left}, {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let line = |done, total| line("replay", done, 0, total, Duration::from_secs(10), "3 replayed");
        assert_eq!(line(1_000, Some(7_000)), "replay: 1000 of 7000, 100/s, 1m left, 3 replayed");
        assert_eq!(line(0, Some(7_000)), "replay: 0 of 7000, 0/s, 3 replayed");
        assert_eq!(line(8_000, Some(7_000)), "replay: 8000 of 7000, 800/s, 0s left, 3 replayed");
        assert_eq!(line(1_000, None), "replay: 1000, 100/s, 3 replayed");
        let resumed = super::line("enqueue", 6_000, 5_000, Some(7_000), Duration::from_secs(10), "x");
        assert_eq!(resumed, "enqueue: 6000 of 7000, 100/s, 10s left, x");
    }

    #[test]
    fn lines_are_rare() {
        let mut progress = Progress::in_lines("replay", None);
        for done in 0..1_000 {
            progress.at(done, || unreachable!("5 s have not passed"));
        }
        progress.end();
    }
}
