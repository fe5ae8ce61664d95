//! What devices and a witness say to each other, and what a witness reports.

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::witness::WitnessFinding;
use crate::watchlist::text::stamp;

/// What a device publishes, and a witness reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceSaying {
    /// A signed checkpoint.
    Checkpoint,
    /// The proof that was asked for.
    Consistency,
    /// Whether its log is the newest.
    Challenge,
}

/// What is sent to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WitnessSaying {
    /// A question for a proof.
    Request,
    /// A checkpoint with the witness's cosignature.
    Cosign,
    /// The newest log that the witness has seen.
    Freshness,
}

/// What is known of what a log did.
#[derive(Debug)]
pub enum WitnessReport {
    /// It only grew, and was cosigned.
    Cosigned {
        /// The device on whose topic it came, where it came over a broker.
        device: Option<String>,
        /// What was cosigned.
        checkpoint: Checkpoint,
        /// The witness's line.
        line: String,
    },
    /// A witness of others has not cosigned what was submitted for a device.
    NotBridged {
        /// The device.
        device: String,
        /// Its log.
        origin: String,
        /// Which witness, and why not.
        why: String,
    },
    /// Something is wrong.
    Finding {
        /// The device on whose topic it came, where it came over a broker.
        device: Option<String>,
        /// What.
        finding: WitnessFinding,
        /// The signed texts that prove it, as they came; empty where it is nobody's signature.
        evidence: Vec<String>,
    },
}

impl WitnessReport {
    /// Whether it is a finding that somebody has to look at.
    pub fn is_finding(&self) -> bool {
        matches!(self, Self::Finding { .. })
    }

    /// For machines: what the witness `name` reports at `now`.
    pub fn to_json(&self, name: &str, now: OffsetDateTime) -> Value {
        let at = stamp(&now);
        match self {
            Self::Cosigned { device, checkpoint, line } => json!({
                "witness": name, "at": at, "device": device, "cosigned": true,
                "origin": checkpoint.origin, "size": checkpoint.size,
                "root": checkpoint.root.to_string(), "line": line,
            }),
            Self::NotBridged { device, origin, why } => json!({
                "witness": name, "at": at, "device": device, "cosigned": false,
                "origin": origin, "not_bridged": why,
            }),
            Self::Finding { device, finding, evidence } => json!({
                "witness": name, "at": at, "device": device, "cosigned": false,
                "finding": finding.name(), "offence": finding.is_offence(),
                "reason": finding.to_string(), "evidence": evidence,
            }),
        }
    }
}
