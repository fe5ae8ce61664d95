//! Pure statistics of biometric tests: counts in, rates with intervals out. Nothing here reads
//! files or clocks.
//!
//! * [`interval`]: exact binomial intervals and the [`interval::Rate`] that carries one.
//! * [`scores`]: genuine and impostor similarities as lists: DET curve, operating points, accuracy
//!   over folds.
//! * [`tally`]: the same from counts by similarity, for sets of many millions of comparisons.
//! * The bounds of a rare rate, zero events included, are in [`crate::poisson`].
//! * [`dyadic`]: comparisons between people, with the design effect of their bunching.
//! * [`tail`]: what lies beyond the counts, extrapolated.
//! * [`misses`]: false non-matches with every person counted alike.
//! * [`differentials`]: how unequal a rate is between groups (ISO/IEC 19795-10).
//!
//! A comparison matches where its similarity is *at or above* the threshold, throughout.

pub(crate) mod differentials;
pub(crate) mod dyadic;
pub mod interval;
pub(crate) mod misses;
pub(crate) mod scores;
pub(crate) mod tail;
pub(crate) mod tally;
