use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// How fast each merchant has been calling.
#[derive(Debug, Default)]
pub(crate) struct Pace(HashMap<String, VecDeque<Instant>>);

impl Pace {
    /// Returns whether a call of this key still fits into `per_second`, and remembers it if so.
    ///
    /// Calls that did not fit take no place: who is too fast gets the full rate all the same.
    pub(crate) fn admits(&mut self, public_key: &str, per_second: NonZeroU32, now: Instant) -> bool {
        let recent = self.0.entry(public_key.to_owned()).or_default();
        while recent.front().is_some_and(|first| Duration::from_secs(1) <= now.saturating_duration_since(*first)) {
            recent.pop_front();
        }
        let fits = recent.len() < usize::try_from(per_second.get()).unwrap_or(usize::MAX);
        if fits {
            recent.push_back(now);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_calls_of_each_key_fit_into_any_second() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let mut admits =
            |key, after_ms| pace.admits(key, NonZeroU32::new(2).unwrap(), start + Duration::from_millis(after_ms));

        assert_eq!([0, 400, 500, 999].map(|ms| admits("pub_1", ms)), [true, true, false, false]);
        assert!(admits("pub_2", 999));
        assert_eq!([1_000, 1_001, 1_399, 1_400].map(|ms| admits("pub_1", ms)), [true, false, false, true]);
    }
}
