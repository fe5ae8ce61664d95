//! Comparisons counted by similarity, where there are too many of them to keep: histograms, and
//! counts that know who took part.
//!
//! All impostor pairs of a folder are not independent trials: each person is in many of them, and
//! one person who resembles many ("lamb" in the field's menagerie) gives many false matches at
//! once. [`Clustered`] measures by how much that widens the uncertainty, with the dyadic
//! cluster-robust variance of Fafchamps and Gubert (2007; Aronow, Samii and Assenova 2015): pairs
//! of people are taken as correlated where they share a person. The ratio to the binomial variance
//! is the design effect; dividing the counts by it gives effective counts for the exact bound, as
//! survey statistics does. Of fewer than ten pairs of people the bunching cannot be measured: there
//! the bound takes at least the design effect of the strictest threshold that has ten.

use serde::Serialize;

use crate::poisson::upper_bound;

/// Bins of a unit of similarity in a [`Tally`]: thresholds of three decimals are exact.
const BINS_PER_UNIT: usize = 1000;
const BINS: usize = 2 * BINS_PER_UNIT + 1;

fn bin(similarity: f32) -> usize {
    // The addend keeps a similarity that equals a threshold of three decimals in the bin that
    // begins there, whichever way the decimal rounds in binary.
    let at = (f64::from(similarity) + 1.0) * BINS_PER_UNIT as f64 + 1e-4;
    (at.max(0.0) as usize).min(BINS - 1)
}

/// Similarities counted in bins of .001.
#[derive(Debug, Clone)]
pub struct Tally {
    counts: Vec<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { counts: vec![0; BINS] }
    }
}

impl Tally {
    /// Counts one comparison.
    #[inline]
    pub fn add(&mut self, similarity: f32) {
        self.counts[bin(similarity)] += 1;
    }

    /// Counts everything of `other` too.
    pub fn merge(&mut self, other: &Tally) {
        for (a, b) in self.counts.iter_mut().zip(&other.counts) {
            *a += b;
        }
    }

    /// All comparisons.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Comparisons at or above `threshold`, which is taken to its third decimal.
    pub fn at_or_above(&self, threshold: f64) -> u64 {
        let from = (((threshold + 1.0) * BINS_PER_UNIT as f64).round().max(0.0) as usize).min(BINS);
        self.counts[from..].iter().sum()
    }

    /// The lowest threshold of three decimals at which no more than `target` of all comparisons
    /// match.
    ///
    /// # Errors
    /// A sentence, where there are fewer than `1 / target` comparisons.
    pub fn threshold_for(&self, target: f64) -> Result<f64, String> {
        let total = self.total();
        let allowed = (target * total as f64 + 1e-9).floor() as u64;
        if allowed == 0 {
            return Err(format!(
                "a rate of {target} needs at least {:.0} comparisons of different people, there \
                 are {total}",
                (1.0 / target).ceil()
            ));
        }
        let mut above = 0;
        for (at, count) in self.counts.iter().enumerate().rev() {
            above += count;
            if above > allowed {
                // In this order the quotient is the decimal's nearest number, which prints as the
                // decimal.
                return Ok((at as f64 + 1.0 - BINS_PER_UNIT as f64) / BINS_PER_UNIT as f64);
            }
        }
        Ok(-1.0)
    }

    /// The counts in bins of `.01`, as (lower edge, count), from the first to the last bin that is
    /// not empty.
    pub fn coarse(&self) -> Vec<(f64, u64)> {
        const WIDTH: usize = BINS_PER_UNIT / 100;
        let all: Vec<(f64, u64)> = self
            .counts
            .chunks(WIDTH)
            .enumerate()
            .map(|(k, c)| (k as f64 / 100.0 - 1.0, c.iter().sum()))
            .collect();
        let Some(first) = all.iter().position(|(_, c)| *c > 0) else {
            return Vec::new();
        };
        let last = all.iter().rposition(|(_, c)| *c > 0).expect("one is not empty");
        all[first..=last].to_vec()
    }
}

/// Bins of a list of similarities, for a histogram beside others.
impl FromIterator<f32> for Tally {
    fn from_iter<I: IntoIterator<Item = f32>>(similarities: I) -> Self {
        let mut tally = Tally::default();
        similarities.into_iter().for_each(|s| tally.add(s));
        tally
    }
}

/// One false match: between which person (by number) and the one it is reported for, in which step
/// of the thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FalseMatchPair {
    /// The other person.
    pub other: u32,
    /// Highest step whose threshold the similarity reaches.
    pub step: u16,
}

/// False matches by threshold, and how they bunch by person. Thresholds are `steps` many, rising;
/// step 0 is the lowest.
#[derive(Debug, Clone)]
pub struct Clustered {
    steps: usize,
    /// Photographs of each person.
    photographs: Vec<u32>,
    /// Sums below are of what is added at a step; summing from the top gives what holds at that
    /// threshold.
    matches: Vec<u64>,
    /// Pairs of people with at least one match.
    pairs: Vec<u64>,
    /// Sum over pairs of people of their matches squared.
    squares: Vec<u64>,
    /// Sum over pairs of people of matches times comparisons.
    products: Vec<u64>,
    /// Matches in which each person takes part, person after person.
    by_person: Vec<u32>,
    /// Comparisons of each person that were left out.
    left_out: Vec<u64>,
    /// Sum over pairs of people of their comparisons squared, as far as what was left out lowers
    /// it.
    fewer_squares: f64,
}

/// What was counted at one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Counted {
    /// Comparisons at or above the threshold.
    pub matches: u64,
    /// Different pairs of people among them.
    pub pairs_of_people: u64,
    /// All comparisons.
    pub comparisons: u64,
    /// Variance over that of independent comparisons, at least 1.
    pub design_effect: f64,
    /// One-sided 95 % upper bound of the rate ([`upper_bound`]).
    pub upper: f64,
}

impl Clustered {
    /// Nothing counted yet. `photographs` says how many each person has; all are compared with all
    /// of other people.
    pub fn new(photographs: Vec<u32>, steps: usize) -> Self {
        Self {
            steps,
            matches: vec![0; steps],
            pairs: vec![0; steps],
            squares: vec![0; steps],
            products: vec![0; steps],
            by_person: vec![0; steps * photographs.len()],
            left_out: vec![0; photographs.len()],
            fewer_squares: 0.0,
            photographs,
        }
    }

    /// Counts all false matches between `person` and people of higher number, in any order.
    /// `left_out` names the other person of each comparison that was not made after all, in any
    /// order too. Call once a person.
    pub fn add(&mut self, person: u32, hits: &mut [FalseMatchPair], left_out: &mut [u32]) {
        left_out.sort_unstable();
        let all = |other: u32| {
            u64::from(self.photographs[person as usize])
                * u64::from(self.photographs[other as usize])
        };
        for other in left_out.chunk_by(|a, b| a == b) {
            let (left, all) = (other.len() as u64, all(other[0]));
            self.left_out[person as usize] += left;
            self.left_out[other[0] as usize] += left;
            self.fewer_squares += (all as f64).powi(2) - (all.saturating_sub(left) as f64).powi(2);
        }
        let left = |other: u32| {
            let from = left_out.partition_point(|o| *o < other);
            left_out[from..].partition_point(|o| *o == other) as u64
        };
        // By other person, strictest first: the c-th match of a pair joins at its own step.
        hits.sort_unstable_by_key(|h| (h.other, std::cmp::Reverse(h.step)));
        let mut previous = None;
        let (mut c, mut made) = (0u64, 0u64);
        for hit in hits.iter() {
            let step = usize::from(hit.step);
            if previous == Some(hit.other) {
                c += 1;
            } else {
                c = 1;
                made = all(hit.other).saturating_sub(left(hit.other));
            }
            previous = Some(hit.other);
            self.matches[step] += 1;
            self.pairs[step] += u64::from(c == 1);
            self.squares[step] += 2 * c - 1;
            self.products[step] += made;
            for p in [person, hit.other] {
                self.by_person[p as usize * self.steps + step] += 1;
            }
        }
    }

    /// Counts everything of `other` too. Both were made with the same photographs and steps.
    pub fn merge(&mut self, other: &Clustered) {
        for (mine, theirs) in [
            (&mut self.matches, &other.matches),
            (&mut self.pairs, &other.pairs),
            (&mut self.squares, &other.squares),
            (&mut self.products, &other.products),
        ] {
            for (a, b) in mine.iter_mut().zip(theirs) {
                *a += b;
            }
        }
        for (a, b) in self.by_person.iter_mut().zip(&other.by_person) {
            *a += b;
        }
        for (a, b) in self.left_out.iter_mut().zip(&other.left_out) {
            *a += b;
        }
        self.fewer_squares += other.fewer_squares;
    }

    /// All comparisons of different people that were made.
    pub fn comparisons(&self) -> u64 {
        let (sum, squares) = self.power_sums();
        // Each one that was left out counts with both its people.
        ((sum * sum - squares) as u64).saturating_sub(self.left_out.iter().sum()) / 2
    }

    fn power_sums(&self) -> (u128, u128) {
        let m = || self.photographs.iter().map(|m| u128::from(*m));
        (m().sum(), m().map(|m| m * m).sum())
    }

    /// What holds at each step's threshold.
    pub fn finish(&self) -> Vec<Counted> {
        let (sum, squares) = self.power_sums();
        let fourth: f64 = self.photographs.iter().map(|m| f64::from(*m).powi(4)).sum();
        let pair_sizes_squared = ((squares as f64).powi(2) - fourth) / 2.0 - self.fewer_squares;
        let comparisons = self.comparisons();
        let n = comparisons as f64;
        let mut by_person = vec![0u64; self.photographs.len()];
        let (mut matches, mut pairs, mut pair_squares, mut products) = (0, 0, 0u64, 0u64);
        let mut all = Vec::with_capacity(self.steps);
        for step in (0..self.steps).rev() {
            matches += self.matches[step];
            pairs += self.pairs[step];
            pair_squares += self.squares[step];
            products += self.products[step];
            for (person, count) in by_person.iter_mut().enumerate() {
                *count += u64::from(self.by_person[person * self.steps + step]);
            }
            let p = if comparisons == 0 { 0.0 } else { matches as f64 / n };
            let residuals: f64 = by_person
                .iter()
                .zip(self.photographs.iter().zip(&self.left_out))
                .map(|(x, (m, left))| {
                    let made = f64::from(*m) * (sum - u128::from(*m)) as f64 - *left as f64;
                    (*x as f64 - p * made).powi(2)
                })
                .sum();
            let own = pair_squares as f64 - 2.0 * p * products as f64 + p * p * pair_sizes_squared;
            let binomial = n * p * (1.0 - p);
            let design_effect =
                if binomial > 0.0 { ((residuals - own) / binomial).max(1.0) } else { 1.0 };
            all.push(Counted {
                matches,
                pairs_of_people: pairs,
                comparisons,
                design_effect,
                upper: 1.0,
            });
        }
        all.reverse();
        bound(&mut all);
        all
    }
}

/// Fewest pairs of people from which their bunching can be measured.
const MEASURABLE: u64 = 10;

/// Sets the upper bounds of `all`, thresholds rising.
fn bound(all: &mut [Counted]) {
    let largest = all.iter().map(|c| c.design_effect).fold(1.0, f64::max);
    let mut strictest = largest;
    for c in all {
        let measurable = c.pairs_of_people >= MEASURABLE;
        if measurable {
            strictest = c.design_effect;
        }
        let d = if measurable { c.design_effect } else { c.design_effect.max(strictest) };
        c.upper = upper_bound(c.matches as f64, c.comparisons as f64, d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_similarity_equal_to_a_threshold_matches() {
        let mut t = Tally::default();
        for k in -1000..=1000 {
            t.add(k as f32 / 1000.0);
        }
        for k in -1000..=1000 {
            assert_eq!(
                t.at_or_above(f64::from(k) / 1000.0),
                (1001 - k) as u64,
                "threshold {k}/1000"
            );
        }
        assert_eq!((t.total(), t.at_or_above(2.0)), (2001, 0));
        assert_eq!(t.threshold_for(1.0), Ok(-1.0));
        let at = t.threshold_for(0.5).unwrap();
        assert_eq!(at.to_string(), "0.001");
        assert_eq!(t.at_or_above(at), 1000);
        assert!(t.threshold_for(1e-4).unwrap_err().contains("at least 10000"));
    }

    #[test]
    fn the_coarse_histogram_keeps_every_comparison() {
        let t: Tally = [-0.995f32, 0.0, 0.004, 0.31, 1.0].into_iter().collect();
        let coarse = t.coarse();
        assert_eq!(coarse.iter().map(|(_, c)| c).sum::<u64>(), 5);
        assert_eq!(coarse.iter().find(|(e, _)| e.abs() < 1e-9).unwrap().1, 2);
        assert!(Tally::default().coarse().is_empty());
    }

    /// Sum over all pairs of pairs that share a person, without the shortcut.
    fn variance_by_definition(
        photographs: &[u32],
        matches: &[((usize, usize), f64)],
        left_out: &[((usize, usize), u32)],
    ) -> f64 {
        let people = photographs.len();
        let made = |i: usize, j: usize| {
            let left: u32 = left_out.iter().filter(|l| l.0 == (i, j)).map(|l| l.1).sum();
            f64::from(photographs[i] * photographs[j] - left)
        };
        let n: f64 = (0..people)
            .flat_map(|i| (i + 1..people).map(move |j| (i, j)))
            .map(|(i, j)| made(i, j))
            .sum();
        let p = matches.iter().map(|m| m.1).sum::<f64>() / n;
        let residual: Vec<((usize, usize), f64)> = (0..people)
            .flat_map(|i| (i + 1..people).map(move |j| (i, j)))
            .map(|(i, j)| {
                let x = matches.iter().find(|m| m.0 == (i, j)).map_or(0.0, |m| m.1);
                ((i, j), x - p * made(i, j))
            })
            .collect();
        let mut variance = 0.0;
        for a in &residual {
            for b in &residual {
                let shares = a.0.0 == b.0.0 || a.0.0 == b.0.1 || a.0.1 == b.0.0 || a.0.1 == b.0.1;
                variance += if shares { a.1 * b.1 } else { 0.0 };
            }
        }
        variance / (n * p * (1.0 - p))
    }

    #[test]
    fn false_matches_spread_over_people_cost_nothing_and_one_person_who_resembles_all_costs_much() {
        let people = 200u32;
        let mut spread = Clustered::new(vec![1; people as usize], 1);
        for person in (0..people).step_by(2) {
            spread.add(person, &mut [FalseMatchPair { other: person + 1, step: 0 }], &mut []);
        }
        let mut lamb = Clustered::new(vec![1; people as usize], 1);
        lamb.add(
            0,
            &mut (1..=100).map(|other| FalseMatchPair { other, step: 0 }).collect::<Vec<_>>(),
            &mut [],
        );
        let (spread, lamb) = (spread.finish()[0], lamb.finish()[0]);
        assert_eq!((spread.matches, lamb.matches), (100, 100));
        assert_eq!((spread.pairs_of_people, spread.comparisons), (100, 199 * 100));
        assert_eq!(spread.design_effect, 1.0);
        assert!(lamb.design_effect > 50.0, "{}", lamb.design_effect);
        assert!(lamb.upper > 2.0 * spread.upper);
    }

    proptest! {
        #[test]
        fn the_design_effect_is_the_dyadic_variance_by_its_definition(
            photographs in prop::collection::vec(1u32..4, 4..9),
            seed in prop::collection::vec((0usize..9, 0usize..9, 0u16..2), 1..14),
            dropped in prop::option::of((0usize..9, 0usize..9)),
        ) {
            let people = photographs.len();
            // One comparison of one pair of people is left out.
            let left: Vec<((usize, usize), u32)> = dropped
                .map(|(a, b)| ((a % people).min(b % people), (a % people).max(b % people)))
                .filter(|(i, j)| i != j)
                .map(|pair| (pair, 1))
                .into_iter()
                .collect();
            let mut c = Clustered::new(photographs.clone(), 2);
            let mut hits = vec![Vec::new(); people];
            let mut counts: Vec<((usize, usize), f64)> = Vec::new();
            for (a, b, step) in seed {
                let (i, j) = ((a % people).min(b % people), (a % people).max(b % people));
                let made = counts.iter().find(|x| x.0 == (i, j)).map_or(0.0, |x| x.1);
                let possible = photographs[i] * photographs[j]
                    - left.iter().filter(|l| l.0 == (i, j)).map(|l| l.1).sum::<u32>();
                if i == j || made >= f64::from(possible) {
                    continue;
                }
                hits[i].push(FalseMatchPair { other: j as u32, step });
                match counts.iter_mut().find(|x| x.0 == (i, j)) {
                    Some(x) => x.1 += 1.0,
                    None => counts.push(((i, j), 1.0)),
                }
            }
            let mut other_half = Clustered::new(photographs.clone(), 2);
            for (person, hits) in hits.iter_mut().enumerate() {
                let part = if person % 2 == 0 { &mut c } else { &mut other_half };
                let mut others: Vec<u32> =
                    left.iter().filter(|l| l.0.0 == person).map(|l| l.0.1 as u32).collect();
                part.add(person as u32, hits, &mut others);
            }
            c.merge(&other_half);
            let total: u64 = counts.iter().map(|x| x.1 as u64).sum();
            let low = c.finish()[0];
            prop_assert_eq!((low.matches, low.pairs_of_people), (total, counts.len() as u64));
            if total > 0 && total < low.comparisons {
                let expected = variance_by_definition(&photographs, &counts, &left).max(1.0);
                prop_assert!(
                    (low.design_effect - expected).abs() < 1e-6 * expected,
                    "{} {}",
                    low.design_effect,
                    expected
                );
            }
            prop_assert!(c.finish()[1].matches <= low.matches);
        }
    }
}
