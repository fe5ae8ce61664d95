//! Case sheets: the photographs of a list, for those who must compare with them. Bytes:
//! `config/schemas/case-sheet.cddl`.
//!
//! * A device never has a photograph: a sheet goes to a desk. The desk takes a photograph only if
//!   its SHA-256 is in the list that two people have signed ([`open`]).
//! * Each photograph is sealed on its own, to the desk's key and to those of the reviewers, so that
//!   the desk keeps it as it came, and a reviewer's browser opens it.
//! * The list comes along for its digests and signatures, sealed to the desk alone, without the
//!   entries of which no photograph is there. **Templates of the others are in it**: an entry is
//!   signed whole. They tell whoever has its photographs nothing that those do not; the desk keeps
//!   none.
//!
//! Not promised: where the eyes are is a hint for the page and unsigned. A page shows the whole
//! photograph on request.

use std::collections::{HashMap, HashSet};
use std::fmt;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::AuthorError;
use crate::watchlist::cbor::{CborError, CborReader, CborWriter, NULL};
use crate::watchlist::codec::{self, FormatError};
use crate::watchlist::model::{Entry, Reference};
use crate::watchlist::refusal::Refusal;
use crate::watchlist::removal::without;
use crate::watchlist::roster::roster;
use crate::watchlist::seal::{self, DeviceKey, Recipient, SealError};
use crate::watchlist::text::hex;
use crate::watchlist::trust::Trust;
use crate::watchlist::verify::read_container;

/// Most bytes of a sheet.
pub const MAX_SHEET_BYTES: usize = 1 << 30;
/// Most photographs of a sheet.
pub const MAX_SHEET_PHOTOGRAPHS: usize = 100_000;
/// Most bytes of one photograph, sealed.
pub const MAX_SEALED_PHOTOGRAPH: usize = 32 << 20;
const FORMAT_VERSION: u64 = 1;

/// Why a sheet cannot be made or taken.
#[derive(Debug, thiserror::Error)]
pub enum CaseSheetError {
    /// More than [`MAX_SHEET_BYTES`].
    #[error(
        "the case sheet has {0} bytes and at most {MAX_SHEET_BYTES} are read; make several, of a \
         part of the photographs each"
    )]
    TooLarge(usize),
    /// Not the format, or cut short.
    #[error(
        "this is no case sheet ({0}); copy the file again, or make it with `watchpost watchlist \
         case-sheets`"
    )]
    Unreadable(#[from] CborError),
    /// Of a later version of watchpost.
    #[error("the case sheet has the format {0} and this program reads {FORMAT_VERSION}; update it")]
    Newer(u64),
    /// Its list is not to be believed.
    #[error("the list in the case sheet: {0}")]
    List(#[from] Refusal),
    /// Its list does not open, or nothing can be sealed.
    #[error("the case sheet does not open: {0}")]
    Seal(#[from] SealError),
    /// One photograph does not open.
    #[error("the photograph {} in the case sheet does not open: {why}", short(.digest))]
    Sealed {
        /// SHA-256 of it.
        digest: [u8; 32],
        /// Why.
        why: SealError,
    },
    /// A photograph that no entry of the list is made of.
    #[error(
        "the photograph {} is of no entry of the list that was signed, or its entry has ended: \
         nothing was taken; have the sheet made of this version of the list",
        short(.0)
    )]
    NotInList([u8; 32]),
    /// What is sealed is another file.
    #[error("what is sealed as the photograph {} is another file: nothing was taken", short(.0))]
    OtherFile([u8; 32]),
    /// The same photograph twice.
    #[error("the photograph {} is in the case sheet twice", short(.0))]
    Repeated([u8; 32]),
    /// None of the files is of the list.
    #[error(
        "none of these files is a photograph of the list: an entry knows its photographs by their \
         SHA-256, so that a picture that was edited or saved again is another one"
    )]
    Empty,
    /// Too many.
    #[error("{0} photographs; a case sheet has at most {MAX_SHEET_PHOTOGRAPHS}")]
    TooMany(usize),
    /// One is too large.
    #[error(
        "the photograph {} is larger than the {MAX_SEALED_PHOTOGRAPH} bytes that a case sheet takes",
        short(.0)
    )]
    LargePhotograph([u8; 32]),
    /// Not a signed list.
    #[error(transparent)]
    NotAList(#[from] AuthorError),
}

impl From<FormatError> for CaseSheetError {
    fn from(error: FormatError) -> Self {
        Self::NotAList(error.into())
    }
}

fn short(digest: &[u8; 32]) -> String {
    hex(&digest[..8])
}

/// Where both eyes are in a photograph, in px of the upright picture: x and y of the image-left
/// one, then of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eyes(pub [u16; 4]);

impl Eyes {
    fn to_bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let wrong =
            CborError::Count { what: "bytes", found: bytes.len() as u64, allowed: 8, at: 0 };
        let bytes: [u8; 8] = bytes.try_into().map_err(|_| wrong)?;
        let at = |n: usize| u16::from_be_bytes([bytes[2 * n], bytes[2 * n + 1]]);
        Ok(Self([at(0), at(1), at(2), at(3)]))
    }
}

/// `x,y,x,y`, as the page takes it.
impl fmt::Display for Eyes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a},{b},{c},{d}")
    }
}

/// A sheet in the making.
pub struct CaseSheet<'a> {
    list: &'a [u8],
    entries: HashMap<[u8; 32], Reference>,
    desk: Recipient,
    everybody: Vec<Recipient>,
    photographs: Vec<([u8; 32], Option<Eyes>, Vec<u8>)>,
}

impl<'a> CaseSheet<'a> {
    /// Of the signed list in `list`, for the desk and the reviewers whose reading keys are given.
    /// Signatures are not checked: the desk does that.
    ///
    /// # Errors
    /// Where it is no list, or one from which entries were removed.
    pub fn of(
        list: &'a [u8],
        desk: Recipient,
        reviewers: Vec<Recipient>,
    ) -> Result<Self, CaseSheetError> {
        let (content, _) = codec::decode(&read_container(list)?)?;
        let of = |e: &Entry| {
            e.photographs().map(|p| (p.sha256, e.reference.clone())).collect::<Vec<_>>()
        };
        let entries = content.entries.iter().flat_map(of).collect();
        let mut everybody = vec![desk.clone()];
        everybody.extend(reviewers);
        Ok(Self { list, entries, desk, everybody, photographs: Vec::new() })
    }

    /// SHA-256 of each photograph of the list.
    pub fn wanted(&self) -> HashSet<[u8; 32]> {
        self.entries.keys().copied().collect()
    }

    /// Entries of which no photograph was added.
    pub fn without_photograph(&self) -> Vec<Reference> {
        let there: HashSet<_> = self.photographs.iter().map(|p| &self.entries[&p.0]).collect();
        let mut missing: Vec<_> =
            self.entries.values().filter(|e| !there.contains(e)).cloned().collect();
        missing.sort();
        missing.dedup();
        missing
    }

    /// Adds the file of a photograph, sealed.
    ///
    /// # Errors
    /// Where it is of no entry, was added before, or is too large.
    pub fn add(&mut self, file: &[u8], eyes: Option<Eyes>) -> Result<(), CaseSheetError> {
        let digest: [u8; 32] = Sha256::digest(file).into();
        if !self.entries.contains_key(&digest) {
            return Err(CaseSheetError::NotInList(digest));
        }
        if self.photographs.iter().any(|(other, ..)| *other == digest) {
            return Err(CaseSheetError::Repeated(digest));
        }
        let sealed = seal::seal(&[file], &self.everybody)?;
        if sealed.len() > MAX_SEALED_PHOTOGRAPH {
            return Err(CaseSheetError::LargePhotograph(digest));
        }
        self.photographs.push((digest, eyes, sealed));
        Ok(())
    }

    /// The sheet's bytes.
    ///
    /// # Errors
    /// Where there is no photograph, or too many.
    pub fn finish(self) -> Result<Vec<u8>, CaseSheetError> {
        if self.photographs.is_empty() {
            return Err(CaseSheetError::Empty);
        }
        if self.photographs.len() > MAX_SHEET_PHOTOGRAPHS {
            return Err(CaseSheetError::TooMany(self.photographs.len()));
        }
        let missing: HashSet<_> = self.without_photograph().into_iter().collect();
        let parts = without(self.list, |entry| missing.contains(entry))?;
        let parts = parts.map_or_else(|| vec![self.list], |reduced| reduced.parts);
        let list = seal::seal(&parts, std::slice::from_ref(&self.desk))?;
        let mut w = CborWriter::default();
        w.map(3).key(0).uint(FORMAT_VERSION).key(1).bytes(&list);
        w.key(2).array(self.photographs.len());
        for (digest, eyes, sealed) in &self.photographs {
            w.array(3).bytes(digest);
            match eyes {
                Some(eyes) => w.bytes(&eyes.to_bytes()),
                None => w.raw(&[NULL]),
            };
            w.bytes(sealed);
        }
        let bytes = w.finish();
        if bytes.len() > MAX_SHEET_BYTES {
            return Err(CaseSheetError::TooLarge(bytes.len()));
        }
        Ok(bytes)
    }
}

/// A sheet whose list and photographs were checked. Only [`open`] makes one.
#[derive(Debug, PartialEq)]
pub struct CheckedSheet {
    /// The list.
    pub list: Reference,
    /// Its version.
    pub version: u64,
    /// By entry, in the list's order, then in that of the entry.
    pub photographs: Vec<CheckedPhotograph>,
}

/// A photograph of an entry, sealed as it came.
#[derive(Debug, PartialEq)]
pub struct CheckedPhotograph {
    /// The entry.
    pub entry: Reference,
    /// Which of the entry's photographs, from 0.
    pub number: u32,
    /// SHA-256 of its file.
    pub sha256: [u8; 32],
    /// Where the eyes are; unsigned.
    pub eyes: Option<Eyes>,
    /// From then on nobody may compare with it.
    pub until: OffsetDateTime,
    /// age file to the desk and the reviewers.
    pub sealed: Vec<u8>,
}

/// Opens the sheet in `bytes` with the desk's `key`, and holds all of it against the list that
/// `trust`'s signers have signed. The plain photographs are forgotten.
///
/// # Errors
/// The first reason why nothing of it is taken.
pub fn open(
    bytes: &[u8],
    trust: &Trust,
    now: OffsetDateTime,
    key: &DeviceKey,
) -> Result<CheckedSheet, CaseSheetError> {
    let SheetParts { list, photographs } = SheetParts::read(bytes)?;
    let roster = roster(&seal::open(list, key)?, trust, now)?;
    let mut there: HashMap<[u8; 32], (Option<Eyes>, &[u8])> = HashMap::new();
    for (digest, eyes, sealed) in photographs {
        let plain =
            seal::open(sealed, key).map_err(|why| CaseSheetError::Sealed { digest, why })?;
        if Sha256::digest(&plain[..])[..] != digest {
            return Err(CaseSheetError::OtherFile(digest));
        }
        if there.insert(digest, (eyes, sealed)).is_some() {
            return Err(CaseSheetError::Repeated(digest));
        }
    }
    let mut photographs = Vec::new();
    for entry in &roster.entries {
        for (number, sha256) in (0..).zip(entry.photographs.iter().copied()) {
            let Some((eyes, sealed)) = there.remove(&sha256) else { continue };
            photographs.push(CheckedPhotograph {
                entry: entry.reference.clone(),
                number,
                sha256,
                eyes,
                until: entry.until,
                sealed: sealed.to_vec(),
            });
        }
    }
    match there.keys().next() {
        Some(digest) => Err(CaseSheetError::NotInList(*digest)),
        None => Ok(CheckedSheet { list: roster.list, version: roster.version, photographs }),
    }
}

/// The parts of a sheet; nothing about them is believed.
struct SheetParts<'a> {
    list: &'a [u8],
    photographs: Vec<([u8; 32], Option<Eyes>, &'a [u8])>,
}

impl<'a> SheetParts<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, CaseSheetError> {
        if bytes.len() > MAX_SHEET_BYTES {
            return Err(CaseSheetError::TooLarge(bytes.len()));
        }
        let mut r = CborReader::new(bytes);
        r.map(3)?;
        r.key(0)?;
        match r.uint(u64::MAX)? {
            FORMAT_VERSION => {}
            newer => return Err(CaseSheetError::Newer(newer)),
        }
        r.key(1)?;
        let list = r.bytes(MAX_SHEET_BYTES)?;
        r.key(2)?;
        let mut photographs = Vec::new();
        for _ in 0..r.array(MAX_SHEET_PHOTOGRAPHS)? {
            three(r.array(3)?)?;
            let digest = r.bytes(32)?;
            let wrong =
                CborError::Count { what: "bytes", found: digest.len() as u64, allowed: 32, at: 0 };
            let digest = digest.try_into().map_err(|_| wrong)?;
            let eyes = r.bytes_or_null(8)?.map(Eyes::from_bytes).transpose()?;
            photographs.push((digest, eyes, r.bytes(MAX_SEALED_PHOTOGRAPH)?));
        }
        r.end()?;
        if photographs.is_empty() {
            return Err(CaseSheetError::Empty);
        }
        Ok(Self { list, photographs })
    }
}

fn three(found: usize) -> Result<(), CborError> {
    match found {
        3 => Ok(()),
        other => Err(CborError::Count { what: "parts", found: other as u64, allowed: 3, at: 0 }),
    }
}

#[cfg(test)]
mod tests;
