//! What the audit log adds to what is published: each record, and in a candidate where its record
//! is.

use serde::{Deserialize, Serialize};

use super::EventData;

/// Where the record of a candidate's event is in the device's audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditReference {
    /// The record's place in the log, from zero.
    pub index: u64,
    /// 32 random bytes in base64, which the record's commitment to these published bytes needs:
    /// whoever erases the candidate erases what the log can say of it.
    #[cfg_attr(test, schemars(extend("contentEncoding" = "base64")))]
    pub salt: String,
}

/// One record of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// The record's place in the log, from zero.
    pub index: u64,
    /// Its canonical bytes in base64; see `audit.cddl`.
    #[cfg_attr(test, schemars(extend("contentEncoding" = "base64")))]
    pub record: String,
}

impl EventData for AuditEntry {
    const TYPE: &'static str = "org.watchpost.audit-entry.v1";
    const SCHEMA: &'static str = "urn:watchpost:schema:audit-entry:v2";
}
