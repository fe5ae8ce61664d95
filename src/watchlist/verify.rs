//! From untrusted bytes to a [`Watchlist`]: the only way there is.
//!
//! The order of the checks is part of the promise: size and shape of the container, validity of the trust file, signatures, and
//! only then the content, its device, its model and its time, and at last each entry against its signed digest. So the content's
//! parser sees nothing that the pinned people have not signed, and a refusal names the first thing that is wrong.
//!
//! Templates go from the bytes that are verified straight into the [`Gallery`] that is searched, and nowhere else.
//!
//! A signature by a key that is not pinned as a signer is ignored (keys rotate); a second one by the same key does not count; one
//! by a pinned key that does not hold refuses the whole list, however many others hold.

use std::collections::HashSet;
use std::fmt;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::cbor::CborError;
use super::container::{Container, Kind};
use super::format::{
    Authorisation, Content, Entry, EntryFault, FormatError, Head, MAX_BYTES, Position, Reference, announced,
    read_entry, vouched_for,
};
use super::keys::KeyId;
use super::search::{Builder, Gallery};
use super::trust::{Role, Trust};

/// Why bytes are not a list that this device may use now.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Refusal {
    /// More than [`MAX_BYTES`].
    #[error(
        "the list has {0} bytes and at most {MAX_BYTES} are read; a list this large cannot keep a false-alert budget either, so make it smaller"
    )]
    TooLarge(usize),
    /// Not the container, or cut short.
    #[error("this is no complete signed list ({0}); copy the file again, or make it with `watchpost watchlist sign`")]
    Unreadable(CborError),
    /// The trust file itself is not valid now.
    #[error("the trust file is valid from {} to {} and it is {}; install a current one, or correct the clock", stamp(.from), stamp(.until), stamp(.now))]
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
        "the list has {have} of the {need} signatures that it needs by different keys pinned as signers (unknown keys and second signatures by one key do not count); have another signer run `watchpost watchlist sign`"
    )]
    TooFewSigners {
        /// Different pinned signers whose signatures hold.
        have: usize,
        /// As the trust file asks.
        need: usize,
    },
    /// A pinned signer's signature does not hold.
    #[error(
        "the list is not what the key {0} signed: it was altered or damaged; fetch it again from its authors, and tell them if it happens twice"
    )]
    Altered(KeyId),
    /// Signed, but not a list by this version's rules.
    #[error(transparent)]
    Content(#[from] FormatError),
    /// Made for other devices.
    #[error("the list may be used by {} and this device is {device:?}; correct `device` in the configuration, or have the list signed for this device", some(.allowed))]
    WrongDevice {
        /// This device.
        device: String,
        /// Whom the list names.
        allowed: Vec<Reference>,
    },
    /// Templates of another embedder.
    #[error("the list's templates were made with the embedder {} and this device runs {}; enrol the photographs again with this model, or install the list's", short(.list), short(.device))]
    WrongModel {
        /// SHA-256 of the list's embedder.
        list: [u8; 32],
        /// SHA-256 of this device's embedder.
        device: [u8; 32],
    },
    /// Its time has not come.
    #[error("the list is not valid before {} and it is {}; wait, or correct the clock", stamp(.from), stamp(.now))]
    NotYetValid {
        /// When it starts.
        from: OffsetDateTime,
        /// By this device's clock.
        now: OffsetDateTime,
    },
    /// Its time is over.
    #[error("the list expired at {} and it is {}; obtain a renewed authorisation and a newly signed list", stamp(.at), stamp(.now))]
    Expired {
        /// When it ended.
        at: OffsetDateTime,
        /// By this device's clock.
        now: OffsetDateTime,
    },
    /// Older than one that this device has had.
    #[error(
        "the list {id} has version {offered} and this device has had version {highest}: an old list cannot come back; sign the content again with a version above {highest}"
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
        "the list {id} version {version} was revoked; a list that may be used again needs a new authorisation and a version that the revocation does not cover"
    )]
    Revoked {
        /// The list.
        id: Reference,
        /// Its version.
        version: u64,
    },
    /// Two lists with one number.
    #[error(
        "the list {id} has version {version} like one that this device has had, but another content; sign it again with a higher version"
    )]
    SameVersion {
        /// The list.
        id: Reference,
        /// The version of both.
        version: u64,
    },
    /// An older trust file than one that this device has had.
    #[error(
        "the trust file has serial {serial} and this device has had {highest}: old keys cannot come back; install a trust file with that serial or a higher one, or its rotations"
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
        "this device remembers the versions of {0} unexpired lists and can remember no more; wait until one expires, or clear the state together with the reason for so many lists"
    )]
    TooManyLists(usize),
}

impl Refusal {
    /// A stable word for status messages and counters.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::TooLarge(_) => "too-large",
            Refusal::Unreadable(_) => "unreadable",
            Refusal::TrustNotValid { .. } => "trust-not-valid",
            Refusal::TooFewSigners { .. } => "too-few-signers",
            Refusal::Altered(_) => "altered",
            Refusal::Content(FormatError::Version(_)) => "unknown-format",
            Refusal::Content(FormatError::Entry { .. }) => "bad-entry",
            Refusal::Content(FormatError::NotVouchedFor(_)) => "altered",
            Refusal::Content(_) => "bad-content",
            Refusal::WrongDevice { .. } => "wrong-device",
            Refusal::WrongModel { .. } => "wrong-model",
            Refusal::NotYetValid { .. } => "not-yet-valid",
            Refusal::Expired { .. } => "expired",
            Refusal::RolledBack { .. } => "rolled-back",
            Refusal::Revoked { .. } => "revoked",
            Refusal::SameVersion { .. } => "same-version",
            Refusal::TrustRolledBack { .. } => "trust-rolled-back",
            Refusal::Memory(_) => "no-memory",
            Refusal::TooManyLists(_) => "too-many-lists",
        }
    }
}

fn some(devices: &[Reference]) -> String {
    let first: Vec<_> = devices.iter().take(3).map(Reference::as_str).collect();
    let more = devices.len().saturating_sub(3);
    if more == 0 { first.join(", ") } else { format!("{} and {more} others", first.join(", ")) }
}

fn stamp(at: &OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

fn short(digest: &[u8; 32]) -> String {
    digest[..6].iter().map(|b| format!("{b:02x}")).collect()
}

/// Whether a verified list may be used at this time and place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing {
    /// Match.
    Valid,
    /// The clock is before `not_before`.
    NotYetValid {
        /// When it starts.
        from: OffsetDateTime,
    },
    /// The list, or the trust that it rests on, has ended.
    Expired {
        /// When.
        at: OffsetDateTime,
    },
    /// Outside the weekly hours.
    OutsideHours,
    /// The camera stands outside every area.
    OutsideArea,
    /// The list is restricted to areas and the camera's position is not configured.
    PositionUnknown,
}

impl Standing {
    /// Whether matching is allowed.
    pub fn is_valid(self) -> bool {
        self == Standing::Valid
    }

    /// A stable word for status messages.
    pub fn code(self) -> &'static str {
        match self {
            Standing::Valid => "valid",
            Standing::NotYetValid { .. } => "not-yet-valid",
            Standing::Expired { .. } => "expired",
            Standing::OutsideHours => "outside-hours",
            Standing::OutsideArea => "outside-area",
            Standing::PositionUnknown => "position-unknown",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Valid => write!(f, "valid now"),
            Standing::NotYetValid { from } => write!(f, "not valid before {}", stamp(from)),
            Standing::Expired { at } => write!(f, "expired at {}", stamp(at)),
            Standing::OutsideHours => write!(f, "outside its weekly hours"),
            Standing::OutsideArea => write!(f, "this camera stands outside its areas"),
            Standing::PositionUnknown => {
                write!(f, "restricted to areas, and this camera's position is not configured (watchlist.position)")
            }
        }
    }
}

/// A list that enough people signed, for this device and this embedder. Only [`verify`] makes one.
///
/// It holds at the time of verification; while running, [`Watchlist::standing`] is asked again for each frame.
pub struct Watchlist {
    content: Content,
    digest: [u8; 32],
    signers: Vec<KeyId>,
    expired_entries: usize,
    removed_entries: usize,
    trust_ends: OffsetDateTime,
    /// `None` once somebody has taken it.
    gallery: Option<Gallery>,
}

impl Watchlist {
    /// Names the list through all of its versions.
    pub fn id(&self) -> &Reference {
        &self.content.id
    }

    /// Rises with every change.
    pub fn version(&self) -> u64 {
        self.content.version
    }

    /// When it was signed first.
    pub fn issued(&self) -> OffsetDateTime {
        self.content.issued
    }

    /// Not valid before.
    pub fn not_before(&self) -> OffsetDateTime {
        self.content.not_before
    }

    /// Not valid from then on: its own expiry, or that of the trust file where that is earlier.
    pub fn expires(&self) -> OffsetDateTime {
        self.content.expires.min(self.trust_ends)
    }

    /// The list's own expiry, whatever the trust file's.
    pub(super) fn own_expiry(&self) -> OffsetDateTime {
        self.content.expires
    }

    /// SHA-256 of the embedder that made the templates; equal to this device's.
    pub fn embedder(&self) -> &[u8; 32] {
        &self.content.embedder
    }

    /// Components of every template.
    pub fn dimensions(&self) -> usize {
        self.content.dimensions
    }

    /// Who allowed what.
    pub fn authorisation(&self) -> &Authorisation {
        &self.content.authorisation
    }

    /// The entries that had not expired at verification, in the order of the list, without their templates. The [`Gallery`]
    /// names them by their position here.
    pub fn entries(&self) -> &[Entry] {
        &self.content.entries
    }

    /// Position of an entry, as the gallery names it.
    pub fn position(&self, reference: &str) -> Option<usize> {
        self.content.entries.iter().position(|e| e.reference.as_str() == reference)
    }

    /// How many entries were left out because their own expiry had passed.
    pub fn expired_entries(&self) -> usize {
        self.expired_entries
    }

    /// How many entries were removed from these bytes after they were signed, because they had been revoked.
    pub fn removed_entries(&self) -> usize {
        self.removed_entries
    }

    /// SHA-256 of the signed payload: the same whatever signatures were added.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The pinned signers whose signatures hold, each once.
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    /// Whether matching is allowed at `now` by a camera at `position`.
    pub fn standing(&self, now: OffsetDateTime, position: Option<Position>) -> Standing {
        let a = &self.content.authorisation;
        if now < self.not_before() {
            return Standing::NotYetValid { from: self.not_before() };
        }
        if now >= self.expires() {
            return Standing::Expired { at: self.expires() };
        }
        if !a.hours.contain(now) {
            return Standing::OutsideHours;
        }
        match position {
            _ if a.areas.is_empty() => Standing::Valid,
            None => Standing::PositionUnknown,
            Some(p) if a.areas.iter().any(|area| area.contains(p)) => Standing::Valid,
            Some(_) => Standing::OutsideArea,
        }
    }

    /// The templates of [`Watchlist::entries`], which are in memory once: the second call gets none.
    pub fn take_gallery(&mut self) -> Option<Gallery> {
        self.gallery.take()
    }
}

impl fmt::Debug for Watchlist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watchlist({} version {}, {} entries)", self.id(), self.version(), self.entries().len())
    }
}

/// Who signed: each pinned signer whose signature holds, once; at least as many as `trust` asks for.
pub(super) fn check_signatures(container: &Container<'_>, trust: &Trust) -> Result<Vec<KeyId>, Refusal> {
    let mut good = Vec::new();
    for (id, signature) in container.signatures() {
        let Some(key) = trust.key(*id, Role::Signer) else { continue };
        if !key.verifies(&container.signed_by(*id), signature) {
            return Err(Refusal::Altered(*id));
        }
        if !good.contains(id) {
            good.push(*id);
        }
    }
    if good.len() < trust.signers_needed() {
        return Err(Refusal::TooFewSigners { have: good.len(), need: trust.signers_needed() });
    }
    Ok(good)
}

pub(super) fn read_container(bytes: &[u8]) -> Result<Container<'_>, Refusal> {
    if bytes.len() > MAX_BYTES {
        return Err(Refusal::TooLarge(bytes.len()));
    }
    Container::read(Kind::List, bytes).map_err(Refusal::Unreadable)
}

/// Makes a [`Watchlist`] of `bytes` if `trust`'s signers made it for the device named `device` with the embedder whose file has the
/// SHA-256 `embedder`, and it is valid at `now` (universal time).
///
/// That it is not older than a list seen before is for [`super::store::State::admit`] to say, because it takes the device's memory.
///
/// # Errors
/// The first reason not to use it.
pub fn verify(
    bytes: &[u8],
    trust: &Trust,
    now: OffsetDateTime,
    device: &str,
    embedder: &[u8; 32],
) -> Result<Watchlist, Refusal> {
    let container = read_container(bytes)?;
    let (from, until) = (trust.valid_from(), trust.valid_until());
    if now < from || now >= until {
        return Err(Refusal::TrustNotValid { from, until, now });
    }
    let signers = check_signatures(&container, trust)?;
    let Head { mut content, templates, digests } = Head::decode(container.payload())?;
    if !content.authorisation.devices.iter().any(|d| d.as_str() == device) {
        // What is no reference is not repeated: it comes from a configuration file.
        let device = device.chars().take(64).collect();
        return Err(Refusal::WrongDevice { device, allowed: content.authorisation.devices });
    }
    if content.embedder != *embedder {
        return Err(Refusal::WrongModel { list: content.embedder, device: *embedder });
    }
    if now < content.not_before {
        return Err(Refusal::NotYetValid { from: content.not_before, now });
    }
    if now >= content.expires {
        return Err(Refusal::Expired { at: content.expires, now });
    }
    // No more room than the bytes that are there can fill, whatever number is announced.
    let room = templates.min((bytes.len() / content.dimensions) as u64) as usize;
    let mut gallery = Builder::new(room, content.dimensions).map_err(|e| Refusal::Memory(e.to_string()))?;
    let mut seen = HashSet::new();
    let (mut there, mut expired_entries, mut removed_entries) = (0, 0, 0);
    for item in vouched_for(digests, container.items())? {
        let Some(item) = item? else {
            removed_entries += 1;
            continue;
        };
        let entry = read_entry(item, content.dimensions, |part| {
            there += 1;
            if there > room {
                // More than announced: refused below.
                return Ok(());
            }
            gallery.push(part.values.iter().map(|b| b.cast_signed()))
        })?;
        if !seen.insert(entry.reference.clone()) {
            let reference = entry.reference.to_string();
            return Err(FormatError::Entry { reference, what: EntryFault::Repeated }.into());
        }
        if entry.expires > now {
            gallery.end(entry.expires);
            content.entries.push(entry);
        } else {
            gallery.take_back();
            expired_entries += 1;
        }
    }
    announced(templates, there, removed_entries)?;
    let digest = Sha256::digest(container.payload()).into();
    let gallery = Some(gallery.finish());
    Ok(Watchlist { content, digest, signers, expired_entries, removed_entries, trust_ends: until, gallery })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{
        DEVICE, EMBEDDER, content, encode_and_sign, encoded, key, made_elsewhere, now, signed, trust, trust_text,
    };
    use super::super::format::{Aim, Area, Hours, MAX_ENTRIES, SALT, Window};
    use super::*;
    use proptest::prelude::*;
    use time::Duration;

    fn check(bytes: &[u8]) -> Result<Watchlist, Refusal> {
        verify(bytes, &trust(), now(), DEVICE, &EMBEDDER)
    }

    /// All that a list says, templates included, whoever signed it.
    fn read(bytes: &[u8]) -> Result<Content, Refusal> {
        Ok(Content::decode(&read_container(bytes)?)?.0)
    }

    #[test]
    fn two_different_signers_pass() {
        let list = check(&signed(&content(5), &[1, 2])).unwrap();
        assert_eq!((list.id().as_str(), list.version(), list.entries().len()), ("north-gate", 7, 5));
        let without_templates = content(5).entries.into_iter().map(|e| Entry { templates: vec![], ..e });
        assert_eq!(list.entries(), without_templates.collect::<Vec<_>>());
        assert_eq!(list.authorisation(), &content(5).authorisation);
        assert!(check(&signed(&content(5), &[3, 2, 1])).is_ok());
    }

    #[test]
    fn a_list_made_by_other_software_from_the_schema_passes() {
        let bytes = made_elsewhere();
        let list = check(&bytes).unwrap();
        assert_eq!((list.id().as_str(), list.version(), list.entries().len()), ("made-elsewhere", 3, 1));
        let stored = &read(&bytes).unwrap().entries[0].templates[0];
        assert_eq!((stored.quality, stored.template.values()[20]), (0.875, (7 * 20 + 1) as u8 as i8));
        assert_eq!(list.standing(now(), Some(Position { latitude: 52.525, longitude: 13.405 })), Standing::Valid);
        // One content has one encoding, whoever writes it.
        let container = Container::read(Kind::List, &bytes).unwrap();
        let again = read(&bytes).unwrap().encode(|| [0xa0; SALT]).unwrap();
        assert_eq!(again.payload, container.payload());
    }

    #[test]
    fn too_few_are_one_twice_one_unknown_a_revoker_or_nobody() {
        for (signers, have) in
            [(&[1][..], 1), (&[1, 1], 1), (&[1, 1, 1, 1], 1), (&[1, 9], 1), (&[1, 4], 1), (&[8, 9], 0), (&[], 0)]
        {
            let refused = check(&signed(&content(1), signers)).unwrap_err();
            assert_eq!(refused, Refusal::TooFewSigners { have, need: 2 }, "{signers:?}");
        }
        assert!(check(&signed(&content(1), &[9, 1, 1, 2])).is_ok(), "others do no harm");
    }

    #[test]
    fn one_bad_signature_of_a_pinned_signer_refuses_the_list_whatever_the_others_say() {
        let mut bytes = signed(&content(1), &[1, 2, 3]);
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(check(&bytes).unwrap_err(), Refusal::Altered(key(3).public().id()));
    }

    #[test]
    fn a_signature_for_another_purpose_does_not_count() {
        use coset::{CoseSign, TaggedCborSerializable};
        let mut cose = CoseSign::from_tagged_slice(&signed(&content(1), &[1, 2])).unwrap();
        let message = cose.tbs_data(b"watchpost revocation v1", &cose.signatures[1]);
        cose.signatures[1].signature = key(2).sign(&message).to_vec();
        assert_eq!(check(&cose.to_tagged_vec().unwrap()).unwrap_err(), Refusal::Altered(key(2).public().id()));
    }

    #[test]
    fn signatures_do_not_move_to_another_content() {
        use coset::{CoseSign, TaggedCborSerializable};
        let mut cose = CoseSign::from_tagged_slice(&signed(&content(1), &[1, 2])).unwrap();
        cose.payload = Some(encoded(&content(2)).payload);
        assert!(matches!(check(&cose.to_tagged_vec().unwrap()), Err(Refusal::Altered(_))));
    }

    #[test]
    fn what_the_container_may_not_hold_is_unreadable() {
        use coset::{CborSerializable, CoseSign, HeaderBuilder, TaggedCborSerializable};
        let good = CoseSign::from_tagged_slice(&signed(&content(1), &[1, 2])).unwrap();
        let refused = |change: &dyn Fn(&mut CoseSign)| {
            let mut cose = good.clone();
            change(&mut cose);
            matches!(check(&cose.to_tagged_vec().unwrap()), Err(Refusal::Unreadable(_)))
        };
        let extra = HeaderBuilder::new().key_id(vec![1]).build();
        assert!(!refused(&|_| ()));
        assert!(refused(&|c| c.unprotected = extra.clone()));
        assert!(refused(&|c| c.unprotected = Default::default()), "the entries are not there");
        assert!(refused(&|c| c.signatures[0].unprotected = extra.clone()));
        assert!(refused(&|c| c.payload = None));
        assert!(refused(&|c| c.signatures[0].signature.push(0)));
        assert!(refused(&|c| c.signatures = vec![c.signatures[0].clone(); 17]));
        assert!(matches!(check(&good.clone().to_vec().unwrap()), Err(Refusal::Unreadable(_))), "untagged");
    }

    #[test]
    fn a_list_for_another_device_is_refused() {
        let refused = verify(&signed(&content(1), &[1, 2]), &trust(), now(), "gate-33", &EMBEDDER).unwrap_err();
        assert_eq!(refused.code(), "wrong-device");
        assert!(refused.to_string().contains("gate-33") && refused.to_string().contains("gate-4"), "{refused}");
    }

    #[test]
    fn a_list_of_another_model_is_refused() {
        let refused = verify(&signed(&content(1), &[1, 2]), &trust(), now(), DEVICE, &[1; 32]).unwrap_err();
        assert_eq!(refused.code(), "wrong-model");
    }

    #[test]
    fn a_list_is_valid_from_not_before_up_to_expires() {
        let c = content(1);
        let at = |now| verify(&signed(&c, &[1, 2]), &trust(), now, DEVICE, &EMBEDDER).map_err(|r| r.code());
        assert_eq!(at(c.not_before - Duration::SECOND).unwrap_err(), "not-yet-valid");
        assert!(at(c.not_before).is_ok());
        assert!(at(c.expires - Duration::SECOND).is_ok());
        assert_eq!(at(c.expires).unwrap_err(), "expired");
    }

    #[test]
    fn nothing_is_accepted_outside_the_validity_of_the_trust_file() {
        let keys = [("signer", 1), ("signer", 2)];
        let old = Trust::parse(
            &trust_text(2, &keys).replace("2036", "2026-02").replace("-01-01T00:00:00Z\"\n[[", "-01T00:00:00Z\"\n[["),
        )
        .unwrap();
        let refused = verify(&signed(&content(1), &[1, 2]), &old, now(), DEVICE, &EMBEDDER).unwrap_err();
        assert_eq!(refused.code(), "trust-not-valid");
    }

    #[test]
    fn an_expired_entry_is_left_out_and_counted_while_the_list_lives() {
        let mut c = content(3);
        c.entries[1].expires = now();
        let list = check(&signed(&c, &[1, 2])).unwrap();
        let left: Vec<_> = list.entries().iter().map(|e| e.reference.as_str()).collect();
        assert_eq!((left, list.expired_entries()), (vec!["case-0", "case-2"], 1));
    }

    #[test]
    fn a_format_of_another_version_says_so() {
        // The version is the second byte behind the map's head: {0: 2, ...}.
        let mut encoded = encoded(&content(1));
        assert_eq!(encoded.payload[..3], [0xa9, 0x00, 0x02]);
        encoded.payload[2] = 1;
        let refused = check(&encode_and_sign(&encoded, &[1, 2])).unwrap_err();
        assert_eq!((refused.code(), &refused), ("unknown-format", &Refusal::Content(FormatError::Version(1))));
    }

    #[test]
    fn every_broken_rule_of_the_content_is_refused_although_it_is_signed() {
        // Broken content cannot be encoded here, so that a good encoding is broken byte by byte and signed by two.
        let good = encoded(&content(2));
        for at in 0..good.payload.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut broken = encoded(&content(2));
                broken.payload[at] ^= flip;
                // Either a content that is as good as any, in its one encoding, or an error: never a panic.
                if let Ok(c) = read(&encode_and_sign(&broken, &[1, 2])) {
                    assert_eq!(encoded(&c).payload, broken.payload, "byte {at}");
                }
            }
        }
    }

    #[test]
    fn every_broken_entry_is_refused_although_its_digest_is_signed() {
        let good = encoded(&content(1));
        // Behind the head of the byte string: the entry itself.
        let entry = &good.items[3..];
        for at in 0..entry.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut broken = entry.to_vec();
                broken[at] ^= flip;
                if let Ok(read) = read_entry(&broken, 64, |_| Ok(())) {
                    // A salt, a text, a time, a quality, a template, a digest: as good as any.
                    assert!(read.check(64).is_err_and(|e| e == read_without_templates(&read)), "byte {at}");
                }
            }
            assert!(read_entry(&entry[..at], 64, |_| Ok(())).is_err(), "cut at {at}");
        }
    }

    fn read_without_templates(entry: &Entry) -> FormatError {
        FormatError::Entry { reference: entry.reference.to_string(), what: EntryFault::Templates(0) }
    }

    #[test]
    fn an_entry_is_removed_for_good_and_the_rest_verifies_as_before() {
        let bytes = signed(&content(3), &[1, 2]);
        let whole = check(&bytes).unwrap();
        let container = Container::read(Kind::List, &bytes).unwrap();
        let reduced = container.without(&bytes, &[1]).concat();
        let mut list = check(&reduced).unwrap();
        let left: Vec<_> = list.entries().iter().map(|e| e.reference.as_str()).collect();
        assert_eq!((left, list.removed_entries()), (vec!["case-0", "case-2"], 1));
        assert_eq!((list.digest(), list.signers()), (whole.digest(), whole.signers()));
        assert_eq!(list.take_gallery().unwrap().templates(), 1 + 3);
        // Neither its templates nor its salt are anywhere in it.
        let row: Vec<u8> = content(3).entries[1].templates[0].template.values().iter().map(|v| *v as u8).collect();
        let has = |bytes: &[u8]| bytes.windows(row.len()).any(|w| w == row);
        assert!(has(&bytes) && !has(&reduced));
        // It cannot come back altered, nor another in its place.
        let other = Container::read(Kind::List, &bytes).unwrap();
        let items: Vec<_> = other.items().iter().map(|(i, _)| i.unwrap()).collect();
        let mut w = super::super::cbor::Writer::default();
        w.bytes(items[0]).bytes(items[0]).bytes(items[2]);
        let encoded = w.finish();
        let mut exchanged = Container::of_list(container.payload(), &encoded, 3);
        exchanged.sign(&key(1));
        exchanged.sign(&key(2));
        let refused = check(&exchanged.to_bytes()).unwrap_err();
        assert_eq!((refused.code(), refused), ("altered", FormatError::NotVouchedFor(1).into()));
    }

    #[test]
    fn another_number_of_templates_than_announced_is_refused() {
        for announced in [0u8, 1, 5, 7, 23] {
            let mut e = encoded(&content(3));
            // `7: 6, 8: bytes`, the last but one field of the payload.
            let at = e.payload.len() - (3 * 32 + 2) - 3;
            assert_eq!(e.payload[at..at + 3], [7, 6, 8]);
            e.payload[at + 1] = announced;
            let refused = check(&encode_and_sign(&e, &[1, 2])).unwrap_err();
            assert_eq!(refused.code(), "bad-content", "{announced}");
            assert!(read(&encode_and_sign(&e, &[1, 2])).is_err());
        }
    }

    #[test]
    fn more_entries_than_a_million_are_refused_by_their_number_alone() {
        let mut bytes = signed(&content(0), &[1, 2]);
        // The array of the entries: its head is behind the label's.
        let at = bytes.windows(6).position(|w| w == [0x3a, 0, 1, 0, 0, 0x80]).unwrap() + 5;
        bytes.splice(at..=at, [0x9a, 0, 0x0f, 0x42, 0x41]);
        assert!(matches!(check(&bytes), Err(Refusal::Unreadable(CborError::Count { found: 1_000_001, .. }))));
        assert_eq!(MAX_ENTRIES, 1_000_000);
    }

    #[test]
    fn an_entry_twice_is_refused() {
        let mut c = content(3);
        c.entries[2].reference = c.entries[0].reference.clone();
        assert_eq!(
            c.encode(|| [0; SALT]).err().unwrap(),
            FormatError::Entry { reference: "case-0".into(), what: EntryFault::Repeated }
        );
    }

    #[test]
    fn an_empty_list_is_a_list() {
        assert_eq!(check(&signed(&content(0), &[1, 2])).unwrap().entries(), []);
    }

    #[test]
    fn a_list_cut_anywhere_is_refused() {
        let bytes = signed(&content(2), &[1, 2]);
        for length in 0..bytes.len() {
            assert!(check(&bytes[..length]).is_err(), "{length}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(check(&longer).unwrap_err(), Refusal::Unreadable(CborError::Trailing(1)));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let bytes = signed(&content(2), &[1, 2]);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Not checked for what has the signatures of unknown signers: those are checked by nobody and count for nobody.
            assert!(check(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_hundred_thousand_entries_are_read_in_seconds_and_a_list_too_large_at_once() {
        let bytes = signed(&content(100_000), &[1, 2]);
        assert!(bytes.len() < 50 << 20, "{}", bytes.len());
        let start = std::time::Instant::now();
        assert_eq!(check(&bytes).unwrap().entries().len(), 100_000);
        // Far above what it takes, far below what a quadratic check of the references would.
        assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
        assert_eq!(check(&vec![0; MAX_BYTES + 1]).unwrap_err(), Refusal::TooLarge(MAX_BYTES + 1));
    }

    #[test]
    fn weekly_hours_are_kept_in_local_time() {
        let mut c = content(1);
        // Mondays 08:00 to 10:00, two hours ahead of universal time; `now` is a Monday at 12:00.
        let windows = vec![Window { days: 1, from_minute: 480, to_minute: 600 }];
        c.authorisation.hours = Hours { utc_offset_minutes: 120, windows };
        let list = check(&signed(&c, &[1, 2])).unwrap();
        let standing = |at| list.standing(at, None);
        let six = now() - Duration::hours(6);
        assert_eq!(standing(six - Duration::SECOND), Standing::OutsideHours);
        assert_eq!(standing(six), Standing::Valid);
        assert_eq!(standing(six + Duration::hours(2) - Duration::SECOND), Standing::Valid);
        assert_eq!(standing(six + Duration::hours(2)), Standing::OutsideHours);
        assert_eq!(standing(six + Duration::days(1)), Standing::OutsideHours);
        assert_eq!(standing(six + Duration::days(7)), Standing::Valid);
    }

    #[test]
    fn a_list_stops_while_running_when_its_time_or_its_trust_ends() {
        let list = check(&signed(&content(1), &[1, 2])).unwrap();
        assert_eq!(list.standing(now(), None), Standing::Valid);
        assert_eq!(list.standing(list.expires(), None), Standing::Expired { at: list.expires() });
        assert_eq!(list.standing(now() - Duration::days(3), None).code(), "not-yet-valid");
        let mut long = content(1);
        long.expires = now() + Duration::days(36500);
        let list = check(&signed(&long, &[1, 2])).unwrap();
        assert_eq!(list.expires(), trust().valid_until());
        assert_eq!(list.standing(trust().valid_until(), None).code(), "expired");
    }

    #[test]
    fn a_list_with_areas_matches_only_inside_them_and_nowhere_without_a_position() {
        let corner = |latitude, longitude| Position { latitude, longitude };
        let mut c = content(1);
        // An L: the square 0..2 without its north-eastern quarter.
        let corners = [(0.0, 0.0), (0.0, 2.0), (1.0, 2.0), (1.0, 1.0), (2.0, 1.0), (2.0, 0.0)];
        c.authorisation.areas = vec![Area(corners.map(|(a, b)| corner(a, b)).to_vec())];
        let list = check(&signed(&c, &[1, 2])).unwrap();
        let at = |a, b| list.standing(now(), Some(corner(a, b)));
        assert_eq!(at(0.5, 1.5), Standing::Valid);
        assert_eq!(at(1.5, 0.5), Standing::Valid);
        assert_eq!(at(1.5, 1.5), Standing::OutsideArea);
        assert_eq!(at(-0.5, 0.5), Standing::OutsideArea);
        assert_eq!(at(0.5, -0.5), Standing::OutsideArea, "west of it, where both of its sides lie to the east");
        assert_eq!(list.standing(now(), None), Standing::PositionUnknown);
    }

    #[test]
    fn debug_output_and_refusals_show_no_entry_content() {
        let text = format!("{:?}", check(&signed(&content(3), &[1, 2])).unwrap());
        assert_eq!(text, "Watchlist(north-gate version 7, 3 entries)");
    }

    /// Every field that a list may hold, somewhere in its range.
    fn any_content() -> impl Strategy<Value = Content> {
        let degrees = |most: i32| (-most * 10_000_000..=most * 10_000_000).prop_map(|v| f64::from(v) / 1e7);
        let corner = (degrees(90), degrees(180)).prop_map(|(latitude, longitude)| Position { latitude, longitude });
        let areas = prop::collection::vec(prop::collection::vec(corner, 3..8).prop_map(Area), 0..3);
        let window = (1u8..=0x7f, 0u16..1440, 1u16..1440).prop_map(|(days, from_minute, more)| Window {
            days,
            from_minute,
            to_minute: (from_minute + more).min(1440),
        });
        let hours = (-840i16..=840, prop::collection::vec(window, 1..5))
            .prop_map(|(utc_offset_minutes, windows)| Hours { utc_offset_minutes, windows });
        let text = "[ -~äö€]{0,40}[a-z]";
        (
            areas,
            hours,
            text,
            1..=1_000_000_000u64,
            0..=1000u16,
            1..=1u64 << 53,
            0..20u64,
            prop::sample::select(&Aim::ALL[..]),
        )
            .prop_map(|(areas, hours, text, budget, quality, version, entries, aim)| {
                let mut c = content(entries);
                c.authorisation.authority = text.clone();
                c.authorisation.false_alerts_per_day = budget as f64 / 1000.0;
                (c.authorisation.areas, c.authorisation.hours, c.authorisation.aim, c.version) =
                    (areas, hours, aim, version);
                for entry in &mut c.entries {
                    entry.purpose = text.clone();
                    entry.templates[0].quality = f32::from(quality) / 1000.0;
                }
                c
            })
    }

    proptest! {
        #[test]
        fn every_content_survives_its_encoding_and_its_draft(c in any_content()) {
            prop_assert_eq!(&read(&signed(&c, &[1])).unwrap(), &c);
            let draft = serde_json::to_vec(&c).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Content>(&draft).unwrap(), &c);
        }

        #[test]
        fn no_bytes_make_a_parser_panic(bytes: Vec<u8>) {
            prop_assert!(check(&bytes).is_err());
            let _ = Head::decode(&bytes);
            let _ = read_entry(&bytes, 64, |_| Ok(()));
        }

        #[test]
        fn several_changed_bytes_are_refused(changes in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..6)) {
            let good = signed(&content(2), &[1, 2]);
            let mut bytes = good.clone();
            for (at, flip) in changes {
                bytes[at.index(good.len())] ^= flip;
            }
            prop_assume!(bytes != good);
            prop_assert!(check(&bytes).is_err());
        }

        #[test]
        fn an_announced_number_of_entries_or_templates_allocates_nothing(count: u32) {
            let mut payload = encoded(&content(0)).payload;
            // `7: 0, 8: h''`.
            let end = payload.len() - 3;
            prop_assert_eq!(&payload[end..], [0, 8, 0x40]);
            payload.truncate(end);
            payload.push(0x1a);
            payload.extend((count | 0x1_0000).to_be_bytes());
            payload.extend([8, 0x5a]);
            payload.extend((count | 0x1_0000).to_be_bytes());
            prop_assert!(matches!(Head::decode(&payload), Err(FormatError::Encoding(_))));
        }
    }
}
