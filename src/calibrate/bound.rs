//! Upper bound of a sum of rates that were counted apart: the list's rate over strata of decoys.
//!
//! * Fay and Feuer's gamma interval (Statistics in Medicine 16, 1997, 791-801) for a weighted sum
//!   of independent Poisson counts, one-sided at [`CONFIDENCE`]. It exists at zero events.
//! * Events that share a decoy, a track or a day are not independent: counts are divided by a
//!   design effect and weights multiplied by it (Kish, Survey Sampling, 1965, 8.2).
//! * Not promised: anything about strangers who did not pass while it was counted.

use crate::poisson::{CONFIDENCE, gamma_quantile};

/// Events of one stratum, and what each of them counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weighted {
    /// Events, at least 0.
    pub events: f64,
    /// What one event adds to the rate, at least 0.
    pub weight: f64,
}

/// The sum itself: the estimate that [`upper_bound`] bounds.
pub fn estimate(terms: &[Weighted]) -> f64 {
    terms.iter().map(|t| t.events * t.weight).sum()
}

/// One-sided 95 % upper bound of the expected `sum of weight * events`. With `y` the sum, `v` the
/// sum of `weight² * events` and `m` the largest weight:
/// `(v + m²) / (2 (y + m)) * chi2inv(.95, 2 (y + m)² / (v + m²))`, counts divided and weights
/// multiplied by `design_effect` (at least 1) before. Zero events: 3.0 times the largest weight
/// times the design effect. Without a weight: 0. Infinite where a number is none.
pub fn upper_bound(terms: &[Weighted], design_effect: f64) -> f64 {
    let d = design_effect.max(1.0);
    let (mut y, mut v, mut m) = (0.0, 0.0, 0.0f64);
    for term in terms {
        // Written so that a NaN gives the widest bound.
        if !(term.events >= 0.0 && term.weight >= 0.0 && d.is_finite()) {
            return f64::INFINITY;
        }
        y += term.events * term.weight;
        v += term.weight * d * term.weight * term.events;
        m = m.max(term.weight * d);
    }
    if design_effect.is_nan() {
        return f64::INFINITY;
    }
    if m == 0.0 {
        return 0.0;
    }
    let spread = (v + m * m) / (y + m);
    spread * gamma_quantile(CONFIDENCE, (y + m) / spread)
}

/// Raises each of `bounds`, at rising thresholds, to the highest at its threshold or further on:
/// the true rate falls with the threshold.
pub(super) fn raise_to_later(bounds: &mut [f64]) {
    let mut highest = f64::NEG_INFINITY;
    for bound in bounds.iter_mut().rev() {
        highest = highest.max(*bound);
        *bound = highest;
    }
}

/// How many times larger the variance of a sum of events is because they come in clusters, from the
/// sum of squares and the sum of the clusters' counts: `Σ c² / Σ c`, at least 1. It is the variance
/// of a compound Poisson sum over its mean.
pub fn design_effect(squares: f64, sum: f64) -> f64 {
    if sum > 0.0 { (squares / sum).max(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Xorshift; uniform in (0, 1).
    struct Random(u64);

    impl Random {
        fn uniform(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        }

        /// Knuth's method, for small means.
        fn poisson(&mut self, mean: f64) -> f64 {
            let (mut n, mut product, end) = (0.0, self.uniform(), (-mean).exp());
            while product > end {
                n += 1.0;
                product *= self.uniform();
            }
            n
        }
    }

    /// Share of `draws` in which the bound holds for strata of these means and weights, where each
    /// event is a cluster of `cluster` and the bound knows it.
    fn coverage(means: &[f64], weights: &[f64], cluster: f64, draws: u32) -> f64 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let truth: f64 = means.iter().zip(weights).map(|(m, w)| m * w * cluster).sum();
        let held = (0..draws)
            .filter(|_| {
                let terms: Vec<Weighted> = means
                    .iter()
                    .zip(weights)
                    .map(|(m, w)| Weighted { events: random.poisson(*m) * cluster, weight: *w })
                    .collect();
                upper_bound(&terms, cluster) >= truth
            })
            .count();
        held as f64 / f64::from(draws)
    }

    #[test]
    fn the_bound_holds_in_at_least_95_of_100_draws_however_uneven_the_strata() {
        for (means, weights) in [
            (&[0.2, 0.3][..], &[1.0, 1.0][..]),
            (&[3.0, 1.0, 0.5], &[1.0, 5.0, 20.0]),
            (&[40.0, 10.0, 2.0, 0.1], &[0.1, 1.0, 3.0, 50.0]),
            (&[200.0, 80.0, 20.0], &[1.0, 2.0, 4.0]),
            (&[0.01; 8], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
        ] {
            for cluster in [1.0, 4.0] {
                let got = coverage(means, weights, cluster, 4000);
                // Three standard errors of 4,000 draws below .95.
                assert!(got >= 0.94, "{means:?} {weights:?} x {cluster}: {got}");
            }
        }
    }

    #[test]
    fn events_that_come_in_clusters_break_a_bound_that_does_not_know_it() {
        let mut random = Random(7);
        let held = (0..2000)
            .filter(|_| {
                let events = random.poisson(5.0) * 6.0;
                upper_bound(&[Weighted { events, weight: 1.0 }], 1.0) >= 30.0
            })
            .count();
        assert!(held < 1800, "{held} of 2000");
    }

    #[test]
    fn zero_events_are_three_of_the_largest_weight() {
        let none = |weight| Weighted { events: 0.0, weight };
        let got = upper_bound(&[none(0.5), none(2.0)], 1.0);
        assert!((got - 2.0 * 2.9957).abs() < 1e-3, "{got}");
        assert!((upper_bound(&[none(2.0)], 3.0) - 6.0 * 2.9957).abs() < 1e-2);
        assert_eq!(upper_bound(&[none(0.0)], 1.0), 0.0);
        assert_eq!(upper_bound(&[], 1.0), 0.0);
    }

    #[test]
    fn one_stratum_has_the_exact_poisson_bound() {
        for x in [0.0, 1.0, 10.0, 100.0] {
            let one = upper_bound(&[Weighted { events: x, weight: 1e-3 }], 1.0);
            let exact = crate::poisson::upper_bound(x, 1e3, 1.0);
            assert!((one / exact - 1.0).abs() < 1e-6, "{x}: {one} {exact}");
        }
    }

    #[test]
    fn what_is_no_number_has_no_bound() {
        let one = Weighted { events: 1.0, weight: 1.0 };
        for terms in [
            [one, Weighted { events: f64::NAN, ..one }],
            [one, Weighted { weight: f64::NAN, ..one }],
            [one, Weighted { events: -1.0, ..one }],
        ] {
            assert_eq!(upper_bound(&terms, 1.0), f64::INFINITY);
        }
        assert_eq!(upper_bound(&[one], f64::NAN), f64::INFINITY);
        assert_eq!(upper_bound(&[one], f64::INFINITY), f64::INFINITY);
    }

    proptest! {
        #[test]
        fn a_bound_lies_above_its_estimate_and_grows_with_events_and_design_effect(
            terms in proptest::collection::vec((0u32..500, 0.001f64..10.0), 1..12),
            d in 1.0f64..20.0,
        ) {
            let mut terms: Vec<Weighted> = terms
                .into_iter()
                .map(|(events, weight)| Weighted { events: f64::from(events), weight })
                .collect();
            let plain = upper_bound(&terms, 1.0);
            prop_assert!(plain > estimate(&terms));
            prop_assert!(upper_bound(&terms, d) >= plain * (1.0 - 1e-9));
            terms[0].events += 1.0;
            prop_assert!(upper_bound(&terms, 1.0) > plain * (1.0 - 1e-9));
        }
    }
}
