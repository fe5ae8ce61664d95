//! What the device says to a desk of the controls that the desk registers.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

#[cfg(test)]
use super::contract;
use super::{EventData, EventId};

/// The answer to each registration of a control, and its end. For the desk alone: whoever reads it
/// knows which pairs are no candidates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ControlAnswer {
    /// The control: the `candidate` of the event that reviewers are shown.
    pub control: EventId,
    /// How it stands.
    pub state: ControlStage,
    /// From then on it cannot be judged any more; absent where it is over or refused.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    #[cfg_attr(test, schemars(with = "Option<contract::Date>"))]
    pub until: Option<OffsetDateTime>,
    /// Why it is refused, for people; absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What was said of it, sealed to the desk (`control.cddl`), in base64. Absent before the end,
    /// where fewer than two people have judged it, and where it was withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<String>,
}

/// How a control stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ControlStage {
    /// The device knows it, and counts verdicts on it.
    Known,
    /// Enough people have judged it.
    Judged,
    /// Its time was over.
    TimeOver,
    /// Its list or its entry was revoked.
    Withdrawn,
    /// The device does not take it: it must not be shown.
    Refused,
}

impl EventData for ControlAnswer {
    const TYPE: &'static str = "org.watchpost.control-answer.v1";
    const SCHEMA: &'static str = "urn:watchpost:schema:control-answer:v2";
}
