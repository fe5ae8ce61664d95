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

impl Budget {
    /// As an authorisation writes it.
    pub fn of(faces_a_day: u32, false_alerts_a_day: f64) -> Self {
        Self { faces_a_day: f64::from(faces_a_day), false_alerts_a_day }
    }
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
    "the budget cannot be met: {faces_a_day} faces a day x {} gives {expected:.3} false alerts a \
     day at the strictest threshold of the curve ({threshold:.2}), but the list allows {allowed}. \
     {}",
    self.rate_for_people(), self.remedy()
)]
pub struct OverBudget {
    pub(super) faces_a_day: f64,
    pub(super) entries: usize,
    /// Of one entry; of the whole list where some of it are covered.
    pub(super) rate: f64,
    pub(super) expected: f64,
    pub(super) threshold: f32,
    pub(super) allowed: f64,
    /// Most entries a list may have for this budget. Not known where some are covered.
    pub largest: usize,
    /// Entries that were measured at the place.
    pub(super) covered: usize,
}

impl OverBudget {
    /// The least rate of the whole list that any threshold reaches.
    pub fn least_rate(&self) -> f64 {
        self.expected / self.faces_a_day
    }

    /// What the faces are multiplied with.
    fn rate_for_people(&self) -> String {
        let Self { entries, rate, covered, .. } = self;
        if *covered == 0 {
            return format!(
                "{entries} entries x false-match rate {rate:.2e} of the worst-served group"
            );
        }
        format!(
            "rate {rate:.2e} of {entries} entries ({covered} measured at this place, the others by \
             the worst-served group)"
        )
    }

    fn remedy(&self) -> String {
        if self.covered > 0 {
            return "Remove entries that the site record does not cover, calibrate on more days or \
                    with more decoys, or have a larger budget authorised"
                .into();
        }
        match self.largest {
            0 => {
                "Not even one entry fits: have a larger budget authorised, or watch a place where \
                  fewer faces pass"
                    .into()
            }
            n => format!(
                "The largest list that fits has {n} entries: remove entries, or have a larger \
                 budget authorised"
            ),
        }
    }
}
