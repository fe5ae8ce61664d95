//! How unequal an error rate is between groups: the summaries of ISO/IEC 19795-10, as NIST's FRTE publishes them too.
//!
//! None of them is given where the counts cannot carry it: a group without a single error has a rate that is not zero but
//! unknown, and every ratio to it would be made up.

use serde::Serialize;

use super::interval::Rate;

/// Summaries of one error rate over groups. Those that the counts cannot support are `None`, and `unsupported` says why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Differential {
    /// Group with the highest rate.
    pub worst: Option<String>,
    /// Group with the lowest rate.
    pub best: Option<String>,
    /// Highest rate over lowest rate.
    pub worst_over_best: Option<f64>,
    /// Highest rate over the geometric mean of all groups' rates (MXOG). 1 is equality.
    pub max_over_geometric_mean: Option<f64>,
    /// Gini coefficient with the correction n/(n-1) for few groups: 0 is equality, 1 all errors in one group.
    pub gini: Option<f64>,
    /// Why a summary is missing.
    pub unsupported: Option<String>,
}

/// Summarises the rates of `groups` (name and rate).
pub fn summarise(groups: &[(&str, Rate)]) -> Differential {
    let known: Vec<(&str, f64)> = groups.iter().filter_map(|(name, r)| Some((*name, r.rate?))).collect();
    let mut summary = Differential {
        worst: None,
        best: None,
        worst_over_best: None,
        max_over_geometric_mean: None,
        gini: None,
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
        summary.unsupported = Some("no group has an error at this threshold: nothing to compare".into());
        return summary;
    }
    summary.worst = Some(worst.0.to_owned());
    summary.gini = gini(&rates);
    let without: Vec<&str> = known.iter().filter(|(_, r)| *r == 0.0).map(|(name, _)| *name).collect();
    if without.is_empty() {
        let best = known.iter().min_by(by_rate).expect("two or more groups");
        summary.best = Some(best.0.to_owned());
        summary.worst_over_best = Some(worst.1 / best.1);
        summary.max_over_geometric_mean = max_over_geometric_mean(&rates);
    } else {
        summary.unsupported =
            Some(format!("no error was seen in {}: a ratio to it cannot be measured with so few", without.join(", ")));
    }
    summary
}

/// max / (product of all)^(1/n). `None` where a rate is not above zero or there is none.
pub fn max_over_geometric_mean(rates: &[f64]) -> Option<f64> {
    if rates.is_empty() || rates.iter().any(|r| *r <= 0.0) {
        return None;
    }
    let log_mean = rates.iter().map(|r| r.ln()).sum::<f64>() / rates.len() as f64;
    Some(rates.iter().fold(0.0f64, |m, r| m.max(*r)) / log_mean.exp())
}

/// n/(n-1) times the sum of |x_i - x_j| over all ordered pairs, divided by 2 n^2 times the mean. `None` for fewer than two
/// rates or where all are zero.
pub fn gini(rates: &[f64]) -> Option<f64> {
    let n = rates.len() as f64;
    let mean = rates.iter().sum::<f64>() / n;
    if rates.len() < 2 || mean <= 0.0 {
        return None;
    }
    let differences: f64 = rates.iter().map(|a| rates.iter().map(|b| (a - b).abs()).sum::<f64>()).sum();
    Some(n / (n - 1.0) * differences / (2.0 * n * n * mean))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn worked_examples_come_out() {
        // Geometric mean of 1, 2, 4, 8 is 2^1.5.
        assert!((max_over_geometric_mean(&[1e-3, 2e-3, 4e-3, 8e-3]).unwrap() - 8.0 / 2f64.powf(1.5)).abs() < 1e-12);
        // Ordered differences of 0, 0, 1: 4; mean 1/3; 4 / (2*9/3) = 2/3; times 3/2 = 1.
        assert!((gini(&[0.0, 0.0, 1.0]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(gini(&[0.25, 0.25]), Some(0.0));
    }

    #[test]
    fn a_group_without_errors_makes_ratios_unsupported_and_says_which() {
        let s = summarise(&[("a", Rate::new(5, 100)), ("b", Rate::new(0, 100)), ("c", Rate::new(0, 0))]);
        assert_eq!((s.worst.as_deref(), s.worst_over_best, s.max_over_geometric_mean), (Some("a"), None, None));
        assert!(s.unsupported.unwrap().contains("in b:"));
        assert!(summarise(&[("a", Rate::new(5, 100))]).unsupported.is_some());
        assert!(summarise(&[("a", Rate::new(0, 9)), ("b", Rate::new(0, 9))]).gini.is_none());
    }

    proptest! {
        #[test]
        fn equality_is_the_least_and_scale_does_not_matter(rates in prop::collection::vec(1e-6f64..1.0, 2..12), k in 0.1f64..10.0) {
            let (m, g) = (max_over_geometric_mean(&rates).unwrap(), gini(&rates).unwrap());
            prop_assert!(m >= 1.0 - 1e-12 && (-1e-12..=1.0 + 1e-12).contains(&g));
            let scaled: Vec<f64> = rates.iter().map(|r| r * k).collect();
            prop_assert!((max_over_geometric_mean(&scaled).unwrap() - m).abs() < 1e-9 * m);
            prop_assert!((gini(&scaled).unwrap() - g).abs() < 1e-9);
        }
    }
}
