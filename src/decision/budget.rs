//! The threshold that a false-alert budget pays for.
//!
//! An operator states how many faces pass a day and how many false alerts a day are tolerable. Each
//! passing face is compared with every template of the list, so at threshold t the expected false
//! alerts a day are at most
//!
//! ```text
//! faces a day x templates x FMR(t) x safety factor
//! ```
//!
//! (the union bound over templates; that a track has several views does not raise it, see
//! [`super::candidate`]). FMR(t) is the *upper* confidence bound of the embedder's measured
//! false-match curve, and the safety factor covers its worst-served group as measured. The derived
//! threshold is the lowest measured one whose product stays within the budget. Nothing is
//! extrapolated: where even the last measured point is too much, the list is refused with the
//! arithmetic and the largest list that would fit.

use serde::Serialize;

/// One measured point of the false-match curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Cosine similarity at and above which a comparison counts as a match.
    pub threshold: f32,
    /// Upper 95 % confidence bound of the false-match rate at that threshold.
    pub fmr_upper: f64,
}

/// An embedder's false-match behaviour as measured: thresholds rising, rates falling.
#[derive(Debug, Clone, PartialEq)]
pub struct FalseMatchCurve {
    points: Vec<CurvePoint>,
    safety_factor: f64,
}

/// Why a curve cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum CurveError {
    /// No points.
    #[error(
        "the false-match curve is empty: measure one with `watchpost evaluate curve` and put it \
         into the manifest"
    )]
    Empty,
    /// Not a number, out of range, or out of order.
    #[error(
        "point {index} of the false-match curve (threshold {threshold}, rate {rate}) is out of \
         range or out of order: thresholds must rise from point to point, rates lie in (0, 1] and \
         never rise"
    )]
    Point {
        /// Place in the table, from 0.
        index: usize,
        /// As found.
        threshold: f32,
        /// As found.
        rate: f64,
    },
    /// Less than one or not a number.
    #[error("the safety factor {0} must be 1 or more")]
    SafetyFactor(f64),
}

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
    /// Similarity from which a view supports an entry.
    pub threshold: f32,
    /// Expected rate of false alerts a passing face (upper bound).
    pub false_positive_rate: f64,
    /// Expected false alerts a day (upper bound).
    pub false_alerts_a_day: f64,
}

/// The budget cannot be met with what was measured.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error(
    "the budget cannot be met: {faces_a_day} faces a day x {templates} templates x false-match \
     rate {fmr:.2e} x safety factor {safety_factor} gives {expected:.3} false alerts a day at the \
     strictest threshold measured ({threshold:.2}), but the list allows {allowed}. {}",
    remedy(*.largest)
)]
pub struct OverBudget {
    faces_a_day: f64,
    templates: usize,
    fmr: f64,
    safety_factor: f64,
    expected: f64,
    threshold: f32,
    allowed: f64,
    /// Most templates a list may have for this budget.
    pub largest: usize,
}

fn remedy(largest: usize) -> String {
    match largest {
        0 => "Not even one template fits: have a larger budget authorised, or watch a place where \
            fewer faces pass"
            .into(),
        n => {
            format!(
                "The largest list that fits has {n} templates: remove entries, or have a \
                larger budget authorised"
            )
        }
    }
}

impl FalseMatchCurve {
    /// A curve from its measured points, thresholds rising.
    ///
    /// # Errors
    /// [`CurveError`] names the first point that cannot be.
    pub fn new(points: Vec<CurvePoint>, safety_factor: f64) -> Result<Self, CurveError> {
        if !(safety_factor >= 1.0 && safety_factor.is_finite()) {
            return Err(CurveError::SafetyFactor(safety_factor));
        }
        if points.is_empty() {
            return Err(CurveError::Empty);
        }
        for (index, p) in points.iter().enumerate() {
            let in_range =
                (-1.0..=1.0).contains(&p.threshold) && p.fmr_upper > 0.0 && p.fmr_upper <= 1.0;
            let in_order = index == 0
                || (points[index - 1].threshold < p.threshold
                    && points[index - 1].fmr_upper >= p.fmr_upper);
            if !(in_range && in_order) {
                return Err(CurveError::Point { index, threshold: p.threshold, rate: p.fmr_upper });
            }
        }
        Ok(Self { points, safety_factor })
    }

    /// The last measured point: no stricter threshold can be derived.
    pub fn strictest(&self) -> CurvePoint {
        *self.points.last().expect("a curve has at least one point")
    }

    /// What every measured rate is multiplied by for the worst-served group.
    pub fn safety_factor(&self) -> f64 {
        self.safety_factor
    }

    /// Most templates that stay within `budget` at the strictest measured threshold.
    pub fn largest(&self, budget: Budget) -> usize {
        (budget.false_alerts_a_day
            / (budget.faces_a_day * self.strictest().fmr_upper * self.safety_factor))
            as usize
    }

    /// Upper bound of the false-match rate at similarity `score`, the safety factor included: the
    /// rate of the highest measured threshold not above it. `None` below the first measured
    /// threshold.
    pub fn rate_at(&self, score: f32) -> Option<f64> {
        let at = self.points.partition_point(|p| p.threshold <= score);
        (at > 0).then(|| (self.points[at - 1].fmr_upper * self.safety_factor).min(1.0))
    }

    /// Upper bound of the rate at which a stranger's face reaches `score` against the best of
    /// `templates` templates.
    pub fn false_positive_rate(&self, score: f32, templates: usize) -> Option<f64> {
        self.rate_at(score).map(|r| (r * templates as f64).min(1.0))
    }

    /// The lowest measured threshold at which a list of `templates` templates stays within
    /// `budget`.
    ///
    /// # Errors
    /// [`OverBudget`], where no measured threshold does.
    pub fn plan(&self, budget: Budget, templates: usize) -> Result<Plan, OverBudget> {
        let per_face =
            |p: &CurvePoint| (p.fmr_upper * self.safety_factor * templates as f64).min(1.0);
        if let Some(p) = self
            .points
            .iter()
            .find(|p| budget.faces_a_day * per_face(p) <= budget.false_alerts_a_day)
        {
            let false_positive_rate = per_face(p);
            return Ok(Plan {
                threshold: p.threshold,
                false_positive_rate,
                false_alerts_a_day: budget.faces_a_day * false_positive_rate,
            });
        }
        let last = self.strictest();
        Err(OverBudget {
            faces_a_day: budget.faces_a_day,
            templates,
            fmr: last.fmr_upper,
            safety_factor: self.safety_factor,
            expected: budget.faces_a_day * per_face(&last),
            threshold: last.threshold,
            allowed: budget.false_alerts_a_day,
            largest: self.largest(budget),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn curve() -> FalseMatchCurve {
        let points = [(0.2, 1e-2), (0.3, 1e-3), (0.4, 1e-4), (0.5, 1e-5), (0.6, 1e-6)];
        FalseMatchCurve::new(
            points.map(|(threshold, fmr_upper)| CurvePoint { threshold, fmr_upper }).to_vec(),
            4.0,
        )
        .expect("rising thresholds")
    }

    #[test]
    fn the_threshold_is_the_lowest_measured_one_within_the_budget() {
        let budget = Budget { faces_a_day: 1000.0, false_alerts_a_day: 0.5 };
        // 1000 faces x 10 templates x 1e-5 x 4 = 0.4; at .4 it would be 4.
        let plan = curve().plan(budget, 10).expect("fits");
        assert_eq!(plan.threshold, 0.5);
        assert!((plan.false_alerts_a_day - 0.4).abs() < 1e-9);
    }

    #[test]
    fn a_budget_that_no_measured_threshold_meets_is_refused_with_the_largest_list_that_fits() {
        let budget = Budget { faces_a_day: 50_000.0, false_alerts_a_day: 1.0 };
        let refused = curve().plan(budget, 1000).expect_err("50,000 x 1,000 x 4e-6 = 200 a day");
        assert_eq!(refused.largest, 5);
        assert!(refused.to_string().contains("200.000 false alerts a day"), "{refused}");
        assert!(curve().plan(budget, 5).is_ok() && curve().plan(budget, 6).is_err());
    }

    #[test]
    fn a_rate_below_the_first_measured_threshold_is_not_known() {
        assert_eq!(curve().rate_at(0.19), None);
        assert_eq!(curve().rate_at(0.2), Some(4e-2), "a threshold is reached by what equals it");
        assert_eq!(curve().rate_at(0.45), Some(4e-4));
        assert_eq!(curve().rate_at(0.99), Some(4e-6));
    }

    #[test]
    fn a_curve_out_of_order_is_refused() {
        let p = |threshold, fmr_upper| CurvePoint { threshold, fmr_upper };
        assert!(matches!(
            FalseMatchCurve::new(vec![p(0.3, 1e-3), p(0.2, 1e-4)], 1.0),
            Err(CurveError::Point { index: 1, .. })
        ));
        assert!(FalseMatchCurve::new(vec![p(0.3, 1e-3), p(0.4, 1e-2)], 1.0).is_err());
        assert!(FalseMatchCurve::new(vec![p(0.3, 0.0)], 1.0).is_err());
        assert!(FalseMatchCurve::new(vec![p(f32::NAN, 0.1)], 1.0).is_err());
        assert_eq!(FalseMatchCurve::new(vec![], 1.0), Err(CurveError::Empty));
        assert!(FalseMatchCurve::new(vec![p(0.3, 0.1)], 0.5).is_err());
    }

    proptest! {
        #[test]
        fn a_plan_never_exceeds_its_budget_and_a_longer_list_never_gets_a_lower_threshold(
            faces in 1.0f64..1e6, alerts in 1e-3f64..1e3, n in 1usize..5000,
        ) {
            let budget = Budget { faces_a_day: faces, false_alerts_a_day: alerts };
            if let Ok(plan) = curve().plan(budget, n) {
                prop_assert!(plan.false_alerts_a_day <= alerts);
                if let Ok(longer) = curve().plan(budget, n + 1) {
                    prop_assert!(longer.threshold >= plan.threshold);
                }
            }
        }
    }
}
