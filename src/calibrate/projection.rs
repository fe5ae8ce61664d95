//! What a calibration could prove before anybody holds it: a projection, never a bound that
//! anything is decided by.
//!
//! * The same arithmetic as of a site record ([`super::bound`], [`super::strata`]): a weighted
//!   Poisson bound, the design effect, the allowance for tails that fall more slowly.
//! * [`ProjectedCalibration::provable`] is what so many comparisons can prove **at most**: nobody
//!   comes near a decoy at the threshold, and entries are spread over decoys evenly.
//! * [`ProjectedCalibration::threshold`] is where a list would come to lie if strangers reach the
//!   decoys as often as a curve says.
//! * People who return are what decides: where the same pass each day, all days prove as much as
//!   one ([`Passers`]).
//!
//! Not promised: any of it. What a place gives is known when it was measured.

use serde::Serialize;

use super::bound::{Weighted, raise_to_later, upper_bound};
use super::counts::{BINS, FIRST_BIN, edge};
use super::strata::{LEAST_EVENTS, allowance_at};
use crate::promise::FLOOR;

/// Design effect where people seldom return: 3 to 5 in drawn places (`docs/accuracy.md`).
pub const DESIGN_EFFECT: f64 = 4.0;

/// Who passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Passers {
    /// Others each day.
    Others,
    /// The same people each day.
    TheSame,
}

/// A calibration that nobody has held.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProjectedCalibration {
    /// Decoys of every group.
    pub decoys: u32,
    /// Days.
    pub days: u16,
    /// Faces of each.
    pub faces_a_day: u32,
}

impl ProjectedCalibration {
    /// Comparisons of a track with a decoy.
    fn pairs(&self) -> f64 {
        f64::from(self.decoys) * f64::from(self.days) * f64::from(self.faces_a_day)
    }

    fn design_effect(&self, passers: Passers) -> f64 {
        match passers {
            Passers::Others => DESIGN_EFFECT,
            Passers::TheSame => DESIGN_EFFECT * f64::from(self.days),
        }
    }

    /// Upper bound of the rate of one entry after so many events, counted apart up to the
    /// similarity `counted`.
    fn bound(&self, events: f64, counted: f32, passers: Passers) -> f64 {
        let one = Weighted { events, weight: 1.0 / self.pairs().max(1.0) };
        upper_bound(&[one], self.design_effect(passers)) * allowance_at(counted)
    }

    /// Most entries of a list that could be proved to give at most so many false alerts a face,
    /// where strangers reach the decoys as `rate` says as far as that can be counted, and nobody
    /// reaches one at the list's threshold.
    pub fn provable(
        &self,
        alerts_a_face: f64,
        passers: Passers,
        rate: impl Fn(f32) -> Option<f64>,
    ) -> usize {
        let counted = (0..BINS).map(edge).filter(|t| self.is_counted(*t, &rate)).last();
        (alerts_a_face / self.bound(0.0, counted.unwrap_or(FIRST_BIN), passers)) as usize
    }

    /// The lowest threshold at which a list of `entries` would give at most so many false alerts a
    /// face, where strangers reach a decoy as `rate` says; `None` where there is none up to
    /// `strictest`.
    pub fn threshold(
        &self,
        entries: usize,
        alerts_a_face: f64,
        passers: Passers,
        strictest: f32,
        rate: impl Fn(f32) -> Option<f64>,
    ) -> Option<f32> {
        let mut counted = FIRST_BIN;
        let (mut thresholds, mut bounds) = (Vec::new(), Vec::new());
        for similarity in (0..BINS).map(edge) {
            let Some(rate_there) = rate(similarity) else { continue };
            if self.is_counted(similarity, &rate) {
                counted = similarity;
            }
            let one = self.bound(self.pairs() * rate_there, counted, passers);
            thresholds.push(similarity);
            bounds.push(one * entries as f64);
        }
        raise_to_later(&mut bounds);
        let mut fits =
            thresholds.into_iter().zip(bounds).filter(|(t, _)| (FLOOR..=strictest).contains(t));
        fits.find(|(_, bound)| *bound <= alerts_a_face).map(|(t, _)| t)
    }

    /// Whether enough events are to be expected at `similarity` to count them.
    fn is_counted(&self, similarity: f32, rate: impl Fn(f32) -> Option<f64>) -> bool {
        rate(similarity).is_some_and(|rate| self.pairs() * rate >= LEAST_EVENTS as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Falls by ten in a tenth, from .004 at .30.
    fn rate(similarity: f32) -> Option<f64> {
        Some(4e-3 * 10f64.powf(-10.0 * f64::from(similarity - 0.30)))
    }

    const FORTNIGHT: ProjectedCalibration =
        ProjectedCalibration { decoys: 2000, days: 14, faces_a_day: 10_000 };

    #[test]
    fn more_decoys_and_more_days_prove_longer_lists_and_the_same_people_prove_one_day() {
        let goal = 1.0 / 60_000.0;
        let of = |c: ProjectedCalibration, p| c.provable(goal, p, rate);
        let fortnight = of(FORTNIGHT, Passers::Others);
        // 3 x 4 x allowance / 2.8e8: tens of entries, as drawn places gave.
        assert!((20..200).contains(&fortnight), "{fortnight}");
        let month = ProjectedCalibration { days: 28, ..FORTNIGHT };
        assert!(of(month, Passers::Others) > fortnight);
        let day = ProjectedCalibration { days: 1, ..FORTNIGHT };
        let same = of(FORTNIGHT, Passers::TheSame);
        assert!(same <= of(day, Passers::Others) && same < fortnight / 10, "{same}");
    }

    #[test]
    fn a_threshold_keeps_its_budget_and_a_list_that_nothing_proves_has_none() {
        let threshold = |entries, alerts: f64| {
            FORTNIGHT.threshold(entries, alerts, Passers::Others, 0.87, rate)
        };
        let one = threshold(1, 5e-4).expect("a loose budget");
        let many = threshold(25, 5e-4).expect("longer");
        assert!((FLOOR..many).contains(&one), "{one} {many}");
        // The bound is above the rate itself, and so the threshold above what the rate needs.
        assert!(25.0 * rate(many).unwrap() < 5e-4);
        assert_eq!(threshold(100_000, 1.0 / 60_000.0), None);
    }
}
