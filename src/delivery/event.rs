//! The published contract, version 1: CloudEvents 1.0 in JSON structured mode around candidate,
//! status and statistics.
//!
//! # Rules of the contract
//! * `type` has the version of the contract, which readers go by. `dataschema` names the schema of
//!   `data` alone, which has a version of its own: 2 has what was added to 1, and nothing less.
//! * A field is never removed, renamed, or given another meaning within `v1`; optional ones may be
//!   added. Readers ignore what they do not know: that is why none of these types denies unknown
//!   fields.
//! * No payload holds a name: a list entry is an opaque reference. No payload holds anything of a
//!   face that did not match.
//! * `time` of the envelope is when the event was made, in UTC. A candidate also says when it was
//!   decided and until when it is of use; consumers drop one that comes later, and one whose `id`
//!   they have seen.
//!
//! Geometry is in px of the captured frame, origin top left; scores are cosine similarities, -1 to
//! 1.

mod audit;
mod crop;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::audit::{AuditEntry, AuditReference};
pub use self::crop::Crop;
use super::topics::DeviceId;
use crate::clock::Now;
use crate::promise::Stage;

/// Media type of every payload, also the MQTT content type.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Most bytes of JPEG that a candidate carries in all its pictures; one with more is refused before
/// it is queued.
pub const MAX_CROP: usize = 64 * 1024;

/// Id of an event or of a candidate: UUID version 7, so that ids of one device sort by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Uuid);

impl EventId {
    /// A new id that carries the wall time of `now`, whole milliseconds, and 74 random bits.
    pub fn new(now: Now) -> Self {
        let seconds = u64::try_from(now.wall.unix_timestamp()).unwrap_or(0);
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(
            uuid::NoContext,
            seconds,
            now.wall.nanosecond(),
        )))
    }

    /// An id that is known, for stores and tests.
    pub const fn from_u128(value: u128) -> Self {
        Self(Uuid::from_u128(value))
    }

    /// The 128 bits.
    pub const fn as_u128(self) -> u128 {
        self.0.as_u128()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.hyphenated())
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Uuid::try_parse(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What an event's `data` is: its type and schema.
pub trait EventData: Serialize {
    /// CloudEvents `type`, with the contract's version.
    const TYPE: &'static str;
    /// CloudEvents `dataschema`: the schema of `data`, with its version.
    const SCHEMA: &'static str;
}

impl EventData for Candidate {
    const TYPE: &'static str = "org.watchpost.candidate.v1";
    const SCHEMA: &'static str = "urn:watchpost:schema:candidate:v2";
}

impl EventData for Status {
    const TYPE: &'static str = "org.watchpost.status.v1";
    const SCHEMA: &'static str = "urn:watchpost:schema:status:v2";
}

impl EventData for Stats {
    const TYPE: &'static str = "org.watchpost.stats.v1";
    const SCHEMA: &'static str = "urn:watchpost:schema:stats:v2";
}

impl EventData for ListState {
    const TYPE: &'static str = "org.watchpost.watchlist-state.v1";
    const SCHEMA: &'static str = "urn:watchpost:schema:watchlist-state:v2";
}

/// The CloudEvents 1.0 envelope. It has no `subject`: that would be a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CloudEvent<T> {
    /// Always `1.0`.
    pub specversion: String,
    /// Names this event; a repetition carries the same.
    pub id: EventId,
    /// The device's id.
    pub source: String,
    /// What `data` is, with the version of the contract.
    #[serde(rename = "type")]
    pub kind: String,
    /// When the event was made, UTC.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(test, schemars(with = "contract::Date"))]
    pub time: OffsetDateTime,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// Names the schema of `data`, with its version.
    pub dataschema: String,
    /// The payload.
    pub data: T,
}

impl<T: EventData> CloudEvent<T> {
    /// Wraps `data` as made by `device` at `now`.
    pub fn new(id: EventId, device: &DeviceId, now: Now, data: T) -> Self {
        Self {
            specversion: "1.0".to_owned(),
            id,
            source: device.as_str().to_owned(),
            kind: T::TYPE.to_owned(),
            time: now.wall,
            datacontenttype: "application/json".to_owned(),
            dataschema: T::SCHEMA.to_owned(),
            data,
        }
    }

    /// The bytes that go on the wire.
    ///
    /// # Errors
    /// Where a date is outside the years 0 to 9999, which RFC 3339 cannot write.
    pub fn to_json(&self) -> Result<Vec<u8>, EncodeError> {
        serde_json::to_vec(self).map_err(|e| EncodeError(e.to_string()))
    }
}

/// A payload that cannot be written.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("the event cannot be written as JSON ({0}); check that the system's clock is right")]
pub struct EncodeError(String);

/// A face that may be an entry of the watch list. Not an identification: two people must confirm
/// it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Candidate {
    /// Names the candidate; the first event and the better one carry the same.
    pub candidate: EventId,
    /// 1 for the first event, 2 for the one update with better evidence.
    #[cfg_attr(test, schemars(range(min = 1, max = 2)))]
    pub sequence: u8,
    /// The device that decided.
    pub device: String,
    /// The camera of that device.
    pub camera: String,
    /// When the decision was made, UTC.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(test, schemars(with = "contract::Date"))]
    pub decided_at: OffsetDateTime,
    /// From then on it is no longer of use and no longer delivered.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(test, schemars(with = "contract::Date"))]
    pub expires: OffsetDateTime,
    /// Opaque reference of the list's entry.
    pub entry: String,
    /// What the list may be used for: `missing-or-victim`, `threat-to-life`, `serious-crime` or
    /// `consent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aim: Option<String>,
    /// The law or order under which the entry is looked for, as its authors wrote it. Show it to
    /// reviewers after they have judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_basis: Option<String>,
    /// Why the entry is looked for, as its authors wrote it. Show it to reviewers after they have
    /// judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// What people call the place where the camera stands; absent where nobody has named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// References of other entries whose scores are too close to tell apart; may be empty.
    pub alternatives: Vec<String>,
    /// Cosine similarity of the best view.
    #[cfg_attr(test, schemars(range(min = -1, max = 1)))]
    pub score: f32,
    /// The least score that this list makes a candidate.
    #[cfg_attr(test, schemars(range(min = -1, max = 1)))]
    pub threshold: f32,
    /// Upper bound of the rate at which passers-by who are not on the list reach the combined
    /// similarity of the evidence on a list of this size, on the worst-served group measured;
    /// absent where nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 0, max = 1)))]
    pub expected_false_positive_rate: Option<f64>,
    /// What was seen.
    pub evidence: Evidence,
    /// The list that was searched.
    pub list: ListVersion,
    /// The networks that were used.
    pub models: ModelDigests,
    /// The matched face, aligned; absent where the configuration forbids it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// The matched face's whole head in the same view; present only where the configuration asks
    /// for it. Grey outside of the head, where another face was found, and in the camera's zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Crop>,
    /// The view after the best one; absent where none other reached the threshold, as in a
    /// candidate of two views.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_view: Option<SecondView>,
    /// Where the audit log has this event; absent where the device keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditReference>,
}

/// What one track showed. The track's number means nothing outside the process and is not
/// published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Evidence {
    /// Views of the track that were compared.
    pub views: u32,
    /// Those with which their mean reached the threshold for this entry.
    pub agreeing: u32,
    /// Similarity of the quality-weighted mean of all compared views, which is held against the
    /// threshold; `expected_false_positive_rate` is the rate at which it is reached.
    #[serde(default)]
    pub combined: f32,
    /// Quality of the best agreeing view.
    pub quality: QualityParts,
    /// The face in that view: x, y, width, height in px.
    #[serde(rename = "box")]
    pub rect: [f32; 4],
    /// Width and height of the captured frame in px.
    pub frame: [u32; 2],
}

/// Another view of the same track, for those who look at a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SecondView {
    /// Its cosine similarity.
    #[cfg_attr(test, schemars(range(min = -1, max = 1)))]
    pub score: f32,
    /// Its quality.
    pub quality: QualityParts,
    /// The face in it: x, y, width, height in px.
    #[serde(rename = "box")]
    pub rect: [f32; 4],
    /// Width and height of the captured frame in px.
    pub frame: [u32; 2],
    /// The face, aligned; absent where the configuration forbids it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
}

/// Parts of the quality gate's judgement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct QualityParts {
    /// All parts in one, 0 to 1.
    #[cfg_attr(test, schemars(range(min = 0, max = 1)))]
    pub overall: f32,
    /// Distance of the eyes in px.
    pub eye_distance: f32,
    /// Sharpness, 0 to 1.
    #[cfg_attr(test, schemars(range(min = 0, max = 1)))]
    pub sharpness: f32,
    /// Head turned, degrees, from the five landmarks.
    pub yaw: f32,
    /// Head raised, degrees, from the five landmarks.
    pub pitch: f32,
    /// Head tilted, degrees.
    pub roll: f32,
    /// The detector's own score, 0 to 1.
    #[cfg_attr(test, schemars(range(min = 0, max = 1)))]
    pub detector_score: f32,
}

/// Which list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListVersion {
    /// The list's id.
    pub id: String,
    /// Its version; grows with each issue.
    pub version: u64,
}

/// Which networks: SHA-256 of the files in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ModelDigests {
    /// Of the detector.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{64}$")))]
    pub detector: String,
    /// Of the embedder.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{64}$")))]
    pub embedder: String,
}

/// How the device is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// In one word.
    pub state: State,
    /// Since when, UTC. In `offline` it is when the last connection began: the broker publishes it
    /// as the device's last will.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(test, schemars(with = "contract::Date"))]
    pub since: OffsetDateTime,
    /// Version of the program.
    pub version: String,
    /// Whether faces are being compared right now.
    pub matching: bool,
    /// The list in force, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListInForce>,
    /// Why nothing is matched, for people; present where `matching` is false and the device runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The least score that makes a candidate, where a list is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = -1, max = 1)))]
    pub threshold: Option<f32>,
    /// How far the device trusts its clock.
    pub clock: ClockQuality,
    /// What does not work as it should while the device goes on, for people: a disk that takes no
    /// candidates, so that those that wait are lost with the power; a camera most of whose views
    /// are hardly able to match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
    /// The device's promises by name, and which keys of its configuration weaken them.
    #[serde(default, skip_serializing_if = "Promises::is_empty")]
    pub promises: Promises,
    /// What ends within 30 days, or has ended: the list, the keys, certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends_soon: Vec<EndingSoon>,
}

/// One word for how the device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Connected and working.
    Online,
    /// The connection was lost: the last will, published by the broker.
    Offline,
    /// Ended by its operator.
    Stopped,
    /// Connected and not matching: no valid list, no camera, suspended; see `reason`.
    Blind,
}

/// The list in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListInForce {
    /// The list's id.
    pub id: String,
    /// Its version.
    pub version: u64,
    /// When it ends, UTC.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(test, schemars(with = "contract::Date"))]
    pub expires: OffsetDateTime,
    /// `silent` where faces are compared and counted and no candidate is published; absent where
    /// candidates are.
    #[serde(default, skip_serializing_if = "is_in_force")]
    pub stage: Stage,
    /// SHA-256 of what its false-alert promise rests on (networks, curve, quality gate, decision
    /// rule), lower-case hexadecimal: two devices with one promise have one threshold for one list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{64}$")))]
    pub promise: Option<String>,
    /// When the site record ends that its threshold rests on, UTC; absent where there is none.
    /// Nobody is matched from then on.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    #[cfg_attr(test, schemars(with = "Option<contract::Date>"))]
    pub site_until: Option<OffsetDateTime>,
}

fn is_in_force(stage: &Stage) -> bool {
    *stage == Stage::InForce
}

/// How far a clock may be trusted to date and to expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ClockQuality {
    /// The kernel says that a time source disciplines it.
    Synchronized,
    /// The kernel says that none does.
    Unsynchronized,
    /// It is not known.
    Unknown,
}

impl ClockQuality {
    /// By whether the kernel says that a time source disciplines it.
    pub fn of(synchronised: bool) -> Self {
        if synchronised { Self::Synchronized } else { Self::Unsynchronized }
    }
}

/// Counts only. Keys are names of stages, results and reasons; never of a person, a list's entry or
/// a track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stats {
    /// Start of counting, UTC: the process's start. Counts only grow from then on.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(test, schemars(with = "contract::Date"))]
    pub since: OffsetDateTime,
    /// Counts by name, as in `pipeline.frames`, `pipeline.vision.faces`,
    /// `pipeline.decision.candidates`.
    pub counts: BTreeMap<String, u64>,
    /// What was dropped, by reason, as in `source.truncated`, `pipeline.vision.too_poor.blurred`,
    /// `delivery.outbox.expired`.
    pub drops: BTreeMap<String, u64>,
    /// Momentary values, as in `delivery.outbox_events`, `board.temperature_celsius`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gauges: BTreeMap<String, f64>,
}

mod control;
mod ending;
mod kind;
mod list_state;
mod pictures;
mod promises;
mod review;

pub use control::{ControlAnswer, ControlStage};
pub use ending::{Ending, EndingSoon};
pub use kind::EventKind;
pub use list_state::{Calibrating, Change, ListChange, ListState, MemoryAge};
pub use pictures::{are_two_forms, without_pictures};
pub use promises::{PromiseState, Promises};
pub use review::{ReviewStage, ReviewState, ReviewVerdict};

#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
mod tests;
