//! What is written into the log: a closed set of records, each with one encoding.
//!
//! * A record is deterministic CBOR of version [`VERSION`]; `config/schemas/audit.cddl` is its
//!   schema. What is read is written the same, byte for byte.
//! * **Never a name, never anything of a face that did not match.** Texts are the fixed words of
//!   this program, the list's opaque id, and the authority and file number of its authorisation.
//! * Of a candidate there is its event's id and a [`commitment`] to the published bytes. They hold
//!   score, threshold, entry and crop, and 32 random bytes: without them the commitment says
//!   nothing, and with them it proves that this is what was published. Whoever erases the candidate
//!   erases what the log can say of it; the tree still verifies.
//! * Not hidden: when something happened. A list of one entry makes each candidate one about that
//!   entry, whatever is committed to.
//!
//! # Warning
//! Logs in the field hold records of this format, and their hashes are signed. Do not change what
//! a number means; a change is a new version beside this one.

macro_rules! numbered {
    (
        $(#[$of:meta])* $name:ident, $what:literal {
            $($variant:ident = $n:literal, $word:expr;)*
        }
    ) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $(#[doc = $word] $variant,)*
        }

        impl $name {
            /// All of them, by number.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// As the record writes it.
            pub const fn number(self) -> u64 {
                match self { $($name::$variant => $n,)* }
            }

            /// For people.
            pub const fn words(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            pub(super) fn of(number: u64) -> Result<Self, AuditRecordError> {
                let known = Self::ALL.iter().copied().find(|v| v.number() == number);
                known.ok_or(AuditRecordError::Unknown($what))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.words())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.words())
            }
        }
    };
}

mod codec;
mod control;
mod review;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

pub use self::control::{ControlEnding, ControlRecord};
pub use self::review::{MAX_VERDICTS, ReviewRecord, ToldVerdict, VerdictRecord};
use crate::cause::Cause;
use crate::clock::Now;
use crate::promise::Stage;
use crate::watchlist::keys::KeyId;
use crate::watchlist::text::{hex, stamp};
use crate::watchlist::{Aim, CborError, Reference};

/// Of the records' format.
pub const VERSION: u64 = 1;
/// Longest record in bytes.
pub const MAX_RECORD: usize = 32 * 1024;
/// Most counts of a heartbeat.
pub const MAX_COUNTS: usize = 256;
/// Longest name of a count, in bytes.
pub const MAX_COUNT_NAME: usize = 96;
/// Longest version of the program, in bytes.
pub const MAX_PROGRAM: usize = 64;
/// Longest name of a place, in bytes.
pub const MAX_PLACE: usize = 400;
/// Most keys that an instruction names.
pub const MAX_KEYS: usize = 16;

/// What is wrong with the bytes of a record, or with a record that is to be written.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum AuditRecordError {
    /// Not the encoding that the schema asks for.
    #[error("the record is not written as its schema says: {0}")]
    Cbor(#[from] CborError),
    /// A newer program wrote it.
    #[error("the record has version {0}; a newer watchpost reads it")]
    Version(u64),
    /// A number or a word that means nothing in this version.
    #[error("the record has no known {0}")]
    Unknown(&'static str),
    /// Longer than [`MAX_RECORD`], or a part of it longer than the schema allows.
    #[error("the record is too large: {0}")]
    TooLarge(&'static str),
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditRecord {
    /// When, in milliseconds since 1970, universal time.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub event: AuditEvent,
}

/// What a device did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", content = "of", rename_all = "kebab-case")]
pub enum AuditEvent {
    /// The program started.
    Started {
        /// Its version.
        program: String,
    },
    /// The program ended in order.
    Stopped,
    /// Faces are compared from now on.
    UseBegan,
    /// Faces are not compared any more.
    UseEnded {
        /// Why.
        why: EndOfUse,
    },
    /// A list came into force, or its threshold changed.
    ListInForce(Box<ListRecord>),
    /// An order or an offer was followed or refused. One that is no order at all, or signed by
    /// nobody who may, is counted in the heartbeat: anybody can send those.
    Instruction(InstructionRecord),
    /// A candidate was decided.
    Candidate(CandidateRecord),
    /// The settings that are weaker than their defaults; at each start, and after a change.
    Weakened {
        /// In the order of [`WeakSetting::ALL`]; may be empty.
        settings: Vec<WeakSetting>,
    },
    /// The wall clock did not go on as the machine's own does.
    ClockJumped {
        /// What it should have shown, in milliseconds since 1970.
        expected_ms: u64,
    },
    /// Something was destroyed because an order said so.
    Wiped {
        /// What.
        what: WipedThing,
    },
    /// The device is alive, and counts that changed since the heartbeat before.
    Heartbeat {
        /// By name, as in the published statistics.
        counts: BTreeMap<String, u64>,
    },
    /// A reviewer's verdict counts. What was said stays sealed until it is decided.
    Verdict(VerdictRecord),
    /// The review of a candidate is over.
    Reviewed(ReviewRecord),
    /// What people call the place where the camera stands; at each start, where it has a name.
    Placed {
        /// As configured, cut at [`MAX_PLACE`].
        place: String,
    },
    /// A desk has registered a control: what reviewers are shown under this id is no candidate.
    ControlRegistered(ControlRecord),
    /// A control is over. What was said of it is told to the desk alone.
    ControlEnded {
        /// Which.
        #[serde(serialize_with = "in_hex")]
        control: [u8; 16],
        /// How.
        how: ControlEnding,
    },
    /// Records could not be written before this one, and the device went on without them.
    Missed {
        /// How many.
        records: u64,
    },
}

/// Why faces are not compared any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndOfUse {
    /// The program ended.
    Stopped,
    /// Frames are waited for.
    Waiting,
    /// The published cause: suspended, revoked, expired, the camera away and the others.
    Blind(Cause),
}

/// Which list, who authorised it, and what it is searched with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListRecord {
    /// The list's opaque id.
    pub id: Reference,
    /// Its version.
    pub version: u64,
    /// SHA-256 of what its signers signed.
    #[serde(serialize_with = "in_hex")]
    pub digest: [u8; 32],
    /// Entries that can be matched.
    pub entries: u64,
    /// The least score that makes a candidate, in millionths.
    pub threshold: i32,
    /// False alerts a day that are announced at this threshold, in millionths.
    pub false_alerts: u64,
    /// The court or body that authorised it.
    pub authority: String,
    /// Its decision's file number.
    pub decision: String,
    /// What for.
    pub aim: Aim,
    /// Whether candidates are published.
    pub stage: Stage,
    /// Who signed it.
    pub signers: Vec<KeyId>,
    /// SHA-256 of the detector's and the embedder's file.
    #[serde(serialize_with = "both_in_hex")]
    pub models: [[u8; 32]; 2],
}

/// An order or an offer, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstructionRecord {
    /// What it asks for.
    pub what: Instruction,
    /// What became of it.
    pub answer: Answer,
    /// The order's id, where it has one.
    #[serde(serialize_with = "maybe_in_hex")]
    pub order: Option<[u8; 16]>,
    /// Who signed it, as far as that is known.
    pub keys: Vec<KeyId>,
}

/// A candidate or its update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CandidateRecord {
    /// The id of the published event.
    #[serde(serialize_with = "in_hex")]
    pub event: [u8; 16],
    /// 1 for the first event of a candidate, 2 for its update.
    pub sequence: u8,
    /// See [`commitment`].
    #[serde(serialize_with = "in_hex")]
    pub commitment: [u8; 32],
}

numbered! {
    /// What an order or an offer asks for.
    Instruction, "instruction" {
        RevokeList = 1, "revoke a list";
        RevokeEntry = 2, "revoke an entry";
        Suspend = 3, "suspend";
        Install = 4, "install a list";
        RotateKeys = 5, "rotate the keys";
        Reload = 6, "read the files again";
    }
}

numbered! {
    /// What was destroyed.
    WipedThing, "wiped thing" {
        List = 1, "a list, and the candidates about it that were not delivered";
        Entry = 2, "an entry, and the candidates about it that were not delivered";
    }
}

numbered! {
    /// A setting of the configuration that is weaker than its default.
    WeakSetting, "setting" {
        AcceptPlain = 1, setting!(watchlist.accept_plain);
        UnlockedMemory = 2, setting!(watchlist.require_locked_memory);
        UnsynchronisedClock = 3, setting!(watchlist.require_synchronised_clock);
        AuditFailure = 4, setting!(audit.on_failure);
        MetricsBeyondLoopback = 5, setting!(metrics.beyond_loopback);
        MemoryOutbox = 6, setting!(broker.outbox);
        Unheard = 7, setting!(broker.keep_unheard);
        LaterOrders = 8, setting!(watchlist.await_orders_s);
        OpenLink = 9, setting!(broker.url);
        LateCandidates = 10, setting!(broker.event_expiry_s);
        OtherNetworks = 11, setting!(vision.models);
        UnsealedList = 12, setting!(watchlist.device_key);
        EyeDistance = 13, setting!(vision.quality.min_eye_distance_px);
        Sharpness = 14, setting!(vision.quality.min_sharpness);
        Yaw = 15, setting!(vision.quality.max_yaw);
        Pitch = 16, setting!(vision.quality.max_pitch);
        Score = 17, setting!(vision.quality.min_score);
        Outside = 18, setting!(vision.quality.max_outside);
        ViewsATrack = 19, setting!(vision.views.max_a_track);
        Views = 20, setting!(decision.views);
        LeastViews = 21, setting!(decision.least_views);
        Patience = 22, setting!(decision.patience_ms);
        CoolDown = 23, setting!(decision.cool_down_s);
        UnprovedFreshness = 24, setting!(audit.on_unproved);
        LateWitnesses = 25, setting!(audit.quorum_hours);
        Head = 26, setting!(event.head);
        FewEvents = 27, setting!(broker.outbox_events);
        FewBytes = 28, setting!(broker.outbox_bytes);
        Alternatives = 29, setting!(decision.ambiguity_margin);
    }
}

/// What became of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was followed.
    Followed,
    /// It was in force before.
    Repeated,
    /// It is for other devices or another area.
    NotConcerned,
    /// The time that it is for was over.
    TooLate,
    /// It was refused.
    Refused(Cause),
}

/// What a candidate's record says of its published bytes. They hold 32 random bytes.
pub fn commitment(published: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"watchpost candidate v1\n")
        .chain_update(published)
        .finalize()
        .into()
}

fn in_hex<const N: usize, S: serde::Serializer>(bytes: &[u8; N], s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&hex(bytes))
}

fn maybe_in_hex<S: serde::Serializer>(id: &Option<[u8; 16]>, s: S) -> Result<S::Ok, S::Error> {
    id.map(|id| hex(&id)).serialize(s)
}

fn both_in_hex<S: serde::Serializer>(digests: &[[u8; 32]; 2], s: S) -> Result<S::Ok, S::Error> {
    digests.map(|d| hex(&d)).serialize(s)
}

/// Milliseconds since 1970; a time before that, which no clock that is believed shows, is zero.
pub fn milliseconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

/// The time of so many milliseconds, in RFC 3339.
pub fn stamp_ms(ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    at.map_or_else(|_| format!("{ms} ms"), |at| stamp(&at))
}

impl AuditRecord {
    /// Of what happens now.
    pub fn new(event: AuditEvent, now: Now) -> Self {
        Self { at_ms: milliseconds(now.wall), event }
    }

    /// The canonical bytes.
    ///
    /// # Errors
    /// Where something is larger than the schema allows.
    pub fn to_bytes(&self) -> Result<Vec<u8>, AuditRecordError> {
        codec::write(self)
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Where they are not.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AuditRecordError> {
        codec::read(bytes)
    }
}

impl fmt::Display for EndOfUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the program ended"),
            Self::Waiting => f.write_str("frames are waited for"),
            Self::Blind(cause) => write!(f, "{} ({cause})", cause.meaning()),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Followed => f.write_str("followed"),
            Self::Repeated => f.write_str("in force before"),
            Self::NotConcerned => f.write_str("not for this device"),
            Self::TooLate => f.write_str("too late"),
            Self::Refused(cause) => write!(f, "refused: {} ({cause})", cause.meaning()),
        }
    }
}

fn joined<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// One line for people, without the time.
impl fmt::Display for AuditEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { program } => write!(f, "started: watchpost {program}"),
            Self::Stopped => f.write_str("stopped"),
            Self::UseBegan => f.write_str("faces are compared"),
            Self::UseEnded { why } => write!(f, "faces are not compared: {why}"),
            Self::ListInForce(list) => list.fmt(f),
            Self::Instruction(i) => {
                write!(f, "{}: {}", i.what, i.answer)?;
                if let Some(order) = &i.order {
                    write!(f, "; order {}", hex(order))?;
                }
                if i.keys.is_empty() {
                    Ok(())
                } else {
                    write!(f, "; signed by {}", joined(&i.keys))
                }
            }
            Self::Candidate(c) => {
                let what = if c.sequence == 1 { "candidate" } else { "update of a candidate" };
                let event = uuid::Uuid::from_bytes(c.event);
                write!(f, "{what}: event {event}, commitment {}", hex(&c.commitment))
            }
            Self::Weakened { settings } if settings.is_empty() => {
                f.write_str("no setting is weaker than its default")
            }
            Self::Weakened { settings } => write!(f, "weaker settings: {}", joined(settings)),
            Self::ClockJumped { expected_ms } => {
                write!(f, "the clock jumped: it should have shown {}", stamp_ms(*expected_ms))
            }
            Self::Wiped { what } => write!(f, "wiped: {what}"),
            Self::Heartbeat { counts } => {
                let some: Vec<String> = counts.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "alive: {}", some.join(" "))
            }
            Self::Verdict(verdict) => verdict.fmt(f),
            Self::Reviewed(review) => review.fmt(f),
            Self::Placed { place } => write!(f, "the camera stands at {place:?}"),
            Self::ControlRegistered(control) => control.fmt(f),
            Self::ControlEnded { control, how } => {
                write!(f, "control {} over: {how}", uuid::Uuid::from_bytes(*control))
            }
            Self::Missed { records } => write!(f, "{records} records before this are missing"),
        }
    }
}

impl fmt::Display for ListRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "list in force: {} version {} ({}), {} entries, threshold {:.4}, {:.4} false alerts a \
             day announced, {} by {} ({}), signed by {}",
            self.id,
            self.version,
            self.stage.as_str(),
            self.entries,
            f64::from(self.threshold) / 1e6,
            self.false_alerts as f64 / 1e6,
            self.aim,
            self.authority,
            self.decision,
            joined(&self.signers),
        )
    }
}

#[cfg(test)]
mod tests;
