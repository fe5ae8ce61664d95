//! A verdict: what one reviewer says of one candidate.
//!
//! # Containers, from the inside
//! 1. The *verdict*, a tagged `COSE_Sign1` (RFC 9052) by the reviewer's key over the candidate, the
//!    digest of the bytes that were judged, list, device, the key that it is sealed to, and what is
//!    said. Padded, so that all of them are [`VERDICT_BYTES`] long.
//! 2. That, sealed with age to the device's key.
//! 3. The *envelope*, a `COSE_Sign1` by the same key over candidate, device and the sealed bytes,
//!    so that what nobody may send is refused before anything is opened.
//!
//! Both are deterministic CBOR, read as strictly as lists; `config/schemas/verdict.cddl` is the
//! schema. Each has its own `external_aad`, so that a signature for one is valid for nothing else.
//!
//! # Promises
//! * [`authenticate`] costs one signature, and none where the key is not pinned as a reviewer's.
//! * [`open`] gives a verdict out only where both signatures are of one pinned reviewer, and both
//!   containers are about the same candidate and this device.
//! * An envelope does not tell what is said: what is sealed is always of one length. (age adds a
//!   stanza of random length to its header, so that envelopes differ by chance.)
//! * The time in a verdict is the reviewer's clock, for the record. Nothing is decided by it.

#[cfg(feature = "desk")]
mod carried;

use std::fmt;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

#[cfg(feature = "desk")]
pub use self::carried::check_envelope;
use crate::judgement::{Confidence, Opinion};
use crate::watchlist::Reference;
use crate::watchlist::cbor::{CborError, CborReader, CborWriter};
use crate::watchlist::keys::{KeyId, SecretKey};
use crate::watchlist::seal::{self, DeviceKey, Recipient, SealError};
use crate::watchlist::sign1::{Sign1, SignedForm};
use crate::watchlist::trust::{Role, Trust};

/// Content type of the verdict.
pub const VERDICT_TYPE: &str = "application/vnd.watchpost.verdict+cbor";
/// Content type of the envelope.
pub const ENVELOPE_TYPE: &str = "application/vnd.watchpost.sealed-verdict+cbor";
/// Most bytes of an envelope.
pub const MAX_BYTES: usize = 4096;
/// Bytes of each verdict's payload, padding included.
const PAYLOAD_BYTES: usize = 768;
/// Bytes of each verdict, before it is sealed.
pub const VERDICT_BYTES: usize = PAYLOAD_BYTES + 128;

const FORMAT_VERSION: u64 = 1;
const LATEST: u64 = 253_402_300_799; // 9999-12-31T23:59:59Z
/// Longest opaque name.
const MAX_NAME: usize = 64;
/// `age1` and 58 characters.
const MAX_RECIPIENT: usize = 62;

const VERDICT: SignedForm =
    SignedForm { content_type: VERDICT_TYPE, context: b"watchpost verdict v1" };
const ENVELOPE: SignedForm =
    SignedForm { content_type: ENVELOPE_TYPE, context: b"watchpost sealed verdict v1" };

/// Why bytes are no verdict that counts.
#[derive(Debug, thiserror::Error)]
pub enum VerdictError {
    /// More than [`MAX_BYTES`].
    #[error("the verdict has {0} bytes and at most {MAX_BYTES} are read")]
    TooLarge(usize),
    /// Not the container, not the schema, or cut short.
    #[error(
        "this is no verdict ({0}); make one with `watchpost review judge`, and publish the file \
         as it is"
    )]
    Unreadable(#[from] CborError),
    /// A value that the schema has no meaning for.
    #[error("the verdict's {what} cannot be: {rule}")]
    Value {
        /// Which field.
        what: &'static str,
        /// What is allowed.
        rule: &'static str,
    },
    /// By a key that may not judge.
    #[error(
        "the verdict is signed by {0}, which the trust file does not pin as a reviewer; have a \
         reviewer judge"
    )]
    NotPinned(KeyId),
    /// A signature does not hold.
    #[error("the verdict is not what the key {0} signed: it was altered or damaged; judge again")]
    Altered(KeyId),
    /// For another device.
    #[error("the verdict is for the device {0}, and not for this one")]
    OtherDevice(String),
    /// Inside and outside are about different things.
    #[error("the verdict and its envelope are not about the same {0}; judge again")]
    Mismatch(&'static str),
    /// It cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// What kind of refusal a [`VerdictError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictErrorKind {
    /// No verdict at all.
    Malformed,
    /// By nobody who may judge, or altered.
    NotAuthentic,
    /// Genuine, and of no use here.
    Refused,
}

impl VerdictError {
    /// What kind of refusal it is.
    pub fn kind(&self) -> VerdictErrorKind {
        match self {
            Self::TooLarge(_) | Self::Unreadable(_) | Self::Value { .. } => {
                VerdictErrorKind::Malformed
            }
            Self::NotPinned(_) | Self::Altered(_) => VerdictErrorKind::NotAuthentic,
            Self::OtherDevice(_) | Self::Mismatch(_) | Self::Seal(_) | Self::Random(_) => {
                VerdictErrorKind::Refused
            }
        }
    }
}

/// Names a candidate: the `candidate` of its events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CandidateId(pub [u8; 16]);

impl fmt::Display for CandidateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&uuid::Uuid::from_bytes(self.0), f)
    }
}

impl fmt::Debug for CandidateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What one reviewer says of one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Of which candidate.
    pub candidate: CandidateId,
    /// SHA-256 of the published bytes that were judged: of the first event, or of its update.
    pub payload: [u8; 32],
    /// The list that the candidate is about.
    pub list: Reference,
    /// Its version.
    pub version: u64,
    /// The device that published the candidate.
    pub device: Reference,
    /// What is said.
    pub opinion: Opinion,
    /// How sure the reviewer is.
    pub confidence: Confidence,
    /// By the reviewer's clock.
    pub judged_at: OffsetDateTime,
}

/// An envelope that a pinned reviewer signed, for this device. Only [`authenticate`] makes one.
#[derive(Debug)]
pub struct VerifiedEnvelope<'a> {
    reviewer: KeyId,
    candidate: CandidateId,
    sealed: &'a [u8],
}

impl VerifiedEnvelope<'_> {
    /// Who signed it.
    pub fn reviewer(&self) -> KeyId {
        self.reviewer
    }

    /// About which candidate.
    pub fn candidate(&self) -> CandidateId {
        self.candidate
    }
}

/// A verdict that a pinned reviewer gave. Only [`open`] makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedVerdict {
    verdict: Verdict,
    reviewer: KeyId,
    commitment: [u8; 32],
}

impl std::ops::Deref for SignedVerdict {
    type Target = Verdict;
    fn deref(&self) -> &Verdict {
        &self.verdict
    }
}

impl SignedVerdict {
    /// Who gave it.
    pub fn reviewer(&self) -> KeyId {
        self.reviewer
    }

    /// For tests of what follows from a verdict.
    #[cfg(test)]
    pub(super) fn assumed(verdict: Verdict, reviewer: KeyId) -> Self {
        Self { verdict, reviewer, commitment: [9; 32] }
    }

    /// SHA-256 of the signed verdict, which holds 16 random bytes: it tells nothing, and later
    /// proves what was said.
    pub fn commitment(&self) -> [u8; 32] {
        self.commitment
    }
}

/// Signs a verdict and seals it to the device, whose public key is `device_key`.
///
/// # Errors
/// Where a value cannot be written, or nothing can be sealed.
pub fn give(
    verdict: &Verdict,
    reviewer: &SecretKey,
    device_key: &Recipient,
) -> Result<Vec<u8>, VerdictError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(VerdictError::Random)?;
    let signed = VERDICT.sign(&encode(verdict, device_key, salt)?, reviewer);
    let sealed = seal::seal(&[&signed], std::slice::from_ref(device_key))?;
    let mut w = CborWriter::default();
    w.map(4).key(0).uint(FORMAT_VERSION).key(1).bytes(&verdict.candidate.0);
    w.key(2).text(&verdict.device).key(3).bytes(&sealed);
    Ok(ENVELOPE.sign(&w.finish(), reviewer))
}

/// Whether `bytes` are an envelope; nothing in it is believed.
///
/// # Errors
/// Where they are none.
pub fn check_shape(bytes: &[u8]) -> Result<(), VerdictError> {
    VerdictEnvelope::read(bytes).map(drop)
}

/// About which candidate an envelope is and who says to have signed it, to look at it: its
/// signature is not checked.
///
/// # Errors
/// Where it is none.
pub fn inspect(bytes: &[u8]) -> Result<(CandidateId, KeyId), VerdictError> {
    VerdictEnvelope::read(bytes).map(|envelope| (envelope.candidate, envelope.cose.signer))
}

/// Checks that a key pinned as a reviewer's in `trust` signed the envelope for `device`. Nothing is
/// opened.
///
/// # Errors
/// The first reason why it is of no use.
pub fn authenticate<'a>(
    bytes: &'a [u8],
    trust: &Trust,
    device: &str,
) -> Result<VerifiedEnvelope<'a>, VerdictError> {
    let VerdictEnvelope { cose, candidate, device: addressee, sealed } =
        VerdictEnvelope::read(bytes)?;
    let reviewer = reviewer_of(&cose, trust)?;
    if addressee != device {
        return Err(VerdictError::OtherDevice(addressee.to_owned()));
    }
    Ok(VerifiedEnvelope { reviewer, candidate, sealed })
}

/// Opens a verdict for `device`, whose key is `key`.
///
/// # Errors
/// The first reason why it does not count.
pub fn open(
    bytes: &[u8],
    trust: &Trust,
    device: &str,
    key: &DeviceKey,
) -> Result<SignedVerdict, VerdictError> {
    let VerifiedEnvelope { reviewer, candidate, sealed } = authenticate(bytes, trust, device)?;
    let signed = seal::open(sealed, key)?;
    if signed.len() != VERDICT_BYTES {
        return Err(VerdictError::Value { what: "length", rule: "each is padded to one length" });
    }
    let cose = container(&signed, VERDICT)?;
    let inner = reviewer_of(&cose, trust)?;
    let (verdict, recipient) = decode(cose.payload)?;
    if inner != reviewer {
        return Err(VerdictError::Mismatch("reviewer"));
    }
    if verdict.candidate != candidate {
        return Err(VerdictError::Mismatch("candidate"));
    }
    if verdict.device.as_str() != device {
        return Err(VerdictError::OtherDevice(verdict.device.to_string()));
    }
    // Whoever opened it under another key cannot pass it on to this one.
    if recipient != key.recipient().to_string() {
        return Err(VerdictError::Mismatch("device key"));
    }
    let commitment = Sha256::digest(&signed[..]).into();
    Ok(SignedVerdict { verdict, reviewer, commitment })
}

/// The parts of a container; nothing about them is believed.
fn container(bytes: &[u8], form: SignedForm) -> Result<Sign1<'_>, VerdictError> {
    if bytes.len() > MAX_BYTES {
        return Err(VerdictError::TooLarge(bytes.len()));
    }
    Ok(Sign1::read(bytes, form, MAX_BYTES)?)
}

/// Who signed it, where that is a reviewer.
fn reviewer_of(cose: &Sign1<'_>, trust: &Trust) -> Result<KeyId, VerdictError> {
    let key = trust.key(cose.signer, Role::Reviewer);
    let key = key.ok_or(VerdictError::NotPinned(cose.signer))?;
    if cose.is_by(key) { Ok(cose.signer) } else { Err(VerdictError::Altered(cose.signer)) }
}

struct VerdictEnvelope<'a> {
    cose: Sign1<'a>,
    candidate: CandidateId,
    device: &'a str,
    sealed: &'a [u8],
}

impl<'a> VerdictEnvelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, VerdictError> {
        let cose = container(bytes, ENVELOPE)?;
        let mut r = CborReader::new(cose.payload);
        r.map(4)?;
        version(&mut r)?;
        r.key(1)?;
        let candidate = CandidateId(r.fixed()?);
        r.key(2)?;
        let device = r.text(MAX_NAME)?;
        r.key(3)?;
        let sealed = r.bytes(MAX_BYTES)?;
        r.end()?;
        Ok(Self { cose, candidate, device, sealed })
    }
}

fn encode(verdict: &Verdict, to: &Recipient, salt: [u8; 16]) -> Result<Vec<u8>, VerdictError> {
    let seconds = u64::try_from(verdict.judged_at.unix_timestamp()).ok();
    let rule = "a time from 1970 to 9999";
    let seconds =
        seconds.filter(|s| *s <= LATEST).ok_or(VerdictError::Value { what: "time", rule })?;
    let write = |padding: &[u8]| {
        let mut w = CborWriter::with_capacity(PAYLOAD_BYTES);
        w.map(12).key(0).uint(FORMAT_VERSION).key(1).bytes(&verdict.candidate.0);
        w.key(2).bytes(&verdict.payload).key(3).text(&verdict.list).key(4).uint(verdict.version);
        w.key(5).text(&verdict.device).key(6).text(&to.to_string());
        w.key(7).uint(verdict.opinion.number()).key(8).uint(verdict.confidence.number());
        w.key(9).uint(seconds).key(10).bytes(&salt).key(11).bytes(padding);
        w.finish()
    };
    // The longest names leave more than 256 bytes, for which the head of a byte string has two more
    // than for none.
    let padding = PAYLOAD_BYTES - 2 - write(&[]).len();
    Ok(write(&vec![0; padding]))
}

/// A verdict, and the key that it was sealed to.
fn decode(payload: &[u8]) -> Result<(Verdict, &str), VerdictError> {
    let mut r = CborReader::new(payload);
    r.map(12)?;
    version(&mut r)?;
    r.key(1)?;
    let candidate = CandidateId(r.fixed()?);
    r.key(2)?;
    let digest = r.fixed()?;
    r.key(3)?;
    let list = name(&mut r, "list")?;
    r.key(4)?;
    let version = r.uint(u64::MAX)?;
    r.key(5)?;
    let device = name(&mut r, "device")?;
    r.key(6)?;
    let recipient = r.text(MAX_RECIPIENT)?;
    r.key(7)?;
    let rule = "1 same, 2 not the same, 3 cannot judge, 4 nobody there";
    let opinion = Opinion::of(r.uint(u64::MAX)?);
    let opinion = opinion.ok_or(VerdictError::Value { what: "opinion", rule })?;
    r.key(8)?;
    let rule = "1 low, 2 medium, 3 high";
    let confidence = Confidence::of(r.uint(u64::MAX)?);
    let confidence = confidence.ok_or(VerdictError::Value { what: "confidence", rule })?;
    r.key(9)?;
    let seconds = r.uint(LATEST)?;
    let judged_at =
        OffsetDateTime::from_unix_timestamp(seconds as i64).expect("a time before the year 10000");
    r.key(10)?;
    let _: [u8; 16] = r.fixed()?;
    r.key(11)?;
    let padding = r.bytes(PAYLOAD_BYTES)?;
    r.end()?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(VerdictError::Value { what: "padding", rule: "zeros" });
    }
    let verdict = Verdict {
        candidate,
        payload: digest,
        list,
        version,
        device,
        opinion,
        confidence,
        judged_at,
    };
    Ok((verdict, recipient))
}

fn version(r: &mut CborReader<'_>) -> Result<(), VerdictError> {
    r.key(0)?;
    match r.uint(u64::MAX)? {
        FORMAT_VERSION => Ok(()),
        _ => Err(VerdictError::Value { what: "version", rule: "1; update watchpost" }),
    }
}

fn name(r: &mut CborReader<'_>, what: &'static str) -> Result<Reference, VerdictError> {
    let rule = "1 to 64 of a-z A-Z 0-9 . _ -";
    r.text(MAX_NAME)?.parse().map_err(|_| VerdictError::Value { what, rule })
}

#[cfg(test)]
mod tests;
