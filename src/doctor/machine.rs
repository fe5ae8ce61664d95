//! The machine: processor, heat, memory, disk.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CheckResult, Configured};
use crate::device::reviews::ReviewFiles;
use crate::hardware;
use crate::kernels::choice::{self, InstructionSet, VARIABLE};
use crate::kernels::{networks, pixels, search};

/// From here most boards slow down, or are about to (Raspberry Pi: 80 degrees soft, 85 hard;
/// Jetson: 97).
const WARM: f64 = 78.0;
/// Room that the daemon wants beside a full outbox: the list twice while it is replaced, and the
/// memory of the clock.
const SPARE: u64 = 64 << 20;

/// The processor's instructions and what the networks make of them.
pub(super) fn cpu() -> CheckResult {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let available = InstructionSet::available();
    let names: Vec<&str> = available.iter().map(|set| set.name()).collect();
    let names = names.join(", ");
    let chosen = match choice::chosen() {
        Err(unusable) => return CheckResult::failed(unusable.fault(), unusable.remedy()),
        Ok(chosen) => chosen,
    };
    let detail = format!(
        "{cores} {} cores; of {names} the networks run on {}, pixels are made by {}, the search \
         runs on {}",
        std::env::consts::ARCH,
        networks::with(chosen).set(),
        pixels::with(chosen).set(),
        search::SearchKernel::with(chosen).set,
    );
    if chosen == InstructionSet::fastest() {
        CheckResult::ok(detail)
    } else {
        let fastest = InstructionSet::fastest();
        CheckResult::warning(detail, format!("unset {VARIABLE} to use {fastest}"))
    }
}

/// The hottest sensor, and whether the board has slowed itself down.
pub(super) fn temperature() -> CheckResult {
    let heat = hardware::read(Path::new("/sys"));
    let Some((name, celsius)) = heat.zones.iter().max_by(|a, b| a.1.total_cmp(&b.1)) else {
        return CheckResult::skipped("the kernel names no temperature sensor");
    };
    let detail = format!("{celsius:.0} degrees at {name}");
    if heat.throttled == Some(true) {
        CheckResult::warning(
            format!("{detail}; the board slows itself down"),
            "use the board's own power supply, a short cable, and a heat sink or a fan",
        )
    } else if *celsius >= WARM {
        CheckResult::warning(
            detail,
            "give the board a heat sink, a fan or shade; it slows down before it stops",
        )
    } else {
        CheckResult::ok(detail)
    }
}

/// Whether memory may reach a disk.
pub(super) fn swap() -> CheckResult {
    match fs::read_to_string("/proc/swaps") {
        Err(_) => CheckResult::skipped("/proc/swaps cannot be read"),
        Ok(text) => {
            let disks: Vec<&str> = text
                .lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().next())
                .filter(|name| !name.contains("zram"))
                .collect();
            if disks.is_empty() {
                CheckResult::ok("none on a disk")
            } else {
                CheckResult::warning(
                    format!("memory may be written to {}", disks.join(", ")),
                    "run the daemon with MemorySwapMax=0, as the packaged unit does, or `swapoff \
                     -a`",
                )
            }
        }
    }
}

/// The folder that holds the list and the device's memory.
pub(super) fn state(configured: &Configured<'_>) -> CheckResult {
    let folder = configured.config.watchlist.state.parent().filter(|p| !p.as_os_str().is_empty());
    folder.map_or_else(
        || CheckResult::ok("the current folder"),
        |folder| {
            writable(
                folder,
                SPARE,
                concat!(
                    "make room on this disk, or name another one by ",
                    setting!(watchlist.state),
                    " and ",
                    setting!(watchlist.list)
                ),
            )
        },
    )
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
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match writable(folder, SPARE, when_full) {
        CheckResult::Ok { detail } => {
            let detail = format!("{detail}; {} candidates wait for two people", files.waiting());
            match files.lost {
                None => CheckResult::ok(detail),
                Some(lost) => CheckResult::warning(
                    format!("{detail}; {lost}"),
                    "put the file back if it was moved away; the device counts anew until a new \
                     version of the list is signed",
                ),
            }
        }
        wrong => wrong,
    }
}

/// Whether this user may write there and `needed` bytes are free, with what to do where they are
/// not. A folder that the daemon would make counts by its parent.
fn writable(folder: &Path, needed: u64, when_full: &str) -> CheckResult {
    let Some(existing) = nearest(folder) else {
        return CheckResult::failed(
            format!("{} cannot be reached", folder.display()),
            "name a folder on a disk",
        );
    };
    let shown = folder.display();
    if let Err(error) = access(&existing) {
        let what = format!("{shown} cannot be written ({error})");
        if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem {
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

fn nearest(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|a| a.is_dir()).map(Path::to_path_buf)
}

fn path(folder: &Path) -> std::io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(folder.as_os_str().as_bytes()).map_err(std::io::Error::other)
}

fn access(folder: &Path) -> std::io::Result<()> {
    let path = path(folder)?;
    // SAFETY: a C string that lives through the call.
    match unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Bytes that an ordinary user may still write.
fn free(folder: &Path) -> std::io::Result<u64> {
    let path = path(folder)?;
    // SAFETY: a C struct of integers, for which all zeroes is a value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers live through the call.
    match unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) } {
        0 => Ok(stat.f_bavail as u64 * stat.f_frsize as u64),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_the_daemon_would_make_counts_by_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        let made = writable(&folder.path().join("a/b"), 1, "");
        assert!(matches!(made, CheckResult::Ok { .. }), "{made:?}");
        let full = writable(folder.path(), u64::MAX, "make room");
        assert!(matches!(full, CheckResult::Failed { .. }), "{full:?}");
        assert!(full.detail().contains("MiB are wanted"), "{full:?}");
    }

    #[test]
    fn a_place_without_room_to_write_is_refused() {
        let refused = writable(Path::new("/proc/none"), 1, "");
        assert!(matches!(refused, CheckResult::Failed { .. }), "{refused:?}");
    }
}
