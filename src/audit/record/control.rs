//! What the log says of controls: pairs that reviewers are shown and that are no candidates.
//!
//! Whoever has a real candidate judged as a control leaves its id and the digest of its bytes here.
//! What reviewers said of a control is not in the log, and neither is an outcome: it has none.

use std::fmt;

use serde::Serialize;

use super::{AuditRecordError, in_hex};
use crate::watchlist::keys::KeyId;
use crate::watchlist::text::hex;

/// A control that a desk has registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ControlRecord {
    /// Its id, as candidates have one.
    #[serde(serialize_with = "in_hex")]
    pub control: [u8; 16],
    /// The desk that registered it.
    pub desk: KeyId,
    /// SHA-256 of the event's bytes that reviewers are shown.
    #[serde(serialize_with = "in_hex")]
    pub payload: [u8; 32],
    /// SHA-256 of the signed registration.
    #[serde(serialize_with = "in_hex")]
    pub registration: [u8; 32],
}

impl fmt::Display for ControlRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let control = uuid::Uuid::from_bytes(self.control);
        let [payload, registration] = [self.payload, self.registration].map(|digest| hex(&digest));
        write!(
            f,
            "control {control} registered by {}, event's bytes {payload}, registration \
             {registration}",
            self.desk
        )
    }
}

numbered! {
    /// How a control ended.
    ControlEnding, "end of a control" {
        Judged = 1, "judged";
        TimeOver = 2, "its time was over";
        Withdrawn = 3, "its list or entry was revoked";
    }
}
