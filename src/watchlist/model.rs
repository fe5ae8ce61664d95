//! What a list says, and the rules that hold for it, the same when a list is authored and when it
//! is read.
//!
//! * There is no name and no photograph in it, by construction: an entry is named by an opaque
//!   [`Reference`] that the authority can resolve elsewhere, and a photograph by its SHA-256. The
//!   free texts `legal_basis` and `purpose` are for case numbers and statutes; the authoring
//!   commands say so.
//! * [`Content::check`] holds every rule; nothing that breaks one is encoded or decoded.
//! * It says nothing of bytes and signatures: that is [`mod@super::codec`] and `container`.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use super::hours::{Hours, NotAWindow, Window};
pub use super::place::{Area, Position};
use super::promotion::PromotionRule;
pub use super::reference::{NotOpaque, Reference};
use super::text::is_read_as_written;
use crate::promise::Stage;
use crate::template::{MAX_DIMENSIONS, MIN_DIMENSIONS, Template, TemplateError, fuse};

/// Most entries.
pub const MAX_ENTRIES: usize = 1_000_000;
/// Most photographs of one entry.
pub const MAX_PHOTOGRAPHS: usize = 10;
/// Most bytes of a promise.
pub const MAX_PROMISE: usize = 8192;
/// Most bytes of a site record: one of some 3,000 covered entries.
pub const MAX_SITE_RECORD: usize = 64 * 1024;
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
/// The latest time that a list may name, in Unix seconds: 9999-12-31T23:59:59Z.
pub(super) const LATEST: i64 = 253_402_300_799;
/// Fewest faces that one device may be expected to compare a day: with fewer the threshold would be
/// planned for a place at which nobody needs a camera.
const MIN_FACES: u64 = 10;
/// Most faces that one device may be expected to compare a day.
pub(super) const MAX_FACES: u64 = 100_000_000;

/// Which rule of a list is broken, and the remedy.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ContentError {
    /// Not an opaque reference.
    #[error(transparent)]
    Reference(#[from] NotOpaque),
    /// A free text that is empty, too long, or has characters that control how it is shown.
    #[error(
        "{what}: write 1 to {MAX_TEXT} bytes of text in one line, without characters that control \
         how it is shown"
    )]
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
    #[error("appears twice; put all of a person's photographs in one entry")]
    Repeated,
    /// None or more than [`MAX_PHOTOGRAPHS`].
    #[error("has {0} photographs; an entry has 1 to {MAX_PHOTOGRAPHS}")]
    Photographs(usize),
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
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Aim {
    type Err = ContentError;
    fn from_str(text: &str) -> Result<Self, ContentError> {
        let rule = "write missing-or-victim, threat-to-life, serious-crime or consent; there is \
            no other aim";
        Self::ALL
            .into_iter()
            .find(|a| a.as_str() == text)
            .ok_or(ContentError::Range { what: "aim", rule })
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

/// What is kept of a photograph: never the photograph.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhotographDigest {
    /// SHA-256 of its file.
    #[serde(with = "super::text::as_hex")]
    pub sha256: [u8; 32],
    /// Quality of its face, 0 to 1, in steps of a thousandth.
    pub quality: f32,
}

/// A template as it is stored, and which photographs it was made of: one in a draft, all of an
/// entry's in a list.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredTemplate {
    /// What is compared.
    #[serde(with = "super::text::as_base64")]
    pub template: Template,
    /// At least one.
    pub photographs: Vec<PhotographDigest>,
}

impl StoredTemplate {
    /// The template of one photograph.
    pub fn of_one(template: Template, quality: f32, sha256: [u8; 32]) -> Self {
        Self { template, photographs: vec![PhotographDigest { sha256, quality }] }
    }

    /// Whether the two have a photograph in common.
    pub fn shares_a_photograph(&self, other: &Self) -> bool {
        let of_other =
            |p: &PhotographDigest| other.photographs.iter().any(|o| o.sha256 == p.sha256);
        self.photographs.iter().any(of_other)
    }
}

impl fmt::Debug for StoredTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredTemplate({:?}, {} photographs)", self.template, self.photographs.len())
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
    /// From then on the entry is not matched, even where the list itself lasts longer.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
    /// In a draft one a photograph, so that photographs can be held against each other; in a list
    /// a single one, of all photographs ([`Entry::fused`]). One to ten photographs in all.
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
    /// The [`PIPELINE`](crate::template::PIPELINE) that made the templates.
    pub pipeline: u32,
    /// What the list is to do.
    #[serde(default)]
    pub stage: Stage,
    /// What the false-alert promise rests on, in the canonical form that the devices compare with
    /// their own; 1 to [`MAX_PROMISE`] bytes in a list. A draft has none: it is set when the list
    /// is signed, from the networks and the rule of the signer's program.
    #[serde(skip)]
    pub promise: Vec<u8>,
    /// What was measured with decoys at the one place where the list is used, as the device wrote
    /// it; at most [`MAX_SITE_RECORD`] bytes. Opaque here: what uses lists reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(with = "super::text::as_base64_bytes")]
    pub site: Option<Vec<u8>>,
    /// What the device's counts must show before a version may be in force; a list that was never
    /// silent has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<PromotionRule>,
    /// The permission.
    pub authorisation: Authorisation,
    /// The people who may be looked for.
    pub entries: Vec<Entry>,
}

impl Content {
    /// Checks every rule of the format.
    ///
    /// # Errors
    /// The first rule that is broken, with its remedy.
    pub fn check(&self) -> Result<(), ContentError> {
        self.check_head(self.entries.len())?;
        self.check_entries()
    }

    /// The rules that do not concern single entries, for a list of so many.
    pub(super) fn check_head(&self, entries: usize) -> Result<(), ContentError> {
        let range = |what, rule| Err(ContentError::Range { what, rule });
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
        if self.pipeline == 0 {
            return range("pipeline", "pipelines are numbered from 1");
        }
        if self.promise.len() > MAX_PROMISE {
            return range("promise", "a promise has at most 8192 bytes");
        }
        if self.site.as_ref().is_some_and(|site| site.len() > MAX_SITE_RECORD) {
            return range(
                "site record",
                "it has at most 64 KiB, those of some 3,000 covered entries; calibrate with a \
                 shorter list",
            );
        }
        if let Some([what, rule]) = self.promotion.and_then(|rule| rule.fault()) {
            return range(what, rule);
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
            return Err(ContentError::TooManyEntries { entries, allowed: a.most_entries });
        }
        check_budget(a.expected_faces_per_day, a.false_alerts_per_day)
    }

    pub(super) fn check_entries(&self) -> Result<(), ContentError> {
        let mut seen = HashSet::with_capacity(self.entries.len());
        for entry in &self.entries {
            entry.check(self.dimensions)?;
            if !seen.insert(entry.reference.as_str()) {
                return Err(entry.fault(EntryFault::Repeated));
            }
        }
        Ok(())
    }
}

/// Whether so many false alerts in so many faces a day are a budget that somebody can mean.
///
/// # Errors
/// [`ContentError::Range`]: too few or too many faces, too few false alerts, or more of them than
/// faces. Such a budget would allow lists of any length at the mildest threshold.
pub fn check_budget(faces_a_day: u32, false_alerts_a_day: f64) -> Result<(), ContentError> {
    let range = |what, rule| Err(ContentError::Range { what, rule });
    if !(MIN_FACES..=MAX_FACES).contains(&u64::from(faces_a_day)) {
        return range(
            "expected_faces_per_day",
            "write 10 to 100,000,000: the number that passes, counted or estimated on the spot",
        );
    }
    if !(0.001..=1_000_000.0).contains(&false_alerts_a_day) {
        return range(
            "false_alerts_per_day",
            "write 0.001 to 1,000,000; zero cannot be promised by any model",
        );
    }
    if false_alerts_a_day > f64::from(faces_a_day) {
        return range(
            "false_alerts_per_day",
            "write at most as many as faces pass a day; if more pass than expected_faces_per_day \
             says, state the true number",
        );
    }
    Ok(())
}

impl Entry {
    pub(super) fn check_texts(&self) -> Result<(), ContentError> {
        text_ok("legal_basis", &self.legal_basis)?;
        text_ok("purpose", &self.purpose)?;
        time_ok("entry expires", self.expires)
    }

    pub(super) fn fault(&self, what: EntryFault) -> ContentError {
        ContentError::Entry { reference: self.reference.to_string(), what }
    }

    /// Checks the rules that concern one entry of a list of `dimensions` components.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self, dimensions: usize) -> Result<(), ContentError> {
        self.check_texts()?;
        let photographs = self.photographs().count();
        if !(1..=MAX_PHOTOGRAPHS).contains(&photographs) {
            return Err(self.fault(EntryFault::Photographs(photographs)));
        }
        for stored in &self.templates {
            if stored.photographs.is_empty() {
                return Err(self.fault(EntryFault::Photographs(0)));
            }
            let found = stored.template.values().len();
            if found != dimensions {
                return Err(self.fault(EntryFault::Dimensions { found, wanted: dimensions }));
            }
        }
        for (i, photograph) in self.photographs().enumerate() {
            if !(0.0..=1.0).contains(&photograph.quality) {
                return Err(ContentError::Range { what: "quality", rule: "a quality is 0 to 1" });
            }
            if self.photographs().take(i).any(|other| other.sha256 == photograph.sha256) {
                return Err(self.fault(EntryFault::SamePhotograph));
            }
        }
        self.fused().map(|_| ())
    }

    /// All photographs, in their order.
    pub fn photographs(&self) -> impl Iterator<Item = &PhotographDigest> {
        self.templates.iter().flat_map(|t| &t.photographs)
    }

    /// The one template that a list has for this person: the unit mean of the photographs'. A
    /// template that was made of several photographs counts as often. A single one stays as it is.
    ///
    /// # Errors
    /// Where there is none, or they cancel each other.
    pub fn fused(&self) -> Result<StoredTemplate, ContentError> {
        if let [one] = &self.templates[..] {
            return Ok(one.clone());
        }
        let views = self
            .templates
            .iter()
            .flat_map(|t| std::iter::repeat_n(&t.template, t.photographs.len()));
        let template = fuse(views).map_err(|e| self.fault(e.into()))?;
        Ok(StoredTemplate { template, photographs: self.photographs().copied().collect() })
    }
}

fn text_ok(what: &'static str, text: &str) -> Result<(), ContentError> {
    let good = !text.trim().is_empty() && text.len() <= MAX_TEXT && is_read_as_written(text);
    if good { Ok(()) } else { Err(ContentError::Text { what }) }
}

fn time_ok(what: &'static str, at: OffsetDateTime) -> Result<(), ContentError> {
    let good = (0..=LATEST).contains(&at.unix_timestamp());
    if good {
        Ok(())
    } else {
        Err(ContentError::Range { what, rule: "write a time from 1970 to 9999" })
    }
}
