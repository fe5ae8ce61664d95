//! What a device keeps while it counts: numbers of tracks, by decoy and similarity.
//!
//! * A track counts once for each decoy, by the highest similarity that its probe ever reached: the
//!   unit in which a list gives false alerts. What is held of a track while it lives is one byte a
//!   decoy and a bit an entry, wiped when it ends. No picture, no embedding, no time of day.
//! * Two folds: each track falls into one of them by the parity of its running number. Decoys are
//!   chosen on one fold and scored on the other ([`super::strata`]), because a decoy that is chosen
//!   for what it did would be judged too kindly on the same passers-by.
//! * Entries of the list are counted at the mild similarity only, which strangers reach every few
//!   minutes. It tells nothing of where a listed person is.
//! * Counts of single decoys are for this device alone: nothing here leaves it but through
//!   [`super::strata`].
//! * Counting ends by itself after the days that were signed beforehand, whatever was found, so
//!   that nobody can stop at a good moment.
//! * Memory is bounded: [`Counter::most_bytes`]; 2,000 decoys and 1,000 entries take 1.6 MB.
//! * One content has one encoding, with a checksum; anything else is refused as damaged.

mod counter;
mod fields;

use std::fmt;

use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

pub use self::counter::{CountedView, Counter};
pub(super) use self::fields::{
    read_bins, read_days, read_reference, read_setup, write_bins, write_days, write_setup,
};
use self::fields::{read_fold, read_pair};
use crate::template::Template;
use crate::watchlist::cbor::{CborError, CborReader, CborWriter};
use crate::watchlist::{Position, Reference};

/// Similarity from which on a decoy's or an entry's comparison counts as mild. Strangers of every
/// group reach it often enough to measure each decoy within days; .25 to .30 serve alike.
pub const MILD: f32 = 0.28;
/// Similarity at which the first bin begins.
pub const FIRST_BIN: f32 = 0.30;
/// Bins of a hundredth, the last from .99 on.
pub const BINS: usize = 70;
/// Most decoys.
pub const MAX_DECOYS: usize = 10_000;
/// Most entries of a list whose mild counts are kept; more are not counted, hence not covered.
pub const MAX_COUNTED_ENTRIES: usize = 10_000;
/// Most days that are kept apart: a year.
pub const MAX_DAYS: usize = 366;
/// Most tracks that are followed at a time; as many as evidence is kept of.
pub const MAX_LIVE: usize = 128;
/// Most bytes of the encoding.
pub const MAX_BYTES: usize = 16 << 20;

const FORMAT_VERSION: u64 = 1;
const CHECKSUM: usize = 32;
/// Level of a comparison below [`MILD`], of one between it and [`FIRST_BIN`], and of the first bin.
const NONE: u8 = 0;
const MILD_ONLY: u8 = 1;
const FIRST_LEVEL: u8 = 2;

/// Bin of a similarity; `None` below [`FIRST_BIN`]. A millionth below an edge counts as on it.
pub fn bin(similarity: f32) -> Option<usize> {
    (level(similarity) >= FIRST_LEVEL).then(|| usize::from(level(similarity) - FIRST_LEVEL))
}

/// Similarity at which a bin begins.
pub fn edge(bin: usize) -> f32 {
    (30 + bin as u32) as f32 / 100.0
}

fn level(similarity: f32) -> u8 {
    // A NaN becomes 0.
    let hundredths = (f64::from(similarity) * 100.0 + 1e-4) as i64;
    match hundredths {
        ..28 => NONE,
        28..30 => MILD_ONLY,
        30.. => FIRST_LEVEL + (hundredths - 30).min(BINS as i64 - 1) as u8,
    }
}

/// What is counted where, and for how long. Counts of one setup are none for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Name of the device.
    pub device: Reference,
    /// Name of its camera.
    pub camera: Reference,
    /// Where the camera stands, latitude and longitude in 10^-7 degrees.
    pub position: Option<[i32; 2]>,
    /// Digest of the set of decoys.
    pub decoys: [u8; 32],
    /// Digest of the promise: networks, curve, quality gate, decision rule, pipeline.
    pub promise: [u8; 32],
    /// How many days of at least [`Setup::least_faces`] it takes.
    pub days: u16,
    /// Fewest faces of a day that counts as one.
    pub least_faces: u32,
}

/// A place as counts and records have it.
pub fn place_of(position: Position) -> [i32; 2] {
    // At most 1.8e9 for a place on earth; the cast would saturate.
    [position.latitude, position.longitude].map(|degrees| (degrees * 1e7).round() as i32)
}

/// Names an entry's template without naming the entry: 16 bytes of a salted SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub [u8; 16]);

impl Mark {
    /// The mark of `template` under `salt`.
    pub fn of(template: &Template, salt: &[u8; 16]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"watchpost site entry\n").chain_update(salt);
        for value in template.values() {
            hash.update([value.cast_unsigned()]);
        }
        let mut mark = [0; 16];
        mark.copy_from_slice(&hash.finalize()[..16]);
        Self(mark)
    }
}

/// Tracks that came near one decoy.
#[derive(Clone, PartialEq, Eq)]
pub struct DecoyCounts {
    /// At [`MILD`] or above.
    pub mild: u32,
    /// By the bin of the highest similarity.
    pub reached: [u32; BINS],
}

impl DecoyCounts {
    const NOTHING: Self = Self { mild: 0, reached: [0; BINS] };

    /// Tracks that reached the bin `from` or a higher one.
    pub fn at_least(&self, from: usize) -> u64 {
        self.reached[from.min(BINS)..].iter().map(|n| u64::from(*n)).sum()
    }
}

/// One half of the tracks.
#[derive(Clone, PartialEq, Eq)]
pub struct CountedHalf {
    /// How many.
    pub tracks: u64,
    /// In the order of the set.
    pub decoys: Vec<DecoyCounts>,
}

/// Tracks that came near one entry of the list, by fold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EntryCounts {
    /// Which.
    pub mark: Mark,
    /// Tracks since it was counted.
    pub tracks: [u64; 2],
    /// Of them at [`MILD`] or above.
    pub mild: [u64; 2],
}

/// One day, in universal time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// Days since 1970-01-01.
    pub day: u32,
    /// Tracks that ended on it.
    pub faces: u64,
    /// Their mild comparisons with decoys.
    pub mild: u64,
}

/// The day of a time, in days since 1970-01-01; 0 before.
pub fn day_of(at: OffsetDateTime) -> u32 {
    u32::try_from(at.unix_timestamp().div_euclid(86_400)).unwrap_or(0)
}

/// Everything that was counted.
#[derive(Clone, PartialEq, Eq)]
pub struct Counts {
    pub(super) setup: Setup,
    pub(super) salt: [u8; 16],
    pub(super) begun: u64,
    pub(super) folds: [CountedHalf; 2],
    pub(super) entries: Vec<EntryCounts>,
    pub(super) days: Vec<Day>,
    /// Sum over tracks of the squared number of decoys that they came near, mildly and at each bin
    /// or above.
    pub(super) mild_squares: u64,
    pub(super) squares: [u64; BINS],
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counts({} decoys, {} tracks)", self.folds[0].decoys.len(), self.tracks())
    }
}

/// Why bytes are no counts.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CountsError {
    /// Cut short, or altered.
    #[error("the counts are damaged: their checksum does not hold")]
    Checksum,
    /// Not the schema.
    #[error("the counts do not follow the schema: {0}")]
    Encoding(#[from] CborError),
    /// Numbers that cannot be.
    #[error("the counts contradict themselves: {0}")]
    Contradiction(&'static str),
}

impl Counts {
    /// Nothing counted yet. `salt` is random.
    pub fn new(setup: Setup, decoys: usize, salt: [u8; 16]) -> Self {
        let fold =
            CountedHalf { tracks: 0, decoys: vec![DecoyCounts::NOTHING; decoys.min(MAX_DECOYS)] };
        Self {
            setup,
            salt,
            begun: 0,
            folds: [fold.clone(), fold],
            entries: Vec::new(),
            days: Vec::new(),
            mild_squares: 0,
            squares: [0; BINS],
        }
    }

    /// What was counted where.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Tracks that have ended.
    pub fn tracks(&self) -> u64 {
        self.folds.iter().map(|f| f.tracks).sum()
    }

    /// Each day on which a track ended, ascending.
    pub fn days(&self) -> &[Day] {
        &self.days
    }

    /// Days before `today` that had enough faces.
    pub fn days_done(&self, today: u32) -> usize {
        let least = u64::from(self.setup.least_faces);
        self.days.iter().filter(|d| d.day < today && d.faces >= least).count()
    }

    /// Whether the time that was signed beforehand is over.
    pub fn is_complete(&self, today: u32) -> bool {
        self.days_done(today) >= usize::from(self.setup.days)
    }

    fn end_track(&mut self, fold: usize, decoys: &[u8], entries: &[u8], today: u32) {
        let CountedHalf { tracks, decoys: counted } = &mut self.folds[fold];
        *tracks += 1;
        let mut mild = 0;
        let mut near = [0u64; BINS];
        for (decoy, level) in counted.iter_mut().zip(decoys).filter(|(_, level)| **level > NONE) {
            decoy.mild = decoy.mild.saturating_add(1);
            mild += 1;
            if let Some(bin) = level.checked_sub(FIRST_LEVEL) {
                let reached = &mut decoy.reached[usize::from(bin)];
                *reached = reached.saturating_add(1);
                near[usize::from(bin)] += 1;
            }
        }
        self.mild_squares = self.mild_squares.saturating_add(mild * mild);
        let mut above = 0;
        for (squares, near) in self.squares.iter_mut().zip(near).rev() {
            above += near;
            *squares = squares.saturating_add(above * above);
        }
        for (entry, level) in self.entries.iter_mut().zip(entries) {
            entry.tracks[fold] += 1;
            entry.mild[fold] += u64::from(*level > NONE);
        }
        match self.days.last_mut() {
            // A clock that went back: what ends now belongs to the latest day.
            Some(last) if last.day >= today => {
                last.faces += 1;
                last.mild += mild;
            }
            _ => self.days.push(Day { day: today, faces: 1, mild }),
        }
    }

    /// Counts the entries of the list in force from now on; `marks` in its order. What was counted
    /// of those that are still on it stays.
    fn set_entries(&mut self, marks: impl Iterator<Item = Mark>) {
        let old = std::mem::take(&mut self.entries);
        self.entries = marks
            .take(MAX_COUNTED_ENTRIES)
            .map(|mark| {
                let known = old.iter().find(|e| e.mark == mark).copied();
                known.unwrap_or(EntryCounts { mark, tracks: [0; 2], mild: [0; 2] })
            })
            .collect();
    }

    /// The one encoding, checksum at the end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = CborWriter::default();
        w.map(9);
        w.key(0).uint(FORMAT_VERSION);
        w.key(1);
        write_setup(&mut w, &self.setup);
        w.key(2).bytes(&self.salt);
        w.key(3).uint(self.begun);
        w.key(4).array(2);
        for fold in &self.folds {
            w.array(2).uint(fold.tracks).array(fold.decoys.len());
            for decoy in &fold.decoys {
                w.array(2).uint(decoy.mild.into());
                write_bins(&mut w, &decoy.reached.map(u64::from));
            }
        }
        w.key(5).array(self.entries.len());
        for entry in &self.entries {
            w.array(3).bytes(&entry.mark.0);
            w.array(2).uint(entry.tracks[0]).uint(entry.tracks[1]);
            w.array(2).uint(entry.mild[0]).uint(entry.mild[1]);
        }
        w.key(6);
        write_days(&mut w, &self.days);
        w.key(7).uint(self.mild_squares);
        w.key(8);
        write_bins(&mut w, &self.squares);
        let mut bytes = w.finish();
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Reads what [`Counts::to_bytes`] writes, and nothing else.
    ///
    /// # Errors
    /// Where the checksum does not hold, or the numbers cannot be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CountsError> {
        let split = bytes.len().checked_sub(CHECKSUM).ok_or(CountsError::Checksum)?;
        let (content, checksum) = bytes.split_at(split);
        if bytes.len() > MAX_BYTES || Sha256::digest(content)[..] != *checksum {
            return Err(CountsError::Checksum);
        }
        let mut r = CborReader::new(content);
        r.map(9)?;
        r.key(0)?;
        if r.uint(u64::MAX)? != FORMAT_VERSION {
            return Err(CountsError::Contradiction("they are of another version of this program"));
        }
        r.key(1)?;
        let setup = read_setup(&mut r)?;
        r.key(2)?;
        let salt = r.fixed()?;
        r.key(3)?;
        let begun = r.uint(u64::MAX)?;
        r.key(4)?;
        r.items(2)?;
        let folds = [read_fold(&mut r)?, read_fold(&mut r)?];
        r.key(5)?;
        let mut entries = Vec::new();
        for _ in 0..r.array(MAX_COUNTED_ENTRIES)? {
            r.items(3)?;
            entries.push(EntryCounts {
                mark: Mark(r.fixed()?),
                tracks: read_pair(&mut r)?,
                mild: read_pair(&mut r)?,
            });
        }
        r.key(6)?;
        let days = read_days(&mut r)?;
        r.key(7)?;
        let mild_squares = r.uint(u64::MAX)?;
        r.key(8)?;
        let squares = read_bins(&mut r)?;
        r.end()?;
        let counts = Self { setup, salt, begun, folds, entries, days, mild_squares, squares };
        counts.check()?;
        Ok(counts)
    }

    fn check(&self) -> Result<(), CountsError> {
        let broken = |what| Err(CountsError::Contradiction(what));
        let [a, b] = &self.folds;
        if a.decoys.len() != b.decoys.len() {
            return broken("the folds have different decoys");
        }
        let mut mild = 0u64;
        for fold in &self.folds {
            for decoy in &fold.decoys {
                if decoy.at_least(0) > u64::from(decoy.mild) || u64::from(decoy.mild) > fold.tracks
                {
                    return broken("a decoy has more matches than tracks");
                }
                mild += u64::from(decoy.mild);
            }
        }
        let sum = |of: fn(&Day) -> u64| {
            self.days.iter().map(of).try_fold(0u64, |sum, n| sum.checked_add(n))
        };
        if sum(|d| d.faces) != a.tracks.checked_add(b.tracks) || sum(|d| d.mild) != Some(mild) {
            return broken("the days do not add up");
        }
        if self.entries.iter().any(|e| (0..2).any(|f| e.mild[f] > e.tracks[f])) {
            return broken("an entry has more matches than tracks");
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "counts/tests.rs"]
pub(crate) mod tests;
