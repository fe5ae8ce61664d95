//! The log on the disk: one file that only grows, and what follows from it beside it.
//!
//! ```text
//! <folder>/log          header, { frame }                             append + fdatasync: a record counts as stored;
//!                                                                     or append, and the outbox's sync
//! <folder>/nodes        { hash }, 32 bytes each                       follows from the log; made again where it differs
//! <folder>/checkpoint   the newest signed checkpoint                  replaced whole and synced, before it is published
//! <folder>/cosigned     the newest checkpoint that witnesses cosigned replaced whole and synced; for proofs
//!
//! header = "watchpost audit log v1" LF, origin, LF
//! frame  = length u32 LE, the first 8 bytes of the leaf's hash, record
//! ```
//!
//! * A record for which [`AuditStore::append`] returned survives a kill and a power cut at any
//!   later moment. A power cut leaves a prefix of the records that were appended, and nothing else:
//!   what is torn at the end is cut off when the log is opened.
//! * So does one that was appended without a sync and that the outbox has on its disk
//!   ([`CarriedRecords`]): it is written again when the log is opened, however little of it a power
//!   cut left. The outbox holds it until the log's own disk has it ([`LogTail`]).
//! * Damage that no power cut makes is never cut off: the log is then refused, so that it cannot
//!   pass for a shorter one.
//! * A log that is shorter than the newest checkpoint that was signed for it, or than the newest
//!   that witnesses have cosigned, or another, is found when it is opened. (Whoever puts back the
//!   whole folder is found by a witness.)
//! * A full, failing or read-only disk is an error of that append. Nothing of the record is left,
//!   and the next append tries again.
//! * A log that a signed trust file ends is moved aside, whole ([`set_aside`]).
//! * Nothing is ever deleted: see `decisions/` for how much that is.
//! * Memory does not grow with the log. The nodes are not synced, as they can be made again.

mod aside;
mod carried;
mod examine;
mod nodes;
mod scan;
mod tail;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

pub use self::aside::{origin_of, set_aside};
pub use self::carried::{CarriedRecords, carried};
pub use self::examine::examine;
use self::nodes::NodeFile;
pub use self::scan::{LogScan, ReadRecord, frame, header, scan, scan_with};
pub use self::tail::{Durability, LogTail};
use super::checkpoint::Checkpoint;
use super::note::MAX_NOTE;
use super::record::MAX_RECORD;
use super::tree::{Nodes, RightEdge, TreeError, TreeHash, root_of};
use crate::files::{FileError, put_in_place, read_bytes, replace, sync_directory_of};

/// The file of the records.
pub const LOG: &str = "log";
/// The file of the newest signed checkpoint.
pub const CHECKPOINT: &str = "checkpoint";
/// The file of the newest checkpoint that witnesses have cosigned.
pub const COSIGNED: &str = "cosigned";
/// The file of what follows from the records.
pub const NODES: &str = "nodes";
/// The file whose lock the one who writes holds.
pub const LOCK: &str = "lock";

/// What is wrong with a log on the disk.
#[derive(Debug, thiserror::Error)]
pub enum AuditStoreError {
    /// Another process has it open.
    #[error("another watchpost writes the audit log {0}; end it")]
    Busy(PathBuf),
    /// The system refused.
    #[error("cannot {what} the audit log: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another file.
    #[error("this is no audit log of watchpost, or one of another version")]
    NotALog,
    /// A log of another device.
    #[error("the audit log is that of {found}, and this device is {wanted}; name another folder")]
    OtherOrigin {
        /// In its header.
        found: String,
        /// As configured.
        wanted: String,
    },
    /// A record was altered, and there are others after it.
    #[error(
        "the audit log is damaged after record {records}, which no power cut does; keep the folder \
         for those who examine it, and have the disk looked at"
    )]
    Damaged {
        /// Records before the damage.
        records: u64,
    },
    /// Records are gone.
    #[error(
        "the audit log has {found} records, and a checkpoint of {signed} was signed: it was rolled \
         back; keep the folder for those who examine it"
    )]
    RolledBack {
        /// Found.
        found: u64,
        /// In the newest signed checkpoint.
        signed: u64,
    },
    /// Records are others.
    #[error(
        "the audit log is not the one whose first {signed} records were signed: it was rewritten; \
         keep the folder for those who examine it"
    )]
    Rewritten {
        /// In the newest signed checkpoint.
        signed: u64,
    },
    /// The outbox and the log have two records at one place.
    #[error(
        "record {index} of the audit log is another in the outbox: one of them was rewritten; keep \
         both folders for those who examine them"
    )]
    Conflict {
        /// The place.
        index: u64,
    },
    /// What the outbox holds for the log is whole, and no record.
    #[error("what the outbox holds for the audit log is no record of it, or of another version")]
    Carried,
    /// A checkpoint that was kept cannot be read.
    #[error("a checkpoint beside the audit log is no checkpoint of {0}")]
    Checkpoint(String),
    /// A record that no log takes.
    #[error("a record of {0} bytes cannot be written; 1 to {MAX_RECORD} are allowed")]
    Size(usize),
    /// The tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The checkpoint cannot be stored.
    #[error(transparent)]
    File(#[from] FileError),
}

impl AuditStoreError {
    fn at(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// The file that grows, as far as the store needs it: tests have one that fails.
pub trait LogFile: Send {
    /// Writes all of `bytes` at `offset`. After an error a part of them may be there.
    ///
    /// # Errors
    /// What the system says; likewise below.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// What was written survives a power cut.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file off.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl LogFile for File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// What was written since the log was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LogWrites {
    /// Records.
    pub records: u64,
    /// Bytes of records, nodes and checkpoints.
    pub bytes: u64,
    /// How often the log's disk was waited for.
    pub syncs: u64,
    /// Records that the outbox's sync made durable, with what they were published with.
    pub covered: u64,
}

/// A log that is open for appending, by this process alone.
#[derive(Debug)]
pub struct AuditStore<F: LogFile = File> {
    folder: PathBuf,
    tail: Arc<LogTail<F>>,
    edge: RightEdge,
    nodes: NodeFile,
    /// But for what the tail counts.
    writes: LogWrites,
    /// Bytes that a power cut had left, when it was opened.
    torn: u64,
    /// Records that only the outbox had, then.
    mended: u64,
    /// Holds the lock.
    _lock: File,
}

impl AuditStore {
    /// Opens the log of `origin` in `folder`, or begins it where there is none.
    ///
    /// # Errors
    /// Where it cannot be used, or is not what it was.
    pub fn open(folder: &Path, origin: &str) -> Result<Self, AuditStoreError> {
        Self::open_with(folder, origin, &CarriedRecords::default())
    }

    /// The same where an outbox may hold records that the log's disk lacks. All are on the log's
    /// own disk when this returns, and the newest checkpoint is in its file.
    ///
    /// # Errors
    /// As [`AuditStore::open`], and where the outbox does not fit the log. Nothing was changed but
    /// the nodes then.
    pub fn open_with(
        folder: &Path,
        origin: &str,
        outbox: &CarriedRecords,
    ) -> Result<Self, AuditStoreError> {
        let at = AuditStoreError::at;
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at("make"))?;
        let lock = private().create(true).truncate(false).open(folder.join(LOCK));
        let lock = lock.map_err(at("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(AuditStoreError::Busy(folder.to_owned()));
            }
            Err(fs::TryLockError::Error(source)) => {
                return Err(AuditStoreError::Io { what: "lock", source });
            }
        }
        let path = folder.join(LOG);
        if !path.try_exists().map_err(at("find"))? {
            replace(&path, scan::header(origin).as_bytes())?;
        }
        let mut file = private().open(&path).map_err(at("open"))?;
        let mut nodes = NodeFile::open(&folder.join(NODES)).map_err(at("open the nodes of"))?;
        let mut edge = RightEdge::default();
        let mut full = Ok(());
        let mut missing = Vec::new();
        let found =
            scan_with(&mut file, outbox, |ReadRecord { leaf, record, missing_at, .. }| {
                full = full.and_then(|()| edge.push(leaf, |node| nodes.meet(node)));
                missing.extend(missing_at.map(|at| (at, scan::frame(&leaf, record))));
            })?;
        full?;
        if found.origin != origin {
            let (found, wanted) = (found.origin, origin.to_owned());
            return Err(AuditStoreError::OtherOrigin { found, wanted });
        }
        nodes.met_all();
        let mended = private().open(&path).map_err(at("open"))?;
        let store = Self {
            folder: folder.to_owned(),
            tail: Arc::new(LogTail::new(folder, file, found.records, found.length)),
            edge,
            nodes,
            writes: LogWrites::default(),
            torn: found.torn,
            mended: found.mended,
            _lock: lock,
        };
        let kept = store.compare(origin, outbox)?;
        let mend = || {
            missing.iter().try_for_each(|(at, frame)| mended.write_all_at(frame, *at))?;
            if found.torn > 0 {
                mended.set_len(found.length)?;
            }
            // A process that was killed has synced none of what the outbox holds for it.
            if found.torn > 0 || !outbox.is_empty() { mended.sync_all() } else { Ok(()) }
        };
        mend().map_err(at("mend"))?;
        if let Some(note) = outbox.newest().filter(|_| kept < outbox.size()) {
            store.tail.remember(note.to_owned());
            store.settle()?;
        }
        // Its name, and that of the folder, were made just now.
        sync_directory_of(&path).map_err(at("sync the folder of"))?;
        Ok(store)
    }

    /// Holds the log against the newest checkpoint that was signed for it, and against the newest
    /// that witnesses have cosigned: whoever rewrites the log can sign the former anew. Likewise
    /// against those in the outbox. The size of the first.
    fn compare(&self, origin: &str, outbox: &CarriedRecords) -> Result<u64, AuditStoreError> {
        let notes = [read_checkpoint(&self.folder)?, read_cosigned(&self.folder)?];
        let mut kept = 0;
        for (at, note) in notes.into_iter().enumerate() {
            let Some(note) = note else { continue };
            let signed = tree_in(&note, origin)?;
            self.hold(signed.size, signed.root)?;
            kept = if at == 0 { signed.size } else { kept };
        }
        outbox.trees().iter().try_for_each(|(size, root)| self.hold(*size, *root))?;
        Ok(kept)
    }

    fn hold(&self, signed: u64, root: TreeHash) -> Result<(), AuditStoreError> {
        let found = self.edge.size();
        if signed > found {
            return Err(AuditStoreError::RolledBack { found, signed });
        }
        if root_of(self, signed)? != root {
            return Err(AuditStoreError::Rewritten { signed });
        }
        Ok(())
    }
}

/// The checkpoint of the log `origin` in a note; who signed it is not looked at.
fn tree_in(note: &str, origin: &str) -> Result<Checkpoint, AuditStoreError> {
    let bad = || AuditStoreError::Checkpoint(origin.to_owned());
    let text = note.rfind("\n\n").map(|end| &note[..=end]).ok_or_else(bad)?;
    let signed = Checkpoint::parse(text).map_err(|_| bad())?;
    if signed.origin == origin { Ok(signed) } else { Err(bad()) }
}

/// The signed checkpoint in `folder`, as it is.
///
/// # Errors
/// Where there is one and it cannot be read.
pub fn read_checkpoint(folder: &Path) -> Result<Option<String>, AuditStoreError> {
    read_note(&folder.join(CHECKPOINT))
}

/// The newest checkpoint in `folder` that witnesses have cosigned, as it is.
///
/// # Errors
/// Where there is one and it cannot be read.
pub fn read_cosigned(folder: &Path) -> Result<Option<String>, AuditStoreError> {
    read_note(&folder.join(COSIGNED))
}

fn read_note(path: &Path) -> Result<Option<String>, AuditStoreError> {
    match read_bytes(path, MAX_NOTE as u64).and_then(|bytes| {
        // To the letter: it is signed.
        String::from_utf8(bytes.to_vec()).map_err(|e| io::Error::new(ErrorKind::InvalidData, e))
    }) {
        Ok(note) => Ok(Some(note)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AuditStoreError::at("read the checkpoint of")(error)),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

impl<F: LogFile> AuditStore<F> {
    /// Records.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The root hash over all records.
    pub fn root(&self) -> TreeHash {
        self.edge.root()
    }

    /// Bytes on the disk, without the nodes.
    pub fn bytes(&self) -> u64 {
        self.tail.length()
    }

    /// What was written so far.
    pub fn writes(&self) -> LogWrites {
        let (syncs, notes) = self.tail.costs();
        let LogWrites { bytes, syncs: others, .. } = self.writes;
        LogWrites { bytes: bytes + notes, syncs: others + syncs, ..self.writes }
    }

    /// Bytes that a power cut had left when the log was opened, and that were cut off.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// Records that only the outbox had when the log was opened, and that were written again.
    pub fn mended(&self) -> u64 {
        self.mended
    }

    /// What is on the disk, for those who make records durable elsewhere.
    pub fn tail(&self) -> &Arc<LogTail<F>> {
        &self.tail
    }

    /// Appends a record and syncs it; its index.
    ///
    /// # Errors
    /// Where it is not on the disk. Nothing of it is in the log then.
    pub fn append(&mut self, record: &[u8]) -> Result<u64, AuditStoreError> {
        self.append_as(record, Durability::Synced)
    }

    /// Appends a record that is [`Durability::Covered`] without a sync; its index. It counts as
    /// stored once the tail is told that it is covered, or is settled.
    ///
    /// # Errors
    /// Where it is not written, or what comes before it is not durable. Nothing of it is in the log
    /// then.
    pub fn append_as(
        &mut self,
        record: &[u8],
        durability: Durability,
    ) -> Result<u64, AuditStoreError> {
        if record.is_empty() || record.len() > MAX_RECORD {
            return Err(AuditStoreError::Size(record.len()));
        }
        let leaf = TreeHash::leaf(record);
        let mut edge = self.edge.clone();
        let mut finished = heapless::Vec::<TreeHash, 64>::new();
        edge.push(leaf, |node| finished.push(node).expect("one for each bit of the size"))?;
        let frame = scan::frame(&leaf, record);
        self.tail.append(&frame, durability).map_err(AuditStoreError::at("write"))?;
        let index = self.edge.size();
        self.edge = edge;
        finished.iter().for_each(|node| self.nodes.push(*node));
        self.writes.records += 1;
        self.writes.covered += u64::from(durability == Durability::Covered);
        self.writes.bytes += (frame.len() + finished.len() * size_of::<TreeHash>()) as u64;
        Ok(index)
    }

    /// Keeps a signed checkpoint, so that the log is held against it when it is opened again. A
    /// power cut may bring the one before it back, from which the log follows as well.
    ///
    /// # Errors
    /// Where it, or what it covers, is not on the disk; it must not be published then.
    pub fn keep_checkpoint(&mut self, note: &str) -> Result<(), AuditStoreError> {
        self.tail.remember(note.to_owned());
        self.settle()
    }

    /// Brings what the outbox holds for the log to the log's own disk.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn settle(&self) -> Result<(), AuditStoreError> {
        self.tail.settle().map_err(AuditStoreError::at("write the checkpoint of"))
    }

    /// Keeps a checkpoint with cosignatures, for proofs. A power cut may bring the one before it
    /// back, which proves as much as it did.
    ///
    /// # Errors
    /// Where it is not on the disk.
    pub fn keep_cosigned(&mut self, note: &str) -> Result<(), AuditStoreError> {
        let path = self.folder.join(COSIGNED);
        // The folder is not synced: its records are, and what they are held against may be older.
        self.writes.syncs += 1;
        put_in_place(&path.with_extension("new"), &path, &[note.as_bytes()])
            .map_err(AuditStoreError::at("write the checkpoint of"))?;
        self.writes.bytes += note.len() as u64;
        Ok(())
    }
}

impl<F: LogFile> Nodes for AuditStore<F> {
    type Error = AuditStoreError;
    fn node(&self, level: u32, index: u64) -> Result<TreeHash, AuditStoreError> {
        self.nodes
            .get(super::tree::position(level, index))
            .map_err(AuditStoreError::at("read a node of"))
    }
}

#[cfg(test)]
mod tests;
