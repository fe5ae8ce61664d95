//! Comparisons between people, and by how much it widens a rate's uncertainty that each person is
//! in many of them.
//!
//! * A *pair* is two different people; it holds one comparison or several. Comparisons are taken as
//!   correlated where they share a person (Fafchamps and Gubert 2007; Aronow, Samii and Assenova
//!   2015).
//! * People may be weighted, as a bootstrap does that draws people with replacement: a comparison
//!   then counts by the product of its two weights. A person drawn twice is *not* compared with
//!   themselves.
//!
//! [`super::tally::Clustered`] gives the same design effect for sets too large to keep their
//! matches.

use std::collections::BTreeMap;

use crate::poisson::{lower_bound, upper_bound};

/// Fewest matching pairs from which their bunching can be measured.
const MEASURABLE: usize = 10;

/// Who is compared with whom: every person has so many rows on either side, and each row is
/// compared with all rows of other people on the other side.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    /// Rows of each person on one side.
    left: Vec<f64>,
    /// Rows of each person on the other; `None` where both sides are the same rows, each pair of
    /// which is compared once.
    right: Option<Vec<f64>>,
}

/// A comparison of two people and what it gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// One person, by number.
    pub a: u32,
    /// The other.
    pub b: u32,
    /// Their similarity.
    pub similarity: f32,
}

impl Design {
    /// All photographs with all others; `photographs` of each person.
    pub fn all(photographs: &[u32]) -> Self {
        Self { left: photographs.iter().map(|m| f64::from(*m)).collect(), right: None }
    }

    /// All templates with all tracks, as many of each person.
    pub fn cross(templates: &[u32], tracks: &[u32]) -> Self {
        let of = |counts: &[u32]| counts.iter().map(|m| f64::from(*m)).collect();
        Self { left: of(templates), right: Some(of(tracks)) }
    }

    /// Numbers of people, those without any row included.
    pub fn numbers(&self) -> usize {
        self.left.len()
    }

    /// People with a row on either side.
    pub fn people(&self) -> usize {
        let right = |p: usize| self.right.as_ref().is_some_and(|r| r[p] > 0.0);
        (0..self.left.len()).filter(|p| self.left[*p] > 0.0 || right(*p)).count()
    }

    /// The same with each person's rows counted `weights` times.
    pub fn weighted(&self, weights: &[f64]) -> Self {
        let times = |rows: &[f64]| rows.iter().zip(weights).map(|(m, w)| m * w).collect();
        Self { left: times(&self.left), right: self.right.as_deref().map(times) }
    }

    /// Comparisons of two different people.
    pub fn comparisons(&self) -> f64 {
        let sum = |rows: &[f64]| rows.iter().sum::<f64>();
        match &self.right {
            None => (sum(&self.left).powi(2) - self.left.iter().map(|m| m * m).sum::<f64>()) / 2.0,
            Some(right) => {
                let own: f64 = self.left.iter().zip(right).map(|(t, r)| t * r).sum();
                sum(&self.left) * sum(right) - own
            }
        }
    }

    /// Comparisons of one pair.
    fn of_pair(&self, a: u32, b: u32) -> f64 {
        let (a, b) = (a as usize, b as usize);
        match &self.right {
            None => self.left[a] * self.left[b],
            Some(right) => self.left[a] * right[b] + self.left[b] * right[a],
        }
    }

    /// Comparisons in which each person takes part.
    fn of_people(&self) -> Vec<f64> {
        let sum: f64 = self.left.iter().sum();
        match &self.right {
            None => self.left.iter().map(|m| m * (sum - m)).collect(),
            Some(right) => {
                let others: f64 = right.iter().sum();
                let both = self.left.iter().zip(right);
                both.map(|(t, r)| t * (others - r) + r * (sum - t)).collect()
            }
        }
    }

    /// Sum over pairs of their comparisons squared.
    fn pair_squares(&self) -> f64 {
        let power = |rows: &[f64], by: i32| rows.iter().map(|m| m.powi(by)).sum::<f64>();
        match &self.right {
            None => (power(&self.left, 2).powi(2) - power(&self.left, 4)) / 2.0,
            Some(right) => {
                let both = || self.left.iter().zip(right);
                let own: f64 = both().map(|(t, r)| (t * r).powi(2)).sum();
                let crossed: f64 = both().map(|(t, r)| t * r).sum();
                power(&self.left, 2) * power(right, 2) - own + crossed.powi(2) - own
            }
        }
    }

    /// Variance of the number of `matches` over that of independent comparisons, at least 1.
    /// Matches of people without rows must not be among them.
    pub fn design_effect<'a>(&self, matches: impl IntoIterator<Item = &'a Scored>) -> f64 {
        let mut by_person = vec![0.0f64; self.left.len()];
        let mut pairs: BTreeMap<(u32, u32), f64> = BTreeMap::new();
        let mut x = 0.0;
        for m in matches {
            by_person[m.a as usize] += 1.0;
            by_person[m.b as usize] += 1.0;
            *pairs.entry((m.a.min(m.b), m.a.max(m.b))).or_default() += 1.0;
            x += 1.0;
        }
        let n = self.comparisons();
        let p = x / n;
        if !(p > 0.0 && p < 1.0) {
            return 1.0;
        }
        let made = self.of_people();
        let residuals: f64 = by_person.iter().zip(&made).map(|(x, n)| (x - p * n).powi(2)).sum();
        // A pair's own term is in the sums of both its people.
        let own: f64 =
            pairs.iter().map(|((a, b), x)| x * x - 2.0 * p * x * self.of_pair(*a, *b)).sum::<f64>()
                + p * p * self.pair_squares();
        ((residuals - own) / (n * p * (1.0 - p))).max(1.0)
    }
}

/// What was counted at one threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CountedAt {
    /// Similarity from which a comparison matches.
    pub threshold: f64,
    /// Comparisons that do.
    pub matches: u64,
    /// Different pairs of people among them.
    pub pairs_of_people: u64,
    /// All comparisons.
    pub comparisons: f64,
    /// Variance over that of independent comparisons. Of fewer than ten pairs it cannot be
    /// measured: there, at least that of the strictest threshold that has ten.
    pub design_effect: f64,
}

impl CountedAt {
    /// One-sided 95 % upper bound of the rate.
    pub fn upper(&self) -> f64 {
        upper_bound(self.matches as f64, self.comparisons, self.design_effect)
    }

    /// One-sided 95 % lower bound of the rate.
    pub fn lower(&self) -> f64 {
        lower_bound(self.matches as f64, self.comparisons, self.design_effect)
    }
}

/// Counts `scored` at each of `thresholds`, which rise.
pub fn count(design: &Design, scored: &[Scored], thresholds: &[f64]) -> Vec<CountedAt> {
    let comparisons = design.comparisons();
    let (mut largest, mut strictest) = (1.0f64, None);
    thresholds
        .iter()
        .map(|threshold| {
            let at = *threshold as f32;
            let matching: Vec<&Scored> = scored.iter().filter(|s| s.similarity >= at).collect();
            let mut pairs: Vec<(u32, u32)> =
                matching.iter().map(|m| (m.a.min(m.b), m.a.max(m.b))).collect();
            pairs.sort_unstable();
            pairs.dedup();
            let own = design.design_effect(matching.iter().copied());
            largest = largest.max(own);
            if pairs.len() >= MEASURABLE {
                strictest = Some(own);
            }
            let design_effect =
                if pairs.len() >= MEASURABLE { own } else { own.max(strictest.unwrap_or(largest)) };
            CountedAt {
                threshold: *threshold,
                matches: matching.len() as u64,
                pairs_of_people: pairs.len() as u64,
                comparisons,
                design_effect,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_person_drawn_twice_is_not_compared_with_themselves() {
        let design = Design::all(&[1, 1, 1]);
        assert_eq!((design.comparisons(), design.people()), (3.0, 3));
        // The first twice, the second once, the third not at all: two comparisons, not three.
        let drawn = design.weighted(&[2.0, 1.0, 0.0]);
        assert_eq!((drawn.comparisons(), drawn.people()), (2.0, 2));
        let cross = Design::cross(&[1, 1, 0], &[1, 0, 1]);
        // (0,2), (1,0), (1,2): the first one's template never meets their own track.
        assert_eq!(cross.comparisons(), 3.0);
    }

    #[test]
    fn zero_matches_keep_the_design_effect_of_what_could_be_measured() {
        let design = Design::all(&[1; 200]);
        // One person resembles twenty others.
        let scored: Vec<Scored> = (1..=20).map(|b| Scored { a: 0, b, similarity: 0.4 }).collect();
        let counted = count(&design, &scored, &[0.3, 0.5]);
        assert!(counted[0].design_effect > 8.0, "{counted:?}");
        assert_eq!((counted[1].matches, counted[1].design_effect), (0, counted[0].design_effect));
        assert!(counted[1].upper() > 8.0 * 3.0 / design.comparisons());
        assert_eq!(counted[1].lower(), 0.0);
        assert!(counted[0].lower() < 20.0 / design.comparisons());
    }

    /// Sum over all pairs of pairs that share a person, without the shortcut.
    fn by_definition(design: &Design, scored: &[Scored]) -> f64 {
        let people = design.numbers() as u32;
        let n = design.comparisons();
        let p = scored.len() as f64 / n;
        let pairs: Vec<(u32, u32, f64)> = (0..people)
            .flat_map(|a| (a + 1..people).map(move |b| (a, b)))
            .map(|(a, b)| {
                let x = scored.iter().filter(|s| (s.a.min(s.b), s.a.max(s.b)) == (a, b)).count();
                (a, b, x as f64 - p * design.of_pair(a, b))
            })
            .collect();
        let mut variance = 0.0;
        for x in &pairs {
            for y in &pairs {
                let shares = x.0 == y.0 || x.0 == y.1 || x.1 == y.0 || x.1 == y.1;
                variance += if shares { x.2 * y.2 } else { 0.0 };
            }
        }
        (variance / (n * p * (1.0 - p))).max(1.0)
    }

    proptest! {
        #[test]
        fn the_design_effect_is_the_dyadic_variance_by_its_definition(
            rows in prop::collection::vec((1u32..3, 0u32..3), 4..9), crossed: bool,
            ends in prop::collection::vec((0usize..9, 0usize..9), 1..8),
        ) {
            let left: Vec<u32> = rows.iter().map(|r| r.0).collect();
            let right: Vec<u32> = rows.iter().map(|r| r.1).collect();
            let design = if crossed { Design::cross(&left, &right) } else { Design::all(&left) };
            let people = rows.len();
            let mut scored: Vec<Scored> = Vec::new();
            for (a, b) in ends {
                let (a, b) = ((a % people) as u32, (b % people) as u32);
                let pair = (a.min(b), a.max(b));
                let so_far =
                    scored.iter().filter(|s| (s.a.min(s.b), s.a.max(s.b)) == pair).count();
                if a != b && (so_far as f64) < design.of_pair(a, b) {
                    scored.push(Scored { a, b, similarity: 0.5 });
                }
            }
            prop_assume!(!scored.is_empty() && (scored.len() as f64) < design.comparisons());
            let (got, want) = (design.design_effect(&scored), by_definition(&design, &scored));
            prop_assert!((got - want).abs() < 1e-6 * want, "{got} {want}");
        }
    }
}
