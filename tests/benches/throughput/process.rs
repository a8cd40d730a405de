use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

/// Linux counts CPU time in hundredths of a second, whatever its own clock does.
const TICK: Duration = Duration::from_millis(10);
/// Makes the peak what is resident now, see proc(5).
const RESET_PEAK: &str = "5";

/// A process whose CPU time and memory are read from `/proc`.
#[derive(Clone, Debug)]
pub(crate) struct Process(PathBuf);

impl Process {
    pub(crate) fn of(pid: u32) -> Self {
        Self(format!("/proc/{pid}").into())
    }

    pub(crate) fn own() -> Self {
        Self("/proc/self".into())
    }

    /// What it has used so far, in user mode and in the kernel, with all its threads. Known until somebody has waited for it.
    pub(crate) fn used(&self) -> anyhow::Result<Duration> {
        let ticks = self.stat()?.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<Result<_, _>>();
        Ok(TICK * ticks?)
    }

    /// Whether it has ended, and nobody has waited for it.
    pub(crate) fn has_ended(&self) -> anyhow::Result<bool> {
        Ok(self.stat()?.trim_start().starts_with('Z'))
    }

    /// The most that was ever resident, in MiB. `None` of one that has ended.
    pub(crate) fn peak_mib(&self) -> anyhow::Result<Option<f64>> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.map(|line| line.trim().trim_end_matches(" kB").parse::<u32>()).transpose()?;
        Ok(kib.map(|kib| f64::from(kib) / 1024.0))
    }

    /// Forgets the peak.
    pub(crate) fn reset_peak(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(self.0.join("clear_refs"), RESET_PEAK)?)
    }

    /// What stands behind the program's name, which is in parentheses and may hold anything: from the third field on. The
    /// times are fields 14 and 15.
    fn stat(&self) -> anyhow::Result<String> {
        let stat = self.read("stat")?;
        Ok(stat.rsplit_once(')').context("proc(5)")?.1.to_owned())
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = self.0.join(file);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}
