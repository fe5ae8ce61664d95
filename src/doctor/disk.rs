//! The disk: whether what the daemon writes could be written where the configuration has it.
//!
//! * Asked of the system, and of the daemon's own code where that only looks. Nothing is written.
//! * A folder that the daemon would make counts by the one in which it would.
//! * Not promised: that a write succeeds. Quotas and failing disks show when one is tried.

use std::fs::{self, Metadata};
use std::io::{Error, ErrorKind};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{CheckResult, Configured};
use crate::audit::store::{LOCK, LOG, NODES};
use crate::cause::Cause;
use crate::daemon::examine_audit;
use crate::delivery::examine_ledger;
use crate::device::reviews::ReviewFiles;

/// Room that the daemon wants beside a full outbox: the list twice while it is replaced, and the
/// memory of the clock.
const SPARE: u64 = 64 << 20;

/// What to do about a file that may not be replaced.
const LET_REPLACE: &str = "take away what protects it (`lsattr` and `findmnt` show what does; \
                           `chattr -i -a` undoes the former), or name another file";

/// The file that holds the device's memory, and beside it the list and the rotations of the keys.
pub(super) fn state(configured: &Configured<'_>) -> CheckResult {
    let w = &configured.config.watchlist;
    let when_full = concat!(
        "make room on this disk, or name another one by ",
        setting!(watchlist.state),
        " and ",
        setting!(watchlist.list)
    );
    let detail = match writable(folder_of(&w.state), SPARE, when_full) {
        CheckResult::Ok { detail } => detail,
        wrong => return wrong,
    };
    if let Err(why) = replaceable(&w.state) {
        return CheckResult::failed(why, LET_REPLACE);
    }
    // Without these the device goes on with what it has.
    for path in [&w.list, &w.rotations()] {
        let wrong = match writable(folder_of(path), 0, when_full) {
            CheckResult::Failed { detail, remedy } => Some((detail, remedy)),
            _ => replaceable(path).err().map(|why| (why, LET_REPLACE.to_owned())),
        };
        if let Some((why, remedy)) = wrong {
            let detail = format!("{detail}; what comes over the network is not stored: {why}");
            return CheckResult::warning(detail, remedy);
        }
    }
    CheckResult::ok(detail)
}

/// The folder in which candidates wait.
pub(super) fn outbox(configured: &Configured<'_>) -> CheckResult {
    match configured.config.broker.outbox_folder() {
        None => CheckResult::warning(
            concat!(setting!(broker.outbox), " is empty: candidates wait in memory only"),
            "name a folder, so that they survive a power cut",
        ),
        Some(folder) => writable(
            folder,
            configured.config.broker.outbox_bytes as u64 + SPARE,
            concat!(
                "make room on this disk, lower ",
                setting!(broker.outbox_bytes),
                ", or name another folder by ",
                setting!(broker.outbox)
            ),
        ),
    }
}

/// The file that says what became of each event.
pub(super) fn ledger(configured: &Configured<'_>) -> CheckResult {
    let Some(path) = &configured.config.broker.ledger else {
        return CheckResult::skipped(concat!(setting!(broker.ledger), " names no file"));
    };
    match examine_ledger(path) {
        Ok(()) => CheckResult::ok(format!("{} can be written", path.display())),
        // The daemon would make it.
        Err(error) if error.kind() == ErrorKind::NotFound => writable(
            folder_of(path),
            0,
            concat!("name a file on another disk by ", setting!(broker.ledger)),
        ),
        Err(error) => CheckResult::failed(
            format!("{}: {error}", path.display()),
            concat!(
                "name a file in a folder that the user that runs watchpost may write to by ",
                setting!(broker.ledger),
                ", or leave the key out; the daemon does not start without it"
            ),
        ),
    }
}

/// The log of what the device did, and the identity that signs it.
pub(super) fn audit(configured: &Configured<'_>) -> CheckResult {
    let folder = &configured.config.audit.log;
    let records = match examine_audit(configured.config) {
        Ok(None) => {
            return CheckResult::skipped("without an identity the device keeps no audit log");
        }
        Ok(Some(records)) => records,
        Err(blindness) => {
            let remedy = blindness.cause.remedy();
            return CheckResult::failed(blindness, remedy);
        }
    };
    let when_full =
        concat!("make room on this disk, or name another folder by ", setting!(audit.log));
    let detail = match writable(folder, SPARE, when_full) {
        CheckResult::Ok { detail } => detail,
        wrong => return wrong,
    };
    for path in [LOCK, LOG, NODES].map(|name| folder.join(name)) {
        match access(&path, libc::R_OK | libc::W_OK) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let what = format!("{} cannot be written ({error})", path.display());
                return CheckResult::failed(what, Cause::AuditUnusable.remedy());
            }
            _ => {}
        }
    }
    CheckResult::ok(format!("{detail}; {records} records"))
}

/// The files of the candidates that wait for two people, and of what was counted.
pub(super) fn reviews(configured: &Configured<'_>) -> CheckResult {
    let (w, path) = (&configured.config.watchlist, &configured.config.review.docket);
    if w.device_key.is_none() {
        return CheckResult::skipped("without a key of its own the device asks nobody to review");
    }
    let files = match ReviewFiles::open(path) {
        Ok(files) => files,
        Err(error) => {
            return CheckResult::failed(
                error,
                "read what it says about the file, and find out who wrote it",
            );
        }
    };
    let when_full =
        concat!("make room on this disk, or name another file by ", setting!(review.docket));
    let detail = match writable(folder_of(path), SPARE, when_full) {
        CheckResult::Ok { detail } => detail,
        wrong => return wrong,
    };
    if let Err(why) = replaceable(path) {
        return CheckResult::failed(why, LET_REPLACE);
    }
    let detail = format!("{detail}; {} candidates wait for two people", files.waiting());
    match files.lost {
        None => CheckResult::ok(detail),
        Some(lost) => CheckResult::warning(
            format!("{detail}; {lost}"),
            "put the file back if it was moved away; the device counts anew until a new version of \
             the list is signed",
        ),
    }
}

/// The folder of a file.
fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether this user may write there and `needed` bytes are free, with what to do where they are
/// not.
fn writable(folder: &Path, needed: u64, when_full: &str) -> CheckResult {
    let shown = folder.display();
    let existing = match nearest(folder) {
        Ok((existing, about)) if about.is_dir() => existing,
        Ok((other, _)) => {
            return CheckResult::failed(
                format!("{shown} cannot be used: {} is no folder", other.display()),
                "name a folder, or move away what is in its place",
            );
        }
        Err(error) => {
            let what = format!("{shown} cannot be reached ({error})");
            return CheckResult::failed(what, "name a folder on a disk");
        }
    };
    if let Err(error) = access(&existing, libc::W_OK | libc::X_OK) {
        let what = format!("{shown} cannot be written ({error})");
        if error.kind() == ErrorKind::ReadOnlyFilesystem {
            return CheckResult::failed(
                what,
                "look into `dmesg` for the disk's errors, then mount it read-write (`mount -o \
                 remount,rw`)",
            );
        }
        return CheckResult::failed(
            what,
            "let the user that runs watchpost own it, as in `install -d -o watchpost -g watchpost \
             -m 700`; run doctor as that user: `sudo -u watchpost watchpost doctor`",
        );
    }
    match free(&existing) {
        Err(error) => CheckResult::failed(format!("{shown}: {error}"), "name a folder on a disk"),
        Ok(free) if free < needed => CheckResult::failed(
            format!("{shown} has {} MiB free, {} MiB are wanted", free >> 20, needed >> 20),
            when_full,
        ),
        Ok(free) => CheckResult::ok(format!("{shown} can be written, {} MiB free", free >> 20)),
    }
}

/// `path`, or what of the way to it is there, and what that is.
fn nearest(path: &Path) -> std::io::Result<(PathBuf, Metadata)> {
    let mut none = Error::from(ErrorKind::NotFound);
    for part in path.ancestors() {
        let part = if part.as_os_str().is_empty() { Path::new(".") } else { part };
        match part.metadata() {
            Ok(about) => return Ok((part.to_owned(), about)),
            // A file on the way is found as such further up. A link that leads nowhere is not:
            // nothing is made in its place.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                if part.is_symlink() {
                    return Err(error);
                }
                none = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(none)
}

/// Whether another file could be put in the place of `path`, as far as that is not a question of
/// its folder's mode; why not.
fn replaceable(path: &Path) -> Result<(), String> {
    let no =
        |why: &dyn std::fmt::Display| Err(format!("{} cannot be replaced: {why}", path.display()));
    let folder = folder_of(path);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return no(&error),
        Ok(about) if about.is_dir() => return no(&"it is a folder"),
        Ok(about) => {
            let attributes = attributes(path);
            if attributes & (libc::STATX_ATTR_IMMUTABLE | libc::STATX_ATTR_APPEND) as u64 != 0 {
                return no(&"it is protected by an attribute (`chattr`)");
            }
            if attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0 {
                return no(&"it is a mount of its own; mount its folder instead");
            }
            // SAFETY: takes nothing and cannot fail.
            let user = unsafe { libc::geteuid() };
            let sticky = folder.metadata().is_ok_and(|f| f.mode() & 0o1000 != 0 && f.uid() != user);
            if user != 0 && sticky && about.uid() != user {
                return no(&"it is another user's, and its folder is sticky");
            }
        }
    }
    if attributes(folder) & libc::STATX_ATTR_APPEND as u64 != 0 {
        return no(&"its folder is protected by an attribute (`chattr`)");
    }
    Ok(())
}

/// What the file system says of a file beside its mode; nothing where it does not tell.
fn attributes(path: &Path) -> u64 {
    let Ok(path) = c_path(path) else { return 0 };
    let mut about = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: both pointers live through the call.
    match unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, 0, about.as_mut_ptr()) } {
        // SAFETY: a C struct of integers, for which all zeroes is a value, and which was filled in.
        0 => unsafe { about.assume_init() }.stx_attributes,
        _ => 0,
    }
}

fn c_path(path: &Path) -> std::io::Result<std::ffi::CString> {
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(Error::other)
}

/// Whether this user may do there what `mode` says.
fn access(path: &Path, mode: libc::c_int) -> std::io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: a C string that lives through the call.
    match unsafe { libc::access(path.as_ptr(), mode) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// Bytes that an ordinary user may still write.
fn free(folder: &Path) -> std::io::Result<u64> {
    let path = c_path(folder)?;
    // SAFETY: a C struct of integers, for which all zeroes is a value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers live through the call.
    match unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) } {
        0 => Ok(stat.f_bavail as u64 * stat.f_frsize as u64),
        _ => Err(Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(result: &CheckResult) -> bool {
        matches!(result, CheckResult::Failed { .. })
    }

    #[test]
    fn a_folder_that_the_daemon_would_make_counts_by_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        let made = writable(&folder.path().join("a/b"), 1, "");
        assert!(matches!(made, CheckResult::Ok { .. }), "{made:?}");
        let full = writable(folder.path(), u64::MAX, "make room");
        assert!(failed(&full), "{full:?}");
        assert!(full.detail().contains("MiB are wanted"), "{full:?}");
        let here = writable(folder_of(Path::new("state.json")), 1, "");
        assert!(matches!(here, CheckResult::Ok { .. }), "{here:?}");
    }

    #[test]
    fn a_place_without_room_to_write_is_refused() {
        let refused = writable(Path::new("/proc/none"), 1, "");
        assert!(failed(&refused), "{refused:?}");
    }

    #[test]
    fn what_is_no_folder_is_none_and_nothing_is_made_below_it() {
        let dir = tempfile::tempdir().unwrap();
        let [file, nowhere] = ["file", "nowhere"].map(|name| dir.path().join(name));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(dir.path().join("none"), &nowhere).unwrap();
        for place in [&file, &file.join("below"), Path::new("/dev/null"), &nowhere] {
            let refused = writable(place, 1, "");
            assert!(failed(&refused), "{}: {refused:?}", place.display());
        }
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_not_replaced_and_a_file_is() {
        let dir = tempfile::tempdir().unwrap();
        let [file, folder] = ["file", "folder"].map(|name| dir.path().join(name));
        std::fs::write(&file, "").unwrap();
        std::fs::create_dir(&folder).unwrap();
        assert_eq!((replaceable(&file), replaceable(&dir.path().join("none"))), (Ok(()), Ok(())));
        assert!(replaceable(&folder).is_err_and(|why| why.contains("a folder")));
        assert!(replaceable(&file.join("below")).is_err());
    }
}
