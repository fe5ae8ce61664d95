//! How far the review of a candidate is.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

#[cfg(test)]
use super::contract;
use super::{EventData, EventId};
use crate::judgement::{Confidence, Opinion};

/// What the device says of a candidate's review: after each verdict that reached it, and when it is
/// over. Before two people have decided nothing in it tells what one of them said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReviewState {
    /// The candidate: the `candidate` of its events.
    pub candidate: EventId,
    /// How far it is.
    pub state: ReviewStage,
    /// People who have judged it, as far as their verdicts count.
    #[cfg_attr(test, schemars(range(max = 3)))]
    pub given: u64,
    /// From then on it cannot be judged any more; absent where it is over or unknown.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    #[cfg_attr(test, schemars(with = "Option<contract::Date>"))]
    pub until: Option<OffsetDateTime>,
    /// Whose verdict this answers: first 8 bytes of the SHA-256 of the reviewer's
    /// public key, hexadecimal. Absent where nobody is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewer: Option<String>,
    /// That verdict: SHA-256 of its envelope's bytes, hexadecimal. Absent where nobody is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<String>,
    /// Why that verdict does not count, for people; absent where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What each said, once two people have decided or three have judged. Empty before, and where
    /// the candidate expired, was withdrawn or was a control.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<ReviewVerdict>,
}

/// How far a review is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ReviewStage {
    /// One person more has to judge it, or two.
    Pending,
    /// Two people differ: a third has to judge it.
    ThirdNeeded,
    /// Two people say that it is the same person.
    Confirmed,
    /// Two people say that it is not.
    Refuted,
    /// Two people cannot tell, or no two of three agree.
    Undecided,
    /// Too few people have judged it in its time.
    Expired,
    /// Its list or its entry was revoked.
    Withdrawn,
    /// It was none: a control, a pair whose truth was known. What was said of it follows into
    /// nothing and is not told here.
    Control,
    /// The device knows no such candidate.
    Unknown,
}

/// What one reviewer said, told after the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReviewVerdict {
    /// First 8 bytes of the SHA-256 of the reviewer's public key, hexadecimal.
    pub reviewer: String,
    /// What.
    pub opinion: Opinion,
    /// How sure.
    pub confidence: Confidence,
    /// By the reviewer's clock.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(test, schemars(with = "contract::Date"))]
    pub judged_at: OffsetDateTime,
}

impl EventData for ReviewState {
    const TYPE: &'static str = "org.watchpost.review-state.v1";
    const SCHEMA: &'static str = "urn:watchpost:schema:review-state:v2";
}
