//! What a witness must not forget, in a folder: one file a log, replaced whole.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Remembered, WitnessMemory};
use crate::audit::note::MAX_NOTE;
use crate::files::{read_bytes, replace};
use crate::watchlist::text::hex;

/// Longest file: a note in JSON, and the sizes before it.
const MAX_FILE: u64 = 4 * MAX_NOTE as u64;

/// A folder that this process alone uses as long as the value lives: what was looked up is still
/// so when it is replaced.
#[derive(Debug)]
pub struct FolderMemory {
    folder: PathBuf,
    _lock: File,
}

impl FolderMemory {
    /// Opens the folder, made where it is missing. Nobody is waited for: a witness that runs has it
    /// for days.
    ///
    /// # Errors
    /// What the system says, or that another process has it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                ErrorKind::ResourceBusy,
                "another `watchpost witness` has it; end that, or submit to the one that runs over \
                 HTTP (`witness run --listen`)",
            ),
            TryLockError::Error(error) => error,
        })?;
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    /// A name of a file for any origin.
    fn path(&self, origin: &str) -> PathBuf {
        self.folder.join(format!("{}.json", hex(&Sha256::digest(origin)[..16])))
    }
}

impl WitnessMemory for FolderMemory {
    fn recall(&self, origin: &str) -> Result<Option<Remembered>, String> {
        let path = self.path(origin);
        let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = match read_bytes(&path, MAX_FILE) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|e| at(&e))
    }

    fn remember(&mut self, origin: &str, known: &Remembered) -> Result<(), String> {
        let text = serde_json::to_vec(known).map_err(|e| e.to_string())?;
        replace(&self.path(origin), &text).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_is_recalled_after_a_restart_and_damage_is_no_absence() {
        let dir = tempfile::tempdir().unwrap();
        let known = Remembered { note: "note".into(), earlier: vec![(3, "root".into())] };
        let mut memory = FolderMemory::open(dir.path()).unwrap();
        assert_eq!(memory.recall("site/a"), Ok(None));
        memory.remember("site/a", &known).unwrap();
        let second = FolderMemory::open(dir.path()).unwrap_err();
        assert!(second.to_string().contains("another `watchpost witness` has it"), "{second}");
        drop(memory);
        let memory = FolderMemory::open(dir.path()).unwrap();
        assert_eq!(memory.recall("site/a"), Ok(Some(known)));
        assert_eq!(memory.recall("site/b"), Ok(None));
        std::fs::write(memory.path("site/a"), "{").unwrap();
        assert!(memory.recall("site/a").is_err());
    }
}
