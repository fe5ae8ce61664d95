//! Exact (Clopper-Pearson) bounds of a proportion.
//!
//! They assume independent trials: whoever has trials that share a person or a photograph divides
//! their counts by a design effect first, and says so beside the figure.

#[cfg(any(feature = "desk", feature = "evaluate"))]
use crate::poisson::CONFIDENCE;

#[cfg(any(feature = "desk", feature = "evaluate"))]
/// Two-sided 95 % interval of a proportion after `count` of `of` trials (Clopper and Pearson 1934).
/// Effective counts need not be whole. Without trials: 0 to 1.
pub fn clopper_pearson(count: f64, of: f64) -> (f64, f64) {
    let tail = (1.0 - CONFIDENCE) / 2.0;
    (lower_bound(count, of, tail), upper_bound(count, of, tail))
}

/// The proportion at which `count` or more of `of` trials would have probability `tail`.
pub fn lower_bound(count: f64, of: f64, tail: f64) -> f64 {
    if count <= 0.0 || of <= 0.0 {
        0.0
    } else {
        beta_quantile(tail, count, (of - count).max(0.0) + 1.0)
    }
}

/// The proportion at which `count` or fewer of `of` trials would have probability `tail`: with
/// `tail` .05, the one-sided 95 % upper bound.
pub fn upper_bound(count: f64, of: f64, tail: f64) -> f64 {
    if of <= 0.0 || count >= of {
        1.0
    } else {
        beta_quantile(1.0 - tail, count.max(0.0) + 1.0, of - count)
    }
}

/// `p` such that [`incomplete_beta`] at `p` is `probability`, by bisection: the function is
/// monotone, and accuracy to the last bit matters more here than speed.
fn beta_quantile(probability: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0f64, 1.0f64);
    // 120 halvings: below 1e-36 absolute, so that rates of 1e-9 still have all their digits.
    for _ in 0..120 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if incomplete_beta(middle, a, b) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Regularised incomplete beta function I_x(a, b), by its continued fraction (Abramowitz and Stegun
/// 26.5.8, evaluated by Lentz's method as in Numerical Recipes 6.4). `a`, `b` > 0, `x` 0 to 1.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let log_front =
        libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (-x).ln_1p();
    let front = log_front.exp();
    // The fraction converges fast on this side of the mean only; the symmetry gives the other.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * continued_fraction(x, a, b) / a
    } else {
        1.0 - front * continued_fraction(1.0 - x, b, a) / b
    }
}

fn continued_fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let guard = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    // About the square root of max(a, b) steps are needed: 1e5 covers 1e9 comparisons.
    for m in 1..100_000u32 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        let step = d * c;
        value *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    value
}
