//! What devices and a witness say to each other, and what a witness reports.

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::witness::{FindingKind, WitnessFinding};
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

/// What a witness found, as it prints it, and publishes it at QoS 1 on `audit/finding` below the
/// device's topics. Ignore what you do not know: optional properties may be added.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PublishedFinding {
    /// The witness's name.
    pub witness: String,
    /// When, by the witness's clock.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(test, schemars(with = "String", extend("format" = "date-time")))]
    pub at: OffsetDateTime,
    /// The device on whose topic it came; absent where it came otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// False: nothing is cosigned over which something was found.
    pub cosigned: bool,
    /// What kind of finding it is.
    pub finding: FindingKind,
    /// Whether the log itself has broken its word: its signatures are in `evidence`.
    pub offence: bool,
    /// For people.
    pub reason: String,
    /// The signed texts that show it, as they came.
    pub evidence: Vec<String>,
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
            Self::Finding { device, finding, evidence } => {
                let published = PublishedFinding {
                    witness: name.to_owned(),
                    at: now,
                    device: device.clone(),
                    cosigned: false,
                    finding: finding.kind(),
                    offence: finding.is_offence(),
                    reason: finding.to_string(),
                    evidence: evidence.clone(),
                };
                serde_json::to_value(published).expect("a struct of texts")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::event::contract::{committed, drift, hold_file, sent_schema};

    const FILE: &str = "audit-finding.v1.schema.json";

    #[test]
    fn the_published_schema_of_findings_is_that_of_the_type() {
        let mut schema = sent_schema::<PublishedFinding>();
        schema["$id"] = "urn:watchpost:schema:audit-finding:v1".into();
        hold_file(FILE, &schema);
    }

    #[test]
    fn what_is_published_of_a_finding_is_what_the_schema_says_and_stays_so() {
        let finding = WitnessFinding::Fork { origin: "site/gate-1".into(), size: 7 };
        let evidence = vec!["one".to_owned(), "another".to_owned()];
        let report = WitnessReport::Finding { device: Some("gate-1".into()), finding, evidence };
        let at = OffsetDateTime::from_unix_timestamp(1_764_374_400).expect("a time");
        let published = report.to_json("w1", at);
        let golden = json!({
            "witness": "w1", "at": "2025-11-29T00:00:00Z", "device": "gate-1", "cosigned": false,
            "finding": "fork", "offence": true,
            "reason": "fork: site/gate-1 has signed two different logs of 7 records",
            "evidence": ["one", "another"],
        });
        assert_eq!(published, golden);
        let mut found = Vec::new();
        drift(&committed(FILE), &published, "", &mut found);
        assert_eq!(found, Vec::<String>::new());
        let finding = WitnessFinding::NotRemembered("the disk is full".into());
        let report = WitnessReport::Finding { device: None, finding, evidence: Vec::new() };
        drift(&committed(FILE), &report.to_json("w1", at), "", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}
