use std::time::Duration;

use anyhow::Context;

/// Linux counts CPU time in hundredths of a second, whatever its own clock does.
const TICK: Duration = Duration::from_millis(10);

/// A process whose CPU time is read from `/proc`.
#[derive(Clone, Debug)]
pub(crate) struct Process(String);

impl Process {
    pub(crate) fn of(pid: u32) -> Self {
        Self(format!("/proc/{pid}/stat"))
    }

    pub(crate) fn own() -> Self {
        Self("/proc/self/stat".to_owned())
    }

    /// What it has used so far, in user mode and in the kernel, with all its threads.
    pub(crate) fn used(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(&self.0).with_context(|| format!("cannot read {}", self.0))?;
        // The second field is the program's name, in parentheses; it may hold anything. The times are fields 14 and 15.
        let (_, rest) = stat.rsplit_once(')').context("proc(5)")?;
        let ticks = rest.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u32>);
        Ok(TICK * ticks.sum::<Result<u32, _>>()?)
    }
}
