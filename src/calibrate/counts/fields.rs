//! The parts of a count's canonical bytes, which a site record and decoys share.
//!
//! * One content has one encoding; anything else is refused.

use super::{BINS, CountedHalf, Day, DecoyCounts, MAX_DAYS, MAX_DECOYS, Setup};
use crate::watchlist::Reference;
use crate::watchlist::cbor::{CborError, CborReader, CborWriter};

pub(in crate::calibrate) fn write_setup(w: &mut CborWriter, setup: &Setup) {
    w.array(7).text(&setup.device).text(&setup.camera);
    match setup.position {
        None => w.array(0),
        Some([latitude, longitude]) => w.array(2).int(latitude).int(longitude),
    };
    w.bytes(&setup.decoys).bytes(&setup.promise);
    w.uint(setup.days.into()).uint(setup.least_faces.into());
}

pub(in crate::calibrate) fn read_setup(r: &mut CborReader<'_>) -> Result<Setup, CborError> {
    r.items(7)?;
    let (device, camera) = (read_reference(r)?, read_reference(r)?);
    let position = if r.items_or_none(2)? { Some([r.int()?, r.int()?]) } else { None };
    Ok(Setup {
        device,
        camera,
        position,
        decoys: r.fixed()?,
        promise: r.fixed()?,
        days: r.uint(u16::MAX.into())? as u16,
        least_faces: r.uint(u32::MAX.into())? as u32,
    })
}

pub(in crate::calibrate) fn read_reference(r: &mut CborReader<'_>) -> Result<Reference, CborError> {
    let at = r.at();
    let text = r.text(64)?;
    text.parse().map_err(|_| CborError::Unexpected { wanted: "opaque reference", at })
}

pub(in crate::calibrate) fn write_days(w: &mut CborWriter, days: &[Day]) {
    w.array(days.len());
    for day in days {
        w.array(3).uint(day.day.into()).uint(day.faces).uint(day.mild);
    }
}

pub(in crate::calibrate) fn read_days(r: &mut CborReader<'_>) -> Result<Vec<Day>, CborError> {
    let mut days = Vec::<Day>::new();
    for _ in 0..r.array(MAX_DAYS)? {
        let at = r.at();
        r.items(3)?;
        let day = Day {
            day: r.uint(u32::MAX.into())? as u32,
            faces: r.uint(u64::MAX)?,
            mild: r.uint(u64::MAX)?,
        };
        if days.last().is_some_and(|last| last.day >= day.day) {
            return Err(CborError::Unexpected { wanted: "later day", at });
        }
        days.push(day);
    }
    Ok(days)
}

/// Bins up to the last that is not zero.
pub(in crate::calibrate) fn write_bins(w: &mut CborWriter, bins: &[u64; BINS]) {
    let used = bins.iter().rposition(|n| *n > 0).map_or(0, |last| last + 1);
    w.array(used);
    for n in &bins[..used] {
        w.uint(*n);
    }
}

pub(in crate::calibrate) fn read_bins(r: &mut CborReader<'_>) -> Result<[u64; BINS], CborError> {
    let at = r.at();
    let mut bins = [0; BINS];
    let used = r.array(BINS)?;
    for n in &mut bins[..used] {
        *n = r.uint(u64::MAX)?;
    }
    if used > 0 && bins[used - 1] == 0 {
        return Err(CborError::Unexpected { wanted: "bins without zeros at the end", at });
    }
    Ok(bins)
}

pub(super) fn read_fold(r: &mut CborReader<'_>) -> Result<CountedHalf, CborError> {
    r.items(2)?;
    let tracks = r.uint(u64::MAX)?;
    let mut decoys = Vec::new();
    for _ in 0..r.array(MAX_DECOYS)? {
        r.items(2)?;
        let mild = r.uint(u32::MAX.into())? as u32;
        let at = r.at();
        let wide = read_bins(r)?;
        let mut reached = [0; BINS];
        for (narrow, wide) in reached.iter_mut().zip(wide) {
            *narrow = u32::try_from(wide)
                .map_err(|_| CborError::Unexpected { wanted: "32-bit number", at })?;
        }
        decoys.push(DecoyCounts { mild, reached });
    }
    Ok(CountedHalf { tracks, decoys })
}

pub(super) fn read_pair(r: &mut CborReader<'_>) -> Result<[u64; 2], CborError> {
    r.items(2)?;
    Ok([r.uint(u64::MAX)?, r.uint(u64::MAX)?])
}
