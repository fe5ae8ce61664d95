//! Files that are replaced as a whole, and files that are wiped.
//!
//! * [`replace`]: written beside its target, synchronised, renamed over it, and the directory
//!   synchronised. A power cut at any moment leaves the old or the new file, whole.
//! * [`replace_and_wipe`] and [`destroy`]: what a file held is overwritten with zeros. On flash
//!   memory the old blocks may stay until the controller erases them; only encryption helps
//!   against that.
//! * Files that are made here have mode 0600.
//! * A file that must not be there is made by [`create`].
//! * Bytes and text are read by one reader, up to a limit: [`read_bytes`], [`read_text`]; a secret
//!   on a line by [`secret`].
//! * It does not make directories, and it does not lock: two writers of one file replace each
//!   other's work, and each replaces it as a whole.

mod secret;
mod text;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub use self::secret::{NoSecret, secret};
#[cfg(any(feature = "author", feature = "desk"))]
pub use self::text::read_bytes_of;
#[cfg(feature = "evaluate")]
pub use self::text::text;
#[cfg(feature = "author")]
pub use self::text::text_or_windows_1252;
pub use self::text::{open, read_bytes, read_text, read_text_of};

/// What could not be done with a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {source}")]
pub struct FileError {
    /// What was tried.
    pub what: &'static str,
    /// Of the file.
    pub path: String,
    /// The system's reason.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: `what` was tried with the file at `path`.
    pub fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { what, path: path.display().to_string(), source }
    }
}

/// Most links on the way to a file.
const MAX_LINKS: usize = 40;

/// The first folder on the way to the file `path`, through links too, in which everybody may put
/// another thing in the place of what leads there; `None` where there is none.
///
/// # Errors
/// What the system says.
pub fn open_to_all(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut ways = vec![std::path::absolute(path)?];
    let mut links = 0;
    while let Some(way) = ways.pop() {
        for part in way.ancestors() {
            // In a sticky folder only the owner of a file may replace it.
            if part != way && part.metadata()?.mode() & 0o1002 == 0o002 {
                return Ok(Some(part.to_owned()));
            }
            if part.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::from_raw_os_error(libc::ELOOP));
                }
                let folder = part.parent().unwrap_or(Path::new("/"));
                ways.push(folder.join(fs::read_link(part)?));
            }
        }
    }
    Ok(None)
}

/// Writes what `parts` are one after another into a new file of mode `mode`. One that is there is
/// never replaced.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] where there is a file, and what else the system says. What could
/// not be written whole is removed again.
pub fn create(path: &Path, parts: &[&[u8]], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let mut write = || {
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()
    };
    write().inspect_err(|_| {
        let _ = wipe(path);
    })?;
    sync_directory_of(path)
}

/// Replaces the file `path` by `bytes`, as a whole or not at all.
///
/// # Errors
/// Where the directory is missing, full or not writable. The old file is then untouched.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace_by_parts(path, &[bytes])
}

/// As [`replace`], by what `parts` are one after another, so that they need not be joined in
/// memory.
///
/// # Errors
/// As for [`replace`].
pub fn replace_by_parts(path: &Path, parts: &[&[u8]]) -> Result<(), FileError> {
    put_in_place(&beside(path), path, parts)
        .and_then(|()| sync_directory_of(path))
        .map_err(FileError::at("replace", path))
}

/// Where a file that replaces `path` is written first.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    beside.into()
}

/// Overwrites and removes what an interrupted [`replace`] of `path` has left beside it.
///
/// # Errors
/// Where it cannot be written or removed.
pub fn destroy_rest(path: &Path) -> Result<(), FileError> {
    destroy(&beside(path))
}

/// The first half of [`replace`]: writes `parts` to `beside`, in the directory of `path`, and
/// renames it to `path`. Until the directory is synchronised a power cut may bring the old file
/// back, but no mixture of the two.
///
/// # Errors
/// What the system says. The old file is then untouched, and `beside` is removed where that can be
/// done.
pub fn put_in_place(beside: &Path, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    // One left by a power cut is of no use and may be anything, even a link. What it holds may be
    // templates.
    wipe(beside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    let mut write = || {
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()?;
        fs::rename(beside, path)
    };
    write().inspect_err(|_| {
        let _ = wipe(beside);
    })
}

/// Makes what was created, renamed or removed in the directory of `path` survive a power cut.
///
/// # Errors
/// What the system says.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// As [`replace_by_parts`], and then overwrites what the file held before with zeros.
///
/// # Errors
/// Where there is no file, the new one cannot be put in place (the old one is then untouched), or
/// the old one cannot be overwritten.
pub fn replace_and_wipe(path: &Path, parts: &[&[u8]]) -> Result<(), FileError> {
    let old = OpenOptions::new().write(true).open(path).map_err(FileError::at("open", path))?;
    replace_by_parts(path, parts)?;
    // It has no name any more; the open file is its last holder.
    zero(old).map_err(FileError::at("wipe the old", path))
}

/// Overwrites the file with zeros and removes it. One that does not exist counts as removed.
///
/// # Errors
/// Where it cannot be written or removed.
pub fn destroy(path: &Path) -> Result<(), FileError> {
    wipe(path).map_err(FileError::at("destroy", path))
}

fn wipe(path: &Path) -> io::Result<()> {
    // A link is removed, not followed; a pipe without a reader is not waited for.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Ok(file) if file.metadata()?.is_file() => zero(file)?,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) if !fs::symlink_metadata(path)?.is_symlink() => return Err(e),
        _ => {}
    }
    fs::remove_file(path)?;
    sync_directory_of(path)
}

fn zero(mut file: File) -> io::Result<()> {
    let mut left = file.metadata()?.len();
    let zeros = [0u8; 64 * 1024];
    while left > 0 {
        let n = left.min(zeros.len() as u64);
        file.write_all(&zeros[..n as usize])?;
        left -= n;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_rest_of_an_interrupted_write_neither_counts_as_the_file_nor_stops_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.cose");
        replace(&path, b"old").unwrap();
        // Cut at every byte of the new file, and seen by one who still holds it.
        for cut in 0..=3 {
            fs::write(dir.path().join("list.cose.new"), &b"new"[..cut]).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"old");
        }
        let mut rest = File::open(dir.path().join("list.cose.new")).unwrap();
        replace(&path, b"new").unwrap();
        let mut held = Vec::new();
        rest.read_to_end(&mut held).unwrap();
        assert_eq!(held, [0; 3], "wiped");
        fs::write(dir.path().join("list.cose.new"), b"templates").unwrap();
        destroy_rest(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_file_is_whole_and_one_that_is_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, &[b"se", b"cret"], 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"secret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = create(&path, &[b"other"], 0o600).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"secret");
    }

    #[test]
    fn a_link_in_place_of_the_unfinished_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("list.cose"), dir.path().join("other"));
        fs::write(&other, b"somebody's").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join("list.cose.new")).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"somebody's");
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
    }

    #[test]
    fn what_cannot_be_put_in_place_leaves_the_old_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"old").unwrap();
        let refused = replace(&path, b"new").unwrap_err().to_string();
        assert!(refused.starts_with(&format!("cannot replace {}: ", path.display())), "{refused}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_file_held_before_is_overwritten_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.cose");
        replace(&path, &[7; 100_000]).unwrap();
        let mut before = File::open(&path).unwrap();
        replace_and_wipe(&path, &[b"new ", b"list"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new list");
        // The old file, still held by its descriptor.
        let mut old = Vec::new();
        before.read_to_end(&mut old).unwrap();
        assert!(old.len() == 100_000 && old.iter().all(|b| *b == 0));
        assert!(replace_and_wipe(&dir.path().join("none"), &[b"x"]).is_err());
    }

    #[test]
    fn a_destroyed_file_is_gone_and_was_overwritten_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.cose");
        fs::write(&path, [7; 1000]).unwrap();
        let mut before = File::open(&path).unwrap();
        destroy(&path).unwrap();
        let mut old = Vec::new();
        before.read_to_end(&mut old).unwrap();
        assert_eq!(old, [0; 1000]);
        assert!(!path.exists() && destroy(&path).is_ok());
    }
}
