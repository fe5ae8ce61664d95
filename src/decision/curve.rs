//! How often a stranger's track ever reaches a similarity with an entry: the curve that a budget is
//! kept by.
//!
//! What was measured is one photograph against one, in groups of people
//! ([`GroupCurve`]). What is decided is one entry, the mean of
//! several photographs, against one track, the running mean of its views. So:
//!
//! ```text
//! worst(t)      = the highest upper bound at t over all groups of 300 people or more
//! promise(t, n) = 1.7 worst(t - shift(n)),
//!                 shift = .03, .05, .07 for n = 1, 2, 3 or more photographs
//! ```
//!
//! A list has one threshold: the rates of its entries at it are added, each moved by the entry's
//! own number of photographs ([`Entries`]).
//!
//! * Every list is held to the group that is confused most. No average enters.
//! * Groups of whom too few people were measured get an allowance over that one
//!   ([`UNPROVEN_ALLOWANCE`]).
//! * Between two rows the rate is that of the lower similarity; nothing is interpolated. Below the
//!   first row no rate is known, beyond the last it stays.
//! * Rows beyond a group's `exact_to` are extrapolated, and [`PromiseCurve::extrapolated`] says so
//!   wherever a rate is told.
//! * Not promised: that the allowance is enough for a group of whom fewer than 300 people were
//!   measured. Such groups raise nothing and are named in `models/MODEL_CARD.md` as unproven.

use super::budget::{Budget, OverBudget, Plan};
use crate::promise::FLOOR;
use crate::vision::GroupCurve;

/// By how much fusing moves the curve to the right, for an entry of one, two, and three or more
/// photographs against the running mean of a track's views. Measured within groups on templates of
/// three photographs, looked at from the second to the eighth view: .047 to .059 at similarities of
/// .30 to .45, slowly rising; of one photograph at most .025. Beyond .45 nothing can be measured:
/// these are the largest values that were seen with a margin.
pub const FUSION_SHIFT: [f32; 3] = [0.03, 0.05, 0.07];
/// What a promise adds for groups that have no curve of [`LEAST_PEOPLE`] or more: a factor over the
/// worst of those that have. Leaving out each of the eight built-in groups in turn, the highest of
/// the others is too low by at most 1.66, at a single similarity of .75; by at most 1.14 up to .45,
/// where pairs were counted.
pub const UNPROVEN_ALLOWANCE: f64 = 1.7;
/// Fewest people from whom a group's bound enters the promise.
pub const LEAST_PEOPLE: u32 = 300;

/// How many entries have one, two, and three or more photographs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entries([usize; FUSION_SHIFT.len()]);

impl Entries {
    /// So many entries of three photographs, which are held to the largest shift.
    pub fn of_three(entries: usize) -> Self {
        Self([0, 0, entries])
    }

    /// Counts one entry of so many photographs; zero counts as one.
    pub fn add(&mut self, photographs: usize) {
        self.0[photographs.clamp(1, FUSION_SHIFT.len()) - 1] += 1;
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.0.iter().sum()
    }

    /// The shift and the number of each kind that there is.
    fn kinds(&self) -> impl Iterator<Item = (f32, usize)> {
        FUSION_SHIFT.into_iter().zip(self.0).filter(|(_, entries)| *entries > 0)
    }
}

impl FromIterator<usize> for Entries {
    /// Of the entries' numbers of photographs.
    fn from_iter<I: IntoIterator<Item = usize>>(photographs: I) -> Self {
        let mut entries = Self::default();
        photographs.into_iter().for_each(|n| entries.add(n));
        entries
    }
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Cosine similarity at and above which a comparison counts as a match.
    pub threshold: f32,
    /// Upper 95 % confidence bound of the false-match rate at that threshold.
    pub fmr_upper: f64,
}

/// Why there is no curve.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum CurveError {
    /// No group with enough people.
    #[error(
        "the manifest has no false-match curve of {LEAST_PEOPLE} people or more (the largest has \
         {0}): measure one a group with `watchpost evaluate curve` and put it into the manifest as \
         `[[embedder.groups]]`"
    )]
    TooFewPeople(u32),
    /// Rows that the manifest's rules do not allow.
    #[error(
        "the false-match curve of {0:?} is out of order: similarities must rise, bounds lie in \
         (0, 1] and never rise"
    )]
    Rows(String),
}

/// Similarity against the rate at which a stranger reaches it, over the worst of all groups:
/// thresholds rising, rates never rising, at least one row.
#[derive(Debug, Clone, PartialEq)]
pub struct PromiseCurve {
    /// One photograph against one.
    single: Vec<CurvePoint>,
    /// Up to here the bounds of every group come from counts; one photograph against one.
    exact_to: f32,
}

impl PromiseCurve {
    /// The worst of `groups`.
    ///
    /// # Errors
    /// [`CurveError`] where none has enough people, or rows are not in order.
    pub fn of(groups: &[GroupCurve]) -> Result<Self, CurveError> {
        for group in groups {
            let sound = |(t, upper): &(f32, f64)| t.is_finite() && *upper > 0.0 && *upper <= 1.0;
            let ordered = group.curve.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 >= w[1].1);
            if group.curve.is_empty() || !ordered || !group.curve.iter().all(sound) {
                return Err(CurveError::Rows(group.name.clone()));
            }
        }
        let counted: Vec<&GroupCurve> =
            groups.iter().filter(|g| g.people >= LEAST_PEOPLE).collect();
        // Where one group has no rate yet, the worst is not known.
        let Some(first) = counted.iter().map(|g| g.curve[0].0).max_by(f32::total_cmp) else {
            return Err(CurveError::TooFewPeople(
                groups.iter().map(|g| g.people).max().unwrap_or(0),
            ));
        };
        let exact_to = counted.iter().map(|g| g.exact_to).fold(f32::INFINITY, f32::min);
        let mut thresholds: Vec<f32> = counted
            .iter()
            .flat_map(|g| g.curve.iter().map(|row| row.0))
            .filter(|t| *t >= first)
            .collect();
        thresholds.sort_by(f32::total_cmp);
        thresholds.dedup();
        let worst = |t: f32| {
            let of = |g: &&GroupCurve| step(&g.curve, t, |row| row.0).map_or(1.0, |row| row.1);
            counted.iter().map(of).fold(0.0, f64::max)
        };
        let single = thresholds
            .into_iter()
            .map(|threshold| CurvePoint { threshold, fmr_upper: worst(threshold) })
            .collect();
        Ok(Self { single, exact_to })
    }

    /// The strictest threshold that can be derived for `entries`, and the rate of each entry there.
    pub fn strictest(&self, entries: &Entries) -> CurvePoint {
        let last = self.single.last().expect("a curve has at least one row");
        let shift = entries.kinds().map(|(shift, _)| shift).fold(0.0, f32::max);
        CurvePoint { threshold: shifted(last.threshold, shift), fmr_upper: allowed(last.fmr_upper) }
    }

    /// Most entries that stay within `budget` at the last row.
    pub fn largest(&self, budget: Budget) -> usize {
        let last = self.single.last().expect("a curve has at least one row");
        (budget.false_alerts_a_day / (budget.faces_a_day * allowed(last.fmr_upper))) as usize
    }

    /// Upper bound of the rate at which two photographs of strangers of the worst group that was
    /// measured reach `score`, without an allowance. `None` below what was measured.
    pub fn single_rate_at(&self, score: f32) -> Option<f64> {
        step(&self.single, score, |p| p.threshold).map(|p| p.fmr_upper)
    }

    /// Upper bound of the rate at which a stranger's track ever reaches `score` with any of
    /// `entries` (the union bound). `None` below what was measured.
    pub fn false_positive_rate(&self, score: f32, entries: &Entries) -> Option<f64> {
        let sum = entries.kinds().try_fold(0.0, |sum, (shift, number)| {
            self.moved(score, shift).map(|rate| sum + rate * number as f64)
        })?;
        Some(sum.min(1.0))
    }

    /// The rate at `score` where fusing has moved every row by `shift`, with the allowance.
    fn moved(&self, score: f32, shift: f32) -> Option<f64> {
        step(&self.single, score, |p| shifted(p.threshold, shift)).map(|p| allowed(p.fmr_upper))
    }

    /// Whether the rate of `entries` at `score` lies beyond what was counted.
    pub fn extrapolated(&self, score: f32, entries: &Entries) -> bool {
        entries.kinds().any(|(shift, _)| score > shifted(self.exact_to, shift))
    }

    /// Where the rate of a list changes. Of every kind of entry, so that adding one never lowers
    /// the threshold.
    pub fn thresholds(&self) -> impl Iterator<Item = f32> {
        let of = |shift| self.single.iter().map(move |p| shifted(p.threshold, shift));
        FUSION_SHIFT.into_iter().flat_map(of)
    }

    /// The lowest threshold of the curve, at least [`FLOOR`], at which a list of `entries` stays
    /// within `budget`.
    ///
    /// # Errors
    /// [`OverBudget`], where no threshold does.
    pub fn plan(&self, budget: Budget, entries: &Entries) -> Result<Plan, OverBudget> {
        let mut thresholds: Vec<f32> = self.thresholds().filter(|t| *t >= FLOOR).collect();
        thresholds.sort_by(f32::total_cmp);
        let within = |t: f32| {
            let rate = self.false_positive_rate(t, entries)?;
            (budget.faces_a_day * rate <= budget.false_alerts_a_day).then_some((t, rate))
        };
        if let Some((threshold, rate)) = thresholds.into_iter().find_map(within) {
            return Ok(self.at(threshold, rate, budget, entries));
        }
        let last = self.strictest(entries);
        let rate = (last.fmr_upper * entries.total() as f64).min(1.0);
        Err(OverBudget {
            faces_a_day: budget.faces_a_day,
            entries: entries.total(),
            rate: last.fmr_upper,
            expected: budget.faces_a_day * rate,
            threshold: last.threshold,
            allowed: budget.false_alerts_a_day,
            largest: if last.threshold >= FLOOR { self.largest(budget) } else { 0 },
            covered: 0,
        })
    }

    /// `plan` with its threshold raised to `threshold` where that is stricter.
    pub fn at_least(&self, plan: Plan, threshold: f32, budget: Budget, entries: &Entries) -> Plan {
        if threshold.is_nan() || threshold <= plan.threshold {
            return plan;
        }
        let rate = self.false_positive_rate(threshold, entries);
        self.at(threshold, rate.unwrap_or(plan.false_positive_rate), budget, entries)
    }

    fn at(&self, threshold: f32, rate: f64, budget: Budget, entries: &Entries) -> Plan {
        Plan {
            threshold,
            false_positive_rate: rate,
            false_alerts_a_day: budget.faces_a_day * rate,
            extrapolated: self.extrapolated(threshold, entries),
        }
    }
}

/// The row of the highest threshold that is not above `t`.
fn step<T>(rows: &[T], t: f32, threshold: impl Fn(&T) -> f32) -> Option<&T> {
    let after = rows.partition_point(|row| threshold(row) <= t);
    after.checked_sub(1).map(|at| &rows[at])
}

/// A measured bound with the allowance for groups that were not measured.
fn allowed(rate: f64) -> f64 {
    (rate * UNPROVEN_ALLOWANCE).min(1.0)
}

/// In steps of a ten-thousandth, so that .25 becomes .32 and not a little less.
fn shifted(threshold: f32, shift: f32) -> f32 {
    (f64::from(threshold + shift) * 1e4).round() as f32 / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::Models;
    use proptest::prelude::*;

    fn group(name: &str, people: u32, curve: &[(f32, f64)]) -> GroupCurve {
        GroupCurve {
            name: name.into(),
            source: "a test".into(),
            people,
            pairs: 1000,
            exact_to: 0.5,
            curve: curve.to_vec(),
        }
    }

    fn three(entries: usize) -> Entries {
        Entries::of_three(entries)
    }

    fn curve() -> PromiseCurve {
        let promised = [(0.23, 4e-2), (0.33, 4e-3), (0.43, 4e-4), (0.53, 4e-5), (0.63, 4e-6)];
        let rows = promised.map(|(t, rate)| (t, rate / UNPROVEN_ALLOWANCE));
        PromiseCurve::of(&[group("all", 1000, &rows)]).expect("rising thresholds")
    }

    #[test]
    fn the_threshold_is_the_lowest_within_the_budget_and_says_whether_it_was_counted() {
        let budget = Budget { faces_a_day: 1000.0, false_alerts_a_day: 0.5 };
        // 1000 faces x 1 entry x 4e-4 = 0.4; at .40 it would be 4. Row .43 is moved to .50.
        let plan = curve().plan(budget, &three(1)).expect("fits");
        assert_eq!((plan.threshold, plan.extrapolated), (0.5, false));
        assert!((plan.false_alerts_a_day - 0.4).abs() < 1e-9);
        let plan = curve().plan(budget, &three(10)).expect("fits");
        assert_eq!((plan.threshold, plan.extrapolated), (0.6, true));
    }

    #[test]
    fn a_budget_that_no_threshold_meets_is_refused_with_the_largest_list_that_fits() {
        let budget = Budget { faces_a_day: 50_000.0, false_alerts_a_day: 1.0 };
        let refused =
            curve().plan(budget, &three(1000)).expect_err("50,000 x 1,000 x 4e-6 = 200 a day");
        assert_eq!(refused.largest, 5);
        assert!(refused.to_string().contains("200.000 false alerts a day"), "{refused}");
        assert!(
            curve().plan(budget, &three(5)).is_ok() && curve().plan(budget, &three(6)).is_err()
        );
    }

    #[test]
    fn no_threshold_is_below_the_floor_whatever_the_curve_says() {
        let attack = PromiseCurve::of(&[group("all", 1000, &[(0.05, 1e-9)])]).expect("a row");
        let budget = Budget { faces_a_day: 1000.0, false_alerts_a_day: 0.5 };
        let refused = attack.plan(budget, &three(1)).expect_err("its only threshold is .12");
        assert_eq!(refused.largest, 0);
        let two = PromiseCurve::of(&[group("all", 1000, &[(0.05, 1e-9), (0.38, 1e-9)])]).unwrap();
        assert_eq!(two.plan(budget, &three(1)).expect("above the floor").threshold, 0.41);
    }

    #[test]
    fn the_worst_group_counts_at_each_similarity_and_a_small_one_does_not() {
        let a = group("a", 300, &[(0.2, 1e-1), (0.4, 1e-2), (0.6, 1e-5)]);
        let b = group("b", 300, &[(0.3, 2e-2), (0.5, 1e-3)]);
        let small = group("small", 299, &[(0.1, 0.9)]);
        let c = PromiseCurve::of(&[a.clone(), b, small.clone()]).expect("two groups");
        assert_eq!(c.single_rate_at(0.25), None, "of b nothing is known there");
        assert_eq!(c.single_rate_at(0.35), Some(1e-1));
        assert_eq!(c.single_rate_at(0.45), Some(2e-2), "b is the worst");
        assert_eq!(c.single_rate_at(0.55), Some(1e-2));
        assert_eq!(c.single_rate_at(0.99), Some(1e-3), "beyond its last row a group stays there");
        let fused = |score| c.false_positive_rate(score, &three(1));
        assert_eq!(
            fused(0.37),
            Some(1e-1 * UNPROVEN_ALLOWANCE),
            "a threshold is reached by what equals it, and the small one gets its allowance"
        );
        assert_eq!(fused(0.36), None);
        assert_eq!(PromiseCurve::of(&[small]), Err(CurveError::TooFewPeople(299)));
        assert_eq!(PromiseCurve::of(&[]), Err(CurveError::TooFewPeople(0)));
        let nan = group("nan", 300, &[(0.2, f64::NAN)]);
        assert_eq!(PromiseCurve::of(&[a, nan]), Err(CurveError::Rows("nan".into())));
    }

    #[test]
    fn the_built_in_curve_gives_the_thresholds_that_were_published() {
        let c = PromiseCurve::of(&Models::builtin().unwrap().manifest.embedder.groups).unwrap();
        let plan = |faces_a_day, false_alerts_a_day, entries| {
            let plan = c.plan(Budget { faces_a_day, false_alerts_a_day }, &three(entries));
            plan.map(|p| p.threshold)
        };
        assert_eq!(plan(1000.0, 0.5, 25), Ok(0.80));
        assert_eq!(plan(10_000.0, 1.0, 5), Ok(0.80));
        assert_eq!(plan(1000.0, 0.5, 1), Ok(0.63));
        assert_eq!(c.strictest(&three(1)).threshold, 0.87);
        assert!(c.extrapolated(0.77, &three(1)) && !c.extrapolated(0.52, &three(1)));
    }

    #[test]
    fn the_allowance_covers_a_group_that_had_not_been_measured() {
        let groups = Models::builtin().expect("as committed").manifest.embedder.groups;
        let all = PromiseCurve::of(&groups).expect("measured");
        for left_out in 0..groups.len() {
            let mut others = groups.clone();
            let group = others.remove(left_out);
            let without = PromiseCurve::of(&others).expect("seven groups");
            // The union bound of one entry of one photograph, moved by its shift.
            let one: Entries = [1].into_iter().collect();
            for row in &all.single {
                let at = shifted(row.threshold, FUSION_SHIFT[0]);
                let promised = without.false_positive_rate(at, &one).expect("measured");
                assert!(
                    promised >= row.fmr_upper,
                    "{} at {}: {promised} of the others",
                    group.name,
                    row.threshold
                );
            }
        }
    }

    #[test]
    fn each_entry_is_moved_by_its_own_number_of_photographs() {
        let budget = Budget { faces_a_day: 1000.0, false_alerts_a_day: 0.5 };
        let threshold = |photographs: &[usize]| {
            let entries: Entries = photographs.iter().copied().collect();
            curve().plan(budget, &entries).expect("fits").threshold
        };
        // Row .43 of single comparisons, which one entry may reach.
        for (photographs, moved) in [(1, 0.46), (2, 0.48), (3, 0.50), (10, 0.50)] {
            assert_eq!(threshold(&[photographs]), moved);
        }
        // Together 4e-4 + 4e-5 at .53, and twice 4e-4 would be too much.
        assert_eq!(threshold(&[1, 3]), 0.56);
        assert_eq!(curve().strictest(&[1, 2].into_iter().collect()).threshold, 0.68);
        let entries: Entries = [1, 3].into_iter().collect();
        assert!(curve().extrapolated(0.54, &entries), "of the first it is beyond .53");
        assert!(!curve().extrapolated(0.53, &entries));
        assert_eq!(curve().false_positive_rate(0.27, &entries), None, "of the second unknown");
    }

    proptest! {
        #[test]
        fn a_plan_never_exceeds_its_budget_and_a_longer_list_never_gets_a_lower_threshold(
            faces in 1.0f64..1e6, alerts in 1e-3f64..1e3,
            photographs in proptest::collection::vec(1usize..=10, 1..500), more in 1usize..=10,
        ) {
            let budget = Budget { faces_a_day: faces, false_alerts_a_day: alerts };
            let mut entries: Entries = photographs.into_iter().collect();
            let plan = curve().plan(budget, &entries);
            entries.add(more);
            let longer = curve().plan(budget, &entries);
            match (plan, longer) {
                (Ok(plan), longer) => {
                    prop_assert!(plan.false_alerts_a_day <= alerts && plan.threshold >= FLOOR);
                    prop_assert!(longer.map_or(true, |l| l.threshold >= plan.threshold));
                }
                (Err(_), longer) => prop_assert!(longer.is_err()),
            }
        }
    }
}
