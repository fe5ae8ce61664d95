//! From similarities to a candidate: whether matching is allowed now, at what threshold, and on
//! what evidence.
//!
//! * [`budget`] derives the threshold from the list's authorised false-alert budget and the
//!   embedder's measured false-match curve. There is no way to set a lower one by hand.
//! * [`policy`] says whether the list may be used at this moment, and if not, why.
//! * [`candidate`] collects the evidence of one track and turns N of M agreeing views into one
//!   candidate.
//!
//! All three are pure: the clock, the list and the views are passed in; nothing is stored beyond a
//! track's life but the times at which listed entries were last announced.

pub(crate) mod budget;
pub mod candidate;
pub mod policy;
pub mod promise;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// `[decision]`: how much evidence makes a candidate. The threshold is not here: it follows from
/// the list's budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionConfig {
    /// Views of one track that must agree on an entry (N of N of M). 1 to 8.
    pub agreeing_views: usize,
    /// Latest compared views of the track among which they are counted (M of N of M).
    /// `agreeing_views` to 16.
    pub considered_views: usize,
    /// Accept only similarities of at least this, where it is stricter than the derived threshold.
    /// 0 to 1; 0 leaves the derived threshold as it is. A value below the derived threshold has no
    /// effect.
    pub stricter_threshold: f32,
    /// Entries whose similarity lies within this of the best one are named as alternatives: the
    /// candidate cannot tell them apart. 0 to 0.5.
    pub ambiguity_margin: f32,
    /// A better view must beat the announced similarity by this much to be worth the one update. 0
    /// to 1.
    pub update_margin: f32,
    /// The update is sent when the track ends, at the latest this many seconds after the candidate.
    /// 1 to 3600.
    pub update_after_s: u64,
    /// After a candidate, the same entry is not announced again by this camera for so many seconds.
    /// 0 to 86400.
    pub cool_down_s: u64,
}

impl Default for DecisionConfig {
    fn default() -> Self {
        Self {
            agreeing_views: 2,
            considered_views: 5,
            stricter_threshold: 0.0,
            ambiguity_margin: 0.03,
            update_margin: 0.05,
            update_after_s: 10,
            cool_down_s: 60,
        }
    }
}

impl DecisionConfig {
    /// Adds what is wrong with the section to `out`.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        let mut check = |ok: bool, key: &str, value: String, remedy: &str| {
            if !ok {
                out.push(Problem { key: format!("decision.{key}"), value, remedy: remedy.into() });
            }
        };
        check(
            (1..=candidate::MAX_AGREEING).contains(&self.agreeing_views),
            "agreeing_views",
            self.agreeing_views.to_string(),
            "write a whole number from 1 to 8",
        );
        check(
            (self.agreeing_views..=candidate::MAX_CONSIDERED).contains(&self.considered_views),
            "considered_views",
            self.considered_views.to_string(),
            "write a whole number from agreeing_views to 16",
        );
        for (key, value, most) in [
            ("stricter_threshold", self.stricter_threshold, 1.0),
            ("ambiguity_margin", self.ambiguity_margin, 0.5),
            ("update_margin", self.update_margin, 1.0),
        ] {
            check(
                (0.0..=most).contains(&value),
                key,
                value.to_string(),
                &format!("write a similarity from 0 to {most}"),
            );
        }
        check(
            (1..=3600).contains(&self.update_after_s),
            "update_after_s",
            self.update_after_s.to_string(),
            "write a whole number of seconds from 1 to 3600",
        );
        check(
            self.cool_down_s <= 86_400,
            "cool_down_s",
            self.cool_down_s.to_string(),
            "write a whole number of seconds from 0 to 86400",
        );
    }
}
