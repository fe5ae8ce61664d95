//! The bytes of a docket, as the device keeps them on its disk. No other program reads them.

use time::OffsetDateTime;

use super::{CountedVerdict, Docket, DocketError, MAX_CASES, MAX_PAYLOADS, MAX_VERDICTS};
use crate::judgement::{Confidence, Opinion, Outcome};
use crate::review::case::Case;
use crate::review::verdict::CandidateId;
use crate::watchlist::Reference;
use crate::watchlist::cbor::{CborError, CborReader, CborWriter};
use crate::watchlist::keys::KeyId;

/// 2 has up to four payloads of a case, and is otherwise as 1.
const VERSION: u64 = 2;
const OLDEST_VERSION: u64 = 1;
const LATEST: u64 = 253_402_300_799; // 9999-12-31T23:59:59Z
const MAX_NAME: usize = 64;

pub fn write(docket: &Docket) -> Vec<u8> {
    let mut w = CborWriter::with_capacity(64 + docket.cases.len() * 256);
    w.array(2).uint(VERSION).array(docket.cases.len());
    for case in &docket.cases {
        write_case(&mut w, case, Outcome::number);
    }
    w.finish()
}

/// `number` is that of an end, from 1.
pub fn write_case<E: Copy>(w: &mut CborWriter, case: &Case<E>, number: impl Fn(E) -> u64) {
    w.array(8).bytes(&case.candidate.0).array(case.payloads.len());
    for payload in &case.payloads {
        w.bytes(payload);
    }
    w.text(&case.list).uint(case.version).text(&case.entry).uint(seconds(case.until));
    w.uint(case.end.map_or(0, number)).array(case.verdicts.len());
    for v in &case.verdicts {
        w.array(5).bytes(&v.reviewer.to_bytes()).uint(v.opinion.number());
        w.uint(v.confidence.number()).uint(seconds(v.judged_at)).bytes(&v.commitment);
    }
}

fn seconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp()).unwrap_or(0).min(LATEST)
}

pub fn read(bytes: &[u8]) -> Result<Docket, DocketError> {
    let mut r = CborReader::new(bytes);
    r.items(2)?;
    let version = r.uint(u64::MAX)?;
    if !(OLDEST_VERSION..=VERSION).contains(&version) {
        return Err(DocketError::Version(version));
    }
    let mut cases = Vec::new();
    for _ in 0..r.array(MAX_CASES)? {
        cases.push(read_case(&mut r, Outcome::of)?);
    }
    r.end()?;
    Ok(Docket { cases })
}

/// What [`write_case`] wrote; `end` is that of a number.
pub fn read_case<E>(
    r: &mut CborReader<'_>,
    end: impl Fn(u64) -> Option<E>,
) -> Result<Case<E>, DocketError> {
    r.items(8)?;
    let candidate = CandidateId(r.fixed()?);
    let payloads =
        (0..r.array(MAX_PAYLOADS)?).map(|_| r.fixed()).collect::<Result<_, CborError>>()?;
    let (list, version, entry) = (name(r)?, r.uint(u64::MAX)?, name(r)?);
    let until = read_time(r)?;
    let end = match r.uint(u64::MAX)? {
        0 => None,
        number => Some(end(number).ok_or(DocketError::Unknown("outcome"))?),
    };
    let mut verdicts = Vec::new();
    for _ in 0..r.array(MAX_VERDICTS)? {
        r.items(5)?;
        verdicts.push(CountedVerdict {
            reviewer: KeyId::from_bytes(r.fixed()?),
            opinion: Opinion::of(r.uint(u64::MAX)?).ok_or(DocketError::Unknown("opinion"))?,
            confidence: Confidence::of(r.uint(u64::MAX)?)
                .ok_or(DocketError::Unknown("confidence"))?,
            judged_at: read_time(r)?,
            commitment: r.fixed()?,
        });
    }
    Ok(Case { candidate, payloads, list, version, entry, until, verdicts, end })
}

fn read_time(r: &mut CborReader<'_>) -> Result<OffsetDateTime, DocketError> {
    let seconds = r.uint(LATEST)?;
    Ok(OffsetDateTime::from_unix_timestamp(seconds as i64).expect("a time before the year 10000"))
}

fn name(r: &mut CborReader<'_>) -> Result<Reference, DocketError> {
    r.text(MAX_NAME)?.parse().map_err(|_| DocketError::Unknown("name"))
}
