//! From untrusted bytes to a [`Watchlist`]: the only way there is.
//!
//! * The order of the checks is part of the promise: size and shape of the container, validity of
//!   the trust file, the number of the format, which can only refuse, signatures, and only then the
//!   content, its device, its model and its time, and at last each entry against its signed digest.
//!   So the content's parser sees nothing that the pinned people have not signed, and a refusal
//!   names the first thing that is wrong.
//! * Templates go from the bytes that are verified straight into the [`Gallery`] that is searched,
//!   and nowhere else.
//! * Whether this device has had a newer version is not checked here but by
//!   [`DeviceMemory::admit`](super::memory::DeviceMemory::admit).

use std::collections::HashSet;
use std::fmt;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::codec::{
    EntryParts, FormatError, LIST, ListHead, MAX_BYTES, check_version, read_entry, vouched_for,
};
use super::container::Container;
use super::keys::KeyId;
use super::model::{Authorisation, Content, Entry, EntryFault, Position, Reference};
use super::promotion::PromotionRule;
use super::refusal::Refusal;
use super::search::{Builder, Gallery};
use super::signatures::check_signatures;
use super::text::stamp;
use super::trust::Trust;
use crate::cause::Cause;
use crate::promise::Stage;
use crate::template::PIPELINE;

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
    /// Why matching is not allowed, where it is not.
    pub fn cause(self) -> Option<Cause> {
        match self {
            Standing::Valid => None,
            Standing::NotYetValid { .. } => Some(Cause::NotYetValid),
            Standing::Expired { .. } => Some(Cause::Expired),
            Standing::OutsideHours => Some(Cause::OutsideHours),
            Standing::OutsideArea => Some(Cause::OutsideArea),
            Standing::PositionUnknown => Some(Cause::PositionUnknown),
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
                write!(
                    f,
                    concat!(
                        "restricted to areas, and this camera's position is not configured (",
                        setting!(watchlist.position),
                        ")"
                    )
                )
            }
        }
    }
}

/// A list that enough people signed, for this device and this embedder. Only [`verify`] makes one.
///
/// It holds at the time of verification; while running, [`Watchlist::standing`] is asked again for
/// each frame.
pub struct Watchlist {
    content: Content,
    digest: [u8; 32],
    signers: Vec<KeyId>,
    expired_entries: usize,
    removed: Vec<[u8; 32]>,
    trust_ends: OffsetDateTime,
    /// How many photographs each entry was made of.
    photographs: Vec<u8>,
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

    /// The list's own expiry, without that of the trust file.
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

    /// Whether its candidates are published.
    pub fn stage(&self) -> Stage {
        self.content.stage
    }

    /// What its false-alert promise rests on, in canonical form.
    pub fn promise(&self) -> &[u8] {
        &self.content.promise
    }

    /// What was measured at the list's place, as signed; `None` where nothing was.
    pub fn site(&self) -> Option<&[u8]> {
        self.content.site.as_deref()
    }

    /// What must have been counted before a version may be in force; `None` where that is free.
    pub fn promotion(&self) -> Option<&PromotionRule> {
        self.content.promotion.as_ref()
    }

    /// Who allowed what.
    pub fn authorisation(&self) -> &Authorisation {
        &self.content.authorisation
    }

    /// The entries that had not expired at verification, in the order of the list, without their
    /// templates. The [`Gallery`] names them by their position here.
    pub fn entries(&self) -> &[Entry] {
        &self.content.entries
    }

    /// Of how many photographs each of [`Watchlist::entries`] was made.
    pub fn photographs(&self) -> impl Iterator<Item = usize> {
        self.photographs.iter().copied().map(usize::from)
    }

    /// Position of an entry, as the gallery names it.
    pub fn position(&self, reference: &str) -> Option<usize> {
        self.content.entries.iter().position(|e| e.reference.as_str() == reference)
    }

    /// How many entries were left out because their own expiry had passed.
    pub fn expired_entries(&self) -> usize {
        self.expired_entries
    }

    /// How many entries were removed from these bytes after they were signed, because they had been
    /// revoked.
    pub fn removed_entries(&self) -> usize {
        self.removed.len()
    }

    /// The digests, as signed, of the entries that were taken out.
    pub fn removed(&self) -> &[[u8; 32]] {
        &self.removed
    }

    /// SHA-256 of the signed payload: adding signatures does not change it.
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

    /// The templates of [`Watchlist::entries`], which are in memory once: the second call gets
    /// none.
    pub fn take_gallery(&mut self) -> Option<Gallery> {
        self.gallery.take()
    }
}

impl fmt::Debug for Watchlist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Watchlist({} version {}, {} entries)",
            self.id(),
            self.version(),
            self.entries().len()
        )
    }
}

pub(super) fn read_container(bytes: &[u8]) -> Result<Container<'_>, Refusal> {
    if bytes.len() > MAX_BYTES {
        return Err(Refusal::TooLarge(bytes.len()));
    }
    Container::read(&LIST, bytes).map_err(Refusal::Unreadable)
}

/// What enough of the pinned signers have signed of a list, before it is asked for whom it is.
pub(super) struct SignedHead<'a> {
    /// All but the entries.
    pub content: Content,
    /// SHA-256 of each entry, one after another.
    pub digests: &'a [u8],
    /// Who signed.
    pub signers: Vec<KeyId>,
}

/// The head of a list that enough of the signers whom `trust` pins at `now` have signed.
pub(super) fn signed_head<'a>(
    container: &Container<'a>,
    trust: &Trust,
    now: OffsetDateTime,
) -> Result<SignedHead<'a>, Refusal> {
    let (from, until) = (trust.valid_from(), trust.valid_until());
    if now < from || now >= until {
        return Err(Refusal::TrustNotValid { from, until, now });
    }
    // Signatures of another format are over another context and cannot hold: its number says why.
    if let Err(e @ (FormatError::Older(_) | FormatError::Newer(_))) =
        check_version(container.payload())
    {
        return Err(e.into());
    }
    let signers = check_signatures(container, trust)?;
    let ListHead { content, digests } = ListHead::decode(container.payload())?;
    Ok(SignedHead { content, digests, signers })
}

/// Makes a [`Watchlist`] of `bytes` if `trust`'s signers made it for the device named `device` with
/// the embedder whose file has the SHA-256 `embedder`, and it is valid at `now` (universal time).
///
/// That it is not older than a list seen before is for [`super::memory::DeviceMemory::admit`] to
/// say, because it takes the device's memory.
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
    let SignedHead { mut content, digests, signers } = signed_head(&container, trust, now)?;
    if !content.authorisation.devices.iter().any(|d| d.as_str() == device) {
        // What is no reference is not repeated: it comes from a configuration file.
        let device = device.chars().take(64).collect();
        return Err(Refusal::WrongDevice { device, allowed: content.authorisation.devices });
    }
    if content.embedder != *embedder {
        return Err(Refusal::WrongModel { list: content.embedder, device: *embedder });
    }
    if content.pipeline != PIPELINE {
        return Err(Refusal::WrongPipeline { list: content.pipeline, device: PIPELINE });
    }
    if now < content.not_before {
        return Err(Refusal::NotYetValid { from: content.not_before, now });
    }
    if now >= content.expires {
        return Err(Refusal::Expired { at: content.expires, now });
    }
    // No more room than the bytes that are there can fill: the number of digests is not believed.
    let room = (digests.len() / 32).min(bytes.len() / content.dimensions);
    let mut gallery =
        Builder::new(room, content.dimensions).map_err(|e| Refusal::Memory(e.to_string()))?;
    let (mut seen, mut photographs) = (HashSet::new(), Vec::new());
    let (mut expired_entries, mut removed) = (0, Vec::new());
    for (item, digest) in vouched_for(digests, container.items())?.zip(digests.as_chunks().0) {
        let Some(item) = item? else {
            removed.push(*digest);
            continue;
        };
        let EntryParts { entry, values, photographs: of } = read_entry(item, content.dimensions)?;
        gallery.push(values.iter().map(|b| b.cast_signed())).map_err(|e| entry.fault(e.into()))?;
        if !seen.insert(entry.reference.clone()) {
            return Err(entry.fault(EntryFault::Repeated).into());
        }
        if entry.expires > now {
            gallery.end(entry.expires);
            content.entries.push(entry);
            photographs.push(u8::try_from(of.len()).expect("an entry has at most ten"));
        } else {
            gallery.take_back();
            expired_entries += 1;
        }
    }
    let digest = Sha256::digest(container.payload()).into();
    let gallery = Some(gallery.finish());
    Ok(Watchlist {
        content,
        digest,
        signers,
        expired_entries,
        removed,
        trust_ends: trust.valid_until(),
        photographs,
        gallery,
    })
}

#[cfg(test)]
mod tests;
