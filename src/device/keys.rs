//! The keys that the device believes: the pinned file, and the signed rotations that followed it.
//!
//! Whether older keys have come back is for the device's memory to say, which knows the highest
//! serial that was in use: [`TrustedKeys::believed`] asks it, for the keeper and for `doctor`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cause::Cause;
use crate::decision::policy::Blindness;
use crate::files::{FileError, read_bytes, replace};
use crate::watchlist::memory::DeviceMemory;
use crate::watchlist::rotation;
use crate::watchlist::trust::TrustError;
use crate::watchlist::{Trust, WatchlistConfig};

/// When a file was written last, as far as its directory says: inode, length, change time.
pub type FileStamp = Option<(u64, u64, i64, i64)>;

fn written(path: &Path) -> FileStamp {
    let about = fs::metadata(path).ok()?;
    Some((about.ino(), about.len(), about.ctime(), about.ctime_nsec()))
}

/// The pinned file and the rotations that the device keeps.
#[derive(Debug, Clone)]
pub struct TrustedKeys {
    pinned: PathBuf,
    rotations: PathBuf,
}

impl TrustedKeys {
    /// Where `config` says that they are. Reads nothing yet.
    pub fn new(config: &WatchlistConfig) -> Self {
        Self { pinned: config.trust.clone(), rotations: config.rotations() }
    }

    /// When the pinned keys, and their rotations, were written last.
    pub fn stamps(&self) -> [FileStamp; 2] {
        [&self.pinned, &self.rotations].map(|path| written(path))
    }

    /// The pinned keys alone.
    ///
    /// # Errors
    /// Where the file cannot be used.
    pub fn pinned(&self) -> Result<Trust, TrustError> {
        Trust::open(&self.pinned)
    }

    /// The keys that are believed now: the pinned ones, or those that followed them.
    ///
    /// # Errors
    /// Where a file cannot be used.
    pub fn current(&self) -> Result<Trust, Blindness> {
        self.current_and_signed().map(|(trust, _)| trust)
    }

    /// The same, as far as a device with this `memory` believes them; where there is none, nothing
    /// is matched for that reason.
    ///
    /// # Errors
    /// As of [`TrustedKeys::current`], and where newer keys were in use before.
    pub fn believed(&self, memory: Option<&DeviceMemory>) -> Result<Trust, Blindness> {
        let trust = self.current()?;
        if let Some(memory) = memory {
            memory.clone().trust(trust.serial())?;
        }
        Ok(trust)
    }

    /// The keys that are believed now, and whether they are a rotation, which the people of the
    /// keys before have signed, or the pinned file as it lies there.
    ///
    /// # Errors
    /// As of [`TrustedKeys::current`].
    pub fn current_and_signed(&self) -> Result<(Trust, bool), Blindness> {
        let pinned = self.pinned().map_err(no_trust)?;
        let (trust, followed) = rotation::follow(pinned, &self.kept_rotations()?)?;
        Ok((trust, followed > 0))
    }

    /// The kept rotations with `rotation` after them, as a chain that leads from the pinned keys.
    ///
    /// # Errors
    /// Where it does not.
    pub fn chain_with(&self, rotation: &[u8]) -> Result<Vec<u8>, Blindness> {
        let mut chain = self.kept_rotations()?;
        chain.extend_from_slice(rotation);
        let pinned = self.pinned().map_err(no_trust)?;
        rotation::follow(pinned, &chain)?;
        Ok(chain)
    }

    /// Keeps `chain` in place of the rotations before.
    ///
    /// # Errors
    /// Where the file cannot be replaced.
    pub fn keep(&self, chain: &[u8]) -> Result<(), FileError> {
        replace(&self.rotations, chain)
    }

    /// The rotations that the device keeps; none where there is no such file.
    fn kept_rotations(&self) -> Result<Vec<u8>, Blindness> {
        match read_bytes(&self.rotations, rotation::MAX_CHAIN as u64) {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(Blindness::new(
                Cause::NoTrust,
                format_args!(
                    "cannot read the rotations of the pinned keys {}: {e}",
                    self.rotations.display()
                ),
            )),
        }
    }
}

fn no_trust(error: TrustError) -> Blindness {
    Blindness::new(Cause::NoTrust, error)
}
