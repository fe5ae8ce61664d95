//! Upper bound of a rate from counts that bunch by person.
//!
//! * Poisson, not binomial: matches are rare, and the bound must exist at zero events, where a
//!   bootstrap returns zero. Zero of `n` independent comparisons give 3.0 / n.
//! * Counts are divided by a design effect (Kish 1965): how many times larger the variance of a sum
//!   is because its events share a person, a track or a day.
//!
//! Not promised: anything about people who are unlike those that were compared.

/// Confidence of every interval and bound in this program.
pub const CONFIDENCE: f64 = 0.95;

/// One-sided 95 % upper bound of the rate after `count` of `of` comparisons:
/// `chi2inv(.95, 2 (count / d + 1)) / 2 * d / of`, at most 1, with `d` the design effect (at least
/// 1). Without comparisons: 1.
#[cfg(any(test, feature = "evaluate"))]
pub fn upper_bound(count: f64, of: f64, design_effect: f64) -> f64 {
    // Written so that a NaN gives the widest bound.
    if !(of > 0.0 && count >= 0.0 && design_effect.is_finite()) {
        return 1.0;
    }
    let d = design_effect.max(1.0);
    (gamma_quantile(CONFIDENCE, count / d + 1.0) * d / of).min(1.0)
}

/// One-sided 95 % lower bound of the rate after `count` of `of` comparisons:
/// `chi2inv(.05, 2 count / d) / 2 * d / of`, with `d` the design effect (at least 1). Without
/// matches or comparisons: 0.
#[cfg(any(test, feature = "author", feature = "evaluate"))]
pub fn lower_bound(count: f64, of: f64, design_effect: f64) -> f64 {
    // Written so that a NaN gives the widest bound.
    if !(of > 0.0 && count > 0.0 && design_effect.is_finite()) {
        return 0.0;
    }
    let d = design_effect.max(1.0);
    (gamma_quantile(1.0 - CONFIDENCE, count / d) * d / of).min(1.0)
}

/// `x` at which [`incomplete_gamma`] of `shape` is `probability`; half the chi-square quantile of
/// twice as many degrees of freedom. By bisection: the function is monotone.
pub fn gamma_quantile(probability: f64, shape: f64) -> f64 {
    let (mut low, mut high) = (0.0, shape + 10.0 * shape.sqrt() + 20.0);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if incomplete_gamma(shape, middle) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Regularised lower incomplete gamma function P(a, x): its series below `a + 1`, its continued
/// fraction above (Abramowitz and Stegun 6.5.29 and 6.5.31, the latter by Lentz's method).
fn incomplete_gamma(a: f64, x: f64) -> f64 {
    const STEPS: u32 = 1_000_000;
    if x <= 0.0 {
        return 0.0;
    }
    let front = (a * x.ln() - x - libm::lgamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for k in 1..STEPS {
            term *= x / (a + f64::from(k));
            sum += term;
            if term < sum * 1e-15 {
                break;
            }
        }
        return front * sum;
    }
    let mut b = x + 1.0 - a;
    let mut c = f64::MAX;
    let mut d = 1.0 / b;
    let mut value = d;
    for k in 1..STEPS {
        let k = f64::from(k);
        let numerator = -k * (k - a);
        b += 2.0;
        d = 1.0 / (numerator * d + b);
        c = b + numerator / c;
        let step = d * c;
        value *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    1.0 - front * value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tabulated_quantiles_come_out() {
        // chi2inv(.95, 2 (x + 1)) / 2 for x = 0, 1, 10, 100 (Garwood 1936).
        for (x, bound) in [(0.0, 2.9957), (1.0, 4.7439), (10.0, 16.9622), (100.0, 118.0793)] {
            let got = upper_bound(x, 1e6, 1.0) * 1e6;
            assert!((got - bound).abs() < 2e-4, "{x}: {got}");
        }
    }

    #[test]
    fn tabulated_lower_quantiles_come_out() {
        // chi2inv(.05, 2 x) / 2 for x = 1, 10, 100 (Garwood 1936).
        for (x, bound) in [(1.0, 0.05129), (10.0, 5.4254), (100.0, 84.1393)] {
            let got = lower_bound(x, 1e6, 1.0) * 1e6;
            assert!((got - bound).abs() < 2e-4, "{x}: {got}");
        }
        assert_eq!(lower_bound(0.0, 1e6, 1.0), 0.0);
        assert_eq!(lower_bound(3.0, 0.0, f64::NAN), 0.0);
        assert!(lower_bound(40.0, 1e5, 4.0) < lower_bound(40.0, 1e5, 1.0));
    }

    #[test]
    fn zero_events_have_a_bound_and_bunching_widens_it() {
        assert!((upper_bound(0.0, 1000.0, 1.0) - 2.9957e-3).abs() < 1e-6);
        assert!((upper_bound(0.0, 1000.0, 4.0) / upper_bound(0.0, 1000.0, 1.0) - 4.0).abs() < 1e-9);
        assert!(upper_bound(40.0, 1e5, 4.0) > 1.2 * upper_bound(40.0, 1e5, 1.0));
    }

    #[test]
    fn what_cannot_be_counted_has_the_widest_bound() {
        for (x, n, d) in [
            (0.0, 0.0, 1.0),
            (f64::NAN, 10.0, 1.0),
            (1.0, f64::NAN, 1.0),
            (1.0, 10.0, f64::NAN),
            (10.0, 10.0, 1.0),
        ] {
            assert_eq!(upper_bound(x, n, d), 1.0);
        }
    }

    proptest! {
        #[test]
        fn a_bound_lies_above_its_rate(
            x in 0u32..2000, more in 1u32..1_000_000, d in 1.0f64..50.0,
        ) {
            let (x, n) = (f64::from(x), f64::from(x) + f64::from(more));
            let bound = upper_bound(x, n, d);
            prop_assert!(bound <= 1.0 && bound > x / n);
        }
    }
}
