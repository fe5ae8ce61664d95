//! Shares with every person counted alike; false non-matches are one.
//!
//! A person with many photographs has their number squared in pairs: over all pairs, a few people
//! of whom there are hundreds of photographs decide. Here each person has one share of missed
//! pairs, and the rate is the mean of these shares.
//!
//! The interval is the exact one of `rate x people` of `people` trials. A share lies between 0 and
//! 1, so its variance is at most that of a yes or no of the same mean: the interval is wide enough.

use serde::Serialize;

use super::interval::clopper_pearson;

/// The mean of one share a person.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeopleAlike {
    /// How many.
    pub people: u64,
    /// Mean of their shares; `None` without people.
    pub share: Option<f64>,
    /// Lower end of its 95 % interval.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

impl PeopleAlike {
    /// Of `shares` from 0 to 1, one a person.
    pub fn of(shares: impl IntoIterator<Item = f64>) -> Self {
        let (people, sum) =
            shares.into_iter().fold((0u64, 0.0), |(people, sum), share| (people + 1, sum + share));
        let (lower, upper) = clopper_pearson(sum, people as f64);
        Self { people, share: (people > 0).then(|| sum / people as f64), lower, upper }
    }
}

/// A share of misses, people counted alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PeopleRate {
    /// People with two photographs or more.
    pub people: u64,
    /// Their comparisons.
    pub comparisons: u64,
    /// Comparisons below the threshold.
    pub missed: u64,
    /// Mean over people of the share of their comparisons below the threshold; `None` without
    /// people.
    pub rate: Option<f64>,
    /// Lower end of its 95 % interval.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// Similarities between photographs of one person, person by person.
#[derive(Debug, Clone, Default)]
pub struct GenuineScores {
    /// Rising; people with a single photograph are not here.
    by_person: Vec<Vec<f32>>,
}

impl GenuineScores {
    /// Takes the similarities of each person. People without any are passed over.
    pub fn new(by_person: impl IntoIterator<Item = Vec<f32>>) -> Self {
        let mut by_person: Vec<Vec<f32>> =
            by_person.into_iter().filter(|s| !s.is_empty()).collect();
        by_person.iter_mut().for_each(|s| s.sort_unstable_by(f32::total_cmp));
        Self { by_person }
    }

    /// The share missed at `threshold`.
    pub fn missed(&self, threshold: f64) -> PeopleRate {
        let (mut missed, mut comparisons) = (0, 0);
        let shares = self.by_person.iter().map(|scores| {
            let below = scores.partition_point(|s| *s < threshold as f32);
            missed += below as u64;
            comparisons += scores.len() as u64;
            below as f64 / scores.len() as f64
        });
        let PeopleAlike { people, share, lower, upper } = PeopleAlike::of(shares);
        PeopleRate { people, comparisons, missed, rate: share, lower, upper }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_with_many_photographs_weighs_as_much_as_one_with_two() {
        // 435 pairs of one person match, the only pair of another does not.
        let scores = GenuineScores::new([vec![0.9; 435], vec![0.2], Vec::new()]);
        let m = scores.missed(0.5);
        assert_eq!((m.people, m.comparisons, m.missed, m.rate), (2, 436, 1, Some(0.5)));
        assert!(m.lower < 0.05 && m.upper > 0.95, "two people say little: {m:?}");
    }

    #[test]
    fn nobody_missed_has_the_bound_of_that_many_people() {
        let m = GenuineScores::new(vec![vec![0.9, 0.8]; 73]).missed(0.8);
        // 1 - .025^(1/73).
        assert!(m.rate == Some(0.0) && (m.upper - 0.0493).abs() < 1e-3, "{m:?}");
    }

    #[test]
    fn without_people_nothing_is_known() {
        let m = GenuineScores::default().missed(0.5);
        assert_eq!((m.rate, m.lower, m.upper), (None, 0.0, 1.0));
    }
}
