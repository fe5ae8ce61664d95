//! What the log says of reviews.

use std::fmt;

use serde::Serialize;

use super::in_hex;
use crate::judgement::{Confidence, Opinion, Outcome};
use crate::watchlist::keys::KeyId;
use crate::watchlist::text::hex;

/// Most verdicts on one candidate.
pub const MAX_VERDICTS: usize = 3;

/// A verdict that counts, before anybody may know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct VerdictRecord {
    /// The candidate that was judged.
    #[serde(serialize_with = "in_hex")]
    pub candidate: [u8; 16],
    /// Who judged it.
    pub reviewer: KeyId,
    /// SHA-256 of the signed verdict, which holds 16 random bytes.
    #[serde(serialize_with = "in_hex")]
    pub commitment: [u8; 32],
}

/// How the review of a candidate ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReviewRecord {
    /// The candidate.
    #[serde(serialize_with = "in_hex")]
    pub candidate: [u8; 16],
    /// How.
    pub outcome: Outcome,
    /// What each said who decided it; nobody where it expired or was withdrawn.
    pub verdicts: Vec<ToldVerdict>,
}

/// What one reviewer said, told after the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ToldVerdict {
    /// Who.
    pub reviewer: KeyId,
    /// What.
    pub opinion: Opinion,
    /// How sure.
    pub confidence: Confidence,
}

impl fmt::Display for VerdictRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let candidate = uuid::Uuid::from_bytes(self.candidate);
        let commitment = hex(&self.commitment);
        write!(f, "verdict on {candidate} by {}, commitment {commitment}", self.reviewer)
    }
}

impl fmt::Display for ReviewRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "review of {} {}", uuid::Uuid::from_bytes(self.candidate), self.outcome)?;
        for v in &self.verdicts {
            write!(f, "; {} says {} ({} confidence)", v.reviewer, v.opinion, v.confidence)?;
        }
        Ok(())
    }
}
