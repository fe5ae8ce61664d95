//! How long to wait before trying again: exponential with full jitter, so that a thousand devices
//! that lost one broker do not come back in the same second.
//!
//! Pure: the caller brings the randomness and does the waiting.

use std::time::Duration;

/// Doubles its ceiling from `first` to `last` with each failure.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits between `first / 2` and `last`.
    pub fn new(first: Duration, last: Duration) -> Self {
        Self { first, last: last.max(first), failures: 0 }
    }

    /// Counts a failure and says how long to wait: uniformly in the upper half of the ceiling, by
    /// `random` (any value).
    pub fn next(&mut self, random: u32) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        let share = f64::from(random) / f64::from(u32::MAX);
        ceiling.mul_f64(0.5 + 0.5 * share)
    }

    /// Counts a failure that trying soon cannot mend, such as refused credentials: the wait starts
    /// at a sixteenth of the longest.
    pub fn next_slow(&mut self, random: u32) -> Duration {
        while self.ceiling() < self.last / 16 {
            self.failures = self.failures.saturating_add(1);
        }
        self.next(random)
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn ceiling(&self) -> Duration {
        let factor = 1u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(500), Duration::from_secs(60))
    }

    #[test]
    fn the_wait_doubles_and_stops_at_the_last() {
        let mut b = backoff();
        let waits: Vec<u128> = (0..9).map(|_| b.next(u32::MAX).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        b.reset();
        assert_eq!(b.next(0).as_millis(), 250);
    }

    #[test]
    fn what_trying_soon_cannot_mend_starts_slowly() {
        let mut b = backoff();
        assert_eq!(b.next_slow(u32::MAX).as_millis(), 4000);
        assert_eq!(b.next_slow(u32::MAX).as_millis(), 8000);
    }

    proptest! {
        #[test]
        fn no_wait_is_shorter_than_half_the_first_or_longer_than_the_last(random: Vec<u32>) {
            let mut b = backoff();
            for r in random {
                let wait = b.next(r);
                prop_assert!(wait >= Duration::from_millis(250) && wait <= Duration::from_secs(60));
            }
        }
    }
}
