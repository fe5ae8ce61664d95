//! How often strangers of one group of people are confused, as it was measured for an embedder.
//!
//! * A bound says whether it comes from counts or is extrapolated (`exact_to`).
//! * A curve whose rows are out of order, repeated or no numbers is refused.

use serde::Deserialize;

/// How often two strangers of one group reach a similarity: one photograph against one.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupCurve {
    /// Who they are, in the words of the set's labels.
    pub name: String,
    /// The set of photographs.
    pub source: String,
    /// Different people.
    pub people: u32,
    /// Pairs of two people that were compared.
    pub pairs: u64,
    /// Up to this similarity the bounds come from counts; beyond it they are extrapolated.
    pub exact_to: f32,
    /// Cosine similarity, rising, and the upper 95 % bound of the share of pairs at or above it,
    /// falling.
    pub curve: Vec<(f32, f64)>,
}

impl GroupCurve {
    /// What is wrong with it: a key and what it must be.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let require = |good: bool, key, reason: &str| {
            if good { Ok(()) } else { Err((key, format!("of {:?} {reason}", self.name))) }
        };
        require(!self.name.trim().is_empty(), "embedder.groups.name", "must not be empty")?;
        require(!self.source.trim().is_empty(), "embedder.groups.source", "must not be empty")?;
        require(self.people >= 2, "embedder.groups.people", "must be 2 or more")?;
        require(self.pairs >= 1, "embedder.groups.pairs", "must be 1 or more")?;
        let similarity = |t: f32| (-1.0..=1.0).contains(&t);
        require(similarity(self.exact_to), "embedder.groups.exact_to", "must be a similarity")?;
        require(!self.curve.is_empty(), "embedder.groups.curve", "has no rows")?;
        // Written so that what is not a number is refused.
        let sound = |(t, upper): &(f32, f64)| similarity(*t) && *upper > 0.0 && *upper <= 1.0;
        let ordered = self.curve.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 >= w[1].1);
        require(
            ordered && self.curve.iter().all(sound),
            "embedder.groups.curve",
            "must have rows [similarity, upper bound]: similarities of -1 to 1, each once and \
             rising; bounds above 0, at most 1, that never rise",
        )
    }
}
