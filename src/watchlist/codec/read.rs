//! From bytes to a list's content: the strict inverse of `write`.
//!
//! * Nothing that an input announces allocates memory; what is really there does.
//! * An entry's template is handed out where it lies in the input, so that a device can put it
//!   where it belongs without a copy in between.

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{FORMAT_VERSION, FormatError, SALT};
use crate::promise::Stage;
use crate::template::{MAX_DIMENSIONS, MIN_DIMENSIONS};
use crate::watchlist::cbor::CborReader;
use crate::watchlist::container::Items;
use crate::watchlist::model::{
    Aim, Area, Authorisation, Content, ContentError, Entry, EntryFault, Hours, LATEST, MAX_AREAS,
    MAX_CORNERS, MAX_DEVICES, MAX_ENTRIES, MAX_FACES, MAX_PHOTOGRAPHS, MAX_PROMISE,
    MAX_SITE_RECORD, MAX_TEXT, MAX_WINDOWS, PhotographDigest, Position, Reference, Window,
};
use crate::watchlist::promotion::PromotionRule;

/// Reads what `encode` writes, and nothing else. Entries that were removed are left out and
/// counted.
///
/// # Errors
/// Where the bytes do not follow the schema, break a rule of [`Content::check`], or an entry is
/// not vouched for.
#[cfg(any(feature = "author", test))]
pub fn decode(
    container: &crate::watchlist::container::Container<'_>,
) -> Result<(Content, usize), FormatError> {
    let ListHead { mut content, digests } = ListHead::decode(container.payload())?;
    let mut removed = 0;
    for item in vouched_for(digests, container.items())? {
        let Some(item) = item? else {
            removed += 1;
            continue;
        };
        let EntryParts { mut entry, values, photographs } = read_entry(item, content.dimensions)?;
        let values = values.iter().map(|b| b.cast_signed()).collect();
        let template = crate::template::Template::new(values).map_err(|e| entry.fault(e.into()))?;
        entry.templates.push(crate::watchlist::model::StoredTemplate { template, photographs });
        // Grows with what is really there: an announced number allocates nothing.
        content.entries.push(entry);
    }
    content.check_entries()?;
    Ok((content, removed))
}

/// What a payload says: all but the entries.
pub struct ListHead<'a> {
    /// Without entries.
    pub content: Content,
    /// SHA-256 of each entry, one after another.
    pub digests: &'a [u8],
}

/// Whether a payload is of the format that is read here, by its first field alone: the fields of
/// another format are not looked at, however many there are.
///
/// # Errors
/// [`FormatError::Older`] or [`FormatError::Newer`], or where there is no such field.
pub fn check_version(payload: &[u8]) -> Result<(), FormatError> {
    let mut r = CborReader::new(payload);
    r.any_map()?;
    r.key(0)?;
    match r.uint(u64::MAX)? {
        FORMAT_VERSION => Ok(()),
        older if older < FORMAT_VERSION => Err(FormatError::Older(older)),
        newer => Err(FormatError::Newer(newer)),
    }
}

impl<'a> ListHead<'a> {
    /// Reads a payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, FormatError> {
        let mut r = CborReader::new(payload);
        check_version(payload)?;
        let fields = r.any_map()?;
        if !(12..=13).contains(&fields) {
            return Err(broken("list", "a list of this format has 12 or 13 fields"));
        }
        r.key(0)?;
        r.uint(FORMAT_VERSION)?;
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
        let authorisation = read_authorisation(&mut r)?;
        r.key(7)?;
        let pipeline = r.uint(u32::MAX.into())? as u32;
        r.key(8)?;
        let digests = r.bytes(MAX_ENTRIES * 32)?;
        r.key(9)?;
        let promise = r.bytes(MAX_PROMISE)?.to_vec();
        r.key(10)?;
        let stage = match r.uint(1)? {
            0 => Stage::InForce,
            _ => Stage::Silent,
        };
        r.key(11)?;
        let site = r.bytes_or_null(MAX_SITE_RECORD)?.map(<[u8]>::to_vec);
        let promotion = if fields == 13 {
            r.key(12)?;
            Some(read_promotion(&mut r)?)
        } else {
            None
        };
        r.end()?;
        if !digests.len().is_multiple_of(32) {
            return Err(broken("entries", "a SHA-256 has 32 bytes"));
        }
        if promise.is_empty() {
            return Err(broken("promise", "a list has one"));
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
            pipeline,
            stage,
            promise,
            site,
            promotion,
            authorisation,
            entries,
        };
        content.check_head(digests.len() / 32)?;
        Ok(Self { content, digests })
    }
}

fn read_promotion(r: &mut CborReader<'_>) -> Result<PromotionRule, FormatError> {
    exactly(r.array(3)?, 3, "promotion")?;
    let days = r.uint(u16::MAX.into())? as u16;
    let faces = r.uint(u32::MAX.into())? as u32;
    let covered = r.uint(u16::MAX.into())? as u16;
    Ok(PromotionRule { days, faces, covered })
}

/// Each of `items`, once its digest is the one that belongs there; `None` for a removed one.
pub fn vouched_for<'a>(
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

/// An entry as it lies in a list.
pub struct EntryParts<'a> {
    /// Without its template.
    pub entry: Entry,
    /// The template's components, two's complements; as many as the list's dimensions.
    pub values: &'a [u8],
    /// What it was made of.
    pub photographs: Vec<PhotographDigest>,
}

/// Reads one entry of a list of `dimensions` components.
pub fn read_entry(item: &[u8], dimensions: usize) -> Result<EntryParts<'_>, FormatError> {
    let mut r = CborReader::new(item);
    exactly(r.array(2)?, 2, "entry")?;
    exactly(r.bytes(SALT)?.len(), SALT, "salt")?;
    r.map(6)?;
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
    let values = r.bytes(MAX_DIMENSIONS)?;
    if values.len() != dimensions {
        let fault = EntryFault::Dimensions { found: values.len(), wanted: dimensions };
        return Err(entry.fault(fault).into());
    }
    r.key(5)?;
    let count = r.array(MAX_PHOTOGRAPHS)?;
    if count == 0 {
        return Err(entry.fault(EntryFault::Photographs(0)).into());
    }
    let mut photographs = Vec::<PhotographDigest>::new();
    for _ in 0..count {
        exactly(r.array(2)?, 2, "photograph")?;
        let sha256 = digest(&mut r)?;
        let quality = r.uint(1000)? as f32 / 1000.0;
        if photographs.iter().any(|p| p.sha256 == sha256) {
            return Err(entry.fault(EntryFault::SamePhotograph).into());
        }
        photographs.push(PhotographDigest { sha256, quality });
    }
    r.end()?;
    Ok(EntryParts { entry, values, photographs })
}

fn read_authorisation(r: &mut CborReader<'_>) -> Result<Authorisation, FormatError> {
    r.map(9)?;
    r.key(0)?;
    let authority = r.text(MAX_TEXT)?.into();
    r.key(1)?;
    let decision = r.text(MAX_TEXT)?.into();
    r.key(2)?;
    let code = r.uint(Aim::ALL.len() as u64)?;
    let aim = *Aim::ALL
        .get(code.wrapping_sub(1) as usize)
        .ok_or_else(|| broken("aim", "the aims have the numbers 1 to 4"))?;
    r.key(3)?;
    let devices = (0..r.array(MAX_DEVICES)?)
        .map(|_| Ok(Reference::parse("device", r.text(64)?)?))
        .collect::<Result<_, FormatError>>()?;
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
    let utc_offset_minutes =
        i16::try_from(r.int()?).map_err(|_| broken("utc_offset_minutes", "write -840 to 840"))?;
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
    Ok(Authorisation {
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

/// What a payload and one entry say, to look at them, not to use them: signatures are not checked.
///
/// # Errors
/// Where they do not follow the schema.
pub fn inspect(
    payload: &[u8],
    entry: &[u8],
) -> (Result<Content, FormatError>, Result<Entry, FormatError>) {
    let content = ListHead::decode(payload).map(|head| head.content);
    let dimensions = content.as_ref().map_or(MIN_DIMENSIONS, |c| c.dimensions);
    (content, read_entry(entry, dimensions).map(|parts| parts.entry))
}

fn broken(what: &'static str, rule: &'static str) -> FormatError {
    ContentError::Range { what, rule }.into()
}

fn exactly(found: usize, wanted: usize, what: &'static str) -> Result<(), FormatError> {
    if found == wanted {
        Ok(())
    } else {
        Err(broken(what, "another number of parts than the schema has"))
    }
}

fn time(r: &mut CborReader<'_>) -> Result<OffsetDateTime, FormatError> {
    let seconds = r.uint(LATEST as u64)?;
    Ok(OffsetDateTime::from_unix_timestamp(seconds as i64).expect("the year 9999 is representable"))
}

fn digest(r: &mut CborReader<'_>) -> Result<[u8; 32], FormatError> {
    r.bytes(32)?.try_into().map_err(|_| broken("digest", "a SHA-256 has 32 bytes"))
}
