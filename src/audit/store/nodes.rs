//! The tree's finished nodes in a file, in their order. They follow from the log, so that a file
//! that differs is written again, and none is synced.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::super::tree::TreeHash;

const HASH: u64 = 32;

/// The file. While the log is read for the first time, nodes are held against it.
#[derive(Debug)]
pub struct NodeFile {
    file: File,
    /// What is read of it while it is still the same.
    known: Option<BufReader<File>>,
    /// Nodes that are right.
    count: u64,
    /// Nodes that are not written yet.
    waiting: Vec<u8>,
    /// Why nodes are missing from the file.
    failed: Option<io::ErrorKind>,
}

/// Bytes that wait while a file is written again.
const BATCH: usize = 64 * 1024;

impl NodeFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        let known = Some(BufReader::new(file.try_clone()?));
        Ok(Self { file, known, count: 0, waiting: Vec::new(), failed: None })
    }

    /// The next node of the log, which the file may have already.
    pub fn meet(&mut self, node: TreeHash) {
        if let Some(known) = &mut self.known {
            let mut found = [0; HASH as usize];
            if known.read_exact(&mut found).is_ok() && found == node.0 {
                self.count += 1;
                return;
            }
            self.known = None;
        }
        self.waiting.extend(node.0);
        self.count += 1;
        if self.waiting.len() >= BATCH {
            self.write();
        }
    }

    /// The log was read to its end.
    pub fn met_all(&mut self) {
        self.known = None;
        self.write();
        if let Err(error) = self.file.set_len(self.count * HASH) {
            self.failed = Some(error.kind());
        }
    }

    /// One more node of the log.
    pub fn push(&mut self, node: TreeHash) {
        self.waiting.extend(node.0);
        self.count += 1;
        self.write();
    }

    /// What could not be written is tried again with the next.
    fn write(&mut self) {
        let at = self.count * HASH - self.waiting.len() as u64;
        match self.file.write_all_at(&self.waiting, at) {
            Ok(()) => {
                self.waiting.clear();
                self.failed = None;
            }
            Err(error) => self.failed = Some(error.kind()),
        }
    }

    /// A node that was finished.
    pub fn get(&self, position: u64) -> io::Result<TreeHash> {
        let written = self.count - self.waiting.len() as u64 / HASH;
        if position >= written {
            return Err(self.failed.unwrap_or(io::ErrorKind::UnexpectedEof).into());
        }
        let mut node = [0; HASH as usize];
        self.file.read_exact_at(&mut node, position * HASH)?;
        Ok(TreeHash(node))
    }
}
