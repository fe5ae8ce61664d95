//! From similarities to a candidate: whether matching is allowed now, at what threshold, and on
//! what evidence.
//!
//! * [`curve`] is how often a stranger's track reaches a similarity, for the worst of all groups.
//! * [`rates`] are those of one list, with what was measured at its place.
//! * [`budget`] is what a list's signers authorised; with the curve it gives the threshold. There
//!   is no way to set a lower one by hand.
//! * [`promise`] is all that these rest on, to be held against what was signed.
//! * [`policy`] says whether the list may be used at this moment, and if not, why.
//! * [`watchdog`] holds what reviewers found false against what was announced.
//! * [`probe`] is the running mean of a track's views; [`candidate`] turns it into one candidate.
//!
//! All are pure: the clock, the list and the views are passed in; nothing is stored beyond a
//! track's life but the times at which listed entries were last announced.

mod best_two;
pub mod budget;
pub mod candidate;
pub mod curve;
pub mod policy;
pub(crate) mod probe;
pub mod promise;
pub mod rates;
pub(crate) mod traffic;
pub(crate) mod watchdog;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// `[decision]`: how much evidence makes a candidate. The threshold is not here: it follows from
/// the list's budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionConfig {
    /// Views of one track from which it is decided. 4 to 8: the false-match curve is of four or
    /// more.
    pub views: u32,
    /// Views of one track from which it is decided where it ends early or `patience_ms` have
    /// passed. 2 to `views`.
    pub least_views: u32,
    /// Milliseconds after its first view from which a track of fewer views is decided. 1500 to
    /// 60000.
    pub patience_ms: u64,
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
            views: 4,
            least_views: 2,
            patience_ms: 1500,
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
            (4..=8).contains(&self.views),
            "views",
            self.views.to_string(),
            "write a whole number from 4 to 8",
        );
        check(
            (2..=self.views.max(2)).contains(&self.least_views),
            "least_views",
            self.least_views.to_string(),
            concat!("write a whole number from 2 to ", setting!(decision.views)),
        );
        check(
            (1500..=60_000).contains(&self.patience_ms),
            "patience_ms",
            self.patience_ms.to_string(),
            "write a whole number of milliseconds from 1500 to 60000",
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
