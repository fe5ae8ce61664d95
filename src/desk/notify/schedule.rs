//! When a destination is told, and told again. Sans-IO.
//!
//! * Candidates that come before a notification is sent are one notification; those that come while
//!   it is on its way need another.
//! * After one that ended there is none for [`Schedule::at_most_every`].
//! * One that is not taken is tried again under its id, at intervals that double from
//!   [`FIRST`] to [`LONGEST`], and given up at the first failure after
//!   [`Schedule::give_up_after`].
//! * Where nothing waits any more, nothing is said.
//! * A clock that was put back makes no wait longer than [`LONGEST`], or than `at_most_every`.

use std::time::Duration;

use time::OffsetDateTime;

use crate::backoff::Backoff;
use crate::desk::config::NotifyConfig;
use crate::desk::store::{KeptNotifications, OpenNotification};

/// First and last wait after an attempt that failed.
pub const FIRST: Duration = Duration::from_secs(5);
/// See [`FIRST`].
pub const LONGEST: Duration = Duration::from_secs(900);

/// The rule of one destination.
#[derive(Debug, Clone, Copy)]
pub struct NotifySchedule {
    /// After one that ended there is none for so long.
    pub at_most_every: Duration,
    /// From when it was opened.
    pub give_up_after: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum NotifyStep {
    /// Nothing, until a candidate comes.
    Idle,
    /// Nothing until then.
    Wait(OffsetDateTime),
    /// Keep a new notification. It is sent after it is kept.
    Open,
    /// Send this one.
    Send(OpenNotification),
    /// Forget what was to be said: nothing waits any more.
    Drop,
}

/// What becomes of a notification after an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// It is tried again then.
    Again(OffsetDateTime),
    /// It is not.
    GivenUp,
}

impl NotifySchedule {
    /// As configured.
    pub fn new(config: &NotifyConfig) -> Self {
        Self {
            at_most_every: Duration::from_secs(config.at_most_every_s.into()),
            give_up_after: Duration::from_secs(config.give_up_after_s.into()),
        }
    }

    /// What is to be done at `now` with what is kept; `waits`: whether a candidate waits.
    pub fn step(&self, kept: &KeptNotifications, waits: bool, now: OffsetDateTime) -> NotifyStep {
        if kept.open.is_none() && kept.unsaid == 0 {
            return NotifyStep::Idle;
        }
        if !waits {
            return NotifyStep::Drop;
        }
        let until = |at: OffsetDateTime, most: Duration| {
            (now < at && at <= now.saturating_add(whole(most))).then_some(NotifyStep::Wait(at))
        };
        match &kept.open {
            Some(open) => until(open.due, LONGEST).unwrap_or(NotifyStep::Send(*open)),
            None => {
                let next = kept.ended.map(|at| at.saturating_add(whole(self.at_most_every)));
                let wait = next.and_then(|next| until(next, self.at_most_every));
                wait.unwrap_or(NotifyStep::Open)
            }
        }
    }

    /// What becomes of a notification that was not taken at `now`; `jitter` is random.
    pub fn failed(
        &self,
        open: &OpenNotification,
        now: OffsetDateTime,
        jitter: u32,
    ) -> AfterFailure {
        if now >= open.opened.saturating_add(whole(self.give_up_after)) {
            return AfterFailure::GivenUp;
        }
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let mut wait = backoff.next(jitter);
        // It stands still long before.
        for _ in 0..open.tries.min(16) {
            wait = backoff.next(jitter);
        }
        AfterFailure::Again(now.saturating_add(whole(wait)))
    }
}

fn whole(duration: Duration) -> time::Duration {
    time::Duration::try_from(duration).unwrap_or(time::Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::NO_JITTER;
    use crate::delivery::event::EventId;
    use proptest::prelude::*;

    const EVERY: Duration = Duration::from_secs(300);
    const RULE: NotifySchedule =
        NotifySchedule { at_most_every: EVERY, give_up_after: Duration::from_secs(3600) };

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_790_000_000 + seconds).unwrap()
    }

    /// The store in small, with the clock of the test.
    #[derive(Default)]
    struct Told {
        kept: KeptNotifications,
        /// Id and time of each attempt.
        tried: Vec<(u128, OffsetDateTime)>,
        taken: Vec<OffsetDateTime>,
        given_up: u32,
        next_id: u128,
    }

    impl Told {
        /// Does what is to be done at `now`.
        fn turn(&mut self, now: OffsetDateTime, waits: bool, takes: bool) {
            loop {
                match RULE.step(&self.kept, waits, now) {
                    NotifyStep::Idle | NotifyStep::Wait(_) => return,
                    NotifyStep::Drop => {
                        (self.kept.unsaid, self.kept.open) = (0, None);
                    }
                    NotifyStep::Open => {
                        self.next_id += 1;
                        let id = EventId::from_u128(self.next_id);
                        let open = OpenNotification { id, opened: now, tries: 0, due: now };
                        self.kept.open = Some(open);
                    }
                    NotifyStep::Send(open) => self.send(open, now, takes),
                }
            }
        }

        fn send(&mut self, mut open: OpenNotification, now: OffsetDateTime, takes: bool) {
            self.tried.push((open.id.as_u128(), now));
            if takes {
                self.taken.push(now);
                self.kept.unsaid = 0;
                return self.end(now);
            }
            match RULE.failed(&open, now, NO_JITTER) {
                AfterFailure::Again(due) => {
                    (open.due, open.tries) = (due, open.tries + 1);
                    self.kept.open = Some(open);
                }
                AfterFailure::GivenUp => {
                    self.given_up += 1;
                    self.kept.unsaid = 0;
                    self.end(now);
                }
            }
        }

        fn end(&mut self, now: OffsetDateTime) {
            self.kept.open = None;
            self.kept.ended = Some(now);
        }
    }

    #[test]
    fn the_first_candidate_is_told_at_once_and_a_flood_is_told_once_in_five_minutes() {
        let mut told = Told::default();
        for second in 0..900 {
            told.kept.unsaid += 1;
            told.turn(at(second), true, true);
        }
        assert_eq!(told.taken, [at(0), at(300), at(600)]);
        told.turn(at(10_000), true, true);
        assert_eq!(told.taken.len(), 4, "the last of the flood are told, too");
        told.turn(at(20_000), true, true);
        assert_eq!(told.taken.len(), 4, "nothing came since");
    }

    #[test]
    fn what_is_not_taken_is_tried_under_its_id_ever_more_seldom_and_given_up_in_time() {
        let mut told = Told::default();
        told.kept.unsaid = 1;
        for second in 0..10_000 {
            told.turn(at(second), true, false);
        }
        let waits: Vec<i64> =
            told.tried.windows(2).map(|pair| (pair[1].1 - pair[0].1).whole_seconds()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900]);
        assert!(told.tried.iter().all(|(id, _)| *id == 1));
        assert_eq!((told.given_up, told.taken.len()), (1, 0));
        told.kept.unsaid = 1;
        told.turn(at(20_000), true, true);
        assert_eq!(told.tried.last(), Some(&(2, at(20_000))), "the next is told anew");
    }

    #[test]
    fn nothing_is_said_where_nothing_waits_any_more() {
        let mut told = Told::default();
        told.kept.unsaid = 3;
        told.turn(at(0), false, true);
        assert_eq!((told.tried.len(), told.kept.unsaid), (0, 0));
        told.kept.unsaid = 1;
        told.turn(at(400), true, false);
        told.turn(at(405), false, true);
        assert_eq!((told.tried.len(), told.taken.len()), (1, 0), "overtaken between two attempts");
    }

    #[test]
    fn a_clock_that_was_put_back_holds_nothing_up() {
        let mut told = Told::default();
        told.kept.unsaid = 1;
        told.turn(at(0), true, false);
        told.turn(at(-86_400), true, true);
        assert_eq!(told.taken, [at(-86_400)]);
        told.kept.unsaid = 1;
        told.kept.ended = Some(at(86_400));
        told.turn(at(0), true, true);
        assert_eq!(told.taken.len(), 2);
    }

    proptest! {
        #[test]
        fn two_are_never_taken_within_the_interval_and_none_is_forgotten(
            turns in proptest::collection::vec((0i64..400, any::<bool>(), any::<bool>()), 1..60)
        ) {
            let (mut told, mut clock) = (Told::default(), 0);
            for (step, comes, takes) in turns {
                clock += step;
                told.kept.unsaid += u64::from(comes);
                told.turn(at(clock), true, takes);
            }
            for pair in told.taken.windows(2) {
                prop_assert!(pair[1] - pair[0] >= whole(EVERY));
            }
            // What is left is told once somebody listens.
            let owed = told.kept.unsaid > 0 || told.kept.open.is_some();
            let before = told.taken.len();
            told.turn(at(clock + 2000), true, true);
            prop_assert_eq!(told.taken.len() - before, usize::from(owed));
            prop_assert!(told.kept.unsaid == 0 && told.kept.open.is_none());
        }
    }
}
