//! Beyond the counts: how rare false matches are where too few were seen to count them. Whatever
//! uses these rows labels them "extrapolated".
//!
//! * Exceedances of a start `u` below an end `c` follow an exponential distribution truncated at
//!   `c`: pairs at or above `c` were joined as likely duplicates, and without the truncation the
//!   tail would look too short. Its scale `s` solves `mean(y) = s - T / (exp(T / s) - 1)`, with
//!   `y` the excess over `u` and `T = c - u`; the rate is
//!   `p / (1 - exp(-T / s)) * exp(-(t - u) / s)`, with `p` the share of comparisons in `[u, c)`.
//! * The bound is the 95th percentile over [`DRAWS`] bootstrap draws of *people*, pairs that
//!   drawing makes of one person with themselves left out ([`super::dyadic`]).
//! * A held-out check is part of the fit: fitted on half of the people, the bound must not lie
//!   below what the other half shows with confidence, in [`HALVINGS`] random halvings.
//! * Refused: [`Refused`]. There is no fit "with a warning".
//! * The same seed gives the same bits.
//!
//! Why not the generalised Pareto distribution: a similarity has an end, so its fitted shape is
//! negative (-.05 to -.15 on every group of people measured), and the exponential (shape 0) lies
//! above it. In 40 to 60 draws of 300 to 450 people from a set whose rate is known, the
//! exponential's bound held in .98 to 1.0 of the draws down to 1e-6, the generalised Pareto's
//! (probability-weighted moments) in .80 to .95. See `src/evaluate/decisions/002`.
//!
//! Not promised: that people unlike the measured ones follow the tail; that it holds beyond `c`,
//! where no halving can check it.

use serde::Serialize;

use super::dyadic::{CountedAt, Design, Scored, count};
use crate::evaluate::protocol::draw::Draw;

/// Fewest people.
pub const LEAST_PEOPLE: usize = 300;
/// Fewest exceedances.
pub const LEAST_EXCEEDANCES: usize = 200;
/// Least rate at the start.
const LEAST_RATE: f64 = 1e-3;
/// Least distance from start to end: some three scales of the groups measured. Over less, the
/// truncated fit can hardly tell a scale.
const LEAST_WINDOW: f64 = 0.15;
/// So near below the end, counts lack what was joined: they are not used as exact ones.
pub const END_MARGIN: f64 = 0.10;
/// Bootstrap draws of a fit.
pub const DRAWS: u32 = 200;
/// Random halvings of the held-out check.
pub const HALVINGS: u32 = 20;
/// Most halvings that may fail. If each fails with probability .05, more do with .075.
pub const MOST_FAILED: u32 = 2;
/// Fewest matches in the half that checks from which a threshold is looked at.
const LEAST_CHECKED: u64 = 5;
/// Shape of a generalised Pareto distribution above which a tail is heavier than exponential:
/// duplicates were left in.
const MOST_SHAPE: f64 = 0.15;
/// By so much the logarithm of its likelihood must exceed the exponential's before the shape is
/// believed (half of 2.71: one-sided 95 %, likelihood ratio). A few hundred exceedances in a short
/// window leave the shape uncertain by .2 and more.
const SURE_GAIN: f64 = 1.353;
/// The tail is not followed further than this share of the last counted bound, and not below
/// [`LEAST_BOUND`].
const DECADES: f64 = 1e-3;
const LEAST_BOUND: f64 = 1e-6;
/// Seed of every draw.
pub const SEED: u64 = 13;

/// Why there is no tail.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Too few people.
    #[error("{0} people support it; at least {LEAST_PEOPLE} are needed")]
    People(usize),
    /// No start.
    #[error(
        "no threshold at least {LEAST_WINDOW} below {until} has {LEAST_EXCEEDANCES} comparisons or \
         more between itself and {until}, and a rate of {LEAST_RATE} or more"
    )]
    Start {
        /// The end.
        until: f64,
    },
    /// The similarities between start and end do not fall off.
    #[error("between {from} and {until} false matches do not become rarer as an exponential does")]
    NotFalling {
        /// The start.
        from: f64,
        /// The end.
        until: f64,
    },
    /// Heavier than exponential.
    #[error(
        "the tail is heavier than exponential (shape {0:+.2}, at most {MOST_SHAPE:+.2}): likely one \
         person under two names; judge the likely duplicates (--duplicates)"
    )]
    Heavier(f64),
    /// The held-out check failed.
    #[error(
        "in {failed} of {HALVINGS} halvings the bound from one half of the people was below what \
         the other half shows; at most {MOST_FAILED} may"
    )]
    HeldOut {
        /// Halvings that failed.
        failed: u32,
    },
    /// Pairs beyond the end that were not joined: somebody judged them to be different people.
    #[error(
        "{seen} comparisons at or above {until} are of people who were not joined, more than the \
         tail explains"
    )]
    BeyondEnd {
        /// How many.
        seen: u64,
        /// The end.
        until: f64,
    },
}

/// One threshold beyond the counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TailRow {
    /// Similarity from which a comparison matches.
    pub threshold: f64,
    /// The fitted rate.
    pub rate: f64,
    /// 95th percentile over the draws, never rising from row to row.
    pub upper: f64,
}

/// A tail that passed every check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tail {
    /// Start `u`.
    pub from: f64,
    /// End `c`.
    pub until: f64,
    /// Comparisons between them.
    pub exceedances: usize,
    /// Scale `s`.
    pub scale: f64,
    /// Shape of the generalised Pareto distribution that fits best: below zero, the exponential
    /// errs upwards.
    pub shape: f64,
    /// People behind it.
    pub people: usize,
    /// Bootstrap draws.
    pub draws: u32,
    /// Random halvings of the held-out check.
    pub halvings: u32,
    /// Those that failed.
    pub halvings_failed: u32,
    /// Seed of all draws.
    pub seed: u64,
    /// The rows, thresholds rising.
    pub rows: Vec<TailRow>,
}

/// The comparisons that a tail is fitted to.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// Who was compared with whom.
    pub design: &'a Design,
    /// All comparisons at or above the first threshold of the grid.
    pub scored: &'a [Scored],
    /// End: comparisons at or above it were joined as likely duplicates. 1: nothing was joined.
    pub until: f64,
}

/// Follows the tail of `sample` at those of `grid` (rising) that lie beyond `counted`'s last
/// threshold.
///
/// # Errors
/// [`Refused`].
pub fn extrapolate(
    sample: Sample<'_>,
    counted: &[CountedAt],
    grid: &[f64],
) -> Result<Tail, Refused> {
    let people = sample.design.people();
    if people < LEAST_PEOPLE {
        return Err(Refused::People(people));
    }
    let from = start(sample, grid)?;
    let window = FitWindow { from, until: sample.until };
    let excess = window.excess(sample.scored);
    let plain = window.fit(&excess, &vec![1.0; sample.design.numbers()], sample.design)?;
    let (shape, gain) = shape(&excess, window.length());
    if shape > MOST_SHAPE && gain > SURE_GAIN {
        return Err(Refused::Heavier(shape));
    }
    let failed = failed_halvings(sample, window, grid);
    if failed > MOST_FAILED {
        return Err(Refused::HeldOut { failed });
    }
    let fits = window.draws(&excess, sample.design, 0);
    let bound = |t: f64| percentile(fits.iter().map(|f| f.map_or(1.0, |f| f.rate(window, t))));
    if bound(sample.until) >= 1.0 {
        return Err(Refused::NotFalling { from, until: sample.until });
    }
    beyond_end(sample, bound(sample.until))?;
    let exact_to = counted.last().map_or(f64::NEG_INFINITY, |c| c.threshold);
    let least = counted.last().map_or(LEAST_BOUND, |c| (c.upper() * DECADES).max(LEAST_BOUND));
    let mut rows = Vec::new();
    for threshold in grid.iter().copied().filter(|t| *t > exact_to && *t > from) {
        let upper = bound(threshold);
        if upper < least {
            break;
        }
        rows.push(TailRow { threshold, rate: plain.rate(window, threshold), upper });
    }
    let exceedances = excess.len();
    Ok(Tail {
        from,
        until: sample.until,
        exceedances,
        scale: plain.scale,
        shape,
        people,
        draws: DRAWS,
        halvings: HALVINGS,
        halvings_failed: failed,
        seed: SEED,
        rows,
    })
}

/// The strictest threshold that leaves enough exceedances, rate and window.
fn start(sample: Sample<'_>, grid: &[f64]) -> Result<f64, Refused> {
    let least = (LEAST_RATE * sample.design.comparisons()).max(LEAST_EXCEEDANCES as f64);
    let between = |u: f64| {
        let inside = FitWindow { from: u, until: sample.until };
        sample.scored.iter().filter(|s| inside.holds(s)).count() as f64
    };
    grid.iter()
        .rev()
        .copied()
        // A step of the grid is .01; the addend keeps .55 - .40 from being a little less than .15.
        .filter(|u| sample.until - u + 1e-9 >= LEAST_WINDOW)
        .find(|u| between(*u) >= least)
        .ok_or(Refused::Start { until: sample.until })
}

/// A pair beyond the end that was not joined, for somebody judged the two to be different people,
/// is a false match that the tail must explain.
fn beyond_end(sample: Sample<'_>, bound: f64) -> Result<(), Refused> {
    let until = sample.until as f32;
    let beyond: Vec<Scored> =
        sample.scored.iter().filter(|s| s.similarity >= until).copied().collect();
    let [counted] = &count(sample.design, &beyond, &[sample.until])[..] else {
        return Ok(());
    };
    if counted.lower() > bound {
        return Err(Refused::BeyondEnd { seen: counted.matches, until: sample.until });
    }
    Ok(())
}

/// From start to end.
#[derive(Debug, Clone, Copy)]
struct FitWindow {
    from: f64,
    until: f64,
}

/// How far a comparison exceeds the start, and between whom.
#[derive(Debug, Clone, Copy)]
struct Excess {
    a: u32,
    b: u32,
    by: f64,
}

/// A fitted tail.
#[derive(Debug, Clone, Copy, PartialEq)]
struct FittedTail {
    /// Share of comparisons between start and end.
    share: f64,
    scale: f64,
}

impl FittedTail {
    /// The rate at `t`.
    fn rate(&self, window: FitWindow, t: f64) -> f64 {
        let inside = 1.0 - (-window.length() / self.scale).exp();
        (self.share / inside * (-(t - window.from) / self.scale).exp()).min(1.0)
    }
}

impl FitWindow {
    fn length(&self) -> f64 {
        self.until - self.from
    }

    fn holds(&self, s: &Scored) -> bool {
        s.similarity >= self.from as f32 && s.similarity < self.until as f32
    }

    fn excess(&self, scored: &[Scored]) -> Vec<Excess> {
        let by = |s: &Scored| (f64::from(s.similarity) - self.from).max(0.0);
        scored
            .iter()
            .filter(|s| self.holds(s))
            .map(|s| Excess { a: s.a, b: s.b, by: by(s) })
            .collect()
    }

    /// Fits `excess`, each comparison counting by the product of its people's `weights`.
    fn fit(
        &self,
        excess: &[Excess],
        weights: &[f64],
        design: &Design,
    ) -> Result<FittedTail, Refused> {
        let (mut sum, mut total) = (0.0, 0.0);
        for e in excess {
            let w = weights[e.a as usize] * weights[e.b as usize];
            sum += w * e.by;
            total += w;
        }
        let refused = Refused::NotFalling { from: self.from, until: self.until };
        let scale = scale(sum / total, self.length()).ok_or(refused)?;
        Ok(FittedTail { share: total / design.weighted(weights).comparisons(), scale })
    }

    /// A fit for each bootstrap draw of people; `None` where a draw has none. `stream` keeps the
    /// draws of different halvings apart.
    fn draws(&self, excess: &[Excess], design: &Design, stream: u64) -> Vec<Option<FittedTail>> {
        let people: Vec<usize> = present(design);
        (0..DRAWS)
            .map(|number| {
                let mut draw = Draw::new(SEED.wrapping_add(stream), number);
                let mut weights = vec![0.0; design.numbers()];
                for _ in 0..people.len() {
                    weights[people[draw.below(people.len())]] += 1.0;
                }
                self.fit(excess, &weights, design).ok()
            })
            .collect()
    }
}

/// People with a row.
fn present(design: &Design) -> Vec<usize> {
    let numbers = design.numbers();
    let alone = |p: usize| {
        let weights: Vec<f64> = (0..numbers).map(|other| f64::from(u8::from(other == p))).collect();
        design.weighted(&weights).people() == 1
    };
    (0..numbers).filter(|p| alone(*p)).collect()
}

/// The scale whose truncated exponential on `[0, length)` has this mean; `None` where there is
/// none: a mean of half the length or more belongs to no falling density.
fn scale(mean: f64, length: f64) -> Option<f64> {
    // Written so that a NaN has none. The mean tends to length / 2 as the scale grows.
    if !(mean > 0.0 && mean < 0.5 * length * (1.0 - 1e-6)) {
        return None;
    }
    let of = |s: f64| s - length / (length / s).exp_m1();
    let (mut low, mut high) = (mean, 1e6 * length);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if of(middle) < mean {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

/// Shape of the truncated generalised Pareto distribution of greatest likelihood, in steps of .05
/// from -.5 to .5 (Coles 2001, 4.3; truncated at `length`), and by how much the logarithm of its
/// likelihood exceeds the exponential's.
fn shape(excess: &[Excess], length: f64) -> (f64, f64) {
    let negative_log_likelihood = |shape: f64, scale: f64| -> f64 {
        let reach = |y: f64| 1.0 + shape * y / scale;
        if reach(length) <= 0.0 && excess.iter().any(|e| reach(e.by) <= 0.0) {
            return f64::INFINITY;
        }
        let (sum, inside) = if shape.abs() < 1e-9 {
            let sum: f64 = excess.iter().map(|e| e.by / scale).sum();
            (sum, 1.0 - (-length / scale).exp())
        } else {
            let sum: f64 = excess.iter().map(|e| (1.0 / shape + 1.0) * reach(e.by).ln()).sum();
            let end = reach(length);
            (sum, if end > 0.0 { 1.0 - end.powf(-1.0 / shape) } else { 1.0 })
        };
        sum + excess.len() as f64 * (scale.ln() + inside.ln())
    };
    let at_best_scale = |shape: f64| -> f64 {
        // Golden section over the logarithm of the scale.
        const RATIO: f64 = 0.618_033_988_749_894_9;
        let (mut low, mut high) = ((1e-3 * length).ln(), (20.0 * length).ln());
        for _ in 0..50 {
            let (x, y) = (high - RATIO * (high - low), low + RATIO * (high - low));
            if negative_log_likelihood(shape, x.exp()) < negative_log_likelihood(shape, y.exp()) {
                high = y;
            } else {
                low = x;
            }
        }
        negative_log_likelihood(shape, (0.5 * (low + high)).exp())
    };
    let exponential = at_best_scale(0.0);
    (-10..=10)
        .map(|step| f64::from(step) * 0.05)
        .map(|shape| (shape, exponential - at_best_scale(shape)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or_default()
}

/// 95th percentile: the 190th of 200.
fn percentile(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = (0.95 * values.len() as f64).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(1.0)
}

/// In how many random halvings of the people the bound fitted on one half lies below what the other
/// half shows with confidence.
fn failed_halvings(sample: Sample<'_>, window: FitWindow, grid: &[f64]) -> u32 {
    (0..HALVINGS).filter(|number| !holds(sample, window, grid, *number)).count() as u32
}

fn holds(sample: Sample<'_>, window: FitWindow, grid: &[f64], number: u32) -> bool {
    let mut people = present(sample.design);
    Draw::new(SEED ^ 0x5eed, number).shuffle(&mut people);
    let (fitted, checking) = people.split_at(people.len() / 2);
    let half = |of: &[usize]| {
        let mut weights = vec![0.0; sample.design.numbers()];
        of.iter().for_each(|p| weights[*p] = 1.0);
        let both = |s: &&Scored| weights[s.a as usize] * weights[s.b as usize] > 0.0;
        let scored: Vec<Scored> =
            sample.scored.iter().filter(both).filter(|s| window.holds(s)).copied().collect();
        (sample.design.weighted(&weights), scored)
    };
    let ((design, scored), (other, others)) = (half(fitted), half(checking));
    let excess = window.excess(&scored);
    if window.fit(&excess, &vec![1.0; design.numbers()], &design).is_err() {
        return false;
    }
    let fits = window.draws(&excess, &design, u64::from(number) + 1);
    // What the other half shows ends where the window ends.
    let bound = |t: f64| {
        percentile(
            fits.iter()
                .map(|f| f.map_or(1.0, |f| f.rate(window, t) - f.rate(window, window.until))),
        )
    };
    let inside: Vec<f64> =
        grid.iter().copied().filter(|t| *t > window.from && *t < window.until).collect();
    count(&other, &others, &inside)
        .iter()
        .filter(|c| c.matches >= LEAST_CHECKED)
        .all(|c| c.lower() <= bound(c.threshold))
}

#[cfg(test)]
mod tests;
