//! Why a device does not use a list, in words that name what is wrong and the remedy.
//!
//! * Every refusal has its published cause ([`Refusal::cause`]).
//! * No message holds a template, a secret or an entry's texts; references, key ids, versions and
//!   times only.

use time::OffsetDateTime;

use super::cbor::CborError;
use super::codec::{FormatError, MAX_BYTES};
use super::keys::KeyId;
use super::model::{ContentError, Reference};
use super::promotion::RuleBroken;
use super::signatures::SignatureError;
use super::text::{hex, stamp};
use crate::cause::Cause;

/// Why bytes are not a list that this device may use now.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Refusal {
    /// More than [`MAX_BYTES`].
    #[error(
        "the list has {0} bytes and at most {MAX_BYTES} are read; a list this large cannot keep a \
         false-alert budget either, so make it smaller"
    )]
    TooLarge(usize),
    /// Not the container, or cut short.
    #[error(
        "this is no complete signed list ({0}); copy the file again, or make it with `watchpost \
         watchlist sign`"
    )]
    Unreadable(CborError),
    /// The trust file itself is not valid now.
    #[error("the trust file is valid from {} to {} and it is {}; install a current one, or \
        correct the clock", stamp(.from), stamp(.until), stamp(.now))]
    TrustNotValid {
        /// Begin.
        from: OffsetDateTime,
        /// End.
        until: OffsetDateTime,
        /// By this device's clock.
        now: OffsetDateTime,
    },
    /// Not enough different pinned signers.
    #[error(
        "the list has {have} of the {need} signatures that it needs by different people pinned as \
         signers (unknown keys, second signatures by one key and further keys of one person do not \
         count); have another signer run `watchpost watchlist sign`"
    )]
    TooFewSigners {
        /// Different pinned signers whose signatures hold.
        have: usize,
        /// As the trust file asks.
        need: usize,
    },
    /// A pinned signer's signature does not hold.
    #[error(
        "the list is not what the key {0} signed: it was altered or damaged; fetch it again from \
         its authors, and tell them if it happens twice"
    )]
    Altered(KeyId),
    /// Signed, but not a list by this version's rules.
    #[error(transparent)]
    Content(#[from] FormatError),
    /// Made for other devices.
    #[error(
        "the list may be used by {} and this device is {device:?}; correct {device_id}, or have \
         the list signed for this device",
        some(.allowed),
        device_id = setting!(device.id)
    )]
    WrongDevice {
        /// This device.
        device: String,
        /// The devices that the list names.
        allowed: Vec<Reference>,
    },
    /// Templates of another embedder.
    #[error(
        "the list's templates were made with the embedder {} and this device runs {}; enrol the \
         photographs again with this model, or install the list's",
        short(.list), short(.device)
    )]
    WrongModel {
        /// SHA-256 of the list's embedder.
        list: [u8; 32],
        /// SHA-256 of this device's embedder.
        device: [u8; 32],
    },
    /// Templates of another pipeline.
    #[error(
        "the list's templates were made by the pipeline {list} and this program has {device}: they \
         cannot be compared or converted; {}",
        if .list < .device {
            "enrol the photographs again with this version of watchpost"
        } else {
            "install the version of watchpost that the list's authors use"
        }
    )]
    WrongPipeline {
        /// The list's.
        list: u32,
        /// This program's.
        device: u32,
    },
    /// Its time has not come.
    #[error(
        "the list is not valid before {} and it is {}; wait, or correct the clock",
        stamp(.from), stamp(.now)
    )]
    NotYetValid {
        /// When it starts.
        from: OffsetDateTime,
        /// By this device's clock.
        now: OffsetDateTime,
    },
    /// Its time is over.
    #[error("the list expired at {} and it is {}; obtain a renewed authorisation and a newly \
        signed list", stamp(.at), stamp(.now))]
    Expired {
        /// When it ended.
        at: OffsetDateTime,
        /// By this device's clock.
        now: OffsetDateTime,
    },
    /// Older than one that this device has had.
    #[error(
        "the list {id} has version {offered} and this device has had version {highest}: an old \
         list cannot come back; sign the content again with a version above {highest}"
    )]
    RolledBack {
        /// The list.
        id: Reference,
        /// As offered.
        offered: u64,
        /// Seen before.
        highest: u64,
    },
    /// Withdrawn by a revoker.
    #[error(
        "the list {id} version {version} was revoked; a list that may be used again needs a new \
         authorisation and a version that the revocation does not cover"
    )]
    Revoked {
        /// The list.
        id: Reference,
        /// Its version.
        version: u64,
    },
    /// Two lists with one number.
    #[error(
        "the list {id} has version {version} like one that this device has had, but another \
         content; sign it again with a higher version"
    )]
    SameVersion {
        /// The list.
        id: Reference,
        /// The version of both.
        version: u64,
    },
    /// Entries were taken out by nobody who may.
    #[error(
        "{missing} entries were taken from version {version} of the list {id}, and not by this \
         device, which removes what an order revokes; copy the list again from those who made it"
    )]
    EntriesMissing {
        /// The list.
        id: Reference,
        /// Its version.
        version: u64,
        /// How many that the device has not taken out itself.
        missing: usize,
    },
    /// Against the rule under which it was silent.
    #[error(transparent)]
    Promotion(#[from] RuleBroken),
    /// An older trust file than one that this device has had.
    #[error(
        "the trust file has serial {serial} and this device has had {highest}: old keys cannot \
         come back; install a trust file with that serial or a higher one, or its rotations"
    )]
    TrustRolledBack {
        /// As found.
        serial: u64,
        /// Seen before.
        highest: u64,
    },
    /// No memory for its templates.
    #[error("no memory for the templates of the list ({0}); install a smaller list")]
    Memory(String),
    /// No room to remember another list's version.
    #[error(
        "this device remembers the versions of {0} unexpired lists and can remember no more; wait \
         until one expires, or clear the state together with the reason for so many lists"
    )]
    TooManyLists(usize),
}

impl From<ContentError> for Refusal {
    fn from(error: ContentError) -> Self {
        Self::Content(error.into())
    }
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Altered(key) => Self::Altered(key),
            SignatureError::TooFewSigners { have, need } => Self::TooFewSigners { have, need },
        }
    }
}

impl Refusal {
    /// Its published cause.
    pub fn cause(&self) -> Cause {
        match self {
            Refusal::TooLarge(_) => Cause::TooLarge,
            Refusal::Unreadable(_) => Cause::Unreadable,
            Refusal::TrustNotValid { .. } => Cause::TrustNotValid,
            Refusal::TooFewSigners { .. } => Cause::TooFewSigners,
            Refusal::Altered(_) => Cause::Altered,
            Refusal::Content(FormatError::Older(_) | FormatError::Newer(_)) => Cause::UnknownFormat,
            Refusal::Content(FormatError::Content(ContentError::Entry { .. })) => Cause::BadEntry,
            Refusal::Content(FormatError::NotVouchedFor(_)) => Cause::Altered,
            Refusal::Content(
                FormatError::Encoding(_)
                | FormatError::Removed(_)
                | FormatError::Content(
                    ContentError::Reference(_)
                    | ContentError::Text { .. }
                    | ContentError::Range { .. }
                    | ContentError::TooManyEntries { .. },
                ),
            ) => Cause::BadContent,
            Refusal::WrongDevice { .. } => Cause::WrongDevice,
            Refusal::WrongModel { .. } | Refusal::WrongPipeline { .. } => Cause::WrongModel,
            Refusal::NotYetValid { .. } => Cause::NotYetValid,
            Refusal::Expired { .. } => Cause::Expired,
            Refusal::RolledBack { .. } => Cause::RolledBack,
            Refusal::Revoked { .. } => Cause::Revoked,
            Refusal::SameVersion { .. } => Cause::SameVersion,
            Refusal::EntriesMissing { .. } => Cause::EntriesMissing,
            Refusal::Promotion(_) => Cause::NotPromoted,
            Refusal::TrustRolledBack { .. } => Cause::TrustRolledBack,
            Refusal::Memory(_) => Cause::NoMemory,
            Refusal::TooManyLists(_) => Cause::TooManyLists,
        }
    }
}

fn some(devices: &[Reference]) -> String {
    let first: Vec<_> = devices.iter().take(3).map(Reference::as_str).collect();
    let more = devices.len().saturating_sub(3);
    if more == 0 { first.join(", ") } else { format!("{} and {more} others", first.join(", ")) }
}

fn short(digest: &[u8; 32]) -> String {
    hex(&digest[..6])
}
