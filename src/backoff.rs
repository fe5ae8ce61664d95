//! How long to wait before trying again.
//!
//! Promises:
//! * Each failure doubles the ceiling of the wait, from the first to the longest; a success starts
//!   over.
//! * A wait is at least half its ceiling. Jitter spreads it over the upper half ("equal jitter"),
//!   so that a thousand devices that lost one broker do not come back in the same second.
//! * Pure: the caller passes the clock and the randomness in, and does the waiting.

use std::time::Duration;

/// The jitter of callers that compete with nobody: the wait is its ceiling.
pub const NO_JITTER: u32 = u32::MAX;

/// Counts failures in a row. Times are monotonic, from any start.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    /// In a row.
    failures: u32,
    /// When to try again; zero before the first failure.
    due: Duration,
}

impl Backoff {
    /// Waits between `first / 2` and `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0, due: Duration::ZERO }
    }

    /// Counts a failure and returns how long to wait: uniformly in the upper half of the ceiling,
    /// by `jitter` (any value; see [`NO_JITTER`]).
    pub fn next(&mut self, jitter: u32) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        let share = f64::from(jitter) / f64::from(u32::MAX);
        ceiling.mul_f64(0.5 + 0.5 * share)
    }

    /// Counts a failure at `now`. [`Backoff::left`] then says how long to wait.
    pub fn failed(&mut self, now: Duration, jitter: u32) {
        self.due = now + self.next(jitter);
    }

    /// How long there is to wait at `now`, after [`Backoff::failed`].
    pub fn left(&self, now: Duration) -> Duration {
        self.due.saturating_sub(now)
    }

    /// Counts a failure that trying soon cannot help, such as refused credentials: the wait starts
    /// at a sixteenth of the longest.
    pub fn next_slow(&mut self, jitter: u32) -> Duration {
        while self.ceiling() < self.longest / 16 {
            self.failures = self.failures.saturating_add(1);
        }
        self.next(jitter)
    }

    /// After a success: the next failure is the first.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn ceiling(&self) -> Duration {
        let factor = 1u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest.max(self.first))
    }
}

/// Something that happens again and again and is to be said: the first time, then at growing
/// intervals, each time with how often it happened since.
#[derive(Debug, Clone)]
pub struct Recurring {
    backoff: Backoff,
    unsaid: u64,
}

impl Recurring {
    /// Said again after `first`, then after twice as long, at most after `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { backoff: Backoff::new(first, longest), unsaid: 0 }
    }

    /// It happened, at `now`. Where it is to be said now: how often it happened since it was said.
    pub fn happened(&mut self, now: Duration) -> Option<u64> {
        self.unsaid += 1;
        if self.backoff.left(now) > Duration::ZERO {
            return None;
        }
        self.backoff.failed(now, NO_JITTER);
        Some(std::mem::take(&mut self.unsaid))
    }

    /// It is over: the next time is the first.
    pub fn over(&mut self) {
        *self = Self::new(self.backoff.first, self.backoff.longest);
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
    fn the_wait_doubles_and_stops_at_the_longest() {
        let mut b = backoff();
        let waits: Vec<u128> = (0..9).map(|_| b.next(u32::MAX).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        b.reset();
        assert_eq!(b.next(0).as_millis(), 250);
    }

    #[test]
    fn without_jitter_the_wait_is_the_ceiling_and_ends_on_time() {
        let mut b = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let start = Duration::from_secs(7);
        assert_eq!(b.left(start), Duration::ZERO, "nothing has failed yet");
        b.failed(start, NO_JITTER);
        assert_eq!(b.left(start).as_millis(), 100);
        assert_eq!(b.left(start + Duration::from_millis(60)).as_millis(), 40);
        assert_eq!(b.left(start + Duration::from_secs(1)), Duration::ZERO);
        b.failed(start, NO_JITTER);
        assert_eq!(b.left(start).as_millis(), 200);
        b.reset();
        b.failed(start, NO_JITTER);
        assert_eq!(b.left(start).as_millis(), 100);
    }

    #[test]
    fn what_recurs_is_said_at_once_then_ever_more_seldom_with_its_count() {
        let mut recurring = Recurring::new(Duration::from_secs(1), Duration::from_secs(60));
        let said: Vec<(u64, u64)> = (0..3600)
            .filter_map(|s| Some((s, recurring.happened(Duration::from_secs(s))?)))
            .collect();
        assert_eq!(&said[..5], [(0, 1), (1, 1), (3, 2), (7, 4), (15, 8)]);
        assert_eq!(said.iter().map(|(_, n)| n).sum::<u64>(), said.last().expect("some").0 + 1);
        assert!(said.len() < 70, "an hour of it is {} lines", said.len());
        recurring.over();
        assert_eq!(recurring.happened(Duration::from_secs(3600)), Some(1));
    }

    #[test]
    fn what_trying_soon_cannot_help_starts_slowly() {
        let mut b = backoff();
        assert_eq!(b.next_slow(u32::MAX).as_millis(), 4000);
        assert_eq!(b.next_slow(u32::MAX).as_millis(), 8000);
    }

    proptest! {
        #[test]
        fn no_wait_is_shorter_than_half_the_first_or_longer_than_the_longest(random: Vec<u32>) {
            let mut b = backoff();
            for r in random {
                let wait = b.next(r);
                prop_assert!(wait >= Duration::from_millis(250) && wait <= Duration::from_secs(60));
            }
        }
    }
}
