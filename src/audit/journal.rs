//! A device's own log: records in, signed checkpoints out.
//!
//! * [`Journal::record`] returns once the record is on the disk; only then may anybody hear of what
//!   it says.
//! * A record that could not be written is counted, and the first one that can be is preceded by
//!   one that says how many are missing.
//! * A candidate's record may be [covered](Journal::record_covered) instead: written without a
//!   sync, and made durable by that of the outbox, together with what is published of it and with
//!   the checkpoint that covers it. Until that is done nothing of the three may be heard of.
//! * A checkpoint is kept on the disk before it is given out: the device never signs two logs that
//!   do not follow from each other, and finds itself out where its disk is put back.

mod statements;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::note::NoteError;
use super::record::{AuditEvent, AuditRecord, AuditRecordError, MAX_COUNT_NAME, MAX_COUNTS};
use super::store::{AuditStore, AuditStoreError, Durability, LogTail, LogWrites, carried};
use crate::clock::Now;
use crate::watchlist::keys::SecretKey;

/// Why a record is not in the log, or a checkpoint not signed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] AuditStoreError),
    /// The record.
    #[error(transparent)]
    Record(#[from] AuditRecordError),
    /// The origin.
    #[error(transparent)]
    Note(#[from] NoteError),
}

/// A record that is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRecord {
    /// Its place, from zero.
    pub index: u64,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
}

/// A record that is durable once somebody else has stored `bytes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoveredRecord {
    /// Its place, from zero.
    pub index: u64,
    /// What is to be stored, for [`super::store::CarriedRecords`].
    pub bytes: Vec<u8>,
    /// The signed checkpoint that covers it, to be published once that is done.
    pub note: String,
}

/// The log of one device.
#[derive(Debug)]
pub struct Journal {
    store: AuditStore,
    origin: String,
    identity: SecretKey,
    /// Records that could not be written since the last one that could.
    missed: u64,
    /// As the last heartbeat had them.
    counts: BTreeMap<String, u64>,
    /// The checkpoint that this process kept last, and its records.
    signed: Option<(u64, String)>,
}

impl Journal {
    /// The log in `store` of the device `origin`, whose identity signs its checkpoints.
    pub fn new(store: AuditStore, origin: &str, identity: SecretKey) -> Self {
        let origin = origin.to_owned();
        Self { store, origin, identity, missed: 0, counts: BTreeMap::new(), signed: None }
    }

    /// The index that the next record will have.
    pub fn next_index(&self) -> u64 {
        // The record of those that are missing goes before it.
        self.store.size() + u64::from(self.missed > 0)
    }

    /// Writes what happens now. All that was written by this call goes to `out`, in its order.
    ///
    /// # Errors
    /// Where it is not on the disk; it is counted as missing.
    pub fn record(
        &mut self,
        event: AuditEvent,
        now: Now,
        out: &mut dyn FnMut(LoggedRecord),
    ) -> Result<u64, JournalError> {
        let written = self.write(event, now, Durability::Synced, out);
        self.missed += u64::from(written.is_err());
        Ok(written?.index)
    }

    /// The same without a sync: `event` may be heard of once somebody else has stored what this
    /// returns and has said so to [`Journal::tail`], or [`Journal::settle`] returned.
    ///
    /// # Errors
    /// Where it is not in the log; it is counted as missing.
    pub fn record_covered(
        &mut self,
        event: AuditEvent,
        now: Now,
        out: &mut dyn FnMut(LoggedRecord),
    ) -> Result<CoveredRecord, JournalError> {
        let written = self.write(event, now, Durability::Covered, out);
        self.missed += u64::from(written.is_err());
        let LoggedRecord { index, bytes: record } = written?;
        let now = Checkpoint::new(&self.origin, self.store.size(), self.store.root());
        let note = now.sign(&self.identity)?;
        self.store.tail().remember(note.clone());
        self.signed = Some((now.size, note.clone()));
        Ok(CoveredRecord { index, bytes: carried(index, &note, &record), note })
    }

    fn write(
        &mut self,
        event: AuditEvent,
        now: Now,
        durability: Durability,
        out: &mut dyn FnMut(LoggedRecord),
    ) -> Result<LoggedRecord, JournalError> {
        let bytes = AuditRecord::new(event, now).to_bytes()?;
        self.make_good(now, out)?;
        let index = self.store.append_as(&bytes, durability)?;
        let record = LoggedRecord { index, bytes };
        out(record.clone());
        Ok(record)
    }

    /// Writes how many records are missing, if any are.
    ///
    /// # Errors
    /// Where the disk still does not take it.
    pub fn make_good(
        &mut self,
        now: Now,
        out: &mut dyn FnMut(LoggedRecord),
    ) -> Result<(), JournalError> {
        if self.missed == 0 {
            return Ok(());
        }
        let missed = AuditEvent::Missed { records: self.missed };
        let bytes = AuditRecord::new(missed, now).to_bytes()?;
        let index = self.store.append(&bytes)?;
        self.missed = 0;
        out(LoggedRecord { index, bytes });
        Ok(())
    }

    /// Writes a heartbeat: the counts that changed since the last one that is in the log.
    ///
    /// # Errors
    /// As of [`Journal::record`]; the next heartbeat has these counts, too.
    pub fn heartbeat(
        &mut self,
        counts: &BTreeMap<String, u64>,
        now: Now,
        out: &mut dyn FnMut(LoggedRecord),
    ) -> Result<u64, JournalError> {
        let changed = |(name, count): &(&String, &u64)| {
            name.len() <= MAX_COUNT_NAME && **count != self.counts.get(*name).copied().unwrap_or(0)
        };
        let changed = counts.iter().filter(changed).take(MAX_COUNTS);
        let changed: BTreeMap<String, u64> = changed.map(|(n, c)| (n.clone(), *c)).collect();
        let index = self.record(AuditEvent::Heartbeat { counts: changed.clone() }, now, out)?;
        self.counts.extend(changed);
        Ok(index)
    }

    /// Signs the log as it is now and keeps the checkpoint.
    ///
    /// # Errors
    /// Where it cannot be kept: it must not be published then.
    pub fn checkpoint(&mut self) -> Result<String, JournalError> {
        let now = Checkpoint::new(&self.origin, self.store.size(), self.store.root());
        let note = now.sign(&self.identity)?;
        self.store.keep_checkpoint(&note)?;
        self.signed = Some((now.size, note.clone()));
        Ok(note)
    }

    /// Brings all records to the log's own disk, and the newest checkpoint.
    ///
    /// # Errors
    /// Where they are not there.
    pub fn settle(&self) -> Result<(), JournalError> {
        Ok(self.store.settle()?)
    }

    /// The same where records are durable neither there nor elsewhere.
    ///
    /// # Errors
    /// As [`Journal::settle`].
    fn make_durable(&self) -> Result<(), JournalError> {
        if self.store.tail().is_durable() { Ok(()) } else { self.settle() }
    }

    /// What of the log is on the disk.
    pub fn tail(&self) -> &Arc<LogTail> {
        self.store.tail()
    }

    /// What was written so far.
    pub fn writes(&self) -> LogWrites {
        self.store.writes()
    }

    /// Records on the disk.
    pub fn size(&self) -> u64 {
        self.store.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use time::OffsetDateTime;

    use crate::audit::note::{NoteKey, SignatureKind};

    const NOW: Now = Now { monotonic: Duration::ZERO, wall: OffsetDateTime::UNIX_EPOCH };
    const ORIGIN: &str = "watchpost/gate-1";

    fn journal(folder: &std::path::Path) -> Journal {
        let store = AuditStore::open(folder, ORIGIN).unwrap();
        Journal::new(store, ORIGIN, SecretKey::from_seed(&[1; 32]))
    }

    #[test]
    fn a_record_has_the_index_that_was_announced_and_a_checkpoint_covers_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(dir.path());
        let mut out = Vec::new();
        for _ in 0..3 {
            let next = journal.next_index();
            let index = journal.record(AuditEvent::UseBegan, NOW, &mut |r| out.push(r)).unwrap();
            assert_eq!(index, next);
        }
        assert_eq!(out.iter().map(|r| r.index).collect::<Vec<_>>(), [0, 1, 2]);
        let note = journal.checkpoint().unwrap();
        let public = SecretKey::from_seed(&[1; 32]).public();
        let key = NoteKey::new(ORIGIN, SignatureKind::Note, public).unwrap();
        assert_eq!(Checkpoint::open(&note, &key).unwrap().size, 3);
        let kept = super::super::store::read_checkpoint(dir.path()).unwrap();
        assert_eq!(kept, Some(note));
    }

    #[test]
    fn records_that_are_missing_are_named_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(dir.path());
        journal.missed = 2;
        assert_eq!(journal.next_index(), 1);
        let mut out = Vec::new();
        let index = journal.record(AuditEvent::UseBegan, NOW, &mut |r| out.push(r)).unwrap();
        assert_eq!((index, journal.missed), (1, 0));
        let first = AuditRecord::from_bytes(&out[0].bytes).unwrap();
        assert_eq!(first.event, AuditEvent::Missed { records: 2 });
    }

    #[test]
    fn a_record_that_cannot_be_written_down_is_counted_as_missing() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(dir.path());
        let long = AuditEvent::Started { program: "x".repeat(10_000) };
        assert!(journal.record(long, NOW, &mut |_| panic!("nothing is given out")).is_err());
        assert_eq!(journal.missed, 1);
    }

    #[test]
    fn a_heartbeat_has_the_counts_that_changed() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(dir.path());
        let counts =
            |frames| BTreeMap::from([("frames".to_owned(), frames), ("lost".to_owned(), 0)]);
        let heartbeat = |journal: &mut Journal, frames| {
            let mut out = Vec::new();
            let written = journal.heartbeat(&counts(frames), NOW, &mut |r| out.push(r));
            written.expect("written");
            match AuditRecord::from_bytes(&out[0].bytes).expect("a record").event {
                AuditEvent::Heartbeat { counts } => counts.into_iter().collect::<Vec<_>>(),
                other => panic!("{other}"),
            }
        };
        assert_eq!(heartbeat(&mut journal, 5), [("frames".to_owned(), 5)]);
        assert_eq!(heartbeat(&mut journal, 5), []);
        assert_eq!(heartbeat(&mut journal, 7), [("frames".to_owned(), 7)]);
    }
}
