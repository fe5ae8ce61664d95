//! The rule by which a silent list may come into force, signed with the silent list itself.
//!
//! * It says what the device's own counts must show first: days, faces, entries that are covered.
//!   Nothing comes into force by itself: people sign the next version, with the site record, and
//!   the device holds that against the rule.
//! * A device that has had the rule keeps it: a version that leaves it out or is in force under
//!   another one is refused, and a silent version with another rule begins its days anew.
//! * What the counts showed is judged in [`crate::calibrate::promotion`].
//!
//! Why, is in `decisions/005-promotion-by-a-rule.md`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::reference::Reference;

/// Days that a rule may ask for; fewer make no site record, more outlast a set of decoys.
pub const RULE_DAYS: std::ops::RangeInclusive<u16> = 7..=92;
/// Fewest faces that a rule may ask for: what makes a day of a calibration, on each of seven.
pub const RULE_FACES: u32 = 7_000;

/// What must have been counted before a silent list may come into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromotionRule {
    /// Fewest days with as many faces as the decoys' signers asked for; of [`RULE_DAYS`].
    pub days: u16,
    /// Fewest faces on these days together; at least [`RULE_FACES`].
    pub faces: u32,
    /// Least share of the counted entries that the site record covers, 1 to 1000 thousandths.
    pub covered: u16,
}

impl PromotionRule {
    /// The first number outside its range, and what is allowed.
    pub(super) fn fault(&self) -> Option<[&'static str; 2]> {
        let Self { days, faces, covered } = self;
        if !RULE_DAYS.contains(days) {
            return Some(["days before promotion", "write 7 to 92"]);
        }
        if *faces < RULE_FACES {
            return Some(["faces before promotion", "write at least 7000"]);
        }
        let share = ["covered before promotion", "write a share above 0, at most 1"];
        (!(1..=1000).contains(covered)).then_some(share)
    }
}

impl fmt::Display for PromotionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { days, faces, covered } = self;
        let share = f64::from(*covered) / 10.0;
        write!(
            f,
            "in force only after {days} days and {faces} faces that were counted against decoys, \
             with {share} % of the counted entries covered"
        )
    }
}

/// Why a version of a list does not follow one under a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleBroken {
    /// The version before had a rule, and this one has none.
    #[error(
        "the list {0} was silent under a rule for coming into force, and this version leaves the \
         rule out; sign the version with the rule: `watchpost watchlist revise` keeps it"
    )]
    LeftOut(Reference),
    /// In force under another rule than the silent version's.
    #[error(
        "the list {0} is to come into force under another rule than it was silent under; sign the \
         version with the rule as it was, or begin another silent stage"
    )]
    Changed(Reference),
    /// In force under a rule, and this device has never had it silent.
    #[error(
        "the list {0} may come into force only after it was silent here, and this device has not \
         had it silent; install its silent version first"
    )]
    NeverSilent(Reference),
}
