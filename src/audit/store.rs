//! The log on the disk: one file that only grows, and what follows from it beside it.
//!
//! ```text
//! <folder>/log          header, { frame }                             append + fdatasync: a record counts as stored
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
mod nodes;
mod scan;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use self::aside::{origin_of, set_aside};
use self::nodes::NodeFile;
pub use self::scan::{LogScan, scan};
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
const NODES: &str = "nodes";

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
    /// How often the disk was waited for.
    pub syncs: u64,
}

/// A log that is open for appending, by this process alone.
#[derive(Debug)]
pub struct AuditStore<F: LogFile = File> {
    folder: PathBuf,
    file: F,
    /// Bytes of the log that hold records.
    length: u64,
    edge: RightEdge,
    nodes: NodeFile,
    /// A failed append may have left bytes behind `length`.
    unclean: bool,
    writes: LogWrites,
    /// Bytes that a power cut had left, when it was opened.
    torn: u64,
    /// Holds the lock.
    _lock: File,
}

impl AuditStore {
    /// Opens the log of `origin` in `folder`, or begins it where there is none.
    ///
    /// # Errors
    /// Where it cannot be used, or is not what it was.
    pub fn open(folder: &Path, origin: &str) -> Result<Self, AuditStoreError> {
        let at = AuditStoreError::at;
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at("make"))?;
        let lock = private().create(true).truncate(false).open(folder.join("lock"));
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
        let found = scan(&mut file, |_, leaf, _| {
            full = full.and_then(|()| edge.push(leaf, |node| nodes.meet(node)));
        })?;
        full?;
        if found.origin != origin {
            let (found, wanted) = (found.origin, origin.to_owned());
            return Err(AuditStoreError::OtherOrigin { found, wanted });
        }
        nodes.met_all();
        if found.torn > 0 {
            file.set_len(found.length).and_then(|()| file.sync_all()).map_err(at("mend"))?;
        }
        let store = Self {
            folder: folder.to_owned(),
            file,
            length: found.length,
            edge,
            nodes,
            unclean: false,
            writes: LogWrites::default(),
            torn: found.torn,
            _lock: lock,
        };
        store.compare(origin)?;
        // Its name, and that of the folder, were made just now.
        sync_directory_of(&path).map_err(at("sync the folder of"))?;
        Ok(store)
    }

    /// Holds the log against the newest checkpoint that was signed for it, and against the newest
    /// that witnesses have cosigned: whoever rewrites the log can sign the former anew.
    fn compare(&self, origin: &str) -> Result<(), AuditStoreError> {
        let notes = [read_checkpoint(&self.folder)?, read_cosigned(&self.folder)?];
        for note in notes.into_iter().flatten() {
            let signed = tree_in(&note, origin)?;
            let (found, size) = (self.edge.size(), signed.size);
            if size > found {
                return Err(AuditStoreError::RolledBack { found, signed: size });
            }
            if root_of(self, size)? != signed.root {
                return Err(AuditStoreError::Rewritten { signed: size });
            }
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
        self.length
    }

    /// What was written so far.
    pub fn writes(&self) -> LogWrites {
        self.writes
    }

    /// Bytes that a power cut had left when the log was opened, and that were cut off.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// Appends a record and syncs it; its index.
    ///
    /// # Errors
    /// Where it is not on the disk. Nothing of it is in the log then.
    pub fn append(&mut self, record: &[u8]) -> Result<u64, AuditStoreError> {
        if record.is_empty() || record.len() > MAX_RECORD {
            return Err(AuditStoreError::Size(record.len()));
        }
        let leaf = TreeHash::leaf(record);
        let mut edge = self.edge.clone();
        let mut finished = heapless::Vec::<TreeHash, 64>::new();
        edge.push(leaf, |node| finished.push(node).expect("one for each bit of the size"))?;
        let frame = scan::frame(&leaf, record);
        if self.unclean {
            self.file.cut(self.length).map_err(AuditStoreError::at("mend"))?;
            self.unclean = false;
        }
        self.writes.syncs += 1;
        let written = self.file.write_at(self.length, &frame).and_then(|()| self.file.sync());
        if let Err(source) = written {
            self.unclean = self.file.cut(self.length).is_err();
            return Err(AuditStoreError::Io { what: "write", source });
        }
        let index = self.edge.size();
        self.length += frame.len() as u64;
        self.edge = edge;
        finished.iter().for_each(|node| self.nodes.push(*node));
        self.writes.records += 1;
        self.writes.bytes += (frame.len() + finished.len() * size_of::<TreeHash>()) as u64;
        Ok(index)
    }

    /// Keeps a signed checkpoint, so that the log is held against it when it is opened again. A
    /// power cut may bring the one before it back, from which the log follows as well.
    ///
    /// # Errors
    /// Where it is not on the disk; it must not be published then.
    pub fn keep_checkpoint(&mut self, note: &str) -> Result<(), AuditStoreError> {
        self.keep(CHECKPOINT, note)
    }

    /// Keeps a checkpoint with cosignatures, for proofs. A power cut may bring the one before it
    /// back, which proves as much as it did.
    ///
    /// # Errors
    /// Where it is not on the disk.
    pub fn keep_cosigned(&mut self, note: &str) -> Result<(), AuditStoreError> {
        self.keep(COSIGNED, note)
    }

    fn keep(&mut self, name: &str, note: &str) -> Result<(), AuditStoreError> {
        let path = self.folder.join(name);
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
