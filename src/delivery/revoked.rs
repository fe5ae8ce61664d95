//! Which candidates are wiped before they are delivered, because what they are about was revoked.
//!
//! Promises:
//! * All candidates of a list's versions up to one are covered, or those that name one entry.
//! * A payload that cannot be read is covered: nothing of what was revoked may leave.
//! * Records of the audit log, states of reviews and of controls are not: they tell nothing of an
//!   entry.

use super::event::{Candidate, CloudEvent, EventKind};

/// The undelivered candidates of a list's versions up to one, and of one entry where it is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedCandidates {
    /// Id of the list.
    pub list: String,
    /// The last version that is revoked.
    pub through: u64,
    /// The entry; all where absent.
    pub entry: Option<String>,
}

impl RevokedCandidates {
    /// Whether the event in `payload` is one of them; true where it cannot be read.
    pub(super) fn covers(&self, payload: &[u8]) -> bool {
        if EventKind::of(payload) != EventKind::Candidate {
            return false;
        }
        // The contract itself: fields are only added to it, and what is added is skipped.
        let Ok(CloudEvent::<Candidate> { data, .. }) = serde_json::from_slice(payload) else {
            return true;
        };
        data.list.id == self.list
            && data.list.version <= self.through
            && self.entry.as_ref().is_none_or(|e| data.entry == *e || data.alternatives.contains(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_covers_the_candidates_of_its_list_versions_and_entry_and_what_cannot_be_read() {
        let golden = include_str!("event/golden/candidate.v1.json");
        let golden: serde_json::Value = serde_json::from_str(golden).expect("JSON");
        let payload = |list: &str, version: u64, entry: &str, other: &str| {
            let mut event = golden.clone();
            event["data"]["list"] = serde_json::json!({ "id": list, "version": version });
            event["data"]["entry"] = entry.into();
            event["data"]["alternatives"] = serde_json::json!([other]);
            event["data"]["of_a_later_version"] = 7.into();
            event.to_string().into_bytes()
        };
        let whole = RevokedCandidates { list: "north".into(), through: 7, entry: None };
        assert!(
            whole.covers(&payload("north", 7, "a", "b"))
                && whole.covers(&payload("north", 1, "a", "b"))
        );
        assert!(
            !whole.covers(&payload("north", 8, "a", "b"))
                && !whole.covers(&payload("south", 7, "a", "b"))
        );
        let entry = RevokedCandidates { entry: Some("b".into()), ..whole };
        assert!(
            entry.covers(&payload("north", 7, "b", "c"))
                && entry.covers(&payload("north", 7, "a", "b"))
        );
        assert!(!entry.covers(&payload("north", 7, "a", "c")));
        assert!(entry.covers(b"no event"));
        let logged = include_str!("event/golden/audit-entry.v2.json");
        let reviewed = include_str!("event/golden/review-state.v2.json");
        assert!(!entry.covers(logged.as_bytes()) && !entry.covers(reviewed.as_bytes()));
    }
}
