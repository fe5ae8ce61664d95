//! The end of the log: what was written to it, what of that is on its disk, and what is on the
//! outbox's for it. Shared by those who append and the outbox, which lets go of what it holds for
//! the log only once the log has it.
//!
//! ```text
//!  records   0 ..... settled ........ covered . written
//!            in the log's disk   in the outbox's   in neither: one record at most
//! ```
//!
//! * A record is durable once it is settled or covered. One that is neither is written only where
//!   all before it are durable: a power cut tears the last record, or ones that the outbox has.
//! * What was written without a sync is kept in memory until the sync, [`MAX_PENDING`] bytes at
//!   most: after a sync that failed it is written again, as nothing is known of it.
//! * What was written without a sync is never cut off again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{CHECKPOINT, LogFile};
use crate::files::put_in_place;

/// Bytes of records that are not synced; more are.
const MAX_PENDING: usize = 64 * 1024;

/// When a record is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When it was appended.
    Synced,
    /// When somebody else has made it durable, see [`LogTail::cover`], or the log was settled.
    Covered,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct LogTail<F: LogFile = File> {
    folder: PathBuf,
    state: Mutex<TailState<F>>,
}

#[derive(Debug)]
struct TailState<F> {
    file: F,
    /// Bytes of the log that hold records.
    length: u64,
    written: u64,
    settled: u64,
    covered: u64,
    /// The bytes of those that are not settled: the last of the log.
    pending: Vec<u8>,
    /// A sync failed since.
    doubtful: bool,
    /// A failed append may have left bytes behind `length`.
    unclean: bool,
    /// The newest signed checkpoint, where the outbox has it and its file does not.
    note: Option<String>,
    /// It could not be written when that was tried last.
    note_failed: bool,
    syncs: u64,
    note_bytes: u64,
}

impl<F: LogFile> LogTail<F> {
    /// Of a log in `folder` of so many records and bytes, all of which are on the disk.
    pub fn new(folder: &Path, file: F, written: u64, length: u64) -> Self {
        let state = TailState {
            file,
            length,
            written,
            settled: written,
            covered: written,
            pending: Vec::new(),
            doubtful: false,
            unclean: false,
            note: None,
            note_failed: false,
            syncs: 0,
            note_bytes: 0,
        };
        Self { folder: folder.to_owned(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, TailState<F>> {
        // What panics in between leaves bytes that are written again, or cut off.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends one record's bytes.
    ///
    /// # Errors
    /// Where they are not written, or not as durable as asked for. They are not in the log then.
    pub fn append(&self, frame: &[u8], durability: Durability) -> io::Result<()> {
        let mut state = self.lock();
        let uncovered = state.covered.max(state.settled) < state.written;
        if uncovered || state.doubtful || state.pending.len() + frame.len() > MAX_PENDING {
            state.sync()?;
        }
        if state.unclean {
            let length = state.length;
            state.file.cut(length)?;
            state.unclean = false;
        }
        let length = state.length;
        let mut written = state.file.write_at(length, frame);
        if written.is_ok() && durability == Durability::Synced {
            state.syncs += 1;
            written = state.file.sync().inspect_err(|_| state.doubtful = !state.pending.is_empty());
        }
        if let Err(error) = written {
            state.unclean = state.file.cut(length).is_err();
            return Err(error);
        }
        state.length += frame.len() as u64;
        state.written += 1;
        match durability {
            Durability::Synced => state.all_settled(),
            Durability::Covered => state.pending.extend_from_slice(frame),
        }
        Ok(())
    }

    /// Records below `size` are durable elsewhere, and are there until the log is settled.
    pub fn cover(&self, size: u64) {
        let mut state = self.lock();
        state.covered = state.covered.max(size.min(state.written));
    }

    /// Remembers a signed checkpoint until the log is settled.
    pub fn remember(&self, note: String) {
        self.lock().note = Some(note);
    }

    /// Brings all that was written to the log's own disk, and the newest checkpoint to its file.
    ///
    /// # Errors
    /// Where it is not there; it is tried again by the next call.
    pub fn settle(&self) -> io::Result<()> {
        let mut state = self.lock();
        if state.settled < state.written {
            state.sync()?;
        }
        let Some(note) = state.note.take() else { return Ok(()) };
        state.syncs += 1;
        let path = self.folder.join(CHECKPOINT);
        // The folder is not synced: its records are, and what they are held against may be older.
        let kept = put_in_place(&path.with_extension("new"), &path, &[note.as_bytes()]);
        state.note_failed = kept.is_err();
        match kept {
            Ok(()) => state.note_bytes += note.len() as u64,
            Err(_) => state.note = Some(note),
        }
        kept
    }

    /// Whether the log needs nothing of what the outbox holds.
    pub fn is_settled(&self) -> bool {
        let state = self.lock();
        state.settled == state.written && state.note.is_none()
    }

    /// Whether all records are durable, here or in the outbox.
    pub fn is_durable(&self) -> bool {
        let state = self.lock();
        state.covered.max(state.settled) == state.written
    }

    /// Whether the disk did not take what was brought to it last.
    pub fn is_failing(&self) -> bool {
        let state = self.lock();
        state.doubtful || state.note_failed
    }

    /// Bytes of the log that hold records.
    pub fn length(&self) -> u64 {
        self.lock().length
    }

    /// How often the disk was waited for, and bytes of checkpoints.
    pub fn costs(&self) -> (u64, u64) {
        let state = self.lock();
        (state.syncs, state.note_bytes)
    }

    /// The file, for another that fails.
    #[cfg(test)]
    pub fn into_file(self) -> F {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).file
    }
}

impl<F: LogFile> TailState<F> {
    fn sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        let begin = self.length - self.pending.len() as u64;
        let again = if self.doubtful { self.file.write_at(begin, &self.pending) } else { Ok(()) };
        let synced = again.and_then(|()| self.file.sync());
        match synced {
            Ok(()) => self.all_settled(),
            Err(_) => self.doubtful = true,
        }
        synced
    }

    fn all_settled(&mut self) {
        self.settled = self.written;
        self.pending.clear();
        self.doubtful = false;
    }
}
