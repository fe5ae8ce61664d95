//! Fits the limits that mark a view as hardly able to match ([`Fitness`]) to views whose truth is
//! known.
//!
//! * A logistic score over the three measures, by Newton's method (iteratively reweighted least
//!   squares: McCullagh and Nelder, Generalized Linear Models, 1989), people counted alike.
//! * The cut is the lowest that marks no more of the clean views than is allowed, people counted
//!   alike again. How many of the degraded ones it then sees is an outcome, not an aim.
//! * Limits are fitted on one half of the people, and reported on the other.
//!
//! Not promised: that the limits of these degradations are those of another street.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::vision::Fitness;

/// Views of each kind below which nothing is fitted: ten for each of the four weights.
const LEAST: usize = 40;
const STEPS: usize = 50;

/// A view that was compared with its own person.
#[derive(Debug, Clone, Copy)]
pub(super) struct FitView {
    pub person: usize,
    pub fitness: Fitness,
    /// Nothing was done to it.
    pub clean: bool,
    /// Its similarity is below the threshold.
    pub cannot_match: bool,
}

/// Limits that were fitted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FittedLimits {
    /// Intercept and weights of detail, noise and contrast.
    pub weights: [f64; 4],
    /// A view of a higher score is hardly able to match.
    pub cut: f64,
    /// Share of clean views that may be marked.
    pub most_clean: f64,
    /// Views that it was fitted to.
    pub views: usize,
    /// Of how many people.
    pub people: usize,
}

/// `None` where there are fewer than 40 views that cannot match, that can, or that are clean, or
/// where a line divides the two kinds without an error, so that no weights are the best.
pub(super) fn fit(views: &[FitView], most_clean: f64) -> Option<FittedLimits> {
    let count = |of: fn(&FitView) -> bool| views.iter().filter(|v| of(v)).count();
    let enough = [count(|v| v.cannot_match), count(|v| !v.cannot_match), count(|v| v.clean)];
    if enough.into_iter().any(|n| n < LEAST) {
        return None;
    }
    let shares = alike(views);
    let weights = newton(views, &shares)?;
    let clean: Vec<(f64, f64)> = {
        let clean: Vec<FitView> = views.iter().filter(|v| v.clean).copied().collect();
        let shares = alike(&clean);
        clean.iter().map(|v| score(&weights, v)).zip(shares).collect()
    };
    Some(FittedLimits {
        weights,
        cut: cut(clean, most_clean),
        most_clean,
        views: views.len(),
        people: views.iter().map(|v| v.person).collect::<BTreeSet<_>>().len(),
    })
}

/// The weight of each view, so that people count alike; all add up to 1.
fn alike(views: &[FitView]) -> Vec<f64> {
    let mut of = BTreeMap::<usize, f64>::new();
    views.iter().for_each(|v| *of.entry(v.person).or_default() += 1.0);
    let people = of.len() as f64;
    views.iter().map(|v| 1.0 / of[&v.person] / people).collect()
}

fn terms(view: &FitView) -> [f64; 4] {
    let f = &view.fitness;
    [1.0, f.detail.into(), f.noise.into(), f.contrast.into()]
}

fn score(weights: &[f64; 4], view: &FitView) -> f64 {
    weights.iter().zip(terms(view)).map(|(w, x)| w * x).sum()
}

/// Weights of the greatest likelihood.
fn newton(views: &[FitView], shares: &[f64]) -> Option<[f64; 4]> {
    let mut weights = [0.0; 4];
    for _ in 0..STEPS {
        let mut normal = [[0.0; 5]; 4];
        for (view, share) in views.iter().zip(shares) {
            let p = 1.0 / (1.0 + (-score(&weights, view)).exp());
            let x = terms(view);
            let residual = f64::from(u8::from(view.cannot_match)) - p;
            for i in 0..4 {
                for j in 0..4 {
                    normal[i][j] += share * p * (1.0 - p) * x[i] * x[j];
                }
                normal[i][4] += share * residual * x[i];
            }
        }
        let step = solve(normal)?;
        weights.iter_mut().zip(step).for_each(|(w, s)| *w += s);
        if step.iter().all(|s| s.abs() < 1e-9) {
            return Some(weights);
        }
    }
    None
}

/// Gauss's elimination with the largest pivot; the fifth column is the right side.
fn solve(mut rows: [[f64; 5]; 4]) -> Option<[f64; 4]> {
    for at in 0..4 {
        let pivot = (at..4).max_by(|a, b| rows[*a][at].abs().total_cmp(&rows[*b][at].abs()))?;
        rows.swap(at, pivot);
        // Also where it is no number.
        if rows[at][at].abs().partial_cmp(&1e-12) != Some(Ordering::Greater) {
            return None;
        }
        let of = rows[at].map(|v| v / rows[at][at]);
        rows[at] = of;
        for (_, row) in rows.iter_mut().enumerate().filter(|(other, _)| *other != at) {
            let times = row[at];
            row.iter_mut().zip(of).for_each(|(v, o)| *v -= times * o);
        }
    }
    Some(rows.map(|row| row[4]))
}

/// The lowest cut above which lies no more than `most` of the weight.
fn cut(mut clean: Vec<(f64, f64)>, most: f64) -> f64 {
    clean.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut above = 0.0;
    for group in clean.chunk_by(|a, b| a.0 == b.0) {
        above += group.iter().map(|(_, share)| share).sum::<f64>();
        // Sums of shares are not exact.
        if above > most + 1e-12 {
            return group[0].0;
        }
    }
    f64::NEG_INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Views whose truth is drawn from a logistic law with `weights`.
    fn drawn(weights: [f64; 4], n: usize) -> Vec<FitView> {
        let mut state = 1u64;
        let mut unit = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as f64 / (1u64 << 31) as f64
        };
        (0..n)
            .map(|at| {
                let mut about = |middle: f64| (middle + 2.0 * (unit() - 0.5)) as f32;
                let fitness =
                    Fitness { detail: about(-2.5), noise: about(-2.9), contrast: about(7.0) };
                let view =
                    FitView { person: at / 8, fitness, clean: at % 4 == 0, cannot_match: false };
                let p = 1.0 / (1.0 + (-score(&weights, &view)).exp());
                FitView { cannot_match: unit() < p, ..view }
            })
            .collect()
    }

    #[test]
    fn the_law_that_views_were_drawn_from_is_found_again() {
        let law = [0.7, -2.6, 1.1, -0.9];
        let found = fit(&drawn(law, 80_000), 0.02).unwrap();
        assert_eq!((found.views, found.people), (80_000, 10_000));
        for (found, law) in found.weights.iter().zip(law) {
            // The intercept is spread most: the measures are far from zero.
            assert!((found - law).abs() < 0.5, "{found} {law}");
        }
    }

    #[test]
    fn the_cut_marks_no_more_clean_views_than_allowed_and_the_next_lower_one_would() {
        let views = drawn([0.7, -2.6, 1.1, -0.9], 8000);
        for most in [0.0, 0.02, 0.3] {
            let limits = fit(&views, most).unwrap();
            let clean: Vec<&FitView> = views.iter().filter(|v| v.clean).collect();
            let share = |least: f64| {
                let marked = clean.iter().filter(|v| score(&limits.weights, v) > least).count();
                marked as f64 / clean.len() as f64
            };
            assert!(share(limits.cut) <= most + 1e-9, "{most}");
            assert!(share(limits.cut - 1e-9) > most, "{most}");
        }
        assert_eq!(cut(vec![(1.0, 0.5), (2.0, 0.5)], 1.0), f64::NEG_INFINITY);
    }

    #[test]
    fn people_count_alike_however_many_views_they_have() {
        let mut views = drawn([0.7, -2.6, 1.1, -0.9], 800);
        let before = fit(&views, 0.02).unwrap();
        let again: Vec<FitView> = views.iter().filter(|v| v.person == 3).copied().collect();
        (0..50).for_each(|_| views.extend(&again));
        let after = fit(&views, 0.02).unwrap();
        for (a, b) in before.weights.iter().zip(after.weights) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }

    #[test]
    fn too_few_views_or_kinds_that_a_line_divides_give_no_limits() {
        assert!(fit(&drawn([0.0; 4], 60), 0.02).is_none());
        let mut views = drawn([0.0; 4], 800);
        views.iter_mut().for_each(|v| v.cannot_match = v.fitness.detail < -2.5);
        assert!(fit(&views, 0.02).is_none());
    }
}
