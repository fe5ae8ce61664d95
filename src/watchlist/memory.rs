//! A device's memory over restarts: which lists and keys it has had, what was stopped, and the last
//! time seen.
//!
//! * The highest version of each list is remembered: an older one is refused for ever, and so is an
//!   older trust file.
//! * What one person stopped stays stopped: revocations for ever, suspensions until they are over.
//!   A memory that is full stops everything.
//! * Which entries the device took out of a list is remembered by their digests: a list in which
//!   others are missing is refused, whoever was revoked.
//! * A memory that is damaged is an error, never a fresh start: forgetting is what a roll-back
//!   needs. Whether a file that does not exist is a device's first start is for the caller to say,
//!   who sees what else there is.
//! * How many faces passed on this day and within the week before is remembered, so that a restart
//!   does not give a list its day's budget again.
//! * The file is replaced as a whole ([`crate::files`]). The caller stores a new list before its
//!   version is remembered: a power cut in between leaves the new list with the old memory, which
//!   is consistent; the other order would leave the old list, refused.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::model::{Position, Reference};
use super::order::VerifiedOrder;
use super::refusal::Refusal;
use super::text::hex;
use super::verify::Watchlist;
use crate::files::{FileError, read_bytes, replace};

mod faces;
mod promoted;
mod stopped;

pub use self::faces::{DAYS, DayCounts};
pub use self::promoted::KnownRule;
pub(super) use self::stopped::MAX_REVOKED;
use self::stopped::{Revocation, Stopped, Suspension};

/// Most lists whose versions are remembered at a time; expired ones make room.
pub const MAX_LISTS: usize = 64;
/// How often the last time seen is worth a write to the card.
const OBSERVE_EVERY: Duration = Duration::minutes(10);

const MAX_STATE_BYTES: u64 = 4 * 1024 * 1024;
/// Most entries that were taken out of lists: as many as can be revoked.
const MAX_REMOVED: usize = MAX_REVOKED;

/// Why the memory cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The state cannot be understood.
    #[error(
        "the state file {path} is damaged ({what}); it keeps old lists from coming back, so \
         nothing is matched without it. Find out why and put it back; where it is lost for good, \
         `watchpost doctor` says how to begin anew"
    )]
    Damaged {
        /// Of the file.
        path: String,
        /// The first thing that is wrong.
        what: String,
    },
}

/// A list that was accepted once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptedList {
    id: Reference,
    version: u64,
    /// SHA-256 of the payload, in hexadecimal.
    digest: String,
    /// Unix seconds. From then on the list is refused for its age, and need not be remembered.
    expires: i64,
    /// The rule for coming into force, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    promotion: Option<KnownRule>,
}

/// An entry that this device took out of a list, as an order revoked it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemovedEntry {
    list: Reference,
    version: u64,
    /// Of the entry as signed, in hexadecimal. It is salted, so that it tells nothing of the entry.
    digest: String,
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
#[serde(from = "MemoryFields", into = "MemoryFields")]
pub struct DeviceMemory {
    /// When it began: Unix seconds; 0 before the first observation.
    since: i64,
    /// How often what must not be forgotten has changed.
    changes: u64,
    /// Unix seconds; 0 before the first observation.
    last_seen: i64,
    /// Of the newest trust file that was in use.
    trust_serial: u64,
    lists: Vec<AcceptedList>,
    stopped: Stopped,
    /// Why entries are missing in lists that were signed with them.
    removed: Vec<RemovedEntry>,
    /// Faces that passed; `None` where none did.
    faces: Option<DayCounts>,
}

/// The state file's fields.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemoryFields {
    #[serde(default)]
    since: i64,
    #[serde(default)]
    changes: u64,
    last_seen: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    trust_serial: u64,
    lists: Vec<AcceptedList>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked: Vec<Revocation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    suspended: Vec<Suspension>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    full: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    removed: Vec<RemovedEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    faces: Option<DayCounts>,
}

fn is_zero(serial: &u64) -> bool {
    *serial == 0
}

impl From<MemoryFields> for DeviceMemory {
    fn from(written: MemoryFields) -> Self {
        let MemoryFields {
            since,
            changes,
            last_seen,
            trust_serial,
            lists,
            revoked,
            suspended,
            full,
            removed,
            faces,
        } = written;
        let stopped = Stopped { revoked, suspended, full };
        Self { since, changes, last_seen, trust_serial, lists, stopped, removed, faces }
    }
}

impl From<DeviceMemory> for MemoryFields {
    fn from(memory: DeviceMemory) -> Self {
        let DeviceMemory {
            since,
            changes,
            last_seen,
            trust_serial,
            lists,
            stopped,
            removed,
            faces,
        } = memory;
        let Stopped { revoked, suspended, full } = stopped;
        Self {
            since,
            changes,
            last_seen,
            trust_serial,
            lists,
            revoked,
            suspended,
            full,
            removed,
            faces,
        }
    }
}

impl DeviceMemory {
    /// Reads the state; `None` where there is no file.
    ///
    /// # Errors
    /// Where the file cannot be read or is damaged.
    pub fn load(path: &Path) -> Result<Option<Self>, MemoryError> {
        let damaged = |what| MemoryError::Damaged { path: path.display().to_string(), what };
        let bytes = match read_bytes(path, MAX_STATE_BYTES) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == ErrorKind::FileTooLarge => return Err(damaged(e.to_string())),
            other => other.map_err(FileError::at("read the state", path))?,
        };
        Self::parse(&bytes).map(Some).map_err(damaged)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut state: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if state.lists.len() > MAX_LISTS {
            return Err(format!("more than {MAX_LISTS} lists"));
        }
        if state.removed.len() > MAX_REMOVED {
            return Err(format!("more than {MAX_REMOVED} removed entries"));
        }
        state.stopped.check()?;
        if OffsetDateTime::from_unix_timestamp(state.last_seen).is_err() {
            return Err("a time that does not exist".into());
        }
        Ok(state)
    }

    /// Writes the state atomically.
    ///
    /// # Errors
    /// Where it or its directory cannot be made. The old file is then untouched.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let mut text =
            serde_json::to_vec_pretty(self).expect("numbers and short strings always serialise");
        text.push(b'\n');
        // A device's first start: nobody has made the directory yet.
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(FileError::at("make the directory of", path))?;
        }
        replace(path, &text)
    }

    /// When this memory began; `None` before the first observation.
    pub fn since(&self) -> Option<OffsetDateTime> {
        (self.since > 0).then(|| OffsetDateTime::from_unix_timestamp(self.since).ok()).flatten()
    }

    /// How often what must not be forgotten has changed: a lower number than before is an older
    /// memory that was put back.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Counts a change of what must not be forgotten, compared with `before`; whether there is one.
    pub fn count_change(&mut self, before: Option<&Self>) -> bool {
        let same = |b: &Self| {
            (&b.lists, &b.stopped, &b.removed, b.trust_serial)
                == (&self.lists, &self.stopped, &self.removed, self.trust_serial)
        };
        let changed = !before.is_some_and(same);
        self.changes += u64::from(changed);
        changed
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

    /// Whether any list was accepted that is still remembered.
    pub fn has_had_lists(&self) -> bool {
        !self.lists.is_empty()
    }

    /// Whether something was revoked by the order of this id, in hexadecimal.
    pub fn knows_revocation(&self, order: &str) -> bool {
        self.stopped.revoked_by_order(order)
    }

    /// The highest version of the list `id` that was accepted.
    pub fn highest(&self, id: &str) -> Option<u64> {
        self.lists.iter().find(|s| s.id.as_str() == id).map(|s| s.version)
    }

    /// Notes that it is `now`; call it only with a clock that
    /// [`clock_trust`](super::clock::clock_trust) trusts. True where
    /// the state has become worth saving.
    pub fn observe(&mut self, now: OffsetDateTime) -> bool {
        let due = self.is_due(now);
        if due {
            self.last_seen = now.unix_timestamp();
        }
        if self.since == 0 {
            self.since = self.last_seen;
        }
        due
    }

    /// Until when something that the device has had could be valid, given that the keys are valid
    /// until `keys`. Nothing is gained by remembering a later time, and a clock that once showed
    /// one would otherwise blind the device until then.
    pub fn plausible_until(&self, keys: OffsetDateTime) -> OffsetDateTime {
        let lists = self.lists.iter().map(|l| l.expires).max();
        let lists = lists.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        lists.map_or(keys, |lists| lists.min(keys))
    }

    /// Notes `now`, however little time has passed; at the end of a process.
    pub fn observe_at_stop(&mut self, now: OffsetDateTime) {
        self.last_seen = self.last_seen.max(now.unix_timestamp());
    }

    /// Faces that passed, as kept last; `None` where none did.
    pub fn faces(&self) -> Option<&DayCounts> {
        self.faces.as_ref()
    }

    /// Keeps how many faces have passed.
    pub fn keep_faces(&mut self, counts: DayCounts) {
        self.faces = Some(counts);
    }

    /// Forgets the last time seen, as those who sign vouch that it is `from` at least. Versions,
    /// revocations and suspensions stay.
    pub fn reset_clock(&mut self, from: OffsetDateTime) {
        self.last_seen = from.unix_timestamp().max(0);
    }

    fn is_due(&self, now: OffsetDateTime) -> bool {
        now.unix_timestamp() >= self.last_seen.saturating_add(OBSERVE_EVERY.whole_seconds())
    }

    /// Remembers `list`, unless the device has had a newer one.
    ///
    /// # Errors
    /// [`Refusal::Revoked`] for a revoked one, [`Refusal::EntriesMissing`] where entries are gone
    /// that this device did not take out itself, [`Refusal::RolledBack`] for an older version,
    /// [`Refusal::SameVersion`] for another content under the same version,
    /// [`Refusal::Promotion`] for one against the rule under which it was silent and
    /// [`Refusal::TooManyLists`] where there is no room; the state is then as before.
    pub fn admit(&mut self, list: &Watchlist, now: OffsetDateTime) -> Result<(), Refusal> {
        if let Some(through) = self.revoked_through(list.id())
            && list.version() <= through
        {
            return Err(Refusal::Revoked { id: list.id().clone(), version: list.version() });
        }
        let missing = self.unexplained(list);
        if missing > 0 {
            let (id, version) = (list.id().clone(), list.version());
            return Err(Refusal::EntriesMissing { id, version, missing });
        }
        let digest = hex(list.digest());
        let old = self.lists.iter().find(|s| s.id == *list.id());
        // That an old version came back is what is wrong with it, whatever rule it has.
        if let Some(old) = old {
            let (id, offered, highest) = (list.id().clone(), list.version(), old.version);
            if offered < highest {
                return Err(Refusal::RolledBack { id, offered, highest });
            }
            if offered == highest && digest != old.digest {
                return Err(Refusal::SameVersion { id, version: offered });
            }
        }
        let promotion = KnownRule::after(old.and_then(|old| old.promotion), list, now)?;
        self.removed.retain(|r| r.list != *list.id() || r.version >= list.version());
        let new = AcceptedList {
            id: list.id().clone(),
            version: list.version(),
            digest,
            // The list's own expiry: that of the trust file can be moved by the next one.
            expires: list.own_expiry().unix_timestamp(),
            promotion,
        };
        if let Some(old) = self.lists.iter_mut().find(|s| s.id == new.id) {
            // An older version may live longer than the new one, so the memory lasts as long as the
            // longest.
            *old = AcceptedList { expires: old.expires.max(new.expires), ..new };
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

    /// How many entries are gone from `list` that this device has not taken out itself. A signature
    /// vouches for each entry that is there, and anybody can take one out. That somebody was
    /// revoked explains nothing: who a missing entry was, only its digest tells.
    fn unexplained(&self, list: &Watchlist) -> usize {
        let known: HashSet<&str> = self
            .removed
            .iter()
            .filter(|r| r.list == *list.id() && r.version == list.version())
            .map(|r| r.digest.as_str())
            .collect();
        list.removed()
            .iter()
            .filter(|digest| !known.contains(hex(digest.as_slice()).as_str()))
            .count()
    }

    /// Remembers that the device takes the entries of these digests out of version `version` of
    /// the list `list`; to be stored before it does. False where there is no room for them.
    #[must_use]
    pub fn take_out(&mut self, list: &Reference, version: u64, digests: &[[u8; 32]]) -> bool {
        for digest in digests {
            let digest = hex(digest);
            let new = RemovedEntry { list: list.clone(), version, digest };
            if self.removed.contains(&new) {
                continue;
            }
            if self.removed.len() >= MAX_REMOVED {
                return false;
            }
            self.removed.push(new);
        }
        true
    }

    /// The rule for coming into force of the list `id`, where it was taken under one.
    pub fn promotion(&self, id: &str) -> Option<&KnownRule> {
        self.lists.iter().find(|s| s.id.as_str() == id)?.promotion.as_ref()
    }

    /// Whether the device has had this very content under this version.
    pub fn has_had(&self, list: &Watchlist) -> bool {
        let digest = hex(list.digest());
        let same = |s: &AcceptedList| s.id == *list.id() && s.version == list.version();
        self.lists.iter().any(|s| same(s) && s.digest == digest)
    }

    /// The last version of the list `id` that was revoked as a whole.
    pub fn revoked_through(&self, id: &str) -> Option<u64> {
        self.stopped.revoked_through(id)
    }

    /// The list that was revoked last of those that the device has had, with the order's id where
    /// that is known, where each of them was revoked: why there is no list. Of a device that has
    /// had none in force, the list that was revoked last: it may have lain there unused.
    pub fn withdrawn(&self) -> Option<(&Reference, Option<&str>)> {
        if self.lists.is_empty() {
            return self.stopped.last_revoked();
        }
        let revoked = |list: &AcceptedList| {
            self.revoked_through(&list.id).is_some_and(|through| list.version <= through)
        };
        let last = self.lists.last().filter(|_| self.lists.iter().all(revoked))?;
        Some((&last.id, self.stopped.revoked_by(&last.id, last.version)))
    }

    /// Whether entries were revoked one by one.
    pub fn revokes_entries(&self) -> bool {
        self.stopped.revokes_entries()
    }

    /// The entries of version `version` of the list `id` that were revoked one by one.
    pub fn revoked_entries(&self, id: &str, version: u64) -> impl Iterator<Item = &Reference> {
        self.stopped.revoked_entries(id, version)
    }

    /// Whether more lists were revoked than can be remembered: nothing may be matched.
    pub fn is_full(&self) -> bool {
        self.stopped.is_full()
    }

    /// Until when nobody may be matched, where that is so at `now`.
    pub fn suspended_until(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let until = self.stopped.suspended_until(now.unix_timestamp())?;
        OffsetDateTime::from_unix_timestamp(until).ok()
    }

    /// Remembers what `order` stops on `device` at `position`. What finds no room stops more, never
    /// less; see [`DeviceMemory::is_full`].
    pub fn obey(
        &mut self,
        order: &VerifiedOrder,
        device: &str,
        position: Option<Position>,
    ) -> Obeyed {
        if !order.action().concerns(device, position) {
            return Obeyed::NotForUs;
        }
        let id = order.id().to_string();
        let new = self.stopped.stop(order.action(), self.last_seen, &id);
        if new { Obeyed::Now } else { Obeyed::Before }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{DEVICE, EMBEDDER, content, now, trust};
    use super::super::order::Action;
    use super::super::removal;
    use super::super::tampering::signed;
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
        let mut state = DeviceMemory::default();
        state.admit(&list(6), now()).unwrap();
        state.admit(&list(7), now()).unwrap();
        state.save(&path).unwrap();
        let mut state = DeviceMemory::load(&path).unwrap().unwrap();
        let refused = state.admit(&list(6), now()).unwrap_err();
        assert!(matches!(refused, Refusal::RolledBack { offered: 6, highest: 7, .. }), "{refused}");
        assert_eq!((state.admit(&list(7), now()), state.highest("north-gate")), (Ok(()), Some(7)));
    }

    #[test]
    fn why_there_is_no_list_is_known_where_each_one_was_revoked() {
        let mut state = DeviceMemory::default();
        assert_eq!(state.withdrawn(), None);
        let other: Reference = "elsewhere".parse().unwrap();
        let revoke =
            |list: &Reference| Action::Revoke { list: list.clone(), through: 7, entry: None };
        state.stopped.stop(&revoke(&other), 0, "01");
        assert_eq!(state.withdrawn(), Some((&other, Some("01"))), "it may have lain there unused");
        state.admit(&list(7), now()).unwrap();
        assert_eq!(state.withdrawn(), None, "a list that is not revoked is only missing");
        let ours = list(7).id().clone();
        state.stopped.stop(&revoke(&ours), 0, "02");
        assert_eq!(state.withdrawn(), Some((&ours, Some("02"))));
    }

    #[test]
    fn an_older_trust_file_never_comes_back_either() {
        let mut state = DeviceMemory::default();
        state.trust(0).unwrap();
        state.trust(4).unwrap();
        assert_eq!(state.trust(4), Ok(()));
        assert_eq!(state.trust(3), Err(Refusal::TrustRolledBack { serial: 3, highest: 4 }));
        assert_eq!(state.trust_serial(), 4);
    }

    #[test]
    fn the_same_version_with_another_content_is_refused_and_with_more_signatures_accepted() {
        let mut state = DeviceMemory::default();
        state.admit(&list(7), now()).unwrap();
        let more =
            verify(&signed(&content(2), &[1, 2, 3]), &trust(), now(), DEVICE, &EMBEDDER).unwrap();
        assert_eq!(state.admit(&more, now()), Ok(()));
        let other =
            verify(&signed(&content(3), &[1, 2]), &trust(), now(), DEVICE, &EMBEDDER).unwrap();
        assert!(matches!(state.admit(&other, now()), Err(Refusal::SameVersion { version: 7, .. })));
    }

    #[test]
    fn an_entry_that_is_gone_without_a_revocation_refuses_the_list() {
        let bytes = signed(&content(4), &[1, 2]);
        let without = |gone: &str| {
            let reduced = removal::without(&bytes, |r| r.as_str() == gone).unwrap().unwrap();
            let list = verify(&reduced.parts.concat(), &trust(), now(), DEVICE, &EMBEDDER).unwrap();
            assert_eq!(list.removed(), reduced.gone);
            list
        };
        let mut state = DeviceMemory::default();
        let missing = |state: &mut DeviceMemory, gone| match state.admit(&without(gone), now()) {
            Ok(()) => 0,
            Err(Refusal::EntriesMissing { missing, .. }) => missing,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(missing(&mut state, "case-2"), 1);
        // Neither the revocation of that very entry nor that of one the list never had is enough.
        let list: Reference = "north-gate".parse().unwrap();
        for entry in ["case-2", "case-99"] {
            let (list, entry) = (list.clone(), Some(entry.parse().unwrap()));
            state.stopped.stop(&Action::Revoke { list, through: 7, entry }, 0, "07");
            assert_eq!(missing(&mut state, "case-2"), 1, "nobody says that it was that one");
        }
        assert!(state.take_out(&list, 7, without("case-2").removed()));
        assert_eq!(missing(&mut state, "case-2"), 0, "taken out here");
        assert_eq!(missing(&mut state, "case-1"), 1, "another one");
        let read: DeviceMemory =
            serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        assert_eq!(read, state);
        // What explains one version explains no other.
        state.admit(&self::list(8), now()).unwrap();
        assert!(state.removed.is_empty());
    }

    #[test]
    fn a_memory_that_is_full_of_removed_entries_takes_no_more() {
        let mut state = DeviceMemory::default();
        let list: Reference = "north-gate".parse().unwrap();
        let digest = |n: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            digest
        };
        assert!((0..MAX_REMOVED).all(|n| state.take_out(&list, 7, &[digest(n)])));
        assert!(state.take_out(&list, 7, &[digest(0)]), "known");
        assert!(!state.take_out(&list, 7, &[digest(MAX_REMOVED)]));
        let written = serde_json::to_vec_pretty(&state).unwrap().len() as u64;
        assert!(2 * written < MAX_STATE_BYTES, "{written}");
    }

    #[test]
    fn only_expired_lists_make_room_in_the_memory() {
        let mut state = DeviceMemory::default();
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
    fn a_missing_state_is_a_first_start_and_a_damaged_one_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert_eq!(DeviceMemory::load(&path).unwrap(), None);
        let mut state = DeviceMemory::default();
        state.admit(&list(7), now()).unwrap();
        state.save(&path).unwrap();
        assert_eq!(DeviceMemory::load(&path).unwrap(), Some(state));
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() - 2 {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(matches!(DeviceMemory::load(&path), Err(MemoryError::Damaged { .. })), "{cut}");
        }
    }

    #[test]
    fn a_state_file_of_an_earlier_version_is_read_and_one_with_an_unknown_field_is_damaged() {
        let of = |fields: &str| {
            DeviceMemory::parse(format!(r#"{{"last_seen":1,"lists":[]{fields}}}"#).as_bytes())
        };
        let suspended =
            r#","suspended":[{"order":"ab","from":5,"to":9},{"order":"cd","from":1,"to":6}]"#;
        let read = of(suspended).unwrap();
        let at = |s| OffsetDateTime::from_unix_timestamp(s).unwrap();
        assert_eq!(read.suspended_until(at(1)), Some(at(9)));
        assert!(of(r#","full":true"#).unwrap().is_full());
        assert!(
            of(r#","fulll":true"#).is_err() && of(r#","suspended":[{"from":5,"to":5}]"#).is_err()
        );
    }

    #[test]
    fn the_first_save_makes_the_directory_and_nobody_else_can_look_into_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib/watchpost/state.json");
        DeviceMemory::default().save(&path).unwrap();
        assert_eq!(DeviceMemory::load(&path).unwrap(), Some(DeviceMemory::default()));
        assert_eq!(
            fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn time_is_remembered_rarely_and_never_backwards() {
        let mut state = DeviceMemory::default();
        assert_eq!(state.last_seen(), None);
        assert!(state.observe(now()));
        assert!(!state.observe(now() + Duration::minutes(9)));
        assert!(!state.observe(now() - Duration::days(1)));
        assert!(state.observe(now() + Duration::minutes(10)));
        assert_eq!(state.last_seen(), Some(now() + Duration::minutes(10)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_state_parser_panic(bytes: Vec<u8>) {
            let _ = DeviceMemory::parse(&bytes);
        }
    }
}
