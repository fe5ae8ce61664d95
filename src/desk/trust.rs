//! Whom the desk believes: its trust file, and the signed rotations that followed it.
//!
//! * The desk follows a rotation as devices do, by the same code: signed by as many people of the
//!   keys before as a list needs, with a higher serial, and valid now. What is not that changes
//!   nothing.
//! * What was followed is stored before it counts, and counts over restarts.
//! * A trust file with a higher serial that is put in its place by hand counts instead.
//!
//! Not promised: that the desk hears of each rotation. It hears what is offered to devices while it
//! is connected, or while the broker keeps its session; and the broker has to let it read offers.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::files::{FileError, read_bytes, replace};
use crate::watchlist::Trust;
use crate::watchlist::rotation::{self, RotationError};
use crate::watchlist::trust::{MAX_TRUST_BYTES, TrustError};

/// Which files were read: digests of the trust file and of its rotations, as far as they are there.
pub type ReadFiles = [Option<[u8; 32]>; 2];

/// Why the desk has no keys to believe.
#[derive(Debug, thiserror::Error)]
pub enum DeskTrustError {
    /// The trust file.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The rotations that the desk keeps do not follow from it.
    #[error(
        "the rotations in {path} do not follow from the trust file: {why}; put the trust file of \
         the highest serial in its place, and move that file away"
    )]
    Rotations {
        /// The file of rotations.
        path: PathBuf,
        /// Why not.
        why: RotationError,
    },
    /// They cannot be read.
    #[error("cannot read the rotations in {path}: {error}; let the desk's user read it")]
    Read {
        /// The file of rotations.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
}

/// Why a rotation is not followed.
#[derive(Debug, thiserror::Error)]
pub enum NotFollowed {
    /// It was followed before, or a later one was.
    #[error("it is not newer than the keys that count")]
    Known,
    /// It does not follow from the keys that count.
    #[error(transparent)]
    Rotation(RotationError),
    /// It is not valid now.
    #[error("it is valid from {from} until {until}")]
    NotValid {
        /// From when it is valid.
        from: OffsetDateTime,
        /// Until when.
        until: OffsetDateTime,
    },
    /// The keys that count cannot be read.
    #[error(transparent)]
    Unreadable(#[from] DeskTrustError),
    /// It cannot be stored.
    #[error("it cannot be stored: {0}")]
    Store(#[from] FileError),
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct DeskTrust {
    pinned: PathBuf,
    rotations: PathBuf,
}

impl DeskTrust {
    /// By the trust file `pinned`; what followed it is kept in `rotations`.
    pub fn new(pinned: &Path, rotations: &Path) -> Self {
        Self { pinned: pinned.to_path_buf(), rotations: rotations.to_path_buf() }
    }

    /// The keys that count now.
    ///
    /// # Errors
    /// Where a file cannot be used.
    pub fn current(&self) -> Result<Trust, DeskTrustError> {
        let pinned = Trust::open(&self.pinned)?;
        self.after(pinned, &self.kept()?)
    }

    /// Which files there are now.
    pub fn files(&self) -> ReadFiles {
        [(&self.pinned, MAX_TRUST_BYTES), (&self.rotations, rotation::MAX_CHAIN as u64)]
            .map(|(path, most)| Some(Sha256::digest(&read_bytes(path, most).ok()?[..]).into()))
    }

    fn kept(&self) -> Result<Vec<u8>, DeskTrustError> {
        match read_bytes(&self.rotations, rotation::MAX_CHAIN as u64) {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(DeskTrustError::Read { path: self.rotations.clone(), error }),
        }
    }

    fn after(&self, pinned: Trust, chain: &[u8]) -> Result<Trust, DeskTrustError> {
        let failed = |why| DeskTrustError::Rotations { path: self.rotations.clone(), why };
        rotation::follow(pinned, chain).map(|(trust, _)| trust).map_err(failed)
    }

    /// Follows what was offered to a device, where it is a rotation that follows from the keys that
    /// count: their serial from now on. It is stored when this returns.
    ///
    /// # Errors
    /// Why not; the keys before count on.
    pub fn follow(&self, rotation: &[u8], now: OffsetDateTime) -> Result<u64, NotFollowed> {
        let new = rotation::rotate(&self.current()?, rotation).map_err(|error| match error {
            RotationError::NotNewer { .. } => NotFollowed::Known,
            error => NotFollowed::Rotation(error),
        })?;
        let (from, until) = (new.valid_from(), new.valid_until());
        if now < from || now >= until {
            return Err(NotFollowed::NotValid { from, until });
        }
        let pinned = Trust::open(&self.pinned).map_err(DeskTrustError::from)?;
        let mut chain = self.kept()?;
        chain.extend_from_slice(rotation);
        let serial = self.after(pinned, &chain)?.serial();
        replace(&self.rotations, &chain)?;
        Ok(serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchlist::fixture::{key, now, trust_text};
    use crate::watchlist::trust::Role;

    fn file(serial: u64, reviewers: &[u8]) -> String {
        let mut keys = vec![("signer", 1), ("signer", 2)];
        keys.extend(reviewers.iter().map(|n| ("reviewer", *n)));
        format!("serial = {serial}\n{}", trust_text(2, &keys))
    }

    fn rotation(text: &str, by: [u8; 2]) -> Vec<u8> {
        rotation::cosign(&rotation::sign(text, &key(by[0])).unwrap(), &key(by[1])).unwrap()
    }

    fn reviews(trust: &DeskTrust, n: u8) -> bool {
        trust.current().unwrap().key(key(n).public().id(), Role::Reviewer).is_some()
    }

    #[test]
    fn a_reviewer_who_is_rotated_out_is_out_and_stays_so_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let [pinned, rotations] = ["trust.toml", "rotations"].map(|name| folder.path().join(name));
        std::fs::write(&pinned, file(1, &[3, 4])).unwrap();
        let trust = DeskTrust::new(&pinned, &rotations);
        assert!(reviews(&trust, 3));
        let without = rotation(&file(2, &[4]), [1, 2]);
        let before = trust.files();
        assert_eq!(trust.follow(&without, now()).unwrap(), 2);
        assert_ne!(trust.files(), before, "whoever looks at the files sees it");
        assert!(!reviews(&trust, 3) && reviews(&trust, 4));
        assert!(!reviews(&DeskTrust::new(&pinned, &rotations), 3), "over a restart");
        // Each device is offered it.
        assert!(matches!(trust.follow(&without, now()), Err(NotFollowed::Known)));
        // By hand, with what the rotation says: it counts, and the rotation is passed over.
        std::fs::write(&pinned, file(3, &[4, 5])).unwrap();
        assert!(reviews(&trust, 5) && !reviews(&trust, 3));
    }

    #[test]
    fn what_is_not_signed_by_enough_or_is_old_or_not_valid_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [pinned, rotations] = ["trust.toml", "rotations"].map(|name| folder.path().join(name));
        std::fs::write(&pinned, file(5, &[3, 4])).unwrap();
        let trust = DeskTrust::new(&pinned, &rotations);
        let one = rotation::sign(&file(6, &[9]), &key(1)).unwrap();
        let strangers = rotation(&file(6, &[9]), [7, 8]);
        let mut altered = rotation(&file(6, &[9]), [1, 2]);
        *altered.last_mut().unwrap() ^= 1;
        for wrong in [&one[..], &strangers, &altered, b"no rotation"] {
            let refused = trust.follow(wrong, now());
            assert!(matches!(refused, Err(NotFollowed::Rotation(_))), "{refused:?}");
        }
        for serial in [4, 5] {
            let old = trust.follow(&rotation(&file(serial, &[9]), [1, 2]), now());
            assert!(matches!(old, Err(NotFollowed::Known)), "{old:?}");
        }
        let good = rotation(&file(6, &[9]), [1, 2]);
        let late = trust.follow(&good, now() + time::Duration::days(40_000));
        assert!(matches!(late, Err(NotFollowed::NotValid { .. })), "{late:?}");
        assert!(reviews(&trust, 3) && !reviews(&trust, 9) && !rotations.exists());
        // Rotations that do not follow from the file that lies there: no keys, and why.
        assert_eq!(trust.follow(&good, now()).unwrap(), 6);
        let other =
            file(5, &[3]).replace(&key(1).public().to_string(), &key(7).public().to_string());
        std::fs::write(&pinned, other).unwrap();
        let none = trust.current();
        assert!(matches!(none, Err(DeskTrustError::Rotations { .. })), "{none:?}");
    }
}
