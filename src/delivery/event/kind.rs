//! What an event that waits is, told from its bytes alone.

use serde::Deserialize;

use super::{AuditEntry, ControlAnswer, EventData, ReviewState};

/// What is delivered through the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Somebody on the list may have been seen.
    Candidate,
    /// A record of the audit log.
    AuditEntry,
    /// How far the review of a candidate is.
    ReviewState,
    /// How a control stands, for the desk that registered it.
    ControlAnswer,
}

impl EventKind {
    /// Of an event's bytes. What cannot be read is taken for a candidate: nothing of what was
    /// revoked may leave as something else.
    pub fn of(event: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(rename = "type")]
            kind: String,
        }
        match serde_json::from_slice::<Kind>(event) {
            Ok(event) if event.kind == AuditEntry::TYPE => Self::AuditEntry,
            Ok(event) if event.kind == ReviewState::TYPE => Self::ReviewState,
            Ok(event) if event.kind == ControlAnswer::TYPE => Self::ControlAnswer,
            _ => Self::Candidate,
        }
    }

    /// Whether it waits until somebody listens. The log on the device keeps what the others say.
    pub fn needs_listener(self) -> bool {
        match self {
            Self::Candidate => true,
            Self::AuditEntry | Self::ReviewState | Self::ControlAnswer => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Candidate;
    use super::*;

    #[test]
    fn the_type_of_an_event_says_what_it_is_and_what_cannot_be_read_is_a_candidate() {
        let of = |kind: &str| EventKind::of(format!("{{\"type\":\"{kind}\"}}").as_bytes());
        assert_eq!(of(Candidate::TYPE), EventKind::Candidate);
        assert_eq!(of(AuditEntry::TYPE), EventKind::AuditEntry);
        assert_eq!(of(ReviewState::TYPE), EventKind::ReviewState);
        assert_eq!(of(ControlAnswer::TYPE), EventKind::ControlAnswer);
        assert_eq!(of("org.example"), EventKind::Candidate);
        assert_eq!(EventKind::of(b"no event"), EventKind::Candidate);
    }
}
