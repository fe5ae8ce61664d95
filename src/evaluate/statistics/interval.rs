//! Exact (Clopper-Pearson) intervals of a proportion, and rates that never travel without theirs.
//!
//! The interval assumes independent trials. Comparisons that share a photograph or a person are not
//! independent: whoever has such counts first divides them by their design effect (see
//! [`super::tally`]) or says so beside the figure.

use serde::Serialize;

pub use crate::proportion::clopper_pearson;

/// A count out of a number of trials with its two-sided 95 % Clopper-Pearson interval. Without
/// trials the rate is not known (`rate` is `None`) and the interval is everything, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Trials that came out this way.
    pub count: u64,
    /// All trials.
    pub of: u64,
    /// `count / of`; `None` without trials.
    pub rate: Option<f64>,
    /// Lower end of the interval.
    pub lower: f64,
    /// Upper end of the interval.
    pub upper: f64,
}

impl Rate {
    /// `count` of `of` trials; a `count` beyond `of` is taken as `of`.
    pub fn new(count: u64, of: u64) -> Self {
        let count = count.min(of);
        let (lower, upper) = clopper_pearson(count as f64, of as f64);
        Self { count, of, rate: (of > 0).then(|| count as f64 / of as f64), lower, upper }
    }

    /// `count` of `of` trials that are not independent: the interval is that of counts divided by
    /// `design_effect` (at least 1).
    pub fn clustered(count: u64, of: u64, design_effect: f64) -> Self {
        let count = count.min(of);
        let (lower, upper) =
            clopper_pearson(count as f64 / design_effect, of as f64 / design_effect);
        Self { lower, upper, ..Self::new(count, of) }
    }

    /// The rate of everything that is not counted in this one.
    pub fn complement(&self) -> Self {
        Self::new(self.of - self.count, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poisson::CONFIDENCE;
    use crate::proportion::upper_bound;
    use proptest::prelude::*;

    fn close(got: f64, want: f64, relative: f64) {
        assert!((got - want).abs() <= relative * want.abs(), "{got} is not {want}");
    }

    #[test]
    fn published_exact_intervals_come_out() {
        // R: binom.test(x, n)$conf.int
        let (low, high) = clopper_pearson(10.0, 2077.0);
        close(low, 0.002_311_0, 2e-3);
        close(high, 0.008_837_2, 2e-3);
        let (low, high) = clopper_pearson(5.0, 10.0);
        close(low, 0.187_086_0, 1e-5);
        close(high, 0.812_914_0, 1e-5);
        let (low, high) = clopper_pearson(1.0, 10.0);
        close(low, 0.002_528_579, 1e-5);
        close(high, 0.445_016_1, 1e-5);
    }

    #[test]
    fn no_event_gives_the_rule_of_three_and_its_closed_form() {
        for n in [1.0, 30.0, 3000.0, 1e7] {
            close(upper_bound(0.0, n, 0.05), 1.0 - 0.05f64.powf(1.0 / n), 1e-6);
            assert_eq!(clopper_pearson(0.0, n).0, 0.0);
            assert_eq!(clopper_pearson(n, n).1, 1.0);
        }
        close(upper_bound(0.0, 1e6, 0.05), 3e-6, 2e-3);
    }

    #[test]
    fn without_trials_nothing_is_known() {
        let rate = Rate::new(0, 0);
        assert_eq!((rate.rate, rate.lower, rate.upper), (None, 0.0, 1.0));
    }

    #[test]
    fn ten_million_comparisons_are_within_reach() {
        // Poisson limit: the 97.5 % upper limit of 10 events is 18.390 36.
        close(clopper_pearson(10.0, 1e7).1, 18.390_36e-7, 1e-4);
        close(clopper_pearson(10.0, 1e7).0, 4.795_389e-7, 1e-4);
        // Far from the tail the normal approximation holds.
        let (low, high) = clopper_pearson(1e6, 1e7);
        close(high - low, 2.0 * 1.959_964 * (0.09f64 / 1e7).sqrt(), 1e-3);
    }

    proptest! {
        #[test]
        fn the_poisson_bound_is_never_below_the_binomial_one(
            x in 0u32..2000, more in 1u32..1_000_000, d in 1.0f64..50.0,
        ) {
            let (x, n) = (f64::from(x), f64::from(x) + f64::from(more));
            let bound = crate::poisson::upper_bound(x, n, d);
            let binomial = upper_bound(x / d, n / d, 1.0 - CONFIDENCE);
            prop_assert!(bound >= binomial * (1.0 - 1e-9), "{bound} {binomial}");
        }

        #[test]
        fn an_interval_holds_its_rate_and_its_ends_have_the_promised_tails(
            n in 1u32..400,
            share in 0.0f64..=1.0,
        ) {
            let count = (share * f64::from(n)).floor();
            let n = f64::from(n);
            let (low, high) = clopper_pearson(count, n);
            prop_assert!(
                low <= count / n && count / n <= high && (0.0..=1.0).contains(&low) && high <= 1.0
            );
            // Sum of the binomial terms, without the incomplete beta function.
            let tail = |p: f64, range: std::ops::RangeInclusive<u32>| -> f64 {
                range
                    .map(|k| {
                        let k = f64::from(k);
                        (libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0)
                            + k * p.ln()
                            + (n - k) * (1.0 - p).ln())
                        .exp()
                    })
                    .sum()
            };
            if count > 0.0 {
                prop_assert!((tail(low, count as u32..=n as u32) - 0.025).abs() < 1e-6);
            }
            if count < n {
                prop_assert!((tail(high, 0..=count as u32) - 0.025).abs() < 1e-6);
            }
        }

        #[test]
        fn more_trials_with_the_same_rate_narrow_the_interval(n in 2u64..2000, x in 0u64..2000) {
            let x = x % (n + 1);
            let (one, ten) = (Rate::new(x, n), Rate::new(10 * x, 10 * n));
            prop_assert!(ten.lower >= one.lower - 1e-12 && ten.upper <= one.upper + 1e-12);
            prop_assert!((one.complement().lower - (1.0 - one.upper)).abs() < 1e-9);
        }
    }
}
