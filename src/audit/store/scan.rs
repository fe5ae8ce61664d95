//! The bytes of a log, read from its beginning: records, and what is left of one that was never
//! finished.
//!
//! Where a record is not whole and the outbox holds it, that one is read instead: it was never
//! synced here, and a power cut may have left anything of it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Seek};

use super::super::note::MAX_NAME;
use super::super::record::MAX_RECORD;
use super::super::tree::TreeHash;
use super::AuditStoreError;
use super::carried::CarriedRecords;

const MAGIC: &str = "watchpost audit log v1\n";
/// Bytes of a frame before its record.
const HEAD: usize = 12;
/// Longest frame.
const MAX_FRAME: usize = HEAD + MAX_RECORD;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogScan {
    /// Of the log.
    pub origin: String,
    /// Records.
    pub records: u64,
    /// Bytes up to the end of the last record.
    pub length: u64,
    /// Bytes behind it, of a record that was never finished.
    pub torn: u64,
    /// Records that are not whole in the file, and that the outbox holds.
    pub mended: u64,
}

/// The first bytes of a log.
pub fn header(origin: &str) -> String {
    format!("{MAGIC}{origin}\n")
}

/// The bytes of one record.
pub fn frame(leaf: &TreeHash, record: &[u8]) -> Vec<u8> {
    let length = u32::try_from(record.len()).expect("bounded by the longest record");
    [&length.to_le_bytes(), &leaf.0[..8], record].concat()
}

/// The record at the beginning of `bytes`, and its leaf.
fn unframe(bytes: &[u8]) -> Option<(&[u8], TreeHash)> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let length = u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize;
    if length == 0 || length > MAX_RECORD {
        return None;
    }
    let record = rest.get(..length)?;
    let leaf = TreeHash::leaf(record);
    (leaf.0[..8] == head[4..]).then_some((record, leaf))
}

/// Reads a log; each record goes to `each` with its index and its leaf hash.
///
/// # Errors
/// Where it cannot be read, is no log, or is damaged otherwise than a power cut does.
pub fn scan(
    log: impl Read + Seek,
    mut each: impl FnMut(u64, TreeHash, &[u8]),
) -> Result<LogScan, AuditStoreError> {
    scan_with(log, &CarriedRecords::default(), |found| each(found.index, found.leaf, found.record))
}

/// A record as it is read.
pub struct ReadRecord<'a> {
    /// Its place.
    pub index: u64,
    /// Its leaf's hash.
    pub leaf: TreeHash,
    /// Its bytes.
    pub record: &'a [u8],
    /// Where its frame begins in the file, if the file does not have it.
    pub missing_at: Option<u64>,
}

/// Reads a log together with the records that an outbox holds for it.
///
/// # Errors
/// As [`scan`], and where the outbox holds another record than the log, or one that comes after
/// what the log ends with.
pub fn scan_with(
    log: impl Read + Seek,
    outbox: &CarriedRecords,
    mut each: impl FnMut(ReadRecord<'_>),
) -> Result<LogScan, AuditStoreError> {
    let at = AuditStoreError::at;
    let mut log = BufReader::with_capacity(2 * MAX_FRAME, log);
    log.rewind().map_err(at("read"))?;
    let origin = read_header(&mut log)?;
    let length = header(&origin).len() as u64;
    let mut found = LogScan { length, origin, records: 0, torn: 0, mended: 0 };
    // What was read and not looked at, from `used` on.
    let (mut bytes, mut used) = (Vec::with_capacity(2 * MAX_FRAME), 0);
    loop {
        if bytes.len() - used < MAX_FRAME {
            bytes.drain(..used);
            used = 0;
            let wanted = (2 * MAX_FRAME - bytes.len()) as u64;
            log.by_ref().take(wanted).read_to_end(&mut bytes).map_err(at("read"))?;
        }
        let (rest, index) = (&bytes[used..], found.records);
        let length = match (unframe(rest), outbox.get(index)) {
            (Some((record, _)), Some(carried)) if record != carried => {
                return Err(AuditStoreError::Conflict { index });
            }
            (Some((record, leaf)), _) => {
                each(ReadRecord { index, leaf, record, missing_at: None });
                HEAD + record.len()
            }
            (None, Some(record)) => {
                found.mended += 1;
                let (leaf, missing_at) = (TreeHash::leaf(record), Some(found.length));
                each(ReadRecord { index, leaf, record, missing_at });
                HEAD + record.len()
            }
            // What the outbox holds was signed, and is not what comes next.
            (None, None) if outbox.size() > index => {
                return Err(AuditStoreError::RolledBack { found: index, signed: outbox.size() });
            }
            (None, None) if rest.is_empty() => return Ok(found),
            (None, None) => return torn(rest, found),
        };
        found.records += 1;
        found.length += length as u64;
        used += length.min(rest.len());
    }
}

/// What is not a record is the rest of one only where no other follows it: an append is durable,
/// here or in the outbox, before the next one begins.
fn torn(rest: &[u8], found: LogScan) -> Result<LogScan, AuditStoreError> {
    let others = (1..rest.len()).any(|at| unframe(&rest[at..]).is_some());
    if rest.len() > MAX_FRAME || others {
        return Err(AuditStoreError::Damaged { records: found.records });
    }
    Ok(LogScan { torn: rest.len() as u64, ..found })
}

pub(super) fn read_header(log: &mut impl BufRead) -> Result<String, AuditStoreError> {
    let mut magic = [0; MAGIC.len()];
    match log.read_exact(&mut magic) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            return Err(AuditStoreError::at("read")(error));
        }
        Ok(()) if magic == *MAGIC.as_bytes() => {}
        _ => return Err(AuditStoreError::NotALog),
    }
    let mut origin = Vec::new();
    let line = log.take(MAX_NAME as u64 + 1).read_until(b'\n', &mut origin);
    line.map_err(AuditStoreError::at("read"))?;
    match origin.pop() {
        Some(b'\n') => String::from_utf8(origin).map_err(|_| AuditStoreError::NotALog),
        _ => Err(AuditStoreError::NotALog),
    }
}
