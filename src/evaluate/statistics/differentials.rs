//! How unequal an error rate is between groups: the summaries of ISO/IEC 19795-10, as NIST's FRTE
//! publishes them too.
//!
//! None of them is given where the counts cannot carry it: a group without a single error has a
//! rate that is not zero but unknown, and every ratio to it would be made up.
//!
//! Intervals are percentiles of the summary over [`DRAWS`] draws of every group's rate from
//! Beta(x + 1/2, n - x + 1/2), with errors x and comparisons n divided by their design effect (the
//! posterior under Jeffreys's prior, whose own interval has close to its nominal coverage: Brown,
//! Cai and DasGupta 2001). The worst of several groups is worst by chance too: with few errors a
//! group the whole interval lies above equality even where the groups are equal, and says so by
//! its width.

use serde::Serialize;

use super::interval::Rate;
use super::misses::PeopleRate;
use crate::evaluate::protocol::draw::Draw;

/// Draws of an interval.
const DRAWS: usize = 4000;

/// A rate of a group, with what widens its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupRate<'a> {
    /// The group.
    pub group: &'a str,
    /// Its rate; `None` without trials.
    pub rate: Option<f64>,
    /// Effective errors: need not be whole.
    pub errors: f64,
    /// Effective trials.
    pub trials: f64,
}

impl<'a> GroupRate<'a> {
    /// Of comparisons that bunch by `design_effect`, at least 1.
    pub fn of_comparisons(group: &'a str, rate: Rate, design_effect: f64) -> Self {
        Self {
            group,
            rate: rate.rate,
            errors: rate.count as f64 / design_effect,
            trials: rate.of as f64 / design_effect,
        }
    }

    /// Of people counted alike.
    pub fn of_people(group: &'a str, rate: PeopleRate) -> Self {
        let trials = rate.people as f64;
        Self { group, rate: rate.rate, errors: rate.rate.unwrap_or(0.0) * trials, trials }
    }
}

/// 95 % interval of a summary.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// Summaries of one error rate over groups. Those that the counts cannot support are `None`, and
/// `unsupported` says why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Differential {
    /// Group with the highest rate.
    pub worst: Option<String>,
    /// Group with the lowest rate.
    pub best: Option<String>,
    /// Highest rate over lowest rate.
    pub worst_over_best: Option<f64>,
    /// Its interval.
    pub worst_over_best_interval: Option<Interval>,
    /// Highest rate over the geometric mean of all groups' rates (MXOG). 1 is equality.
    pub max_over_geometric_mean: Option<f64>,
    /// Its interval.
    pub max_over_geometric_mean_interval: Option<Interval>,
    /// Gini coefficient with the correction n/(n-1) for few groups: 0 is equality, 1 all errors in
    /// one group.
    pub gini: Option<f64>,
    /// Its interval.
    pub gini_interval: Option<Interval>,
    /// Why a summary is missing.
    pub unsupported: Option<String>,
}

/// Summarises the rates of `groups`.
pub fn summarise(groups: &[GroupRate<'_>]) -> Differential {
    let known: Vec<(&str, f64)> = groups.iter().filter_map(|g| Some((g.group, g.rate?))).collect();
    let mut summary = Differential {
        worst: None,
        best: None,
        worst_over_best: None,
        worst_over_best_interval: None,
        max_over_geometric_mean: None,
        max_over_geometric_mean_interval: None,
        gini: None,
        gini_interval: None,
        unsupported: None,
    };
    if known.len() < 2 {
        summary.unsupported = Some("fewer than two groups have comparisons of this kind".into());
        return summary;
    }
    let rates: Vec<f64> = known.iter().map(|(_, r)| *r).collect();
    let by_rate = |a: &&(&str, f64), b: &&(&str, f64)| a.1.total_cmp(&b.1);
    let worst = known.iter().max_by(by_rate).expect("two or more groups");
    if worst.1 == 0.0 {
        summary.unsupported =
            Some("no group has an error at this threshold: nothing to compare".into());
        return summary;
    }
    summary.worst = Some(worst.0.to_owned());
    let drawn = drawn_rates(groups);
    summary.gini = gini(&rates);
    summary.gini_interval = interval(&drawn, gini);
    let without: Vec<&str> =
        known.iter().filter(|(_, r)| *r == 0.0).map(|(name, _)| *name).collect();
    if without.is_empty() {
        let best = known.iter().min_by(by_rate).expect("two or more groups");
        summary.best = Some(best.0.to_owned());
        summary.worst_over_best = Some(worst.1 / best.1);
        summary.worst_over_best_interval = interval(&drawn, max_over_min);
        summary.max_over_geometric_mean = max_over_geometric_mean(&rates);
        summary.max_over_geometric_mean_interval = interval(&drawn, max_over_geometric_mean);
    } else {
        summary.unsupported = Some(format!(
            "no error was seen in {}: a ratio to it cannot be measured with so few",
            without.join(", ")
        ));
    }
    summary
}

/// [`DRAWS`] times the rates of the groups that have comparisons.
fn drawn_rates(groups: &[GroupRate<'_>]) -> Vec<Vec<f64>> {
    // One seed for ever: the same counts have the same interval.
    let mut draw = Draw::new(0, 0);
    let known: Vec<&GroupRate<'_>> = groups.iter().filter(|g| g.trials > 0.0).collect();
    (0..DRAWS)
        .map(|_| {
            known
                .iter()
                .map(|g| {
                    let (x, n) = (g.errors, g.trials);
                    let (errors, others) = (draw.gamma(x + 0.5), draw.gamma(n - x + 0.5));
                    errors / (errors + others)
                })
                .collect()
        })
        .collect()
}

fn interval(drawn: &[Vec<f64>], summary: impl Fn(&[f64]) -> Option<f64>) -> Option<Interval> {
    let mut values: Vec<f64> = drawn.iter().filter_map(|rates| summary(rates)).collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        values.get((share * values.len().checked_sub(1)? as f64).round() as usize).copied()
    };
    Some(Interval { lower: at(0.025)?, upper: at(0.975)? })
}

fn max_over_min(rates: &[f64]) -> Option<f64> {
    let (low, high) =
        rates.iter().fold((f64::INFINITY, 0.0f64), |(l, h), r| (l.min(*r), h.max(*r)));
    (low > 0.0 && low.is_finite()).then(|| high / low)
}

/// max / (product of all)^(1/n). `None` where a rate is not above zero or there is none.
pub fn max_over_geometric_mean(rates: &[f64]) -> Option<f64> {
    if rates.is_empty() || rates.iter().any(|r| *r <= 0.0) {
        return None;
    }
    let log_mean = rates.iter().map(|r| r.ln()).sum::<f64>() / rates.len() as f64;
    Some(rates.iter().fold(0.0f64, |m, r| m.max(*r)) / log_mean.exp())
}

/// n/(n-1) times the sum of |x_i - x_j| over all ordered pairs, divided by 2 n^2 times the mean.
/// `None` for fewer than two rates or where all are zero.
pub fn gini(rates: &[f64]) -> Option<f64> {
    let n = rates.len() as f64;
    let mean = rates.iter().sum::<f64>() / n;
    if rates.len() < 2 || mean <= 0.0 {
        return None;
    }
    let differences: f64 =
        rates.iter().map(|a| rates.iter().map(|b| (a - b).abs()).sum::<f64>()).sum();
    Some(n / (n - 1.0) * differences / (2.0 * n * n * mean))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(groups: &[(&str, u64, u64)]) -> Differential {
        let rates: Vec<GroupRate<'_>> = groups
            .iter()
            .map(|(group, x, n)| GroupRate::of_comparisons(group, Rate::new(*x, *n), 1.0))
            .collect();
        summarise(&rates)
    }

    #[test]
    fn worked_examples_come_out() {
        // Geometric mean of 1, 2, 4, 8 is 2^1.5.
        assert!(
            (max_over_geometric_mean(&[1e-3, 2e-3, 4e-3, 8e-3]).unwrap() - 8.0 / 2f64.powf(1.5))
                .abs()
                < 1e-12
        );
        // Ordered differences of 0, 0, 1: 4; mean 1/3; 4 / (2*9/3) = 2/3; times 3/2 = 1.
        assert!((gini(&[0.0, 0.0, 1.0]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(gini(&[0.25, 0.25]), Some(0.0));
    }

    #[test]
    fn a_group_without_errors_makes_ratios_unsupported_and_says_which() {
        let s = of(&[("a", 5, 100), ("b", 0, 100), ("c", 0, 0)]);
        assert_eq!(
            (s.worst.as_deref(), s.worst_over_best, s.max_over_geometric_mean),
            (Some("a"), None, None)
        );
        assert!(s.unsupported.unwrap().contains("in b:"));
        assert!(of(&[("a", 5, 100)]).unsupported.is_some());
        assert!(of(&[("a", 0, 9), ("b", 0, 9)]).gini.is_none());
    }

    #[test]
    fn an_interval_holds_its_summary_narrows_with_counts_and_widens_with_the_design_effect() {
        let width = |s: &Differential| {
            let i = s.worst_over_best_interval.unwrap();
            assert!(
                i.lower <= s.worst_over_best.unwrap() && s.worst_over_best.unwrap() <= i.upper,
                "{s:?}"
            );
            i.upper / i.lower
        };
        let few = of(&[("a", 40, 1000), ("b", 10, 1000)]);
        let many = of(&[("a", 4000, 100_000), ("b", 1000, 100_000)]);
        assert!((few.worst_over_best.unwrap() - 4.0).abs() < 1e-12);
        assert!(width(&few) > 2.0 && width(&many) < 1.2, "{few:?} {many:?}");
        // Of two rates the logarithm's variance is 1/x1 + 1/x2 - 1/n1 - 1/n2 (Katz): 1.96
        // deviations are a factor of 1.07.
        assert!((width(&many).sqrt() - (1.96f64 * (1.25e-3f64 - 2e-5).sqrt()).exp()).abs() < 0.005);
        let bunched = summarise(&[
            GroupRate::of_comparisons("a", Rate::new(4000, 100_000), 100.0),
            GroupRate::of_comparisons("b", Rate::new(1000, 100_000), 100.0),
        ]);
        assert!((width(&bunched) / width(&few) - 1.0).abs() < 0.1, "{bunched:?}");
        for s in [&few, &many] {
            let (m, g) = (s.max_over_geometric_mean_interval.unwrap(), s.gini_interval.unwrap());
            assert!(
                m.lower <= s.max_over_geometric_mean.unwrap()
                    && m.upper >= s.max_over_geometric_mean.unwrap()
            );
            assert!(g.lower <= s.gini.unwrap() && g.upper >= s.gini.unwrap());
        }
    }

    proptest! {
        #[test]
        fn equality_is_the_least_and_scale_does_not_matter(
            rates in prop::collection::vec(1e-6f64..1.0, 2..12),
            k in 0.1f64..10.0,
        ) {
            let (m, g) = (max_over_geometric_mean(&rates).unwrap(), gini(&rates).unwrap());
            prop_assert!(m >= 1.0 - 1e-12 && (-1e-12..=1.0 + 1e-12).contains(&g));
            let scaled: Vec<f64> = rates.iter().map(|r| r * k).collect();
            prop_assert!((max_over_geometric_mean(&scaled).unwrap() - m).abs() < 1e-9 * m);
            prop_assert!((gini(&scaled).unwrap() - g).abs() < 1e-9);
        }
    }
}
