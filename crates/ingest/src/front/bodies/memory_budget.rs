use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use refersion_relay_telemetry::Metrics;

/// What every body may borrow from the pool for small ones: the first bytes of each, so that an ordinary event is taken while
/// large bodies use up everything else.
const SMALL: usize = 16 * 1024;
/// The pool for small ones is this part of everything.
const SMALL_PART: usize = 8;
/// What a message takes up beside its body.
const MESSAGE_BYTES: usize = 1024;
/// Strangers get this part of each pool at most.
const STRANGERS_PART: usize = 2;

/// The memory that bodies, and what becomes of them, may take up together.
#[derive(Debug)]
pub(crate) struct Budget {
    pools: Mutex<Pools>,
    metrics: Metrics,
}

/// There is no memory for it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

#[derive(Debug)]
struct Pools {
    small: Pool,
    large: Pool,
}

#[derive(Debug)]
struct Pool {
    size: usize,
    lent: usize,
    /// Of that, to those of whom it is not known who they are.
    to_strangers: usize,
}

/// Borrowed memory. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    budget: Arc<Budget>,
    small: usize,
    large: usize,
    is_stranger: bool,
}

/// What was borrowed for a body and what becomes of it. The body holds it, and with it every event of the body: so it is given
/// back when nothing of the body is in memory any more, whoever keeps it, and however long.
#[derive(Clone, Debug)]
pub(crate) struct Lent(Arc<Mutex<Vec<Loan>>>);

/// Bytes, and what was borrowed for them.
struct Held {
    bytes: Bytes,
    #[expect(dead_code, reason = "it is held for its end")]
    lent: Lent,
}

impl Budget {
    /// `bytes`: all there is.
    pub(crate) fn new(bytes: usize, metrics: Metrics) -> Arc<Self> {
        let pool = |size| Pool { size, lent: 0, to_strangers: 0 };
        let small = bytes / SMALL_PART;
        Arc::new(Self { pools: Mutex::new(Pools { small: pool(small), large: pool(bytes - small) }), metrics })
    }

    /// A loan of nothing, which can grow.
    pub(crate) fn borrow(self: &Arc<Self>, is_stranger: bool) -> Loan {
        Loan { budget: self.clone(), small: 0, large: 0, is_stranger }
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// How much of `wanted` can be had.
    fn take(&mut self, wanted: usize, is_stranger: bool) -> usize {
        let left = self.size - self.lent;
        let share = (self.size / STRANGERS_PART).saturating_sub(self.to_strangers);
        let taken = if is_stranger { wanted.min(left).min(share) } else { wanted.min(left) };
        self.lent += taken;
        self.to_strangers += if is_stranger { taken } else { 0 };
        taken
    }

    fn give_back(&mut self, bytes: usize, is_stranger: bool) {
        self.lent -= bytes;
        self.to_strangers -= if is_stranger { bytes } else { 0 };
    }
}

impl Loan {
    /// How large it is, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.small + self.large
    }

    /// Makes it `size` bytes large, or leaves it as it is where that cannot be had.
    pub(crate) fn resize(&mut self, size: usize) -> Result<(), Exhausted> {
        let before = self.size();
        let mut pools = self.budget.pools();
        if size < before {
            let large = (before - size).min(self.large);
            let small = before - size - large;
            pools.large.give_back(large, self.is_stranger);
            pools.small.give_back(small, self.is_stranger);
            (self.small, self.large) = (self.small - small, self.large - large);
            self.budget.metrics.body_memory_freed(before - size);
            return Ok(());
        }
        let wanted = size - before;
        let small = pools.small.take(wanted.min(SMALL.saturating_sub(self.small)), self.is_stranger);
        let large = pools.large.take(wanted - small, self.is_stranger);
        if small + large < wanted {
            pools.small.give_back(small, self.is_stranger);
            pools.large.give_back(large, self.is_stranger);
            return Err(Exhausted);
        }
        (self.small, self.large) = (self.small + small, self.large + large);
        self.budget.metrics.body_memory_lent(wanted);
        Ok(())
    }

    /// Its borrower has turned out to be an account of ours.
    pub(crate) fn is_known_now(&mut self) {
        if std::mem::take(&mut self.is_stranger) {
            let mut pools = self.budget.pools();
            pools.small.to_strangers -= self.small;
            pools.large.to_strangers -= self.large;
        }
    }

    /// Leaves it to the bytes that it was borrowed for.
    pub(crate) fn hold(self, bytes: Bytes) -> (Bytes, Lent) {
        let lent = Lent(Arc::new(Mutex::new(vec![self])));
        (Bytes::from_owner(Held { bytes, lent: lent.clone() }), lent)
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Lent {
    /// Borrows for what so many events of the body become: messages with headers of their own.
    pub(crate) fn lend_for(&self, events: usize) -> Result<(), Exhausted> {
        let mut loans = self.loans();
        let Some(first) = loans.first() else { return Err(Exhausted) };
        let mut loan = first.budget.borrow(first.is_stranger);
        loan.resize(events * MESSAGE_BYTES)?;
        loans.push(loan);
        Ok(())
    }

    /// Its borrower has turned out to be an account of ours.
    pub(crate) fn is_known_now(&self) {
        self.loans().iter_mut().for_each(Loan::is_known_now);
    }

    /// How large it is, in bytes.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.loans().iter().map(Loan::size).sum()
    }

    fn loans(&self) -> MutexGuard<'_, Vec<Loan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // Giving back always works.
        let _ = self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn budget() -> Arc<Budget> {
        Budget::new(64 * MIB, Metrics::new())
    }

    fn known(budget: &Arc<Budget>, size: usize) -> Result<Loan, Exhausted> {
        let mut loan = budget.borrow(false);
        loan.resize(size).map(|()| loan)
    }

    fn stranger(budget: &Arc<Budget>, size: usize) -> Result<Loan, Exhausted> {
        let mut loan = budget.borrow(true);
        loan.resize(size).map(|()| loan)
    }

    /// What is lent now, and how much of it to strangers.
    fn lent(budget: &Budget) -> (usize, usize) {
        let pools = budget.pools();
        (pools.small.lent + pools.large.lent, pools.small.to_strangers + pools.large.to_strangers)
    }

    #[test]
    fn everything_comes_back() {
        let budget = budget();
        let mut loan = known(&budget, 20 * MIB).unwrap();
        loan.resize(3 * MIB).unwrap();
        assert_eq!((loan.size(), lent(&budget)), (3 * MIB, (3 * MIB, 0)));
        loan.resize(1000).unwrap();
        assert_eq!((loan.small, loan.large), (1000, 0), "what is large is given back first");
        drop((loan, stranger(&budget, 5 * MIB).unwrap()));
        assert_eq!(lent(&budget), (0, 0));
    }

    #[test]
    fn what_was_lent_comes_back_with_the_last_of_the_bytes() {
        let budget = budget();
        let (body, lent_for) = known(&budget, 100).unwrap().hold(Bytes::from(vec![b'x'; 100]));
        lent_for.lend_for(3).unwrap();
        let (event, clone) = (body.slice(10..20), body.clone());
        drop((body, lent_for));
        assert_eq!(lent(&budget), (100 + 3 * MESSAGE_BYTES, 0));
        drop(clone);
        assert_eq!((&event[..], lent(&budget)), (&b"xxxxxxxxxx"[..], (100 + 3 * MESSAGE_BYTES, 0)));
        drop(event);
        assert_eq!(lent(&budget), (0, 0));
    }

    #[test]
    fn small_bodies_are_taken_while_large_ones_use_up_everything_else() {
        let budget = budget();
        let all: Vec<_> = (0..14).map(|_| known(&budget, 4 * MIB)).collect();
        assert!(all.iter().all(Result::is_ok), "56 MiB");
        assert_eq!(known(&budget, 4 * MIB).unwrap_err(), Exhausted);
        let (small, strange) = (known(&budget, SMALL), stranger(&budget, SMALL));
        assert!(small.is_ok() && strange.is_ok());
        assert_eq!(known(&budget, 2 * SMALL + 14 * SMALL).unwrap_err(), Exhausted);
        drop(all);
        assert!(known(&budget, 4 * MIB).is_ok());
    }

    #[test]
    fn strangers_get_half_and_whoever_is_known_is_none() {
        let budget = budget();
        let mut first = stranger(&budget, 28 * MIB).unwrap();
        assert_eq!(stranger(&budget, 28 * MIB).unwrap_err(), Exhausted);
        assert!(known(&budget, 28 * MIB).is_ok());
        first.is_known_now();
        first.is_known_now();
        assert_eq!(lent(&budget), (28 * MIB, 0));
        assert!(stranger(&budget, 28 * MIB).is_ok());
        drop(first);
        assert_eq!(lent(&budget), (0, 0));
    }

    #[test]
    fn a_loan_that_cannot_grow_is_as_it_was() {
        let budget = budget();
        let mut loan = known(&budget, MIB).unwrap();
        assert_eq!(loan.resize(65 * MIB), Err(Exhausted));
        assert_eq!((loan.size(), lent(&budget)), (MIB, (MIB, 0)));
        loan.resize(56 * MIB).unwrap();
    }
}
