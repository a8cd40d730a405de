use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// Growing, jittered waits.
///
/// The only module that uses the `backoff` crate, which is no longer maintained (RUSTSEC-2025-0012): whoever swaps it
/// changes this file.
#[derive(Debug)]
pub struct Backoff(ExponentialBackoff);

impl Backoff {
    /// Waits around `first`, then twice as long each time, up to around `most`; each drawn from half to one and a half
    /// of that, so that many waiters do not come back at once.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        let mut inner = ExponentialBackoff {
            initial_interval: first,
            current_interval: first,
            multiplier: 2.0,
            randomization_factor: 0.5,
            max_interval: most,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        inner.reset();
        Self(inner)
    }

    /// How long to wait before the next try. Never gives up.
    pub fn next_wait(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_begin_anew() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, most);
        let waits: Vec<Duration> = (0..50).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] <= first.mul_f64(1.5), "{waits:?}");
        assert!(waits[10..].iter().all(|wait| most.mul_f64(0.5) <= *wait && *wait <= most.mul_f64(1.5)), "{waits:?}");
        backoff.reset();
        assert!(backoff.next_wait() <= first.mul_f64(1.5));
    }
}
