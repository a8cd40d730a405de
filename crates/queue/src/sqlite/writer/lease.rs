use std::time::{Duration, SystemTime};

use rusqlite::Connection;

use crate::sqlite::store::row::millis;

/// How long a holder may be silent before somebody else takes its place.
pub(crate) const TERM: Duration = Duration::from_secs(10);
/// How often a holder says that it is alive.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(3);

/// Who works what is in the file, as the file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Whether the holder has the lock beside the file, which it loses when it dies.
    locked: bool,
    /// When it last said that it is alive, in milliseconds.
    renewed_at: i64,
}

impl Held {
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        connection
            .prepare_cached("SELECT locked, renewed_at FROM state")?
            .query_row([], |row| Ok(Self { locked: row.get(0)?, renewed_at: row.get(1)? }))
    }

    /// Whether the next holder may begin. `locked`: it has the lock, so a holder who had it is gone.
    ///
    /// A clock that jumps can end a term too early. That is no harm but a hand-over, because whoever has lost the lease
    /// settles nothing more.
    pub(crate) fn is_over(self, locked: bool, now: SystemTime) -> bool {
        let silent = millis(now).abs_diff(self.renewed_at);
        self.renewed_at == 0 || (locked && self.locked) || TERM.as_millis() < u128::from(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn is_over(locked: bool, silent: Duration, we_have_the_lock: bool) -> bool {
        let now = NOW + Duration::from_hours(1);
        Held { locked, renewed_at: millis(now - silent) }.is_over(we_have_the_lock, now)
    }

    #[test]
    fn a_term_ends_with_its_holder() {
        assert!(is_over(true, Duration::ZERO, true), "the lock is free: the holder is gone");
        assert!(!is_over(true, Duration::ZERO, false));
        assert!(is_over(true, TERM + Duration::from_secs(1), false), "it is frozen");
    }

    #[test]
    fn the_lock_says_nothing_of_a_holder_that_took_over_from_a_frozen_one() {
        assert!(!is_over(false, Duration::from_secs(1), true));
        assert!(is_over(false, TERM + Duration::from_secs(1), true));
    }

    #[test]
    fn a_lease_that_was_given_up_or_comes_from_the_future_is_over() {
        let now = NOW + Duration::from_hours(1);
        assert!(Held { locked: true, renewed_at: 0 }.is_over(false, now));
        assert!(Held { locked: true, renewed_at: millis(now + TERM * 2) }.is_over(false, now));
    }
}
