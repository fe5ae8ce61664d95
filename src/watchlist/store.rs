//! What survives a restart: the list in force, and the device's memory of versions and time.
//!
//! * A file is replaced **atomically**: written beside its target, synchronised, renamed over it,
//!   and the directory synchronised. A power cut at any moment leaves the old or the new file,
//!   whole.
//! * [`State`] remembers the highest version of each list (an older one is refused for ever) and
//!   the last time seen. A new list is stored before its version is remembered: a cut in between
//!   leaves the new list with the old memory, which is consistent; the other order would leave the
//!   old list, refused.
//! * [`clock_trust`] says whether a clock may be believed: a wrong clock must not extend an
//!   authorisation.
//!
//! A state file that is damaged is an error, never a fresh start: forgetting is what a roll-back
//! needs. One that does not exist is a device's first start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::format::{MAX_BYTES, Position, Reference};
use super::order::{Action, OrderError, VerifiedOrder};
use super::refusal::Refusal;
use super::text::hex;
use super::verify::Watchlist;

/// Most lists whose versions are remembered at a time; expired ones make room.
pub const MAX_LISTS: usize = 64;
/// Most revocations that are remembered. Those of single entries make room by becoming one of their
/// whole list.
pub const MAX_REVOKED: usize = 256;
/// Most suspensions that are remembered at a time; those that are over make room.
pub const MAX_SUSPENDED: usize = 32;
/// How far a clock may go back without being distrusted: time services correct by less than this
/// once they have settled.
pub const CLOCK_SLACK: Duration = Duration::seconds(2);
/// How often the last time seen is worth a write to the card.
pub const OBSERVE_EVERY: Duration = Duration::minutes(10);

/// Most bytes that sealing adds to a list: a header, and 16 bytes for every 64 KiB.
const MAX_OVERHEAD: usize = 1 << 20;
const MAX_STATE_BYTES: u64 = 128 * 1024;

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The list, the state or their directory.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// Of the file.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The state cannot be understood.
    #[error(
        "the state file {path} is damaged ({what}); it keeps old lists from coming back, so \
         nothing is matched without it. Find out why, then move it away and install a list whose \
         version is higher than any before"
    )]
    Damaged {
        /// Of the file.
        path: String,
        /// The first thing that is wrong.
        what: String,
    },
}

fn file_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::File { what, path: path.display().to_string(), source }
}

/// Replaces the file `path` by `bytes`, mode 0600, as a whole or not at all.
///
/// # Errors
/// Where the directory is missing, full or not writable. The old file is then untouched.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace_by_parts(path, &[bytes])
}

/// As [`replace`], by what `parts` are one after another, so that they need not be joined in
/// memory.
///
/// # Errors
/// As for [`replace`].
pub fn replace_by_parts(path: &Path, parts: &[&[u8]]) -> Result<(), StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let write = || -> io::Result<()> {
        // One left by a power cut is of no use and may be anything, even a link.
        match fs::remove_file(&beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(file_error("replace", path))
}

/// Reads a list file. What is sealed needs no locked memory, and what is not lies on the disk for
/// everybody.
///
/// # Errors
/// Where it cannot be read or is larger than any list.
pub fn read_list(path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let read = || -> io::Result<_> {
        // Without waiting, should it be a pipe.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        let most = MAX_BYTES + MAX_OVERHEAD;
        let size = usize::try_from(about.len()).ok().filter(|size| *size <= most);
        let size = size.ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than any list")
        })?;
        // Reserved at once, because a buffer that grows leaves copies of templates behind unwiped.
        let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
        file.take(size as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(file_error("read the list", path))
}

/// As [`replace_by_parts`], and then overwrites what the file held before with zeros. On flash
/// memory the old blocks may stay until the controller erases them; that is what sealing is for.
///
/// # Errors
/// Where the new file cannot be put in place (the old one is then untouched), or the old one not be
/// overwritten.
pub fn replace_and_wipe(path: &Path, parts: &[&[u8]]) -> Result<(), StoreError> {
    let old = OpenOptions::new().write(true).open(path).map_err(file_error("open", path))?;
    replace_by_parts(path, parts)?;
    // It has no name any more; the open file is its last holder.
    zero(old).map_err(file_error("wipe the old", path))
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

/// A list that was accepted once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    id: Reference,
    version: u64,
    /// SHA-256 of the payload, in hexadecimal.
    digest: String,
    /// Unix seconds. From then on the list is refused for its age, and need not be remembered.
    expires: i64,
}

/// What may never be matched again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoked {
    list: Reference,
    /// The last version that is revoked.
    through: u64,
    /// The whole list where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry: Option<Reference>,
}

impl Revoked {
    /// Whether `self` says all that `other` says.
    fn covers(&self, other: &Revoked) -> bool {
        self.list == other.list
            && self.through >= other.through
            && (self.entry.is_none() || self.entry == other.entry)
    }
}

/// A time in which nobody is matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suspended {
    order: String,
    from: i64,
    to: i64,
}

/// What an order changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obeyed {
    /// It is in force from now on.
    Now,
    /// It was in force before: a repetition.
    Before,
    /// It names other devices or another area.
    NotForUs,
}

/// A device's memory: what it must not forget over a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Unix seconds; 0 before the first observation.
    last_seen: i64,
    /// Of the newest trust file that was in use.
    #[serde(default, skip_serializing_if = "is_zero")]
    trust_serial: u64,
    lists: Vec<Seen>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked: Vec<Revoked>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    suspended: Vec<Suspended>,
}

fn is_zero(serial: &u64) -> bool {
    *serial == 0
}

impl State {
    /// Reads the state; a missing file is a first start.
    ///
    /// # Errors
    /// Where the file cannot be read or is damaged.
    pub fn load(path: &Path) -> Result<Self, StoreError> {
        let mut bytes = Vec::new();
        let file = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(file_error("read the state", path))?,
        };
        file.take(MAX_STATE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(file_error("read the state", path))?;
        Self::parse(&bytes)
            .map_err(|what| StoreError::Damaged { path: path.display().to_string(), what })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > MAX_STATE_BYTES {
            return Err(format!("more than {MAX_STATE_BYTES} bytes"));
        }
        let state: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if state.lists.len() > MAX_LISTS {
            return Err(format!("more than {MAX_LISTS} lists"));
        }
        if state.revoked.len() > MAX_REVOKED || state.suspended.len() > MAX_SUSPENDED {
            return Err("more orders than are remembered".into());
        }
        if OffsetDateTime::from_unix_timestamp(state.last_seen).is_err() {
            return Err("a time that does not exist".into());
        }
        Ok(state)
    }

    /// Writes the state atomically.
    ///
    /// # Errors
    /// As for [`replace`].
    pub fn save(&self, path: &Path) -> Result<(), StoreError> {
        let mut text =
            serde_json::to_vec_pretty(self).expect("numbers and short strings always serialise");
        text.push(b'\n');
        // A device's first start: nobody has made the directory yet.
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(file_error("make the directory of", path))?;
        }
        replace(path, &text)
    }

    /// The last time seen; `None` before the first observation.
    pub fn last_seen(&self) -> Option<OffsetDateTime> {
        (self.last_seen > 0)
            .then(|| OffsetDateTime::from_unix_timestamp(self.last_seen).ok())
            .flatten()
    }

    /// The serial of the newest trust file that was in use.
    pub fn trust_serial(&self) -> u64 {
        self.trust_serial
    }

    /// Notes that a trust file with `serial` is in use.
    ///
    /// # Errors
    /// [`Refusal::TrustRolledBack`] where a newer one was.
    pub fn trust(&mut self, serial: u64) -> Result<(), Refusal> {
        if serial < self.trust_serial {
            return Err(Refusal::TrustRolledBack { serial, highest: self.trust_serial });
        }
        self.trust_serial = serial;
        Ok(())
    }

    /// The highest version of the list `id` that was accepted.
    pub fn highest(&self, id: &str) -> Option<u64> {
        self.lists.iter().find(|s| s.id.as_str() == id).map(|s| s.version)
    }

    /// Notes that it is `now`; call it only with a clock that [`clock_trust`] trusts. True where
    /// the state has become worth saving.
    pub fn observe(&mut self, now: OffsetDateTime) -> bool {
        let due = self.is_due(now);
        if due {
            self.last_seen = now.unix_timestamp();
        }
        due
    }

    fn is_due(&self, now: OffsetDateTime) -> bool {
        now.unix_timestamp() >= self.last_seen.saturating_add(OBSERVE_EVERY.whole_seconds())
    }

    /// Remembers `list`, unless the device has had a newer one.
    ///
    /// # Errors
    /// [`Refusal::Revoked`] for a revoked one, [`Refusal::RolledBack`] for an older version,
    /// [`Refusal::SameVersion`] for another content under the same version and
    /// [`Refusal::TooManyLists`] where there is no room; the state is then as before.
    pub fn admit(&mut self, list: &Watchlist, now: OffsetDateTime) -> Result<(), Refusal> {
        if let Some(through) = self.revoked_through(list.id())
            && list.version() <= through
        {
            return Err(Refusal::Revoked { id: list.id().clone(), version: list.version() });
        }
        let digest = hex(list.digest());
        let new = Seen {
            id: list.id().clone(),
            version: list.version(),
            digest,
            // The list's own expiry: that of the trust file can be moved by the next one.
            expires: list.own_expiry().unix_timestamp(),
        };
        if let Some(old) = self.lists.iter_mut().find(|s| s.id == new.id) {
            if new.version < old.version {
                return Err(Refusal::RolledBack {
                    id: new.id,
                    offered: new.version,
                    highest: old.version,
                });
            }
            if new.version == old.version && new.digest != old.digest {
                return Err(Refusal::SameVersion { id: new.id, version: new.version });
            }
            // An older version may live longer than the new one, so the memory lasts as long as the
            // longest.
            *old = Seen { expires: old.expires.max(new.expires), ..new };
            return Ok(());
        }
        if self.lists.len() >= MAX_LISTS {
            self.lists.retain(|s| s.expires > now.unix_timestamp());
        }
        if self.lists.len() >= MAX_LISTS {
            return Err(Refusal::TooManyLists(self.lists.len()));
        }
        self.lists.push(new);
        Ok(())
    }

    /// The last version of the list `id` that was revoked as a whole.
    pub fn revoked_through(&self, id: &str) -> Option<u64> {
        let whole = self.revoked.iter().filter(|r| r.entry.is_none() && r.list.as_str() == id);
        whole.map(|r| r.through).max()
    }

    /// Whether entries were revoked one by one.
    pub fn revokes_entries(&self) -> bool {
        self.revoked.iter().any(|r| r.entry.is_some())
    }

    /// The entries of version `version` of the list `id` that were revoked one by one.
    pub fn revoked_entries(&self, id: &str, version: u64) -> impl Iterator<Item = &Reference> {
        let of = move |r: &&Revoked| r.list.as_str() == id && version <= r.through;
        self.revoked.iter().filter(of).filter_map(|r| r.entry.as_ref())
    }

    /// Until when nobody may be matched, where that is so at `now`.
    pub fn suspended_until(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let now = now.unix_timestamp();
        let until =
            self.suspended.iter().filter(|s| (s.from..s.to).contains(&now)).map(|s| s.to).max()?;
        OffsetDateTime::from_unix_timestamp(until).ok()
    }

    /// Remembers what `order` stops on `device` at `position`.
    ///
    /// Where there is no room for one more revoked entry, the whole list is revoked instead: what
    /// was ordered to stop stops.
    ///
    /// # Errors
    /// [`OrderError::TooMany`]; the state is then as before.
    pub fn obey(
        &mut self,
        order: &VerifiedOrder,
        now: OffsetDateTime,
        device: &str,
        position: Option<Position>,
    ) -> Result<Obeyed, OrderError> {
        if !order.action().concerns(device, position) {
            return Ok(Obeyed::NotForUs);
        }
        match order.action() {
            Action::Revoke { list, through, entry } => {
                let mut new =
                    Revoked { list: list.clone(), through: *through, entry: entry.clone() };
                if self.revoked.iter().any(|r| r.covers(&new)) {
                    return Ok(Obeyed::Before);
                }
                let others = |new: &Revoked| self.revoked.iter().filter(|r| !new.covers(r)).count();
                if others(&new) >= MAX_REVOKED {
                    new.entry = None;
                }
                if others(&new) >= MAX_REVOKED {
                    return Err(OrderError::TooMany(self.revoked.len()));
                }
                self.revoked.retain(|r| !new.covers(r));
                self.revoked.push(new);
            }
            Action::Suspend { from, to, .. } => {
                let order = order.id().to_string();
                if self.suspended.iter().any(|s| s.order == order) {
                    return Ok(Obeyed::Before);
                }
                let over = |s: &Suspended| s.to <= now.unix_timestamp();
                if self.suspended.iter().filter(|s| !over(s)).count() >= MAX_SUSPENDED {
                    return Err(OrderError::TooMany(MAX_SUSPENDED));
                }
                self.suspended.retain(|s| !over(s));
                let (from, to) = (from.unix_timestamp(), to.unix_timestamp());
                self.suspended.push(Suspended { order, from, to });
            }
        }
        Ok(Obeyed::Now)
    }
}

/// Overwrites the list file with zeros and removes it, for a list that was revoked. On flash memory
/// the old blocks may stay until the controller erases them; that is what sealing is for.
///
/// # Errors
/// Where it cannot be written or removed; one that does not exist is removed.
pub fn destroy(path: &Path) -> Result<(), StoreError> {
    let wipe = || -> io::Result<()> {
        let file = match OpenOptions::new().write(true).open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        zero(file)?;
        fs::remove_file(path)?;
        let directory =
            path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    };
    wipe().map_err(file_error("destroy", path))
}

/// Whether the device's clock may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockTrust {
    /// Yes.
    Trusted,
    /// The kernel says that nothing keeps the clock right.
    Unsynchronised,
    /// It is earlier than it has been.
    WentBack {
        /// By how much.
        by: Duration,
    },
}

impl ClockTrust {
    /// Whether matching is allowed by the clock.
    pub fn is_trusted(self) -> bool {
        self == ClockTrust::Trusted
    }

    /// A stable word for status messages.
    pub fn code(self) -> &'static str {
        match self {
            ClockTrust::Trusted => "trusted",
            ClockTrust::Unsynchronised => "unsynchronised",
            ClockTrust::WentBack { .. } => "went-back",
        }
    }
}

/// Judges a clock that shows `now` on a device that has seen `last_seen`. `kernel_synchronised` is
/// what [`kernel_synchronised`] said, or true where the configuration does not ask for it.
pub fn clock_trust(
    now: OffsetDateTime,
    last_seen: Option<OffsetDateTime>,
    kernel_synchronised: bool,
) -> ClockTrust {
    match last_seen {
        Some(last) if now < last - CLOCK_SLACK => ClockTrust::WentBack { by: last - now },
        _ if !kernel_synchronised => ClockTrust::Unsynchronised,
        _ => ClockTrust::Trusted,
    }
}

/// Whether the kernel says that a time service keeps its clock right (`adjtimex`, which any user
/// may ask).
pub fn kernel_synchronised() -> bool {
    // SAFETY: `timex` is plain data for which zeroes are valid, with `modes` 0 the call only reads
    // the clock's state into it, and the pointer is valid for the call.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        let state = libc::adjtimex(&raw mut timex);
        (state, timex.status)
    };
    // A kernel that does not answer (-1) is one that vouches for nothing.
    state >= 0 && state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{DEVICE, EMBEDDER, content, now, signed, trust};
    use super::super::verify::verify;
    use super::*;
    use proptest::prelude::*;

    fn list(version: u64) -> Watchlist {
        let mut c = content(2);
        c.version = version;
        verify(&signed(&c, &[1, 2]), &trust(), now(), DEVICE, &EMBEDDER).unwrap()
    }

    #[test]
    fn an_older_version_never_comes_back_even_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let mut state = State::default();
        state.admit(&list(6), now()).unwrap();
        state.admit(&list(7), now()).unwrap();
        state.save(&path).unwrap();
        let mut state = State::load(&path).unwrap();
        let refused = state.admit(&list(6), now()).unwrap_err();
        assert!(matches!(refused, Refusal::RolledBack { offered: 6, highest: 7, .. }), "{refused}");
        assert_eq!((state.admit(&list(7), now()), state.highest("north-gate")), (Ok(()), Some(7)));
    }

    #[test]
    fn an_older_trust_file_never_comes_back_either() {
        let mut state = State::default();
        state.trust(0).unwrap();
        state.trust(4).unwrap();
        assert_eq!(state.trust(4), Ok(()));
        assert_eq!(state.trust(3), Err(Refusal::TrustRolledBack { serial: 3, highest: 4 }));
        assert_eq!(state.trust_serial(), 4);
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
    fn a_list_file_that_is_no_file_or_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.cose");
        assert!(read_list(dir.path()).is_err() && read_list(&path).is_err());
        File::create(&path).unwrap().set_len((MAX_BYTES + MAX_OVERHEAD + 1) as u64).unwrap();
        assert!(read_list(&path).unwrap_err().to_string().contains("larger than any list"));
        fs::write(&path, b"bytes").unwrap();
        assert_eq!(**read_list(&path).unwrap(), *b"bytes");
    }

    #[test]
    fn the_same_version_with_another_content_is_refused_and_with_more_signatures_accepted() {
        let mut state = State::default();
        state.admit(&list(7), now()).unwrap();
        let more =
            verify(&signed(&content(2), &[1, 2, 3]), &trust(), now(), DEVICE, &EMBEDDER).unwrap();
        assert_eq!(state.admit(&more, now()), Ok(()));
        let other =
            verify(&signed(&content(3), &[1, 2]), &trust(), now(), DEVICE, &EMBEDDER).unwrap();
        assert!(matches!(state.admit(&other, now()), Err(Refusal::SameVersion { version: 7, .. })));
    }

    #[test]
    fn only_expired_lists_make_room_in_the_memory() {
        let mut state = State::default();
        for n in 0..MAX_LISTS {
            let mut c = content(0);
            c.id = format!("list-{n}").parse().unwrap();
            c.expires = now() + Duration::days(1 + n as i64);
            let list = verify(&signed(&c, &[1, 2]), &trust(), now(), DEVICE, &EMBEDDER).unwrap();
            state.admit(&list, now()).unwrap();
        }
        assert_eq!(state.admit(&list(7), now()), Err(Refusal::TooManyLists(MAX_LISTS)));
        assert_eq!(state.admit(&list(7), now() + Duration::days(1)), Ok(()));
        assert_eq!(state.highest("list-0"), None);
        assert_eq!(state.highest("list-1"), Some(7));
    }

    #[test]
    fn a_power_cut_before_the_rename_leaves_the_old_file_and_a_rest_that_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.cose");
        replace(&path, b"old").unwrap();
        // Cut at every byte of the new file.
        for cut in 0..=3 {
            fs::write(dir.path().join("list.cose.new"), &b"new"[..cut]).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"old");
        }
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_state_is_a_first_start_and_a_damaged_one_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert_eq!(State::load(&path).unwrap(), State::default());
        let mut state = State::default();
        state.admit(&list(7), now()).unwrap();
        state.save(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), state);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() - 2 {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(matches!(State::load(&path), Err(StoreError::Damaged { .. })), "{cut}");
        }
    }

    #[test]
    fn the_first_save_makes_the_directory_and_nobody_else_can_look_into_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib/watchpost/state.json");
        State::default().save(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), State::default());
        assert_eq!(
            fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn time_is_remembered_rarely_and_never_backwards() {
        let mut state = State::default();
        assert_eq!(state.last_seen(), None);
        assert!(state.observe(now()));
        assert!(!state.observe(now() + Duration::minutes(9)));
        assert!(!state.observe(now() - Duration::days(1)));
        assert!(state.observe(now() + Duration::minutes(10)));
        assert_eq!(state.last_seen(), Some(now() + Duration::minutes(10)));
    }

    #[test]
    fn a_clock_that_went_back_is_distrusted_even_where_the_kernel_vouches_for_it() {
        let day = Duration::days(1);
        assert_eq!(clock_trust(now() - day, Some(now()), true), ClockTrust::WentBack { by: day });
        assert_eq!(clock_trust(now() - day, Some(now()), false), ClockTrust::WentBack { by: day });
        assert_eq!(clock_trust(now(), Some(now() - day), false), ClockTrust::Unsynchronised);
        assert_eq!(clock_trust(now(), None, false), ClockTrust::Unsynchronised);
        assert_eq!(clock_trust(now(), None, true), ClockTrust::Trusted);
        assert_eq!(clock_trust(now() - Duration::SECOND, Some(now()), true), ClockTrust::Trusted);
    }

    #[test]
    fn the_kernel_can_be_asked() {
        // Either answer is right here; the call must be sound.
        let _ = kernel_synchronised();
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_state_parser_panic(bytes: Vec<u8>) {
            let _ = State::parse(&bytes);
        }
    }
}
