use std::time::Duration;

/// How long something that may wait is kept back, so that others share its transaction.
pub(crate) const WAIT: Duration = Duration::from_millis(2);
/// Company enough: waiting longer would save little.
pub(crate) const ENOUGH: usize = 32;
/// After waits in vain, in how many transactions at most nothing is waited for.
const LONGEST_PAUSE: u32 = 64;

/// Whether a wait for company is likely to be worth it: it was the last time, or long enough ago that it was not.
#[derive(Debug, Default)]
pub(crate) struct GroupCommit {
    /// After how many transactions the next wait comes, if the one before was in vain.
    pause: u32,
    left: u32,
}

impl GroupCommit {
    /// Whether to wait this time.
    pub(crate) fn is_likely(&mut self) -> bool {
        let waits = self.left == 0;
        self.left = self.left.saturating_sub(1);
        waits
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
    fn waits_in_vain(company: &mut GroupCommit, transactions: usize) -> Vec<usize> {
        let mut waited = Vec::new();
        for transaction in 0..transactions {
            if company.is_likely() {
                waited.push(transaction);
                company.came(0);
            }
        }
        waited
    }

    #[test]
    fn one_that_is_always_alone_hardly_ever_waits() {
        let mut company = GroupCommit::default();
        assert_eq!(waits_in_vain(&mut company, 300), [0, 2, 5, 10, 19, 36, 69, 134, 199, 264]);
    }

    #[test]
    fn while_others_come_every_one_waits() {
        let mut company = GroupCommit::default();
        waits_in_vain(&mut company, 200);
        while !company.is_likely() {}
        company.came(1);
        for _ in 0..100 {
            assert!(company.is_likely());
            company.came(3);
        }
    }
}
