//! What a device says of its list and of what was last ordered about it.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::ListInForce;
#[cfg(test)]
use super::contract;

/// Which list is in force and what was last ordered about it. Never an entry's reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListState {
    /// The list in force; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListInForce>,
    /// SHA-256 of its signed content, lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{64}$")))]
    pub digest: Option<String>,
    /// Entries that can still be matched.
    pub entries: u64,
    /// Why there is none, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The device's memory of lists, orders and keys; absent before it has seen the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryAge>,
    /// What the last message about lists did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change: Option<ListChange>,
    /// Passers-by are counted against decoys beside matching, and who allowed it; absent where they
    /// are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrating: Option<Calibrating>,
}

/// A calibration that goes on: announced, because it is biometric processing of everybody who
/// passes. Nothing of what was counted is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Calibrating {
    /// How many.
    pub decoys: u64,
    /// Days with enough faces that are over.
    pub days_done: u64,
    /// After so many counting ends.
    pub days: u64,
    /// Who allowed it.
    pub authority: String,
    /// The file number of the decision.
    pub decision: String,
}

/// How old a device's memory is. One that begins anew, or has fewer changes than before, was lost
/// or put back from a copy: what was revoked may match again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MemoryAge {
    /// When it began, UTC.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(test, schemars(with = "contract::Date"))]
    pub since: OffsetDateTime,
    /// How often lists, orders and keys in it have changed; only grows.
    pub changes: u64,
}

/// What became of an order, an offer or a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The list in force may not be matched any more.
    ListRevoked,
    /// One entry may not be matched any more.
    EntryRevoked,
    /// Matching is suspended for a time.
    Suspended,
    /// A genuine order came too late: the time that it suspends was over.
    OrderRefused,
    /// A genuine order is for other devices or another area.
    NotConcerned,
    /// An offered list came into force.
    Installed,
    /// A rotation of the pinned keys was followed.
    KeysRotated,
    /// The files were read again, and their list is in force.
    Reloaded,
    /// The files were read again, and nobody is matched.
    ReloadRefused,
    /// An offer was refused.
    Refused,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What an order or an offer did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListChange {
    /// `list-revoked`, `entry-revoked`, `suspended`, `order-refused`, `not-concerned`, `installed`,
    /// `keys-rotated`, `reloaded`, `reload-refused` or `refused`.
    // The schema promises any word: more kinds of change may come within `v1`.
    #[cfg_attr(test, schemars(with = "String"))]
    pub what: Change,
    /// The order's id, or why an offer was refused.
    pub detail: String,
    /// When it took effect, UTC.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(test, schemars(with = "contract::Date"))]
    pub at: OffsetDateTime,
}
