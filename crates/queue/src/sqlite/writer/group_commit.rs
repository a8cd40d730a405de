use std::time::Duration;

/// How long something that may wait is kept back, so that others share its transaction.
const WAIT: Duration = Duration::from_millis(2);
/// Company enough: waiting longer would save little.
pub(crate) const ENOUGH: usize = 32;
/// After waits in vain, in how many transactions at most nothing is waited for.
const LONGEST_PAUSE: u32 = 64;

/// Whether a wait for company is likely to be worth it: it was the last time, or long enough ago that it was not.
#[derive(Debug)]
pub(crate) struct GroupCommit {
    /// How long a wait takes at most.
    wait: Duration,
    /// After how many transactions the next wait comes, if the one before was in vain.
    pause: u32,
    left: u32,
}

impl GroupCommit {
    pub(crate) fn new() -> Self {
        Self { wait: WAIT, pause: 0, left: 0 }
    }

    /// One whose waits take so long; it has none if that is zero.
    #[cfg(test)]
    pub(crate) fn waiting(wait: Duration) -> Self {
        Self { wait, ..Self::new() }
    }

    /// How long to wait this time, if at all.
    pub(crate) fn wait(&mut self) -> Option<Duration> {
        let waits = self.left == 0 && !self.wait.is_zero();
        self.left = self.left.saturating_sub(1);
        waits.then_some(self.wait)
    }

    /// Learns how many came during a wait.
    pub(crate) fn came(&mut self, others: usize) {
        self.pause = if others == 0 { (self.pause * 2).clamp(1, LONGEST_PAUSE) } else { 0 };
        self.left = self.pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of so many transactions waited, where nobody ever comes.
    fn waits_in_vain(commits: &mut GroupCommit, transactions: usize) -> Vec<usize> {
        let mut waited = Vec::new();
        for transaction in 0..transactions {
            if commits.wait().is_some() {
                waited.push(transaction);
                commits.came(0);
            }
        }
        waited
    }

    #[test]
    fn one_that_is_always_alone_hardly_ever_waits() {
        let mut commits = GroupCommit::new();
        assert_eq!(waits_in_vain(&mut commits, 300), [0, 2, 5, 10, 19, 36, 69, 134, 199, 264]);
    }

    #[test]
    fn while_others_come_every_one_waits() {
        let mut commits = GroupCommit::new();
        waits_in_vain(&mut commits, 200);
        while commits.wait().is_none() {}
        commits.came(1);
        for _ in 0..100 {
            assert_eq!(commits.wait(), Some(WAIT));
            commits.came(3);
        }
    }
}
