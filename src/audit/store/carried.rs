//! Records that the outbox holds for the log: its sync made them durable, before the log was
//! synced itself.
//!
//! ```text
//! carried = index u64 LE, length of the note u32 LE, note, record
//! ```
//!
//! * The note is the signed checkpoint that covers the record and all before it: it says of which
//!   log the record is, and what the log's root is with it. Records of other logs are left out.
//! * What is read here was read whole, by the outbox's checksums. Who signed the note is not looked
//!   at: whoever writes to the outbox's folder writes to the log's.

use std::collections::BTreeMap;

use super::{AuditStoreError, tree_in};
use crate::audit::record::MAX_RECORD;
use crate::audit::tree::TreeHash;

const HEAD: usize = 12;

/// The bytes that the outbox keeps for the record at `index`.
pub fn carried(index: u64, note: &str, record: &[u8]) -> Vec<u8> {
    let length = u32::try_from(note.len()).expect("a note of three lines and a signature");
    [&index.to_le_bytes()[..], &length.to_le_bytes(), note.as_bytes(), record].concat()
}

/// The same read back.
fn read(bytes: &[u8]) -> Option<(u64, &str, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let index = u64::from_le_bytes(head[..8].try_into().expect("eight bytes"));
    let length = u32::from_le_bytes(head[8..].try_into().expect("four bytes")) as usize;
    let (note, record) = (rest.get(..length)?, rest.get(length..)?);
    let whole = (1..=MAX_RECORD).contains(&record.len());
    whole.then_some((index, std::str::from_utf8(note).ok()?, record))
}

/// What an outbox holds for one log.
#[derive(Debug, Default)]
pub struct CarriedRecords {
    records: BTreeMap<u64, Vec<u8>>,
    /// Size and root of the log with each of them.
    trees: Vec<(u64, TreeHash)>,
    newest: Option<(u64, String)>,
}

impl CarriedRecords {
    /// Those of the log `origin` in what an outbox holds.
    ///
    /// # Errors
    /// Where it cannot be read, or holds two records for one place.
    pub fn of<'a>(
        origin: &str,
        all: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, AuditStoreError> {
        let mut found = Self::default();
        for bytes in all {
            let (index, note, record) = read(bytes).ok_or(AuditStoreError::Carried)?;
            // Another log's origin stands in the first line.
            if note.lines().next() != Some(origin) {
                continue;
            }
            let tree = tree_in(note, origin)?;
            if tree.size != index + 1 {
                return Err(AuditStoreError::Carried);
            }
            let before = found.records.insert(index, record.to_vec());
            if before.is_some_and(|before| before != record) {
                return Err(AuditStoreError::Conflict { index });
            }
            found.trees.push((tree.size, tree.root));
            if found.newest.as_ref().is_none_or(|(size, _)| *size < tree.size) {
                found.newest = Some((tree.size, note.to_owned()));
            }
        }
        Ok(found)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The record at `index`.
    pub fn get(&self, index: u64) -> Option<&[u8]> {
        self.records.get(&index).map(Vec::as_slice)
    }

    /// Records that the log has at least.
    pub fn size(&self) -> u64 {
        self.newest.as_ref().map_or(0, |(size, _)| *size)
    }

    /// Size and root of the log with each of them.
    pub fn trees(&self) -> &[(u64, TreeHash)] {
        &self.trees
    }

    /// The newest signed checkpoint among them.
    pub fn newest(&self) -> Option<&str> {
        self.newest.as_ref().map(|(_, note)| note.as_str())
    }
}
