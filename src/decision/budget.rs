//! What an operator can live with, and what it comes to.
//!
//! An operator states how many faces pass a day and how many false alerts a day are tolerable. Each
//! passing face, one track, is compared with every entry of the list, so at threshold t the
//! expected false alerts a day are at most
//!
//! ```text
//! faces a day x entries x promise(t)
//! ```
//!
//! (the union bound over entries; promise(t) is of [`PromiseCurve`](super::curve::PromiseCurve),
//! for the worst group, for the whole track). The derived threshold is the lowest one of the curve
//! whose product stays within the budget. Where even the last row is too much, the list is refused
//! with the arithmetic and the largest list that would fit.

use serde::Serialize;

/// What the operator can live with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Faces that pass the camera a day.
    pub faces_a_day: f64,
    /// Tolerable false alerts a day.
    pub false_alerts_a_day: f64,
}

/// A threshold with the arithmetic that led to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Plan {
    /// Similarity from which a track is a candidate for an entry.
    pub threshold: f32,
    /// Expected rate of false alerts a passing face (upper bound).
    pub false_positive_rate: f64,
    /// Expected false alerts a day (upper bound).
    pub false_alerts_a_day: f64,
    /// Whether that bound lies beyond what was counted, on an extrapolated tail.
    pub extrapolated: bool,
}

/// The budget cannot be met with what was measured.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error(
    "the budget cannot be met: {faces_a_day} faces a day x {entries} entries x false-match rate \
     {rate:.2e} of the worst-served group gives {expected:.3} false alerts a day at the strictest \
     threshold of the curve ({threshold:.2}), but the list allows {allowed}. {}", remedy(*.largest)
)]
pub struct OverBudget {
    pub(super) faces_a_day: f64,
    pub(super) entries: usize,
    pub(super) rate: f64,
    pub(super) expected: f64,
    pub(super) threshold: f32,
    pub(super) allowed: f64,
    /// Most entries a list may have for this budget.
    pub largest: usize,
}

fn remedy(largest: usize) -> String {
    match largest {
        0 => "Not even one entry fits: have a larger budget authorised, or watch a place where \
            fewer faces pass"
            .into(),
        n => format!(
            "The largest list that fits has {n} entries: remove entries, or have a larger budget \
             authorised"
        ),
    }
}
