//! The list's format: what a list says, its one encoding, and the signed container around it. The
//! schema in CDDL (RFC 8610) is `config/schemas/watchlist.cddl`.
//!
//! # Container
//! A tagged `COSE_Sign` (RFC 9052, section 4.1). Body header: protected content type
//! [`CONTENT_TYPE`], unprotected the entries. Each signature: protected `{alg: EdDSA (-8), kid: key
//! id (8 bytes)}`, nothing unprotected, 64 bytes of Ed25519. `external_aad` is [`CONTEXT`]: a
//! signature made for a list is valid for nothing else, nor one made for something else for a list.
//! Everything in the container is signed, or vouched for by a signed digest, or has one possible
//! value, so that no byte can be changed without being noticed. The code is in `container`.
//!
//! # Payload and entries
//! The payload is all but the entries, and the SHA-256 of each. The entries lie beside it, each a
//! byte string of its own, begun by a salt. So an entry can be **removed** from a signed list for
//! good, template and texts, by writing `null` in its place: what remains verifies as before, and
//! the digest that stays says nothing, because the salt is gone with the entry. Nothing can be
//! added or exchanged. (SD-JWT, RFC 9901, discloses claims by the same means;
//! `decisions/002-entries-beside-the-payload.md`.)
//!
//! Deterministic CBOR: maps with ascending integer keys, all fields present, shortest heads,
//! definite lengths, nothing behind the end. One content with its salts has one encoding. Times are
//! whole seconds since 1970 in universal time, coordinates 10^-7 degrees, qualities and budgets
//! thousandths.
//!
//! # Why this and not another
//! COSE carries several signatures over the same binary payload, is a published standard that other
//! software reads, and binds a context. Rejected: JWS (three quarters of a list are templates,
//! which would be base64, and JSON has no one encoding), minisign and OpenPGP (one signer a file,
//! or formats far larger than the need), TUF (roles, delegation and a repository; what it teaches,
//! thresholds, expiry and rising versions, is here). ES256 instead of Ed25519: needs randomness to
//! sign well.
//!
//! # What is not in it
//! No name and no photograph, by construction: an entry is named by an opaque [`Reference`] that
//! whoever is answerable can resolve elsewhere, and a photograph by its SHA-256. The free texts
//! `legal_basis` and `purpose` are for case numbers and statutes; authors are told so.

use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::cbor::{CborError, Reader, Writer};
use super::container::{Container, Items};
pub use super::hours::{Hours, NotAWindow, Window};
use crate::template::{MAX_DIMENSIONS, MIN_DIMENSIONS, Template, TemplateError};

/// Version of the payload's schema.
pub const FORMAT_VERSION: u64 = 2;
/// Content type in the protected header of the container.
pub const CONTENT_TYPE: &str = "application/vnd.watchpost.watchlist+cbor";
/// What every signature is bound to besides the payload (`external_aad`).
pub const CONTEXT: &[u8] = b"watchpost watch list v2";
/// Most bytes of a list: 300,000 templates of 512 components fit, and a small board's memory still
/// holds it.
pub const MAX_BYTES: usize = 256 << 20;
/// Most entries.
pub const MAX_ENTRIES: usize = 1_000_000;
/// Most bytes of one entry: ten templates of 1024 components and its texts are below it.
pub const MAX_ENTRY_BYTES: usize = 16 * 1024;
/// Bytes of an entry's salt.
pub const SALT: usize = 16;
/// Most templates of one entry.
pub const MAX_TEMPLATES: usize = 10;
/// Most signatures on one list.
pub const MAX_SIGNATURES: usize = 16;
/// Most devices.
pub const MAX_DEVICES: usize = 4096;
/// Most areas.
pub const MAX_AREAS: usize = 64;
/// Most corners of one area.
pub const MAX_CORNERS: usize = 256;
/// Most weekly windows.
pub const MAX_WINDOWS: usize = 64;
/// Most bytes of a free text.
pub const MAX_TEXT: usize = 200;

const LATEST: i64 = 253_402_300_799; // 9999-12-31T23:59:59Z
const MAX_FACES: u64 = 100_000_000;

/// Why content is no list. The same rules hold when a list is authored and when it is read.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum FormatError {
    /// The bytes do not follow the schema.
    #[error(
        "the list's content does not follow the schema: {0}; make it again with this version of \
         `watchpost watchlist sign`"
    )]
    Encoding(#[from] CborError),
    /// Another [`FORMAT_VERSION`].
    #[error(
        "the list has format {0} and this program reads format {FORMAT_VERSION}; sign it again \
         with a matching version of watchpost"
    )]
    Version(u64),
    /// Not an opaque reference.
    #[error(
        "{what} {found:?}: write 1 to 64 of the characters A-Z a-z 0-9 . _ - (an opaque reference \
         such as a case number; never a person's name, because it is published)"
    )]
    Reference {
        /// Which field.
        what: &'static str,
        /// What was written.
        found: String,
    },
    /// A free text that is empty, too long or has control characters.
    #[error("{what}: write 1 to {MAX_TEXT} bytes of text in one line")]
    Text {
        /// Which field.
        what: &'static str,
    },
    /// A value outside its range.
    #[error("{what}: {rule}")]
    Range {
        /// Which field.
        what: &'static str,
        /// What is allowed.
        rule: &'static str,
    },
    /// Something is wrong with one entry.
    #[error("entry {reference}: {what}")]
    Entry {
        /// Its reference.
        reference: String,
        /// The reason and the remedy.
        what: EntryFault,
    },
    /// An entry that the signed payload does not vouch for.
    #[error(
        "entry number {0} is not what was signed: it was altered, added or exchanged; fetch the \
         list again from its authors"
    )]
    NotVouchedFor(usize),
    /// Entries were removed where all are needed.
    #[error(
        "{0} entries were removed from this copy of the list, as a device does when they are \
         revoked; use the copy that its authors have"
    )]
    Removed(usize),
    /// More entries than the authorisation allows.
    #[error(
        "the list has {entries} entries and its authorisation allows {allowed}; remove entries or \
         obtain another authorisation"
    )]
    TooManyEntries {
        /// In the list.
        entries: usize,
        /// Allowed.
        allowed: u32,
    },
}

/// What can be wrong with one entry.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum EntryFault {
    /// Two entries with one reference.
    #[error("appears twice; put all of a person's templates in one entry")]
    Repeated,
    /// None or more than [`MAX_TEMPLATES`].
    #[error("has {0} templates; an entry has 1 to {MAX_TEMPLATES}")]
    Templates(usize),
    /// Templates of another length than the list's.
    #[error("has a template of {found} components in a list of {wanted}")]
    Dimensions {
        /// Of the template.
        found: usize,
        /// Of the list.
        wanted: usize,
    },
    /// Not a template.
    #[error("has an unusable template: {0}")]
    Template(#[from] TemplateError),
    /// The same photograph twice.
    #[error("has the same photograph twice")]
    SamePhotograph,
}

/// An opaque name: 1 to 64 of `A-Z a-z 0-9 . _ -`. Names entries, lists and devices.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference(heapless::String<64>);

impl Reference {
    fn parse(what: &'static str, text: &str) -> Result<Self, FormatError> {
        let opaque = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        // At most 80 characters of what was written are shown: it may be anything.
        let refuse = || FormatError::Reference { what, found: text.chars().take(80).collect() };
        if text.is_empty() || !text.bytes().all(opaque) {
            return Err(refuse());
        }
        heapless::String::try_from(text).map(Self).map_err(|_| refuse())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reference {
    type Err = FormatError;
    fn from_str(text: &str) -> Result<Self, FormatError> {
        Self::parse("reference", text)
    }
}

impl TryFrom<String> for Reference {
    type Error = FormatError;
    fn try_from(text: String) -> Result<Self, FormatError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.as_str().into()
    }
}

impl Deref for Reference {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a list may be for: a closed set, after Article 5(1)(h) of Regulation (EU) 2024/1689, and
/// the consent of everybody on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aim {
    /// The search for missing persons and for victims of abduction, trafficking or sexual
    /// exploitation.
    MissingOrVictim,
    /// The prevention of a specific, substantial and imminent threat to life or of a terrorist
    /// attack.
    ThreatToLife,
    /// The localisation of a person suspected of one of the serious crimes that the law names.
    SeriousCrime,
    /// Everybody on the list has agreed: access, trials, demonstrations.
    Consent,
}

impl Aim {
    /// Every aim; there is no other.
    pub const ALL: [Aim; 4] =
        [Aim::MissingOrVictim, Aim::ThreatToLife, Aim::SeriousCrime, Aim::Consent];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Aim::MissingOrVictim => "missing-or-victim",
            Aim::ThreatToLife => "threat-to-life",
            Aim::SeriousCrime => "serious-crime",
            Aim::Consent => "consent",
        }
    }

    fn code(self) -> u64 {
        1 + Self::ALL.iter().position(|a| *a == self).expect("every aim is in the table") as u64
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Aim {
    type Err = FormatError;
    fn from_str(text: &str) -> Result<Self, FormatError> {
        let rule = "write missing-or-victim, threat-to-life, serious-crime or consent; there is \
            no other aim";
        Self::ALL
            .into_iter()
            .find(|a| a.as_str() == text)
            .ok_or(FormatError::Range { what: "aim", rule })
    }
}

/// A place in degrees, WGS 84.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// North positive.
    pub latitude: f64,
    /// East positive.
    pub longitude: f64,
}

impl Position {
    /// Whether both are in range.
    pub fn is_on_earth(&self) -> bool {
        (-90.0..=90.0).contains(&self.latitude) && (-180.0..=180.0).contains(&self.longitude)
    }
}

/// A polygon by its corners, in either direction, the last joined to the first. Must not span the
/// antimeridian.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Area(pub Vec<Position>);

impl Area {
    /// Whether `p` is inside, by the even-odd rule on latitude and longitude as a plane. What is
    /// exactly on an edge may count as either.
    pub fn contains(&self, p: Position) -> bool {
        let mut inside = false;
        for (i, a) in self.0.iter().enumerate() {
            let b = &self.0[(i + 1) % self.0.len()];
            if (a.latitude > p.latitude) != (b.latitude > p.latitude) {
                let t = (p.latitude - a.latitude) / (b.latitude - a.latitude);
                inside ^= p.longitude < a.longitude + t * (b.longitude - a.longitude);
            }
        }
        inside
    }
}

/// Who decided that the list may be used, for what, where, when, and how wrong it may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorisation {
    /// The court or body.
    pub authority: String,
    /// Its decision's file number.
    pub decision: String,
    /// What for.
    pub aim: Aim,
    /// The devices that may use the list; at least one.
    pub devices: Vec<Reference>,
    /// Where; empty means wherever those devices are.
    pub areas: Vec<Area>,
    /// When.
    pub hours: Hours,
    /// Most entries.
    pub most_entries: u32,
    /// How many faces one device is expected to compare a day.
    pub expected_faces_per_day: u32,
    /// How many false alerts one device may give a day, in steps of a thousandth.
    pub false_alerts_per_day: f64,
}

/// A template as it is stored.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredTemplate {
    /// What is compared.
    #[serde(with = "super::text::as_base64")]
    pub template: Template,
    /// Quality of the photograph's face, 0 to 1, in steps of a thousandth.
    pub quality: f32,
    /// SHA-256 of the photograph's file.
    #[serde(with = "super::text::as_hex")]
    pub photo: [u8; 32],
}

impl fmt::Debug for StoredTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredTemplate({:?}, quality {})", self.template, self.quality)
    }
}

/// One person who may be looked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What is published. Never a name.
    pub reference: Reference,
    /// The law or order under which this person may be looked for.
    pub legal_basis: String,
    /// Why.
    pub purpose: String,
    /// From then on the entry is not matched, whatever the list's own expiry.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
    /// One to ten.
    pub templates: Vec<StoredTemplate>,
}

/// All that a list says; unsigned. The JSON form of this type is the draft that authors edit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Names the list through all of its versions.
    pub id: Reference,
    /// Rises with every change.
    pub version: u64,
    /// When it was first signed.
    #[serde(with = "time::serde::rfc3339")]
    pub issued: OffsetDateTime,
    /// Not valid before.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// Not valid from then on.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
    /// SHA-256 of the embedder's file: templates of another are incomparable.
    #[serde(with = "super::text::as_hex")]
    pub embedder: [u8; 32],
    /// Components of every template.
    pub dimensions: usize,
    /// The permission.
    pub authorisation: Authorisation,
    /// Whom.
    pub entries: Vec<Entry>,
}

impl Content {
    /// Checks every rule of the format.
    ///
    /// # Errors
    /// The first rule that is broken, with its remedy.
    pub fn check(&self) -> Result<(), FormatError> {
        self.check_head(self.entries.len())?;
        self.check_entries()
    }

    /// The rules that do not concern single entries, for a list of so many.
    fn check_head(&self, entries: usize) -> Result<(), FormatError> {
        let range = |what, rule| Err(FormatError::Range { what, rule });
        let a = &self.authorisation;
        text_ok("authority", &a.authority)?;
        text_ok("decision", &a.decision)?;
        if !(1..=1 << 53).contains(&self.version) {
            return range(
                "version",
                "write a number from 1 to 2^53, higher than that of the list before",
            );
        }
        for (what, at) in
            [("issued", self.issued), ("not_before", self.not_before), ("expires", self.expires)]
        {
            time_ok(what, at)?;
        }
        if self.expires <= self.not_before || self.expires <= self.issued {
            return range("expires", "write a time after `not_before` and after now");
        }
        if !(MIN_DIMENSIONS..=MAX_DIMENSIONS).contains(&self.dimensions) {
            return range("dimensions", "an embedder has 64 to 1024");
        }
        if a.devices.is_empty() || a.devices.len() > MAX_DEVICES {
            return range(
                "devices",
                "name 1 to 4096 devices; a list that every device may use does not exist",
            );
        }
        if a.areas.len() > MAX_AREAS
            || a.areas.iter().any(|r| {
                !(3..=MAX_CORNERS).contains(&r.0.len()) || !r.0.iter().all(Position::is_on_earth)
            })
        {
            return range("areas", "write at most 64 polygons of 3 to 256 corners in degrees");
        }
        if !(1..=MAX_WINDOWS).contains(&a.hours.windows.len())
            || !a.hours.windows.iter().all(Window::is_sound)
        {
            return range(
                "hours",
                "write 1 to 64 windows with a day each, `from` before `to` and `to` at most 24:00",
            );
        }
        if !(-840..=840).contains(&a.hours.utc_offset_minutes) {
            return range("utc_offset_minutes", "write -840 to 840");
        }
        if a.most_entries as usize > MAX_ENTRIES || entries > MAX_ENTRIES {
            return range("most_entries", "a list has at most 1,000,000 entries");
        }
        if entries > a.most_entries as usize {
            return Err(FormatError::TooManyEntries { entries, allowed: a.most_entries });
        }
        if !(1..=MAX_FACES).contains(&u64::from(a.expected_faces_per_day)) {
            return range("expected_faces_per_day", "write 1 to 100,000,000");
        }
        if !(0.001..=1_000_000.0).contains(&a.false_alerts_per_day) {
            return range(
                "false_alerts_per_day",
                "write 0.001 to 1,000,000; zero cannot be promised by any model",
            );
        }
        Ok(())
    }

    fn check_entries(&self) -> Result<(), FormatError> {
        let mut seen = HashSet::with_capacity(self.entries.len());
        for entry in &self.entries {
            entry.check(self.dimensions)?;
            if !seen.insert(entry.reference.as_str()) {
                return Err(entry.fault(EntryFault::Repeated));
            }
        }
        Ok(())
    }

    /// The encoding of this content with a salt for each entry.
    ///
    /// # Errors
    /// As for [`Content::check`].
    pub fn encode(&self, mut salt: impl FnMut() -> [u8; SALT]) -> Result<Encoded, FormatError> {
        self.check()?;
        let templates: usize = self.entries.iter().map(|e| e.templates.len()).sum();
        // Reserved generously, because a buffer that grows leaves copies of templates behind
        // unwiped.
        let mut items = Writer::with_capacity(
            templates * (self.dimensions + 64)
                + self.entries.len() * (2 * MAX_TEXT + 160)
                + MAX_ENTRY_BYTES,
        );
        let mut digests = Vec::with_capacity(self.entries.len() * 32);
        for entry in &self.entries {
            let item = entry.encode(salt());
            digests.extend_from_slice(&Sha256::digest(&item));
            items.bytes(&item);
        }
        let mut w = Writer::default();
        w.map(9);
        w.key(0).uint(FORMAT_VERSION);
        w.key(1).text(&self.id);
        w.key(2).uint(self.version);
        w.key(3).array(3);
        w.uint(seconds(self.issued)).uint(seconds(self.not_before)).uint(seconds(self.expires));
        w.key(4).bytes(&self.embedder);
        w.key(5).uint(self.dimensions as u64);
        w.key(6);
        self.authorisation.encode(&mut w);
        w.key(7).uint(templates as u64);
        w.key(8).bytes(&digests);
        Ok(Encoded {
            payload: w.finish(),
            items: Zeroizing::new(items.finish()),
            count: self.entries.len(),
        })
    }

    /// Reads what [`Content::encode`] writes, and nothing else; entries that were removed are left
    /// out and counted.
    ///
    /// # Errors
    /// Where the bytes do not follow the schema, break a rule of [`Content::check`], or an entry is
    /// not vouched for.
    pub(super) fn decode(container: &Container<'_>) -> Result<(Self, usize), FormatError> {
        let Head { mut content, templates, digests } = Head::decode(container.payload())?;
        let mut removed = 0;
        for item in vouched_for(digests, container.items())? {
            let Some(item) = item? else {
                removed += 1;
                continue;
            };
            let mut stored = Vec::new();
            let mut entry = read_entry(item, content.dimensions, |part| {
                let values = part.values.iter().map(|b| b.cast_signed()).collect();
                stored.push(StoredTemplate {
                    template: Template::new(values)?,
                    quality: part.quality,
                    photo: part.photo,
                });
                Ok(())
            })?;
            entry.templates = stored;
            // Grows with what is really there: an announced number allocates nothing.
            content.entries.push(entry);
        }
        content.check_entries()?;
        announced(templates, content.entries.iter().map(|e| e.templates.len()).sum(), removed)?;
        Ok((content, removed))
    }
}

/// A content's two halves: what is signed, and the entries that it vouches for.
pub struct Encoded {
    /// To be signed.
    pub payload: Vec<u8>,
    /// The entries, byte strings one after another.
    pub items: Zeroizing<Vec<u8>>,
    /// How many.
    pub count: usize,
}

impl Encoded {
    /// The container, signed by nobody yet.
    pub(super) fn container(&self) -> Container<'_> {
        Container::of_list(&self.payload, &self.items, self.count)
    }
}

/// What a payload says: all but the entries.
pub(super) struct Head<'a> {
    /// Without entries.
    pub content: Content,
    /// Templates of all entries together, as announced.
    pub templates: u64,
    /// SHA-256 of each entry, one after another.
    pub digests: &'a [u8],
}

impl<'a> Head<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new(payload);
        r.map(9)?;
        r.key(0)?;
        let version = r.uint(u64::MAX)?;
        if version != FORMAT_VERSION {
            return Err(FormatError::Version(version));
        }
        r.key(1)?;
        let id = Reference::parse("list id", r.text(64)?)?;
        r.key(2)?;
        let version = r.uint(u64::MAX)?;
        r.key(3)?;
        exactly(r.array(3)?, 3, "times")?;
        let (issued, not_before, expires) = (time(&mut r)?, time(&mut r)?, time(&mut r)?);
        r.key(4)?;
        let embedder = digest(&mut r)?;
        r.key(5)?;
        let dimensions = r.uint(MAX_DIMENSIONS as u64)? as usize;
        r.key(6)?;
        let authorisation = Authorisation::decode(&mut r)?;
        r.key(7)?;
        let templates = r.uint((MAX_ENTRIES * MAX_TEMPLATES) as u64)?;
        r.key(8)?;
        let digests = r.bytes(MAX_ENTRIES * 32)?;
        r.end()?;
        if !digests.len().is_multiple_of(32) {
            return Err(FormatError::Range { what: "entries", rule: "a SHA-256 has 32 bytes" });
        }
        let entries = Vec::new();
        let content = Content {
            id,
            version,
            issued,
            not_before,
            expires,
            embedder,
            dimensions,
            authorisation,
            entries,
        };
        content.check_head(digests.len() / 32)?;
        Ok(Self { content, templates, digests })
    }
}

/// Each of `items`, once its digest is the one that belongs there; `None` for a removed one.
pub(super) fn vouched_for<'a>(
    digests: &'a [u8],
    items: Items<'a>,
) -> Result<impl Iterator<Item = Result<Option<&'a [u8]>, FormatError>>, FormatError> {
    if digests.len() / 32 != items.len() {
        return Err(FormatError::NotVouchedFor(items.len().min(digests.len() / 32)));
    }
    let pairs = digests.chunks_exact(32).zip(items.iter()).enumerate();
    Ok(pairs.map(|(n, (digest, (item, _)))| match item {
        Some(item) if Sha256::digest(item)[..] != *digest => Err(FormatError::NotVouchedFor(n)),
        item => Ok(item),
    }))
}

/// Holds the announced number of templates against those that are there.
pub(super) fn announced(templates: u64, there: usize, removed: usize) -> Result<(), FormatError> {
    let there = there as u64;
    // A removed entry had at least one and at most ten.
    let (least, most) = (there + removed as u64, there + (removed * MAX_TEMPLATES) as u64);
    if (least..=most).contains(&templates) {
        return Ok(());
    }
    Err(FormatError::Range {
        what: "templates",
        rule: "the announced number is not that of the entries",
    })
}

/// A template as it lies in an entry.
pub(super) struct TemplateParts<'a> {
    /// Two's complements.
    pub values: &'a [u8],
    pub quality: f32,
    pub photo: [u8; 32],
}

/// Reads one entry, its templates through `each` and not into the entry, so that a device can put
/// them where they belong at once.
pub(super) fn read_entry(
    item: &[u8],
    dimensions: usize,
    mut each: impl FnMut(TemplateParts<'_>) -> Result<(), TemplateError>,
) -> Result<Entry, FormatError> {
    let mut r = Reader::new(item);
    exactly(r.array(2)?, 2, "entry")?;
    exactly(r.bytes(SALT)?.len(), SALT, "salt")?;
    r.map(5)?;
    r.key(0)?;
    let reference = Reference::parse("entry", r.text(64)?)?;
    r.key(1)?;
    let legal_basis = r.text(MAX_TEXT)?.into();
    r.key(2)?;
    let purpose = r.text(MAX_TEXT)?.into();
    r.key(3)?;
    let expires = time(&mut r)?;
    let entry = Entry { reference, legal_basis, purpose, expires, templates: Vec::new() };
    entry.check_texts()?;
    r.key(4)?;
    let count = r.array(MAX_TEMPLATES)?;
    if count == 0 {
        return Err(entry.fault(EntryFault::Templates(0)));
    }
    let mut photos = heapless::Vec::<[u8; 32], MAX_TEMPLATES>::new();
    for _ in 0..count {
        exactly(r.array(3)?, 3, "template")?;
        let values = r.bytes(MAX_DIMENSIONS)?;
        if values.len() != dimensions {
            return Err(
                entry.fault(EntryFault::Dimensions { found: values.len(), wanted: dimensions })
            );
        }
        let quality = r.uint(1000)? as f32 / 1000.0;
        let photo = digest(&mut r)?;
        if photos.contains(&photo) {
            return Err(entry.fault(EntryFault::SamePhotograph));
        }
        photos.push(photo).expect("no more than an entry may have");
        each(TemplateParts { values, quality, photo }).map_err(|e| entry.fault(e.into()))?;
    }
    r.end()?;
    Ok(entry)
}

impl Authorisation {
    fn encode(&self, w: &mut Writer) {
        w.map(9);
        w.key(0).text(&self.authority);
        w.key(1).text(&self.decision);
        w.key(2).uint(self.aim.code());
        w.key(3).array(self.devices.len());
        for device in &self.devices {
            w.text(device);
        }
        w.key(4).array(self.areas.len());
        for area in &self.areas {
            w.array(area.0.len());
            for corner in &area.0 {
                w.array(2).int(e7(corner.latitude)).int(e7(corner.longitude));
            }
        }
        w.key(5).array(2).int(self.hours.utc_offset_minutes.into()).array(self.hours.windows.len());
        for window in &self.hours.windows {
            w.array(3)
                .uint(window.days.into())
                .uint(window.from_minute.into())
                .uint(window.to_minute.into());
        }
        w.key(6).uint(self.most_entries.into());
        w.key(7).uint(self.expected_faces_per_day.into());
        w.key(8).uint((self.false_alerts_per_day * 1000.0).round() as u64);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, FormatError> {
        r.map(9)?;
        r.key(0)?;
        let authority = r.text(MAX_TEXT)?.into();
        r.key(1)?;
        let decision = r.text(MAX_TEXT)?.into();
        r.key(2)?;
        let code = r.uint(Aim::ALL.len() as u64)?;
        let aim = *Aim::ALL
            .get(code.wrapping_sub(1) as usize)
            .ok_or(FormatError::Range { what: "aim", rule: "the aims have the numbers 1 to 4" })?;
        r.key(3)?;
        let devices = (0..r.array(MAX_DEVICES)?)
            .map(|_| Reference::parse("device", r.text(64)?))
            .collect::<Result<_, _>>()?;
        r.key(4)?;
        let mut areas = Vec::new();
        for _ in 0..r.array(MAX_AREAS)? {
            let mut corners = Vec::new();
            for _ in 0..r.array(MAX_CORNERS)? {
                exactly(r.array(2)?, 2, "coordinates")?;
                let (latitude, longitude) = (f64::from(r.int()?) / 1e7, f64::from(r.int()?) / 1e7);
                corners.push(Position { latitude, longitude });
            }
            areas.push(Area(corners));
        }
        r.key(5)?;
        exactly(r.array(2)?, 2, "hours")?;
        let utc_offset_minutes = i16::try_from(r.int()?).map_err(|_| FormatError::Range {
            what: "utc_offset_minutes",
            rule: "write -840 to 840",
        })?;
        let mut windows = Vec::new();
        for _ in 0..r.array(MAX_WINDOWS)? {
            exactly(r.array(3)?, 3, "window")?;
            let (days, from_minute, to_minute) =
                (r.uint(0x7f)? as u8, r.uint(1440)? as u16, r.uint(1440)? as u16);
            windows.push(Window { days, from_minute, to_minute });
        }
        r.key(6)?;
        let most_entries = r.uint(MAX_ENTRIES as u64)? as u32;
        r.key(7)?;
        let expected_faces_per_day = r.uint(MAX_FACES)? as u32;
        r.key(8)?;
        let false_alerts_per_day = r.uint(1_000_000_000)? as f64 / 1000.0;
        let hours = Hours { utc_offset_minutes, windows };
        Ok(Self {
            authority,
            decision,
            aim,
            devices,
            areas,
            hours,
            most_entries,
            expected_faces_per_day,
            false_alerts_per_day,
        })
    }
}

impl Entry {
    fn check_texts(&self) -> Result<(), FormatError> {
        text_ok("legal_basis", &self.legal_basis)?;
        text_ok("purpose", &self.purpose)?;
        time_ok("entry expires", self.expires)
    }

    fn fault(&self, what: EntryFault) -> FormatError {
        FormatError::Entry { reference: self.reference.to_string(), what }
    }

    /// Checks the rules that concern one entry of a list of `dimensions` components.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self, dimensions: usize) -> Result<(), FormatError> {
        self.check_texts()?;
        if !(1..=MAX_TEMPLATES).contains(&self.templates.len()) {
            return Err(self.fault(EntryFault::Templates(self.templates.len())));
        }
        for (i, stored) in self.templates.iter().enumerate() {
            let found = stored.template.values().len();
            if found != dimensions {
                return Err(self.fault(EntryFault::Dimensions { found, wanted: dimensions }));
            }
            if !(0.0..=1.0).contains(&stored.quality) {
                return Err(FormatError::Range { what: "quality", rule: "a quality is 0 to 1" });
            }
            if self.templates[..i].iter().any(|other| other.photo == stored.photo) {
                return Err(self.fault(EntryFault::SamePhotograph));
            }
        }
        Ok(())
    }

    fn encode(&self, salt: [u8; SALT]) -> Zeroizing<Vec<u8>> {
        let mut w = Writer::with_capacity(MAX_ENTRY_BYTES);
        w.array(2).bytes(&salt);
        w.map(5);
        w.key(0).text(&self.reference);
        w.key(1).text(&self.legal_basis);
        w.key(2).text(&self.purpose);
        w.key(3).uint(seconds(self.expires));
        w.key(4).array(self.templates.len());
        for stored in &self.templates {
            w.array(3).signed_bytes(stored.template.values());
            w.uint((f64::from(stored.quality) * 1000.0).round() as u64);
            w.bytes(&stored.photo);
        }
        Zeroizing::new(w.finish())
    }
}

/// What a payload and one entry say, whoever signed them: to look at them, not to use them.
///
/// # Errors
/// Where they do not follow the schema.
pub fn inspect(
    payload: &[u8],
    entry: &[u8],
) -> (Result<Content, FormatError>, Result<Entry, FormatError>) {
    let content = Head::decode(payload).map(|head| head.content);
    let dimensions = content.as_ref().map_or(MIN_DIMENSIONS, |c| c.dimensions);
    (content, read_entry(entry, dimensions, |_| Ok(())))
}

fn text_ok(what: &'static str, text: &str) -> Result<(), FormatError> {
    let good =
        !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    if good { Ok(()) } else { Err(FormatError::Text { what }) }
}

fn time_ok(what: &'static str, at: OffsetDateTime) -> Result<(), FormatError> {
    let good = (0..=LATEST).contains(&at.unix_timestamp());
    if good {
        Ok(())
    } else {
        Err(FormatError::Range { what, rule: "write a time from 1970 to 9999" })
    }
}

fn seconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp())
        .expect("times are checked to lie after 1970 before they are encoded")
}

fn e7(degrees: f64) -> i32 {
    // At most 1.8e9 because positions are checked to be on earth before they are encoded; the cast
    // would saturate.
    (degrees * 1e7).round() as i32
}

fn exactly(found: usize, wanted: usize, what: &'static str) -> Result<(), FormatError> {
    if found == wanted {
        Ok(())
    } else {
        Err(FormatError::Range { what, rule: "another number of parts than the schema has" })
    }
}

fn time(r: &mut Reader<'_>) -> Result<OffsetDateTime, FormatError> {
    let seconds = r.uint(LATEST as u64)?;
    Ok(OffsetDateTime::from_unix_timestamp(seconds as i64).expect("the year 9999 is representable"))
}

fn digest(r: &mut Reader<'_>) -> Result<[u8; 32], FormatError> {
    let rule = FormatError::Range { what: "digest", rule: "a SHA-256 has 32 bytes" };
    r.bytes(32)?.try_into().map_err(|_| rule)
}
