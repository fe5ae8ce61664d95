//! The registration of a control: a desk's word that a pair which it will show is no candidate.
//!
//! A tagged `COSE_Sign1` (RFC 9052) by the desk's key over the device, the id and the digest of the
//! event that reviewers are shown, the list, the entry, the deadline, and the key to which what
//! they said is sealed at the end. Deterministic CBOR, read as strictly as orders;
//! `config/schemas/control.cddl` is the schema.
//!
//! # Promises
//! * [`open`] gives one out only where a key that is pinned as a receiver's has signed it, for this
//!   device.
//! * A signature for it is valid for no receipt and no order, and the other way round.
//! * Whether the device takes it is for [`super::controls`]: what was published is refused there.

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::verdict::CandidateId;
use crate::watchlist::Reference;
use crate::watchlist::cbor::{CborError, CborReader, CborWriter};
use crate::watchlist::keys::{KeyId, SecretKey};
use crate::watchlist::seal::{Recipient, SealError};
use crate::watchlist::sign1::{Sign1, SignedForm};
use crate::watchlist::trust::{Role, Trust};

/// Content type of a registration.
pub const CONTROL_TYPE: &str = "application/vnd.watchpost.control+cbor";
/// Most bytes of one.
pub const MAX_BYTES: usize = 1024;

const FORMAT_VERSION: u64 = 1;
const LATEST: u64 = 253_402_300_799; // 9999-12-31T23:59:59Z
/// Longest opaque name.
const MAX_NAME: usize = 64;
/// `age1` and 58 characters.
const RECIPIENT: usize = 62;

const CONTROL: SignedForm =
    SignedForm { content_type: CONTROL_TYPE, context: b"watchpost control v1" };

/// Why bytes are no registration that counts.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// More than [`MAX_BYTES`].
    #[error("the registration has {0} bytes and at most {MAX_BYTES} are read")]
    TooLarge(usize),
    /// Not the container, not the schema, or cut short.
    #[error("this is no registration of a control ({0})")]
    Unreadable(#[from] CborError),
    /// A value that the schema has no meaning for.
    #[error("the registration's {what} cannot be: {rule}")]
    Value {
        /// Which field.
        what: &'static str,
        /// What is allowed.
        rule: &'static str,
    },
    /// By a key that receives nothing.
    #[error("the registration is signed by {0}, which the trust file does not pin as a receiver")]
    NotPinned(KeyId),
    /// The signature does not hold.
    #[error("the registration is not what the key {0} signed")]
    Altered(KeyId),
    /// For another device.
    #[error("the registration is for another device")]
    OtherDevice,
}

impl ControlError {
    /// Whether it is no registration at all, rather than one that does not count.
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::TooLarge(_) | Self::Unreadable(_) | Self::Value { .. })
    }
}

/// A control that a desk will show.
#[derive(Debug, Clone)]
pub struct Control {
    /// The device in whose name it is shown.
    pub device: Reference,
    /// Its id, as a device makes those of candidates.
    pub id: CandidateId,
    /// SHA-256 of the event's bytes that reviewers are shown.
    pub payload: [u8; 32],
    /// The list that it is about.
    pub list: Reference,
    /// Its version.
    pub version: u64,
    /// The entry.
    pub entry: Reference,
    /// From then on it cannot be judged any more; a whole second.
    pub until: OffsetDateTime,
    /// The key to which is sealed what was said.
    pub scores_to: Recipient,
}

/// A registration that a pinned receiver has signed for this device. Only [`open`] makes one.
#[derive(Debug, Clone)]
pub struct SignedControl {
    control: Control,
    receiver: KeyId,
    digest: [u8; 32],
}

impl std::ops::Deref for SignedControl {
    type Target = Control;
    fn deref(&self) -> &Control {
        &self.control
    }
}

impl SignedControl {
    /// Who signed it.
    pub fn receiver(&self) -> KeyId {
        self.receiver
    }

    /// SHA-256 of its bytes.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// For tests of what follows from a registration.
    #[cfg(test)]
    pub(super) fn assumed(control: Control, receiver: KeyId, digest: [u8; 32]) -> Self {
        Self { control, receiver, digest }
    }
}

/// Signs that `control` will be shown, and is no candidate.
///
/// # Errors
/// Where its deadline cannot be written.
pub fn register(control: &Control, desk: &SecretKey) -> Result<Vec<u8>, ControlError> {
    let seconds = u64::try_from(control.until.unix_timestamp()).ok();
    let rule = "a time from 1970 to 9999";
    let seconds =
        seconds.filter(|s| *s <= LATEST).ok_or(ControlError::Value { what: "deadline", rule })?;
    let mut w = CborWriter::with_capacity(MAX_BYTES);
    w.map(9).key(0).uint(FORMAT_VERSION).key(1).text(&control.device);
    w.key(2).bytes(&control.id.0).key(3).bytes(&control.payload);
    w.key(4).text(&control.list).key(5).uint(control.version).key(6).text(&control.entry);
    w.key(7).uint(seconds).key(8).text(&control.scores_to.to_string());
    Ok(CONTROL.sign(&w.finish(), desk))
}

/// A registration for `device` by a receiver that `trust` pins.
///
/// # Errors
/// The first reason why it does not count.
pub fn open(bytes: &[u8], trust: &Trust, device: &str) -> Result<SignedControl, ControlError> {
    if bytes.len() > MAX_BYTES {
        return Err(ControlError::TooLarge(bytes.len()));
    }
    let read = Sign1::read(bytes, CONTROL, MAX_BYTES)?;
    let receiver = read.signer;
    let key = trust.key(receiver, Role::Receiver).ok_or(ControlError::NotPinned(receiver))?;
    if !read.is_by(key) {
        return Err(ControlError::Altered(receiver));
    }
    let control = decode(read.payload)?;
    if control.device.as_str() != device {
        return Err(ControlError::OtherDevice);
    }
    Ok(SignedControl { control, receiver, digest: Sha256::digest(bytes).into() })
}

/// What is registered, to look at it: the signature is not checked.
///
/// # Errors
/// Where it is no registration.
pub fn inspect(bytes: &[u8]) -> Result<Control, ControlError> {
    if bytes.len() > MAX_BYTES {
        return Err(ControlError::TooLarge(bytes.len()));
    }
    inspect_content(Sign1::read(bytes, CONTROL, MAX_BYTES)?.payload)
}

/// The same of what is signed alone.
///
/// # Errors
/// Where it is not that.
pub fn inspect_content(payload: &[u8]) -> Result<Control, ControlError> {
    decode(payload)
}

fn decode(payload: &[u8]) -> Result<Control, ControlError> {
    let mut r = CborReader::new(payload);
    r.map(9)?;
    r.key(0)?;
    if r.uint(u64::MAX)? != FORMAT_VERSION {
        return Err(ControlError::Value { what: "version", rule: "1; update watchpost" });
    }
    r.key(1)?;
    let device = name(&mut r, "device")?;
    r.key(2)?;
    let id = CandidateId(r.fixed()?);
    r.key(3)?;
    let payload = r.fixed()?;
    r.key(4)?;
    let list = name(&mut r, "list")?;
    r.key(5)?;
    let version = r.uint(u64::MAX)?;
    r.key(6)?;
    let entry = name(&mut r, "entry")?;
    r.key(7)?;
    let seconds = r.uint(LATEST)?;
    let until =
        OffsetDateTime::from_unix_timestamp(seconds as i64).expect("a time before the year 10000");
    r.key(8)?;
    let scores_to = recipient(r.text(RECIPIENT)?).map_err(|_| ControlError::Value {
        what: "key",
        rule: "`age1` and 58 characters in lower case",
    })?;
    r.end()?;
    Ok(Control { device, id, payload, list, version, entry, until, scores_to })
}

/// A recipient in the one way in which it is written.
pub(super) fn recipient(text: &str) -> Result<Recipient, SealError> {
    let key: Recipient = text.parse()?;
    if key.to_string() == text { Ok(key) } else { Err(SealError::NotARecipient) }
}

fn name(r: &mut CborReader<'_>, what: &'static str) -> Result<Reference, ControlError> {
    let rule = "1 to 64 of a-z A-Z 0-9 . _ -";
    r.text(MAX_NAME)?.parse().map_err(|_| ControlError::Value { what, rule })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchlist::fixture;
    use crate::watchlist::seal::DeviceKey;
    use crate::watchlist::sign1::only_the_very_bytes_count;

    const SCHEMA: &str = include_str!("../../config/schemas/control.cddl");

    fn trust() -> Trust {
        let people = [("signer", 1), ("signer", 2), ("receiver", 3), ("reviewer", 4)];
        Trust::parse(&fixture::trust_text(2, &people)).expect("a trust file")
    }

    fn control(scores_to: Recipient) -> Control {
        let name = |text: &str| text.parse().expect("a name");
        Control {
            device: name("gate-1"),
            id: CandidateId([7; 16]),
            payload: [8; 32],
            list: name("L-42"),
            version: 3,
            entry: name("E-1"),
            until: OffsetDateTime::from_unix_timestamp(1_764_374_400).expect("a time"),
            scores_to,
        }
    }

    fn key() -> Recipient {
        DeviceKey::generate().expect("a key").recipient().clone()
    }

    fn signed(by: u8) -> Vec<u8> {
        register(&control(key()), &fixture::key(by)).expect("a registration")
    }

    #[test]
    fn what_a_pinned_receiver_signs_for_this_device_is_read_back() {
        let long = "x".repeat(64);
        let longest = |c: Control| {
            let name = || long.parse().expect("a name");
            Control { device: name(), list: name(), entry: name(), version: u64::MAX, ..c }
        };
        for control in [control(key()), longest(control(key()))] {
            let bytes = register(&control, &fixture::key(3)).expect("a registration");
            assert!(bytes.len() <= MAX_BYTES, "{}", bytes.len());
            let opened = open(&bytes, &trust(), &control.device).expect("it counts");
            assert_eq!(format!("{:?}", *opened), format!("{control:?}"));
            let inspected = inspect(&bytes).expect("it is one");
            assert_eq!(format!("{inspected:?}"), format!("{control:?}"));
            assert_eq!(opened.receiver(), fixture::key(3).public().id());
            assert_eq!(opened.digest(), <[u8; 32]>::from(Sha256::digest(&bytes)));
        }
    }

    #[test]
    fn of_anybody_else_or_for_another_device_it_does_not_count() {
        let refused = |bytes: &[u8], device: &str| open(bytes, &trust(), device).unwrap_err();
        for by in [1, 4, 9] {
            assert!(matches!(refused(&signed(by), "gate-1"), ControlError::NotPinned(_)), "{by}");
        }
        assert!(matches!(refused(&signed(3), "gate-2"), ControlError::OtherDevice));
        assert!(refused(&vec![0; MAX_BYTES + 1], "gate-1").is_malformed());
    }

    #[test]
    fn what_the_same_key_signs_as_a_receipt_is_no_registration() {
        let bytes = signed(3);
        let payload = Sign1::read(&bytes, CONTROL, MAX_BYTES).expect("one").payload;
        let refused = |form: SignedForm| {
            open(&form.sign(payload, &fixture::key(3)), &trust(), "gate-1").unwrap_err()
        };
        let content_type = "application/vnd.watchpost.receipt+cbor";
        assert!(refused(SignedForm { content_type, ..CONTROL }).is_malformed());
        let context = b"watchpost receipt v1";
        let unbound = refused(SignedForm { context, ..CONTROL });
        assert!(matches!(unbound, ControlError::Altered(_)), "{unbound}");
    }

    #[test]
    fn a_key_is_written_in_one_way_only() {
        let bytes = signed(3);
        let payload = Sign1::read(&bytes, CONTROL, MAX_BYTES).expect("one").payload.to_vec();
        let at = payload.len() - RECIPIENT;
        let mut upper = payload.clone();
        upper[at..].make_ascii_uppercase();
        let signed = |payload: &[u8]| CONTROL.sign(payload, &fixture::key(3));
        assert!(open(&signed(&payload), &trust(), "gate-1").is_ok());
        let refused = open(&signed(&upper), &trust(), "gate-1").unwrap_err();
        assert!(matches!(refused, ControlError::Value { what: "key", .. }), "{refused}");
    }

    #[test]
    fn the_schema_has_the_types_bounds_and_fields() {
        for wanted in [
            CONTROL_TYPE.to_owned(),
            format!("at most {MAX_BYTES} bytes"),
            "external_aad = 'watchpost control v1'".to_owned(),
            format!(".size {RECIPIENT}"),
        ] {
            assert!(SCHEMA.contains(&wanted), "the schema has no {wanted:?}");
        }
        for key in 0..9 {
            assert!(SCHEMA.contains(&format!("\n  {key}: ")), "{key}");
        }
        assert!(!SCHEMA.contains("\n  9: "));
    }

    #[test]
    fn one_bit_more_or_less_and_it_does_not_count() {
        let (good, trust) = (signed(3), trust());
        only_the_very_bytes_count(&good, |bytes| open(bytes, &trust, "gate-1").is_ok());
    }
}
