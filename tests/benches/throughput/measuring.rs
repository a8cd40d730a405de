use std::time::{Duration, Instant};

use crate::process::Process;
use crate::report::{Measure, Sample};

/// A measurement under way.
pub(crate) struct Measuring {
    /// The program that is measured, the broker, and this one.
    processes: [Process; 3],
    before: [Duration; 3],
    begun: Instant,
}

impl Measuring {
    pub(crate) fn begin(program: &Process, broker: &Process) -> anyhow::Result<Self> {
        let processes = [program.clone(), broker.clone(), Process::own()];
        program.reset_peak()?;
        broker.reset_peak()?;
        Ok(Self { before: used(&processes)?, processes, begun: Instant::now() })
    }

    /// The program may have ended, as long as nobody has waited for it: then its peak is not known.
    pub(crate) fn end(self, events: u32) -> anyhow::Result<Sample> {
        let took = self.begun.elapsed().as_secs_f64();
        let now = used(&self.processes)?;
        let events = f64::from(events);
        let mut sample = Sample::default().with(Measure::Rate, events / took);
        let costs = [Measure::ProgramCpu, Measure::BrokerCpu, Measure::BenchCpu];
        for ((measure, now), before) in costs.into_iter().zip(now).zip(self.before) {
            sample = sample.with(measure, now.saturating_sub(before).as_secs_f64() * 1e6 / events);
        }
        for (measure, process) in [Measure::Peak, Measure::BrokerPeak].into_iter().zip(&self.processes) {
            if let Some(peak) = process.peak_mib()? {
                sample = sample.with(measure, peak);
            }
        }
        Ok(sample)
    }
}

fn used(processes: &[Process; 3]) -> anyhow::Result<[Duration; 3]> {
    let mut used = [Duration::ZERO; 3];
    for (used, process) in used.iter_mut().zip(processes) {
        *used = process.used()?;
    }
    Ok(used)
}
