//! The set of decoys: templates of people who cannot pass, signed by two, sealed to one camera's
//! device.
//!
//! * **No list, and no way to make one of it.** Content type and context of the signatures differ
//!   from a list's, so that neither is read as the other. A decoy has no reference, no purpose and
//!   no photograph: there is nothing to publish.
//! * **No back door.** A set has at least [`LEAST`] decoys, and its templates are sorted by their
//!   bytes, so that a decoy's position does not tell who it is without the draft. One person under
//!   decoys, to be counted day by day, would be surveillance without a list.
//! * A person who is in it twice is refused by similarity ([`TWICE`]): their events would count as
//!   two strangers'.
//! * It carries an authorisation of its own, because counting faces against templates is biometric
//!   processing of everybody who passes: who allowed it, where, for how many days.
//! * Whether the people in it really cannot pass is for those who sign: public-domain portraits and
//!   consenting people of another region qualify, an authority's own archive does not.
//!
//! The schema in CDDL is `config/schemas/decoys.cddl`.

use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

use super::counts::{MAX_DECOYS, read_reference};
use crate::template::{MAX_DIMENSIONS, Template, TemplateError};
use crate::watchlist::cbor::{CborError, CborReader};
use crate::watchlist::container::{Container, SignedKind};
use crate::watchlist::keys::KeyId;
use crate::watchlist::model::MAX_TEXT;
use crate::watchlist::signatures::{SignatureError, check_signatures};
use crate::watchlist::text::{is_read_as_written, stamp};
use crate::watchlist::{Reference, Trust};

/// Fewest decoys of a set.
pub const LEAST: usize = 500;
/// Similarity from which on two decoys are taken for one person: of pairs of different names in
/// public photographs that reach it, four in five are one person twice.
pub const TWICE: f32 = 0.55;
/// Fewest and most days that a calibration takes.
pub const DAYS: std::ops::RangeInclusive<u16> = 7..=92;
/// Fewest faces of a day that counts as one.
pub const LEAST_FACES: u32 = 1000;
/// Longest life of a set.
pub const LONGEST: Duration = Duration::days(366);
/// Content type in the protected header of the container.
pub const CONTENT_TYPE: &str = "application/vnd.watchpost.decoys+cbor";
/// What every signature is bound to besides the payload (`external_aad`).
pub const CONTEXT: &[u8] = b"watchpost decoys v1";
/// Version of the payload's schema.
pub const FORMAT_VERSION: u64 = 1;
/// The latest time that a set may name, in Unix seconds: 9999-12-31T23:59:59Z.
const LATEST: u64 = 253_402_300_799;

pub(super) static DECOYS: SignedKind = SignedKind {
    content_type: CONTENT_TYPE,
    context: CONTEXT,
    max_payload: MAX_DECOYS * (MAX_DIMENSIONS + 8),
    items: None,
};

/// Why a set of decoys is not used.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum DecoysError {
    /// Another container, such as a list, or cut short.
    #[error(
        "this is no set of decoys ({0}); make one with `watchpost calibrate new`. A watch list \
         cannot be used as one"
    )]
    Unreadable(#[from] CborError),
    /// Another [`FORMAT_VERSION`].
    #[error(
        "the decoys have format {0} and this program reads format {FORMAT_VERSION}; sign them \
         again with a matching version of watchpost"
    )]
    Version(u64),
    /// By too few, or altered.
    #[error("the decoys cannot be trusted: {0}")]
    Signatures(#[from] SignatureError),
    /// The pinned keys may not be used now.
    #[error("the trust file is valid from {} until {}", stamp(.from), stamp(.until))]
    TrustNotValid {
        /// From then on.
        from: OffsetDateTime,
        /// Until then.
        until: OffsetDateTime,
    },
    /// A value that cannot be.
    #[error("the decoys' {what}: {rule}")]
    Value {
        /// Which field.
        what: &'static str,
        /// What is allowed.
        rule: &'static str,
    },
    /// Fewer than [`LEAST`].
    #[error(
        "a set has at least {LEAST} decoys and this one has {0}: few decoys prove little, and \
         could single somebody out"
    )]
    TooFew(usize),
    /// More than [`MAX_DECOYS`].
    #[error("a set has at most {MAX_DECOYS} decoys and this one has {0}")]
    TooMany(usize),
    /// Not a template.
    #[error("decoy {position}: {error}")]
    Template {
        /// In the order of the set.
        position: usize,
        /// What is wrong.
        error: TemplateError,
    },
    /// One person in two decoys.
    #[error(
        "decoys {first} and {second} are one person by their similarity ({similarity:.2}); remove \
         one of them"
    )]
    Twice {
        /// Position.
        first: usize,
        /// Position.
        second: usize,
        /// Of the two.
        similarity: f32,
    },
    /// Signed for another device or camera: which, in this order.
    #[error("the decoys are for the camera {} of {}; nothing is counted here", .0[1], .0[0])]
    Elsewhere(Box<[Reference; 2]>),
    /// Made by another embedder or pipeline than the device runs.
    #[error(
        "the decoys were made with another embedder or another version of the pipeline; make them \
         again from their photographs"
    )]
    OtherModel,
    /// Outside its time.
    #[error("the decoys may be used from {} until {}", stamp(.from), stamp(.until))]
    NotNow {
        /// From then on.
        from: OffsetDateTime,
        /// Until then.
        until: OffsetDateTime,
    },
}

/// All that is said about a set of decoys.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Names the set.
    pub id: Reference,
    /// When it was first signed.
    pub issued: OffsetDateTime,
    /// Not used before.
    pub not_before: OffsetDateTime,
    /// Not used from then on.
    pub expires: OffsetDateTime,
    /// SHA-256 of the embedder that made the templates.
    pub embedder: [u8; 32],
    /// Number of the steps between picture and embedding.
    pub pipeline: u32,
    /// Components of each template.
    pub dimensions: usize,
    /// Who allowed that faces are counted.
    pub authority: String,
    /// The file number of the decision.
    pub decision: String,
    /// The one device.
    pub device: Reference,
    /// The one camera of it.
    pub camera: Reference,
    /// How many days of at least [`Head::least_faces`] it is counted for; then counting ends.
    pub days: u16,
    /// Fewest faces of a day that counts as one.
    pub least_faces: u32,
    /// Where the decoys are from, and why they do not pass here.
    pub source: String,
}

impl Head {
    /// Whether every value is allowed.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), DecoysError> {
        let broken = |what, rule| Err(DecoysError::Value { what, rule });
        let texts = [
            ("authority", &self.authority),
            ("decision", &self.decision),
            ("source", &self.source),
        ];
        for (what, text) in texts {
            if text.is_empty() || text.len() > MAX_TEXT || !is_read_as_written(text) {
                return broken(what, "write 1 to 200 bytes of text in one line");
            }
        }
        if !DAYS.contains(&self.days) {
            return broken("days", "write 7 to 92");
        }
        if self.least_faces < LEAST_FACES {
            return broken("least faces a day", "write at least 1000");
        }
        if self.not_before >= self.expires || self.expires - self.not_before > LONGEST {
            return broken("times", "a set may be used for up to 366 days");
        }
        let seconds = |at: OffsetDateTime| u64::try_from(at.unix_timestamp());
        if [self.issued, self.not_before, self.expires]
            .into_iter()
            .any(|at| !seconds(at).is_ok_and(|s| s <= LATEST))
        {
            return broken("times", "write times from 1970 to 9999");
        }
        if Template::new(vec![1; self.dimensions.min(MAX_DIMENSIONS + 1)].into()).is_err() {
            return broken("dimensions", "an embedding has 64 to 1024");
        }
        Ok(())
    }
}

/// A set that enough people signed, for this camera. Only [`verify`] makes one.
pub struct Decoys {
    head: Head,
    digest: [u8; 32],
    signers: Vec<KeyId>,
    templates: Vec<Template>,
}

impl Decoys {
    /// What was signed about it.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// SHA-256 of the signed payload.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The pinned signers whose signatures hold, each once.
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    /// In the order of the set.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }
}

impl std::fmt::Debug for Decoys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decoys({}, {} of them)", self.head.id, self.templates.len())
    }
}

/// Where and with what decoys are to be used.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// Name of the device.
    pub device: &'a str,
    /// Name of the camera.
    pub camera: &'a str,
    /// SHA-256 of the embedder.
    pub embedder: &'a [u8; 32],
    /// Number of the pipeline.
    pub pipeline: u32,
}

/// Makes a set of `bytes` if `trust`'s signers made it for this camera and these networks, and it
/// may be used at `now`.
///
/// # Errors
/// The first reason not to use it. Nothing that it says is read before its signatures hold.
pub fn verify(
    bytes: &[u8],
    trust: &Trust,
    now: OffsetDateTime,
    here: Here<'_>,
) -> Result<Decoys, DecoysError> {
    let container = Container::read(&DECOYS, bytes)?;
    let (from, until) = (trust.valid_from(), trust.valid_until());
    if now < from || now >= until {
        return Err(DecoysError::TrustNotValid { from, until });
    }
    let signers = check_signatures(&container, trust)?;
    let (head, templates) = decode(container.payload())?;
    if (&*head.device, &*head.camera) != (here.device, here.camera) {
        return Err(DecoysError::Elsewhere(Box::new([head.device, head.camera])));
    }
    if head.embedder != *here.embedder || head.pipeline != here.pipeline {
        return Err(DecoysError::OtherModel);
    }
    if now < head.not_before || now >= head.expires {
        return Err(DecoysError::NotNow { from: head.not_before, until: head.expires });
    }
    let digest = Sha256::digest(container.payload()).into();
    Ok(Decoys { head, digest, signers, templates })
}

/// What `bytes` say, how many decoys there are and who signed, without knowing whether the
/// signatures hold.
///
/// # Errors
/// Where they are no set of decoys.
pub fn inspect(bytes: &[u8]) -> Result<(Head, usize, Vec<KeyId>), DecoysError> {
    let container = Container::read(&DECOYS, bytes)?;
    let (head, templates) = decode(container.payload())?;
    let signers = container.signatures().iter().map(|(id, _)| *id).collect();
    Ok((head, templates.len(), signers))
}

/// Whether `templates`, sorted by their bytes, may be a set of `dimensions` components.
fn check_templates(templates: &[Template], dimensions: usize) -> Result<(), DecoysError> {
    match templates.len() {
        n if n < LEAST => return Err(DecoysError::TooFew(n)),
        n if n > MAX_DECOYS => return Err(DecoysError::TooMany(n)),
        _ => {}
    }
    for (position, template) in templates.iter().enumerate() {
        let found = template.values().len();
        if found != dimensions {
            let error = TemplateError::Dimensions(found);
            return Err(DecoysError::Template { position, error });
        }
    }
    for (second, b) in templates.iter().enumerate() {
        for (first, a) in templates[..second].iter().enumerate() {
            let similarity = a.cosine(b);
            if similarity >= TWICE {
                return Err(DecoysError::Twice { first, second, similarity });
            }
        }
    }
    Ok(())
}

fn decode(payload: &[u8]) -> Result<(Head, Vec<Template>), DecoysError> {
    let mut r = CborReader::new(payload);
    r.any_map()?;
    r.key(0)?;
    match r.uint(u64::MAX)? {
        FORMAT_VERSION => {}
        other => return Err(DecoysError::Version(other)),
    }
    let mut r = CborReader::new(payload);
    r.map(13)?;
    r.key(0)?;
    r.uint(FORMAT_VERSION)?;
    r.key(1)?;
    let id = read_reference(&mut r)?;
    r.key(2)?;
    r.items(3)?;
    let (issued, not_before, expires) =
        (read_time(&mut r)?, read_time(&mut r)?, read_time(&mut r)?);
    r.key(3)?;
    let embedder = r.fixed()?;
    r.key(4)?;
    let pipeline = r.uint(u32::MAX.into())? as u32;
    r.key(5)?;
    let dimensions = r.uint(MAX_DIMENSIONS as u64)? as usize;
    r.key(6)?;
    let authority = r.text(MAX_TEXT)?.into();
    r.key(7)?;
    let decision = r.text(MAX_TEXT)?.into();
    r.key(8)?;
    let device = read_reference(&mut r)?;
    r.key(9)?;
    let camera = read_reference(&mut r)?;
    r.key(10)?;
    r.items(2)?;
    let (days, least_faces) = (r.uint(u16::MAX.into())? as u16, r.uint(u32::MAX.into())? as u32);
    r.key(11)?;
    let source = r.text(MAX_TEXT)?.into();
    let head = Head {
        id,
        issued,
        not_before,
        expires,
        embedder,
        pipeline,
        dimensions,
        authority,
        decision,
        device,
        camera,
        days,
        least_faces,
        source,
    };
    head.check()?;
    r.key(12)?;
    let mut templates = Vec::new();
    for position in 0..r.array(MAX_DECOYS)? {
        let values = r.bytes(MAX_DIMENSIONS)?.iter().map(|b| b.cast_signed()).collect();
        let template =
            Template::new(values).map_err(|error| DecoysError::Template { position, error })?;
        templates.push(template);
    }
    r.end()?;
    if templates.windows(2).any(|pair| !in_order(&pair[0], &pair[1])) {
        return Err(DecoysError::Value { what: "templates", rule: "they are sorted, each once" });
    }
    check_templates(&templates, dimensions)?;
    Ok((head, templates))
}

/// Whether `a` belongs before `b`.
fn in_order(a: &Template, b: &Template) -> bool {
    a.values() < b.values()
}

fn read_time(r: &mut CborReader<'_>) -> Result<OffsetDateTime, CborError> {
    let seconds = r.uint(LATEST)?;
    Ok(OffsetDateTime::from_unix_timestamp(seconds as i64).expect("the year 9999 is representable"))
}

#[cfg(any(feature = "author", test))]
pub use author::{SignError, cosign, sign};

#[cfg(any(feature = "author", test))]
mod author;

#[cfg(test)]
#[path = "decoys/tests.rs"]
mod tests;
