//! How delivery is and how it ended: counts, health, the last failure. No secret, nothing of what
//! an event is about.

use serde::Serialize;
use time::OffsetDateTime;

use super::inbound::InboundCounters;
use super::outbox;

/// How delivery is, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Whether the broker accepted the connection that is open.
    pub connected: bool,
    /// Connections tried.
    pub attempts: u64,
    /// Connections accepted by the broker.
    pub connections: u64,
    /// Why the last connection ended or was not made, and what to do; no secret in it.
    pub last_failure: Option<String>,
    /// Candidates not yet delivered.
    pub outbox_events: usize,
    /// Their bytes.
    pub outbox_bytes: usize,
    /// For how many seconds the oldest of them has waited, by the wall clock and
    /// [`super::BrokerConfig::event_expiry_s`].
    pub outbox_oldest_seconds: u64,
    /// What the outbox counted.
    pub outbox: outbox::Counters,
    /// How safe what waits is.
    pub store: outbox::StoreHealth,
    /// Candidates that the handle did not take.
    pub not_taken: u64,
    /// Answers to verdicts that change nothing, and that found no room.
    pub replies_dropped: u64,
    /// How often the broker refused the status.
    pub status_refusals: u64,
    /// Candidates that went out without their crop, as the broker did not take it.
    pub stripped: u64,
    /// Status, states of the list and counts that are larger than the broker allows.
    pub too_large: u64,
    /// Connections that ended by a panic in the client library.
    pub panics: u64,
    /// What was sent to the device.
    pub inbound: InboundCounters,
    /// When the device's own certificate ends, as it was used last.
    #[serde(skip)]
    pub certificate_ends: Option<OffsetDateTime>,
    /// When the broker's certificate ends, as it was accepted last.
    #[serde(skip)]
    pub broker_certificate_ends: Option<OffsetDateTime>,
    /// When the certificate of the only authority ends by which the broker is known, as it was read
    /// last.
    pub authority_certificate_ends: Option<OffsetDateTime>,
    /// Grows while the thread is alive, at least every half minute.
    #[serde(skip)]
    pub beats: u64,
}

/// How delivery ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopReport {
    /// Whether the broker acknowledged `stopped`.
    pub stopped_published: bool,
    /// Candidates that no broker acknowledged.
    pub undelivered: usize,
    /// Those of them that are on no disk and end with this process.
    pub lost: usize,
    /// The last counts.
    pub snapshot: Snapshot,
}
