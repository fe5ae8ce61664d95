//! How many faces passed, by day: counts, and nothing about anybody.

use serde::{Deserialize, Serialize};

/// Days before today that are remembered.
pub const DAYS: usize = 7;

/// Faces that passed today and within the days before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DayCounts {
    /// Today, as a Julian day.
    pub day: i32,
    /// Faces of today.
    pub today: u64,
    /// Faces of the days before, a ring by day.
    pub before: [u64; DAYS],
}

impl DayCounts {
    /// Begins `day` where it is later, or earlier by more than the days that are remembered; true
    /// where it did. What was counted today is then counted as the day before, or, where the day
    /// was in the future, as the last day before it that is remembered.
    pub fn roll_to(&mut self, day: i32) -> bool {
        let at = |day: i32| day.rem_euclid(DAYS as i32) as usize;
        let later = day > self.day;
        if !later && self.day.saturating_sub(day) <= DAYS as i32 {
            return false;
        }
        if later {
            self.before[at(self.day)] = self.today;
            // Days on which nothing was counted.
            for between in (self.day + 1..day).take(DAYS) {
                self.before[at(between)] = 0;
            }
        } else {
            let most = self.before.iter().copied().max().unwrap_or(0).max(self.today);
            self.before = [0; DAYS];
            self.before[at(day - 1)] = most;
        }
        (self.day, self.today) = (day, 0);
        true
    }
}
