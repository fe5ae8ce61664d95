//! Which answers are given again: a message that changes nothing is answered at growing intervals.
//!
//! * Whoever replays a genuine message makes the device write and publish no more than a few
//!   answers an hour, however often it comes.
//! * The first of its kind is always answered, as far as [`Replies::limited`] sets no rate for all.
//! * Known here is what came last, [`MOST`] at most; what was forgotten counts as new.
//! * What is not answered is for the caller to count. Nothing here says whether a message is
//!   followed: that is decided before.

use std::collections::VecDeque;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::backoff::{Backoff, NO_JITTER};

/// Messages that are remembered.
const MOST: usize = 512;
/// First and longest time between two answers to the same message. Whoever sends it again waits
/// longer each time, too, and no shorter: `orders send` begins with 3 s, a desk with 30 s.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(3600));

/// A message that was answered.
#[derive(Debug)]
struct Answered {
    digest: [u8; 32],
    again: Backoff,
    /// When it came last, on the monotonic clock.
    came: Duration,
}

/// So many answers at once, and one more each time that `every` has passed.
#[derive(Debug)]
struct Allowance {
    most: u32,
    every: Duration,
    left: u32,
    /// When the last one was added.
    added: Duration,
}

impl Allowance {
    fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.added).as_nanos() / self.every.as_nanos().max(1);
        if let Ok(new @ 1..) = u32::try_from(passed.min(u128::from(self.most))) {
            self.left = self.left.saturating_add(new).min(self.most);
            self.added = now;
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// What came last is last.
    answered: VecDeque<Answered>,
    allowance: Option<Allowance>,
}

impl Replies {
    /// The same, and of all messages together at most `most` answers at once and one more `every`
    /// so often: for messages that can be written in any number of ways.
    pub fn limited(most: u32, every: Duration) -> Self {
        let allowance = Allowance { most, every, left: most, added: Duration::ZERO };
        Self { answered: VecDeque::new(), allowance: Some(allowance) }
    }

    /// Whether `message`, which came at the monotonic time `now`, is to be given `answer` now. Then
    /// it counts as answered so; another answer to it has not been given by that.
    pub fn is_due(&mut self, message: &[u8], answer: &str, now: Duration) -> bool {
        let digest = Sha256::new().chain_update(Sha256::digest(message)).chain_update(answer);
        let digest: [u8; 32] = digest.finalize().into();
        let known = self.answered.iter().position(|a| a.digest == digest);
        let known = known.and_then(|at| self.answered.remove(at));
        let mut known = known.unwrap_or_else(|| {
            if self.answered.len() == MOST {
                self.answered.pop_front();
            }
            Answered { digest, again: Backoff::new(AGAIN.0, AGAIN.1), came: now }
        });
        if now.saturating_sub(known.came) >= AGAIN.1 {
            known.again.reset();
        }
        known.came = now;
        let due = known.again.left(now).is_zero()
            && self.allowance.as_mut().is_none_or(|allowance| allowance.take(now));
        if due {
            known.again.failed(now, NO_JITTER);
        }
        self.answered.push_back(known);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The seconds of a day at which a message that comes each second is answered.
    fn answered(replies: &mut Replies, message: impl Fn(u64) -> Vec<u8>) -> Vec<u64> {
        (0..86_400).filter(|s| replies.is_due(&message(*s), "no", at(*s))).collect()
    }

    #[test]
    fn what_is_replayed_for_a_day_is_answered_a_few_times_at_growing_intervals() {
        let times = answered(&mut Replies::default(), |_| b"old".to_vec());
        assert_eq!(times[..5], [0, 2, 6, 14, 30]);
        assert!(times.len() < 12 + 24, "{}", times.len());
    }

    #[test]
    fn a_replay_keeps_no_other_message_from_being_answered() {
        let mut replies = Replies::default();
        let mut ask = |message: &[u8], seconds| replies.is_due(message, "no", at(seconds));
        assert_eq!([ask(b"old", 0), ask(b"old", 1), ask(b"new", 1)], [true, false, true]);
        assert!(!ask(b"new", 2));
        assert!(ask(b"new", 3));
        assert!(replies.is_due(b"old", "yes", at(3)), "it has not been answered so");
    }

    #[test]
    fn what_comes_again_after_a_long_time_is_answered_as_the_first_time() {
        let mut replies = Replies::default();
        let mut ask = |seconds| replies.is_due(b"old", "no", at(seconds));
        assert_eq!([ask(0), ask(2), ask(6), ask(14)], [true; 4]);
        assert_eq!([ask(5000), ask(5002), ask(5004)], [true, true, false]);
    }

    #[test]
    fn messages_that_are_written_in_another_way_each_time_are_answered_at_a_rate() {
        let mut replies = Replies::limited(8, Duration::from_secs(60));
        let times = answered(&mut replies, |s| s.to_be_bytes().to_vec());
        assert_eq!(times[..9], [0, 1, 2, 3, 4, 5, 6, 7, 60]);
        assert_eq!(times.len() as u64, 8 + 86_400 / 60 - 1);
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let mut replies = Replies::default();
        for n in 0..2 * MOST {
            assert!(replies.is_due(&n.to_be_bytes(), "no", at(1)));
        }
        assert_eq!(replies.answered.len(), MOST);
    }
}
