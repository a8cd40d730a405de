use std::time::{Duration, Instant};

/// After a pause of this length there is no company to expect.
const WITHIN: Duration = Duration::from_millis(10);
/// After so many waits in vain the pauses between them grow no more.
const LONELY_AT_MOST: u32 = 6;

/// Whether it is worth while for what can wait to wait for more of its kind. Pure: the clock is passed in.
///
/// Where events end one after the other, because each waits for the one before it, nobody comes. So after waits in vain
/// 2, 4, 8 and at last 64 transactions wait for nobody.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// When something last came that can wait.
    last: Option<Instant>,
    /// How many waits in a row were in vain.
    lonely: u32,
    /// How many transactions are not to wait.
    skips: u32,
}

impl Company {
    /// Something has come that can wait. Returns whether it should.
    pub(super) fn is_expected(&mut self, now: Instant) -> bool {
        let recently = self.last.replace(now).is_some_and(|last| now.saturating_duration_since(last) <= WITHIN);
        let skipped = recently && 0 < self.skips;
        self.skips -= u32::from(skipped);
        recently && !skipped
    }

    /// So many were there after a wait, whoever waited among them.
    pub(super) fn came(&mut self, tasks: usize) {
        // One that ends, and the taking of one in its place, come by turns for ever.
        let in_vain = tasks <= 2;
        self.lonely = if in_vain { (self.lonely + 1).min(LONELY_AT_MOST) } else { 0 };
        self.skips = if in_vain { 1 << self.lonely } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many transactions wait, a millisecond apart, when so many tasks are in each that does.
    fn waits(company: &mut Company, now: &mut Instant, transactions: u32, tasks: usize) -> u32 {
        let mut waits = 0;
        for _ in 0..transactions {
            *now += Duration::from_millis(1);
            if company.is_expected(*now) {
                waits += 1;
                company.came(tasks);
            }
        }
        waits
    }

    #[test]
    fn whoever_comes_after_a_pause_waits_for_nobody() {
        let (mut company, mut now) = (Company::default(), Instant::now());
        for _ in 0..10 {
            now += WITHIN + Duration::from_millis(1);
            assert!(!company.is_expected(now));
        }
    }

    #[test]
    fn where_several_come_all_but_the_first_transaction_wait() {
        let (mut company, mut now) = (Company::default(), Instant::now());
        assert_eq!(waits(&mut company, &mut now, 100, 4), 99);
    }

    #[test]
    fn where_nobody_comes_few_wait_until_somebody_does() {
        let (mut company, mut now) = (Company::default(), Instant::now());
        let in_vain = waits(&mut company, &mut now, 1_000, 2);
        assert!((10..=25).contains(&in_vain), "{in_vain}");
        assert!(95 <= waits(&mut company, &mut now, 65 + 99, 4), "as soon as one wait was not in vain");
    }
}
