//! A log that is kept for those who examine it, and makes room for another.

use std::fs::{self, DirBuilder, File};
use std::io::{BufReader, ErrorKind, Seek as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{AuditStoreError, LOG, scan};
use crate::files::sync_directory_of;

/// The name in the header of the log in `folder`; `None` where there is no log.
///
/// # Errors
/// Where there is one and it cannot be read.
pub fn origin_of(folder: &Path) -> Result<Option<String>, AuditStoreError> {
    let file = match File::open(folder.join(LOG)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(AuditStoreError::at("read")(error)),
    };
    let mut log = BufReader::new(file);
    log.rewind().map_err(AuditStoreError::at("read"))?;
    scan::read_header(&mut log).map(Some)
}

/// Moves all that belongs to the log in `folder` into a folder within, called after `name`; where
/// that is. A power cut on the way leaves the log where it was, and the next call goes on.
///
/// # Errors
/// Where it cannot be moved.
pub fn set_aside(folder: &Path, name: &str) -> Result<PathBuf, AuditStoreError> {
    let at = AuditStoreError::at;
    let aside = folder.join(format!("before-{name}"));
    DirBuilder::new().recursive(true).mode(0o700).create(&aside).map_err(at("set aside"))?;
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(at("set aside"))? {
        let entry = entry.map_err(at("set aside"))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) && entry.file_name() != "lock" {
            names.push(entry.file_name());
        }
    }
    // The log itself goes last: as long as it is here, it is set aside again.
    names.sort_by_key(|name| name == LOG);
    for name in &names {
        fs::rename(folder.join(name), aside.join(name)).map_err(at("set aside"))?;
    }
    for moved in [aside.join(LOG), folder.join(LOG)] {
        sync_directory_of(&moved).map_err(at("set aside"))?;
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::super::{AuditStore, CHECKPOINT};
    use super::*;

    #[test]
    fn a_log_that_is_set_aside_is_whole_and_makes_room_for_another() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(origin_of(dir.path()).unwrap(), None);
        let mut store = AuditStore::open(dir.path(), "site/gate-3").unwrap();
        store.append(b"record").unwrap();
        store.keep_checkpoint("note").unwrap();
        drop(store);
        assert_eq!(origin_of(dir.path()).unwrap().as_deref(), Some("site/gate-3"));
        let aside = set_aside(dir.path(), "gate-3").unwrap();
        assert_eq!(origin_of(dir.path()).unwrap(), None);
        assert_eq!(origin_of(&aside).unwrap().as_deref(), Some("site/gate-3"));
        assert_eq!(fs::read(aside.join(CHECKPOINT)).unwrap(), b"note");
        let store = AuditStore::open(dir.path(), "site/gate-3.2").unwrap();
        assert_eq!(store.size(), 0);
    }
}
