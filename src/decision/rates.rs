//! How often a stranger's track reaches a similarity with anybody on a list: what was measured at
//! the place for the entries that a site record covers, the worst group's bound for all others.
//!
//! * An entry is covered where its very template was counted. A new entry, one with another
//!   photograph, and one that is like too few decoys keep the worst group's bound.
//! * Where a place was measured, its bound counts even where the worst group's is lower: strangers
//!   there are what they are.
//! * Both are upper bounds of a sum over entries; they are added.

use super::budget::{Budget, OverBudget, Plan};
use super::curve::{Entries, PromiseCurve};
use crate::calibrate::counts::{BINS, bin, edge};
use crate::calibrate::record::SiteRecord;
use crate::promise::FLOOR;
use crate::template::Template;

/// What a site record says about the entries of one list.
#[derive(Debug, Clone)]
struct Measured {
    covered: usize,
    /// Upper bound for all of them together, at each bin's edge, never rising.
    bounds: Box<[f64; BINS]>,
}

/// The rates of one list.
#[derive(Debug, Clone)]
pub struct ListRates {
    curve: PromiseCurve,
    /// Those that are held to the worst group.
    others: Entries,
    measured: Option<Measured>,
}

impl ListRates {
    /// Those of `entries` by the worst group alone.
    pub fn by_groups(curve: &PromiseCurve, entries: Entries) -> Self {
        Self { curve: curve.clone(), others: entries, measured: None }
    }

    /// Those of a list, each entry with its template and its number of photographs, at the place
    /// that `record` is of.
    pub fn at_site<'t>(
        curve: &PromiseCurve,
        entries: impl IntoIterator<Item = (&'t Template, usize)>,
        record: &SiteRecord,
    ) -> Self {
        let (templates, photographs): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let covers = record.covers(templates);
        let covered = covers.iter().filter(|c| **c).count();
        let others = photographs.into_iter().zip(&covers).filter(|(_, c)| !**c);
        let others = others.map(|(photographs, _)| photographs).collect();
        // Of a list that has lost covered entries the bound holds as well: it is of more.
        let bounds = Box::new(record.curve.upper_bounds());
        let measured = (covered > 0).then_some(Measured { covered, bounds });
        Self { curve: curve.clone(), others, measured }
    }

    /// Entries whose rate was measured at the place.
    pub fn covered(&self) -> usize {
        self.measured.as_ref().map_or(0, |m| m.covered)
    }

    /// All entries.
    pub fn entries(&self) -> usize {
        self.covered() + self.others.total()
    }

    /// Upper bound of the rate at which a stranger's track ever reaches `score` with any entry.
    /// `None` below what was measured.
    pub fn at(&self, score: f32) -> Option<f64> {
        let others = self.curve.false_positive_rate(score, &self.others)?;
        let here = match &self.measured {
            None => 0.0,
            Some(m) => m.bounds[bin(score)?],
        };
        Some((others + here).min(1.0))
    }

    /// Whether the rate at `score` lies beyond what was counted, of entries that are held to the
    /// worst group.
    pub fn extrapolated(&self, score: f32) -> bool {
        self.curve.extrapolated(score, &self.others)
    }

    /// The lowest threshold, at least [`FLOOR`], at which the list stays within `budget`.
    ///
    /// # Errors
    /// [`OverBudget`], where no threshold does.
    pub fn plan(&self, budget: Budget) -> Result<Plan, OverBudget> {
        if self.measured.is_none() {
            return self.curve.plan(budget, &self.others);
        }
        let mut thresholds: Vec<f32> =
            self.curve.thresholds().chain((0..BINS).map(edge)).filter(|t| *t >= FLOOR).collect();
        thresholds.sort_by(f32::total_cmp);
        let mut rates = thresholds.iter().filter_map(|t| Some((*t, self.at(*t)?)));
        let within = |rate: f64| budget.faces_a_day * rate <= budget.false_alerts_a_day;
        if let Some((threshold, rate)) = rates.clone().find(|(_, rate)| within(*rate)) {
            return Ok(self.plan_at(threshold, rate, budget));
        }
        // Never rising, so that the last one is the least.
        let (threshold, rate) = rates.next_back().unwrap_or((FLOOR, 1.0));
        Err(OverBudget {
            faces_a_day: budget.faces_a_day,
            entries: self.entries(),
            rate,
            expected: budget.faces_a_day * rate,
            threshold,
            allowed: budget.false_alerts_a_day,
            largest: 0,
            covered: self.covered(),
        })
    }

    /// The plan at the lowest threshold of the least rate, whatever it costs: for lists of which
    /// nothing is published.
    pub fn strictest(&self, budget: Budget) -> Plan {
        let edges = self.measured.iter().flat_map(|_| (0..BINS).map(edge));
        let known = |t: f32| Some((t, self.at(t)?));
        let rates = self.curve.thresholds().chain(edges).filter(|t| *t >= FLOOR).filter_map(known);
        let least = rates.min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.total_cmp(&b.0)));
        let (threshold, rate) = least.unwrap_or((FLOOR, 1.0));
        self.plan_at(threshold, rate, budget)
    }

    /// `plan` with its threshold raised to `threshold` where that is stricter.
    pub fn at_least(&self, plan: Plan, threshold: f32, budget: Budget) -> Plan {
        if threshold.is_nan() || threshold <= plan.threshold {
            return plan;
        }
        let rate = self.at(threshold).unwrap_or(plan.false_positive_rate);
        self.plan_at(threshold, rate, budget)
    }

    fn plan_at(&self, threshold: f32, rate: f64, budget: Budget) -> Plan {
        Plan {
            threshold,
            false_positive_rate: rate,
            false_alerts_a_day: budget.faces_a_day * rate,
            extrapolated: self.extrapolated(threshold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::record::tests::record;
    use crate::calibrate::strata::tests::entries as counted_templates;
    use crate::vision::GroupCurve;
    use proptest::prelude::*;

    fn curve() -> PromiseCurve {
        let group = GroupCurve {
            name: "all".into(),
            source: "a test".into(),
            people: 1000,
            pairs: 499_500,
            exact_to: 0.5,
            curve: vec![(0.23, 4e-2), (0.33, 4e-3), (0.43, 4e-4), (0.53, 4e-5), (0.63, 4e-6)],
        };
        PromiseCurve::of(&[group]).expect("rising thresholds")
    }

    /// Three that the record covers, one that is like too few decoys, one that is new.
    fn rates(templates: &[Template]) -> ListRates {
        ListRates::at_site(&curve(), templates.iter().map(|t| (t, 3)), &record())
    }

    #[test]
    fn covered_entries_are_measured_and_all_others_keep_the_worst_groups_bound() {
        let all = counted_templates(5);
        let rates = rates(&all);
        assert_eq!((rates.covered(), rates.entries()), (3, 5));
        let measured = record().curve.upper_bound(0.50);
        let others = curve().false_positive_rate(0.50, &Entries::of_three(2)).unwrap();
        assert!((rates.at(0.50).unwrap() - measured - others).abs() < 1e-12);
        assert!(rates.extrapolated(0.60), "of the others");
        assert!(!self::rates(&all[..3]).extrapolated(0.60));
    }

    #[test]
    fn without_a_covered_entry_a_record_changes_nothing() {
        let new = counted_templates(6).split_off(4);
        let rates = rates(&new);
        let two = Entries::of_three(2);
        let budget = Budget { faces_a_day: 1000.0, false_alerts_a_day: 0.5 };
        assert_eq!(rates.covered(), 0);
        assert_eq!(rates.at(0.52), curve().false_positive_rate(0.52, &two));
        assert_eq!(rates.plan(budget), curve().plan(budget, &two));
    }

    #[test]
    fn one_template_under_two_references_is_covered_once() {
        let template = counted_templates(1).remove(0);
        let rates = rates(&[template.clone(), template]);
        assert_eq!((rates.covered(), rates.entries()), (1, 2));
    }

    #[test]
    fn what_no_threshold_keeps_is_refused_in_the_records_words() {
        let budget = Budget { faces_a_day: 1e7, false_alerts_a_day: 0.001 };
        let refused = rates(&counted_templates(5)).plan(budget).unwrap_err().to_string();
        assert!(refused.contains("5 entries (3 measured at this place"), "{refused}");
        assert!(refused.contains("alibrate"), "{refused}");
    }

    proptest! {
        #[test]
        fn a_plan_keeps_its_budget_at_every_stricter_threshold_too(
            faces in 1.0f64..1e5, alerts in 1e-3f64..1e3, entries in 1u8..6,
        ) {
            let budget = Budget { faces_a_day: faces, false_alerts_a_day: alerts };
            let rates = rates(&counted_templates(entries));
            let Ok(plan) = rates.plan(budget) else { return Ok(()) };
            prop_assert!(plan.threshold >= FLOOR);
            for hundredths in 40..100u8 {
                let t = f32::from(hundredths) / 100.0;
                if t >= plan.threshold {
                    prop_assert!(faces * rates.at(t).unwrap() <= alerts);
                }
            }
        }
    }
}
