//! The site record: what a calibration found at one place, made on the device, signed by two into
//! the next list.
//!
//! * It holds for one camera at one place under one promise (networks, curve, quality gate,
//!   decision rule), and ends after [`VALID_FOR`]. Anywhere else it is refused, and so is one of
//!   too few days or faces.
//! * How the picture is cut and turned (`source.zones`, `source.rotate`, `source.mirror`) is not
//!   part of what it is bound to, as focus and height are not: a zone only leaves faces out, and a
//!   face that lies is not compared at all. That a camera is set up anew is for those who sign.
//! * What is in it: strata of at least [`LEAST_DECOYS`] decoys with
//!   their counts, the days' totals, which entries the bound is for. What is not: counts of single
//!   decoys, anything of a track, a time finer than a day.
//! * The bound is not written but computed from the counts, so that a record cannot say one thing
//!   and mean another.
//! * One content has one encoding, with a checksum. The checksum is against damage; against
//!   editing stands the device, which takes no record into force that it did not make
//!   ([`SiteRecord::is_made_by`]).
//!
//! The schema in CDDL is `config/schemas/site-record.cddl`.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

use super::counts::{
    BINS, Counts, Day, MAX_COUNTED_ENTRIES, Mark, Setup, read_bins, read_days, read_reference,
    read_setup, write_bins, write_days, write_setup,
};
use super::decoys::{DAYS, LEAST as LEAST_SET, LEAST_FACES};
use super::origin::SiteKey;
use super::strata::{
    Drift, LEAST_DECOYS, ScoredStrata, SiteCurve, Stratum, TooLittle, drift_of_days,
};
use crate::cause::Cause;
use crate::template::Template;
use crate::watchlist::Reference;
use crate::watchlist::cbor::{CborError, CborReader, CborWriter};
use crate::watchlist::text::stamp;

/// How long a record is good for: seasons, building sites and fashions change who passes and how.
pub const VALID_FOR: Duration = Duration::days(180);
/// Version of the schema.
pub const FORMAT_VERSION: u64 = 1;
/// Most bytes.
pub const MAX_BYTES: usize = 1 << 20;

const CHECKSUM: usize = 32;
const LATEST: u64 = 253_402_300_799; // 9999-12-31T23:59:59Z
/// Most strata of one fold: 20 decoys, growing by 1.6, are 10,000 after 13.
const MAX_STRATA: usize = 32;

/// What was found at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteRecord {
    /// Where, with what, for how long.
    pub setup: Setup,
    /// The list whose entries were counted, and its version.
    pub list: Option<(Reference, u64)>,
    /// When the record was made.
    pub issued: OffsetDateTime,
    /// Not used from then on.
    pub expires: OffsetDateTime,
    /// Each day's faces and mild comparisons.
    pub days: Vec<Day>,
    /// Design effect of a track in the mild comparisons, in thousandths.
    pub mild_effect: u32,
    /// Of the marks.
    pub salt: [u8; 16],
    /// The measurement.
    pub curve: SiteCurve,
    /// By which the device knows its own record ([`super::origin`]).
    pub proof: [u8; 32],
}

/// Why there is no record, or it does not count here.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RecordError {
    /// Cut short, or altered.
    #[error("the site record is damaged: its checksum does not hold; fetch it again")]
    Checksum,
    /// Not the schema.
    #[error("this is no site record: {0}")]
    Encoding(#[from] CborError),
    /// Another [`FORMAT_VERSION`].
    #[error("the site record has format {0} and this program reads format {FORMAT_VERSION}")]
    Version(u64),
    /// Numbers that cannot be.
    #[error("the site record contradicts itself: {0}")]
    Contradiction(&'static str),
    /// Nothing follows from what was counted.
    #[error(transparent)]
    TooLittle(#[from] TooLittle),
    /// Before the signed time is over.
    #[error(
        "{done} of the {wanted} days with at least {least_faces} faces are over; a record is made \
         when all are, and not at a moment that suits"
    )]
    TooFewDays {
        /// So far.
        done: usize,
        /// As signed.
        wanted: u16,
        /// Fewest faces of a day.
        least_faces: u32,
    },
    /// Somebody who passes often is, or is taken for, a decoy.
    #[error(
        "decoy {0} of the set is matched again and again: somebody who passes here often is that \
         person or is taken for them. Have the set signed again without it"
    )]
    KnownDecoy(usize),
    /// Of another device or camera: which, in this order.
    #[error("the site record is of the camera {} of {}, and counts for no other", .0[1], .0[0])]
    OtherCamera(Box<[Reference; 2]>),
    /// The camera has been moved, or its position was written anew.
    #[error("the site record is of another place than this camera stands at by its configuration")]
    OtherPlace,
    /// Counted without a place: there is nothing to hold it against.
    #[error(
        "the site record names no place: a camera that moves, such as a body camera, has no site \
         curve"
    )]
    NoPlace,
    /// Altered, or of another device, or the device has another key by now.
    #[error(
        "this device did not make this site record, or not with the key that it has now: the \
         record was altered, is of another device, or the device's key was replaced; copy it \
         again, or calibrate again"
    )]
    NotOurs,
    /// Nothing to vouch by.
    #[error(
        "a device without a key cannot vouch for a site record; make one with `watchpost key \
         device` and name it by {key}",
        key = setting!(watchlist.device_key)
    )]
    NoKey,
    /// Made with other networks, another gate or another rule.
    #[error(
        "the site record was measured with other networks, another quality gate or another \
         decision rule than this device has; calibrate again"
    )]
    OtherPromise,
    /// Outside its time.
    #[error("the site record counts from {} until {}; calibrate again", stamp(.from), stamp(.until))]
    NotNow {
        /// When it was made.
        from: OffsetDateTime,
        /// Until then.
        until: OffsetDateTime,
    },
}

impl RecordError {
    /// The published cause for which a list with such a record is refused.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Checksum
            | Self::Encoding(_)
            | Self::Version(_)
            | Self::Contradiction(_)
            | Self::TooLittle(_)
            | Self::TooFewDays { .. }
            | Self::KnownDecoy(_) => Cause::BadSiteRecord,
            Self::NotOurs | Self::NoKey => Cause::SiteNotOurs,
            Self::OtherCamera(_) | Self::OtherPlace | Self::NoPlace => Cause::SiteElsewhere,
            Self::OtherPromise => Cause::SitePromiseDiffers,
            Self::NotNow { .. } => Cause::SiteEnded,
        }
    }
}

/// Where a record is to count.
#[derive(Debug, Clone, Copy)]
pub struct CountingPlace<'a> {
    /// Name of the device.
    pub device: &'a str,
    /// Name of the camera.
    pub camera: &'a str,
    /// Where the camera stands, in 10^-7 degrees.
    pub position: Option<[i32; 2]>,
    /// Digests of the device's promise, and of the one that the list was signed for, which the
    /// device keeps or is stricter than. A record under either counts.
    pub promises: [[u8; 32]; 2],
}

impl SiteRecord {
    /// The record of `counts`, made `now` by the device that has `key`, of the entries of `list`.
    ///
    /// # Errors
    /// Where the signed days are not over, a decoy is known here, or the counts are too few.
    pub fn of(
        counts: &Counts,
        list: Option<(Reference, u64)>,
        key: &SiteKey,
        now: OffsetDateTime,
    ) -> Result<Self, RecordError> {
        let today = super::counts::day_of(now);
        let Setup { days, least_faces, .. } = *counts.setup();
        if !counts.is_complete(today) {
            let done = counts.days_done(today);
            return Err(RecordError::TooFewDays { done, wanted: days, least_faces });
        }
        for drift in counts.drifts() {
            if let Drift::Decoy { position } = drift {
                return Err(RecordError::KnownDecoy(position));
            }
        }
        let issued = now.replace_nanosecond(0).expect("zero is a nanosecond");
        let mut record = Self {
            setup: counts.setup().clone(),
            list,
            issued,
            expires: issued + VALID_FOR,
            days: counts.days().to_vec(),
            mild_effect: (counts.mild_effect() * 1000.0).ceil() as u32,
            salt: counts.salt,
            curve: SiteCurve::of(counts)?,
            proof: [0; 32],
        };
        record.proof = key.prove(&record.proven());
        Ok(record)
    }

    /// Whether the device that has `key` made it, as it is.
    ///
    /// # Errors
    /// Where it did not, or the device has no key.
    pub fn is_made_by(&self, key: Option<&SiteKey>) -> Result<(), RecordError> {
        let key = key.ok_or(RecordError::NoKey)?;
        if key.prove(&self.proven()) == self.proof { Ok(()) } else { Err(RecordError::NotOurs) }
    }

    /// Whether it counts at `place` and `now`.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn counts_at(
        &self,
        place: CountingPlace<'_>,
        now: OffsetDateTime,
    ) -> Result<(), RecordError> {
        let Setup { device, camera, position, promise, .. } = &self.setup;
        if (&**device, &**camera) != (place.device, place.camera) {
            return Err(RecordError::OtherCamera(Box::new([device.clone(), camera.clone()])));
        }
        if position.is_none() {
            return Err(RecordError::NoPlace);
        }
        if *position != place.position {
            return Err(RecordError::OtherPlace);
        }
        if !place.promises.contains(promise) {
            return Err(RecordError::OtherPromise);
        }
        if now < self.issued || now >= self.expires {
            return Err(RecordError::NotNow { from: self.issued, until: self.expires });
        }
        Ok(())
    }

    /// The day that is most unlike the others, where it is too much so: people who sign see it.
    pub fn drift(&self) -> Option<Drift> {
        drift_of_days(&self.days, f64::from(self.mild_effect) / 1000.0)
    }

    /// Which of `entries` were measured. Of two with one template, one.
    pub fn covers<'t>(&self, entries: impl IntoIterator<Item = &'t Template>) -> Vec<bool> {
        let mut seen = HashSet::new();
        let covered = |mark: &Mark| self.curve.covered.binary_search(mark).is_ok();
        let marks = entries.into_iter().map(|template| Mark::of(template, &self.salt));
        marks.map(|mark| covered(&mark) && seen.insert(mark)).collect()
    }

    /// SHA-256 of the encoding.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }

    /// The digest that the proof is over: of everything but the proof.
    fn proven(&self) -> [u8; 32] {
        Sha256::digest(self.fields(9).finish()).into()
    }

    /// The one encoding, checksum at the end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = self.fields(10);
        w.key(9).bytes(&self.proof);
        let mut bytes = w.finish();
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// The fields but the proof, in a map of `announced`.
    fn fields(&self, announced: u64) -> CborWriter {
        let seconds = |at: OffsetDateTime| u64::try_from(at.unix_timestamp()).unwrap_or(0);
        let mut w = CborWriter::default();
        w.map(announced);
        w.key(0).uint(FORMAT_VERSION);
        w.key(1);
        write_setup(&mut w, &self.setup);
        w.key(2);
        match &self.list {
            None => w.array(0),
            Some((id, version)) => w.array(2).text(id).uint(*version),
        };
        w.key(3).array(2).uint(seconds(self.issued)).uint(seconds(self.expires));
        w.key(4);
        write_days(&mut w, &self.days);
        w.key(5).uint(self.mild_effect.into());
        w.key(6).bytes(&self.salt);
        w.key(7).array(2);
        for scored in &self.curve.scored {
            w.array(2).uint(scored.tracks).array(scored.strata.len());
            for stratum in &scored.strata {
                w.array(4).uint(stratum.decoys.into()).uint(stratum.entries.into());
                w.uint(stratum.mild);
                write_bins(&mut w, &stratum.reached);
            }
        }
        w.key(8).array(3).array(BINS);
        for effect in self.curve.effects {
            w.uint(effect.into());
        }
        w.array(self.curve.covered.len());
        for mark in &self.curve.covered {
            w.bytes(&mark.0);
        }
        w.uint(self.curve.uncovered.into());
        w
    }

    /// Reads what [`SiteRecord::to_bytes`] writes, and nothing else.
    ///
    /// # Errors
    /// Where the checksum does not hold, the numbers cannot be, or the days and faces are fewer
    /// than any record may have.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        let split = bytes.len().checked_sub(CHECKSUM).ok_or(RecordError::Checksum)?;
        let (content, checksum) = bytes.split_at(split);
        if bytes.len() > MAX_BYTES || Sha256::digest(content)[..] != *checksum {
            return Err(RecordError::Checksum);
        }
        let mut r = CborReader::new(content);
        r.any_map()?;
        r.key(0)?;
        match r.uint(u64::MAX)? {
            FORMAT_VERSION => {}
            other => return Err(RecordError::Version(other)),
        }
        let mut r = CborReader::new(content);
        r.map(10)?;
        r.key(0)?;
        r.uint(FORMAT_VERSION)?;
        r.key(1)?;
        let setup = read_setup(&mut r)?;
        r.key(2)?;
        let named = r.items_or_none(2)?;
        let list = if named { Some((read_reference(&mut r)?, r.uint(u64::MAX)?)) } else { None };
        r.key(3)?;
        r.items(2)?;
        let (issued, expires) = (read_time(&mut r)?, read_time(&mut r)?);
        r.key(4)?;
        let days = read_days(&mut r)?;
        r.key(5)?;
        let mild_effect = r.uint(u32::MAX.into())? as u32;
        r.key(6)?;
        let salt = r.fixed()?;
        r.key(7)?;
        r.items(2)?;
        let scored = [read_scored(&mut r)?, read_scored(&mut r)?];
        r.key(8)?;
        r.items(3)?;
        r.items(BINS)?;
        let mut effects = [0; BINS];
        for effect in &mut effects {
            *effect = r.uint(u32::MAX.into())? as u32;
        }
        let covered = (0..r.array(MAX_COUNTED_ENTRIES)?)
            .map(|_| Ok(Mark(r.fixed()?)))
            .collect::<Result<Vec<_>, CborError>>()?;
        let uncovered = r.uint(u32::MAX.into())? as u32;
        r.key(9)?;
        let proof = r.fixed()?;
        r.end()?;
        let curve = SiteCurve { scored, effects, covered, uncovered };
        let record = Self { setup, list, issued, expires, days, mild_effect, salt, curve, proof };
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), RecordError> {
        let broken = |what| Err(RecordError::Contradiction(what));
        let Setup { days: wanted, least_faces, .. } = self.setup;
        if !DAYS.contains(&wanted) || least_faces < LEAST_FACES {
            return broken("no calibration is so short");
        }
        let least = u64::from(least_faces);
        let done = self.days.iter().filter(|d| d.faces >= least).count();
        if done < usize::from(wanted) {
            return Err(RecordError::TooFewDays { done, wanted, least_faces });
        }
        if self.expires <= self.issued || self.expires - self.issued > VALID_FOR {
            return broken("it lasts too long");
        }
        let sum = |of: fn(&Day) -> u64| {
            self.days.iter().map(of).try_fold(0u64, |sum, n| sum.checked_add(n))
        };
        let [a, b] = &self.curve.scored;
        if sum(|d| d.faces) != a.tracks.checked_add(b.tracks) {
            return broken("the days do not add up");
        }
        let covered = self.curve.covered.len();
        let mut mild = 0u64;
        for scored in &self.curve.scored {
            let (mut decoys, mut entries) = (0, 0);
            for Stratum { decoys: n, entries: e, mild: m, reached } in &scored.strata {
                if (*n as usize) < LEAST_DECOYS {
                    return broken("a stratum has too few decoys");
                }
                let events = reached.iter().try_fold(0u64, |sum, n| sum.checked_add(*n));
                let most = scored.tracks.saturating_mul(u64::from(*n));
                if events.is_none_or(|events| events > *m) || *m > most {
                    return broken("a stratum has more matches than tracks");
                }
                decoys += *n as usize;
                entries += *e as usize;
                mild = mild.saturating_add(*m);
            }
            if decoys < LEAST_SET || entries != covered || scored.tracks == 0 {
                return broken("strata do not add up");
            }
        }
        if sum(|d| d.mild) != Some(mild) {
            return broken("the days do not add up");
        }
        if self.curve.effects.iter().any(|d| *d < 1000) || self.mild_effect < 1000 {
            return broken("a design effect is below one");
        }
        if self.curve.covered.windows(2).any(|pair| pair[0] >= pair[1]) {
            return broken("entries are not in order");
        }
        Ok(())
    }
}

fn read_scored(r: &mut CborReader<'_>) -> Result<ScoredStrata, CborError> {
    r.items(2)?;
    let tracks = r.uint(u64::MAX)?;
    let mut strata = Vec::new();
    for _ in 0..r.array(MAX_STRATA)? {
        r.items(4)?;
        strata.push(Stratum {
            decoys: r.uint(u32::MAX.into())? as u32,
            entries: r.uint(u32::MAX.into())? as u32,
            mild: r.uint(u64::MAX)?,
            reached: read_bins(r)?,
        });
    }
    Ok(ScoredStrata { tracks, strata })
}

fn read_time(r: &mut CborReader<'_>) -> Result<OffsetDateTime, CborError> {
    let seconds = r.uint(LATEST)?;
    Ok(OffsetDateTime::from_unix_timestamp(seconds as i64).expect("the year 9999 is representable"))
}

#[cfg(test)]
#[path = "record/tests.rs"]
pub(crate) mod tests;
