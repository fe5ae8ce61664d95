//! Faces that pass, against the number that a list was planned for.
//!
//! * A list is planned for the faces a day that its authorisation declares. Where more pass, the
//!   same threshold would give more false alerts than were authorised.
//! * A day is planned for the declared number or the busiest of the last seven days, whichever is
//!   larger. Where more than that pass within the day, the plan doubles, again and again.
//! * The promise for a day is then the budget, and at most half of it more for each doubling within
//!   that day. It is not kept to the letter on the first busy day, because a threshold cannot be
//!   raised for those who have passed.
//! * What is kept over a restart runs ahead of what was counted ([`Traffic::reserve`]): after a
//!   kill or a power cut the day goes on with a number that is too high by a sixteenth, never with
//!   one that is too low.
//! * Days are those of UTC. Counts only. A face is a track that has ended.

use time::OffsetDateTime;

use crate::watchlist::memory::{DAYS, DayCounts};

/// What is kept is ahead of the count by this share of the day's faces.
const AHEAD: u64 = 16;

/// How many faces pass, by day.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// `None` before the first observation.
    counts: Option<DayCounts>,
    /// Faces since the start of the process, as observed last.
    total: u64,
    /// Up to so many faces of the day in `counts`, a restart would know of them.
    kept: u64,
}

impl Traffic {
    /// Goes on from what was kept.
    pub fn resumed(kept: Option<DayCounts>) -> Self {
        let ahead = kept.as_ref().map_or(0, |counts| counts.today);
        Self { counts: kept, total: 0, kept: ahead }
    }

    /// Takes over that `total` faces have passed since the start of the process, at `now`. A clock
    /// that goes back stays on its day, unless it goes back by more than a week: then the day
    /// begins there, and what was counted stays in the week before.
    pub fn observe(&mut self, total: u64, now: OffsetDateTime) {
        let day = now.to_julian_day();
        let counts = self.counts.get_or_insert(DayCounts { day, today: 0, before: [0; DAYS] });
        if counts.roll_to(day) {
            self.kept = 0;
        }
        counts.today = counts.today.saturating_add(total.saturating_sub(self.total));
        self.total = total;
    }

    /// Faces that have passed today.
    pub fn today(&self) -> u64 {
        self.counts.as_ref().map_or(0, |counts| counts.today)
    }

    /// The number of faces a day to plan for, where `declared` were authorised.
    pub fn planned(&self, declared: u32) -> u32 {
        let before = self.counts.iter().flat_map(|counts| counts.before);
        let mut planned = u64::from(declared.max(1)).max(before.max().unwrap_or(0));
        while planned < self.today() {
            planned = planned.saturating_mul(2);
        }
        u32::try_from(planned).unwrap_or(u32::MAX)
    }

    /// What has to be kept over a restart before more faces are compared, if a restart would know
    /// of fewer than have passed. It is ahead of the count, so that it is not written for each
    /// face.
    pub fn reserve(&mut self, declared: u32) -> Option<DayCounts> {
        let mut counts = self.counts.clone().filter(|counts| counts.today > self.kept)?;
        counts.today = counts.today.saturating_add(counts.today.max(declared.into()) / AHEAD);
        self.kept = counts.today;
        Some(counts)
    }

    /// What has been counted, for the end of the process.
    pub fn counts(&self) -> Option<&DayCounts> {
        self.counts.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::Duration;

    const MIDNIGHT: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    #[test]
    fn a_day_within_what_was_declared_changes_nothing() {
        let mut traffic = Traffic::default();
        traffic.observe(0, MIDNIGHT);
        traffic.observe(1000, MIDNIGHT + Duration::hours(23));
        assert_eq!((traffic.today(), traffic.planned(1000)), (1000, 1000));
    }

    #[test]
    fn a_busier_day_doubles_the_plan_and_counts_for_a_week() {
        let mut traffic = Traffic::default();
        traffic.observe(0, MIDNIGHT);
        traffic.observe(1001, MIDNIGHT + Duration::hours(9));
        assert_eq!(traffic.planned(1000), 2000);
        traffic.observe(4500, MIDNIGHT + Duration::hours(20));
        assert_eq!(traffic.planned(1000), 8000);
        for days in 1..=7 {
            traffic.observe(4500, MIDNIGHT + Duration::days(days));
            assert_eq!((traffic.today(), traffic.planned(1000)), (0, 4500), "after {days} days");
        }
        traffic.observe(4500, MIDNIGHT + Duration::days(8));
        assert_eq!(traffic.planned(1000), 1000);
    }

    #[test]
    fn a_clock_that_goes_back_does_not_begin_the_day_again() {
        let mut traffic = Traffic::default();
        traffic.observe(0, MIDNIGHT + Duration::days(1));
        traffic.observe(900, MIDNIGHT);
        assert_eq!(traffic.today(), 900);
    }

    #[test]
    fn a_clock_that_was_far_in_the_future_blinds_for_a_week_and_no_longer() {
        let mut traffic = Traffic::default();
        traffic.observe(900, MIDNIGHT + Duration::days(40_000));
        traffic.observe(905, MIDNIGHT);
        assert_eq!((traffic.today(), traffic.planned(10)), (5, 900));
        traffic.observe(905, MIDNIGHT + Duration::days(7));
        assert_eq!(traffic.planned(10), 10);
    }

    #[test]
    fn a_restart_goes_on_with_at_least_what_has_passed_and_a_kill_with_a_sixteenth_more() {
        let mut traffic = Traffic::default();
        let mut kept = None;
        let mut writes = 0;
        for faces in 0..=4000 {
            traffic.observe(faces, MIDNIGHT);
            if let Some(counts) = traffic.reserve(1000) {
                (kept, writes) = (Some(counts), writes + 1);
            }
            let after_a_kill = Traffic::resumed(kept.clone());
            let known = after_a_kill.today();
            assert!((faces..=faces + faces.max(1000) / 16).contains(&known), "{known} of {faces}");
        }
        assert!(writes < 50, "{writes}");
        let mut stopped = Traffic::resumed(traffic.counts().cloned());
        assert_eq!((stopped.today(), stopped.planned(1000)), (4000, 4000));
        assert_eq!(stopped.reserve(1000), None, "nothing has passed since");
        stopped.observe(0, MIDNIGHT + Duration::days(1));
        stopped.observe(1, MIDNIGHT + Duration::days(1));
        assert_eq!((stopped.today(), stopped.planned(1000)), (1, 4000));
        assert!(stopped.reserve(1000).is_some());
    }

    proptest! {
        #[test]
        fn the_plan_is_never_below_what_was_declared_or_has_passed(
            steps in proptest::collection::vec((0u64..5000, 0i64..40), 1..40),
            declared in 0u32..9000,
        ) {
            let (mut traffic, mut total, mut at) = (Traffic::default(), 0, MIDNIGHT);
            for (faces, hours) in steps {
                total += faces;
                at += Duration::hours(hours);
                traffic.observe(total, at);
                let planned = u64::from(traffic.planned(declared));
                prop_assert!(planned >= u64::from(declared) && planned >= traffic.today());
            }
        }
    }
}
