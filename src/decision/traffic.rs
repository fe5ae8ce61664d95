//! Faces that pass, against the number that a list was planned for.
//!
//! * A list is planned for the faces a day that its authorisation declares. Where more pass, the
//!   same threshold would give more false alerts than were authorised.
//! * A day is planned for the declared number or the busiest of the last seven days, whichever is
//!   larger. Where more than that pass within the day, the plan doubles, again and again.
//! * The promise for a day is then the budget, and at most half of it more for each doubling within
//!   that day. It is not kept to the letter on the first busy day, because a threshold cannot be
//!   raised for those who have passed.
//! * Days are those of UTC. Nothing is kept over a restart: the next one begins with the declared
//!   number.
//! * Counts only. A face is a track that has ended.

use time::OffsetDateTime;

/// Days whose busiest counts.
const DAYS: usize = 7;

/// How many faces pass, by day.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// Julian day of the count, and the total at its beginning.
    today: Option<(i32, u64)>,
    /// Faces since the start.
    total: u64,
    /// Faces of the last days, a ring by day.
    before: [u64; DAYS],
}

impl Traffic {
    /// Takes over that `total` faces have passed since the start, at `now`. A clock that goes back
    /// stays on its day.
    pub fn observe(&mut self, total: u64, now: OffsetDateTime) {
        self.total = total;
        let day = now.to_julian_day();
        match self.today {
            None => self.today = Some((day, total)),
            Some((today, from)) if day > today => {
                self.before[today.rem_euclid(DAYS as i32) as usize] = total - from;
                // Days on which nothing was counted.
                for between in (today + 1..day).take(DAYS) {
                    self.before[between.rem_euclid(DAYS as i32) as usize] = 0;
                }
                self.today = Some((day, total));
            }
            Some(_) => {}
        }
    }

    /// Faces that have passed today.
    pub fn today(&self) -> u64 {
        self.today.map_or(0, |(_, from)| self.total - from)
    }

    /// The number of faces a day to plan for, where `declared` were authorised.
    pub fn planned(&self, declared: u32) -> u32 {
        let busiest = self.before.iter().copied().max().unwrap_or(0);
        let mut planned = u64::from(declared.max(1)).max(busiest);
        while planned < self.today() {
            planned *= 2;
        }
        u32::try_from(planned).unwrap_or(u32::MAX)
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
        traffic.observe(50, MIDNIGHT);
        traffic.observe(50 + 1001, MIDNIGHT + Duration::hours(9));
        assert_eq!(traffic.planned(1000), 2000);
        traffic.observe(50 + 4500, MIDNIGHT + Duration::hours(20));
        assert_eq!(traffic.planned(1000), 8000);
        for days in 1..=7 {
            traffic.observe(50 + 4500, MIDNIGHT + Duration::days(days));
            assert_eq!((traffic.today(), traffic.planned(1000)), (0, 4500), "after {days} days");
        }
        traffic.observe(50 + 4500, MIDNIGHT + Duration::days(8));
        assert_eq!(traffic.planned(1000), 1000);
    }

    #[test]
    fn a_clock_that_goes_back_does_not_begin_the_day_again() {
        let mut traffic = Traffic::default();
        traffic.observe(0, MIDNIGHT + Duration::days(1));
        traffic.observe(900, MIDNIGHT);
        assert_eq!(traffic.today(), 900);
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
