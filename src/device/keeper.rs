//! Which list may come into force, which orders are followed, and which keys are believed.
//!
//! * Everything that is not a clear yes is a [`Blindness`]: a missing, unsigned, altered, expired
//!   or older list, one for another device or another embedder, one whose budget cannot be met, a
//!   clock that went back or that nothing keeps right.
//! * What it admits, follows or rotates is remembered before it takes effect, so that a restart
//!   leads to the same answer.
//! * Takes its settings once, when it is made.

use std::time::Duration;

use log::{error, info, warn};
use time::OffsetDateTime;

use super::judge::ListJudge;
use super::keys::TrustedKeys;
use super::state_file::StateFile;
use super::vault::{Opened, Vault};
use crate::backoff::{Backoff, NO_JITTER};
use crate::calibrate::origin::SiteKey;
use crate::cause::Cause;
use crate::clock::Now;
use crate::config::Config;
use crate::decision::policy::{ActiveList, Blindness};
use crate::vision::Models;
use crate::watchlist::memory::{DayCounts, DeviceMemory, Obeyed};
use crate::watchlist::order::{self, OrderError, VerifiedOrder};
use crate::watchlist::rotation;
use crate::watchlist::trust::TrustError;
use crate::watchlist::{Gallery, Reference, Refusal, Trust, Watchlist};

/// What to do where templates cannot be locked.
const LOCK: &str = Cause::MemoryNotLocked.remedy();

/// Nobody is matched because `list` was revoked, by `order` where its id is known.
pub(super) fn revoked(list: &Reference, order: Option<&str>) -> Blindness {
    let order = order.map(|id| format!(" (order {id})")).unwrap_or_default();
    let text = format!("the watch list {list} was revoked{order}; nobody may be matched with it");
    Blindness::new(Cause::Revoked, text)
}

/// Why an order is not followed.
#[derive(Debug, thiserror::Error)]
pub enum NotObeyed {
    /// Nobody can be believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Not an order, or not by whom it would have to be.
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// Why a list that was left unread can be read after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadOccasion {
    /// The clock is right: a board without a battery for its clock starts with a wrong one and
    /// hears the time later.
    ClockSet,
    /// The disk gave what the device remembers, which it had not given before.
    MemoryRead,
    /// The list or the keys were not valid yet, or no more by a clock that was wrong.
    TimeCame,
}

/// Whether a list that is refused for `cause` may be right later, with nothing else changed.
fn waits(cause: Cause) -> bool {
    matches!(cause, Cause::NotYetValid | Cause::Expired | Cause::TrustNotValid)
}

/// Most orders that are held until the state file can be read.
const MAX_UNREMEMBERED: usize = 64;

/// The only one who writes the list, the kept rotations and the state file.
pub struct Keeper {
    device: String,
    state: StateFile,
    vault: Vault,
    keys: TrustedKeys,
    /// Those that were read last.
    believed: Option<Trust>,
    judge: ListJudge,
    locked_memory: bool,
    /// Orders that were followed while the state file could not be read.
    unremembered: Vec<Vec<u8>>,
    /// The configured list was not read because the clock could not be believed.
    unread: bool,
    /// The list was refused for a reason that time alone may end; when it is looked at again
    /// (monotonic).
    untimely: Option<Duration>,
    /// What was revoked and is still on the disk, in words.
    left: Option<String>,
    removal: Backoff,
}

/// Time between two looks at a list whose time has not come, or is over by a clock that may be
/// wrong.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

impl Keeper {
    /// Reads what the device remembers and the key that opens lists.
    pub fn new(config: &Config, models: &Models) -> Self {
        let w = &config.watchlist;
        let vault = Vault::new(w);
        Self {
            device: config.device.id.clone(),
            state: StateFile::open(config),
            judge: ListJudge::of(config, models, vault.key().map(SiteKey::of)),
            vault,
            keys: TrustedKeys::new(w),
            believed: None,
            locked_memory: w.require_locked_memory,
            unremembered: Vec::new(),
            unread: false,
            untimely: None,
            left: None,
            removal: Backoff::new(Duration::from_secs(1), Duration::from_secs(600)),
        }
    }

    /// What the device is called.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Where the list lies.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Whether matching is allowed by the clock and by those who may suspend it.
    ///
    /// # Errors
    /// Why not.
    pub fn permits(&mut self, now: Now) -> Result<(), Blindness> {
        self.state.permits(now)
    }

    /// Whether the clock is believed.
    pub fn believes_clock(&mut self, now: Now) -> bool {
        self.state.judge_clock(now).is_ok()
    }

    /// The keys, for those who look at messages before they are verified.
    pub fn keys(&self) -> &TrustedKeys {
        &self.keys
    }

    /// Whether every order that is followed would survive a restart.
    pub fn is_stored(&self) -> bool {
        self.state.is_stored()
    }

    /// Verifies an order and remembers what it stops. Where the memory cannot be written it is
    /// followed all the same, and nobody is matched until it is written.
    ///
    /// # Errors
    /// Why it is not followed.
    pub fn obey(&mut self, bytes: &[u8], now: Now) -> Result<(VerifiedOrder, Obeyed), NotObeyed> {
        // Where rotations cannot be followed the pinned keys may still stop, and where no file can
        // be read those that were believed before.
        let read = self.trust().map_err(drop).or_else(|()| self.keys.pinned());
        let trust = match (read, &self.believed) {
            (Ok(trust), _) => trust,
            (Err(_), Some(before)) => before.clone(),
            (Err(error), None) => return Err(error.into()),
        };
        self.believed = Some(trust.clone());
        // A clock that is not believed ends no suspension.
        let order = if self.state.clock_verdict(now).is_ok() {
            order::verify(bytes, &trust, now.wall)?
        } else {
            order::authenticate(bytes, &trust)?
        };
        // Without a memory nothing is matched anyway, and the order can still wipe.
        let Ok(memory) = self.state.memory_mut() else {
            if self.unremembered.len() >= MAX_UNREMEMBERED {
                self.state.followed_without_memory();
            } else if !self.unremembered.iter().any(|order| order == bytes) {
                self.unremembered.push(bytes.to_vec());
            }
            return Ok((order, Obeyed::Now));
        };
        let (device, position) = (self.judge.device(), self.judge.position());
        let obeyed = memory.obey(&order, device, position);
        if obeyed == Obeyed::Now || !self.state.is_stored() {
            self.state.save_order();
        }
        Ok((order, obeyed))
    }

    /// Opens and verifies an offered list, checks that it could come into force, and stores it as
    /// it came in place of the one before.
    ///
    /// # Errors
    /// Why not; the list before stays in force and on the disk.
    pub fn install(&mut self, offered: &[u8], now: Now) -> Result<ActiveList, Blindness> {
        self.state.judge_clock(now)?;
        let (active, memory) = self.try_out(self.vault.open(offered)?, now)?;
        // The same content once more never replaces what is on the disk.
        if self.state.memory()?.has_had(active.list())
            && let Ok(stored) = self.vault.stored()
            && let Ok((stored, memory)) = self.try_out(stored, now)
            && stored.list().digest() == active.list().digest()
        {
            let failed = |error| Blindness::new(Cause::StateNotStored, error);
            self.state.store(memory).map_err(failed)?;
            return Ok(stored);
        }
        let failed = |error| Blindness::new(Cause::StateNotStored, error);
        // In this order a power cut leaves the new list with the old memory, which is consistent.
        self.vault.store(offered).map_err(failed)?;
        self.state.store(memory).map_err(failed)?;
        self.bound_time();
        self.remove_revoked();
        Ok(active)
    }

    /// Opens, verifies and enacts the configured list, unless the clock forbids it, and remembers
    /// its version. What of it was revoked, and is there all the same, is destroyed on the disk.
    ///
    /// # Errors
    /// Why nobody can be matched.
    pub fn load(&mut self, now: Now) -> Result<ActiveList, Blindness> {
        self.state.begin();
        self.remove_revoked();
        self.follow_keys(now);
        let judged = self.state.judge_clock(now);
        self.unread = judged.is_err();
        judged?;
        let before = self.state.memory().cloned();
        let active = match self.examine(now) {
            Ok(active) => active,
            Err(blindness) => {
                if blindness.cause == Cause::Revoked {
                    self.remove_revoked();
                }
                self.untimely = waits(blindness.cause).then(|| now.monotonic + LOOK_AGAIN);
                return Err(blindness);
            }
        };
        self.untimely = None;
        if self.state.memory().cloned() != before {
            // A list whose version cannot be remembered could be rolled back later.
            self.state.save().map_err(|error| Blindness::new(Cause::StateNotStored, error))?;
        }
        self.remove_revoked();
        self.bound_time();
        Ok(active)
    }

    /// Reads until when anything is valid, and resets the clock where a newer pinned file says so.
    fn follow_keys(&mut self, now: Now) {
        if let (Ok(trust), Ok(memory)) = (self.keys.current(), self.state.memory())
            && trust.resets_clock()
            && trust.serial() > memory.trust_serial()
            && (trust.valid_from()..trust.valid_until()).contains(&now.wall)
        {
            let mut memory = memory.clone();
            memory.reset_clock(trust.valid_from());
            if memory.trust(trust.serial()).is_ok() && self.state.store(memory).is_ok() {
                warn!("The latest time seen is forgotten, as the new keys say.");
                self.state.forget_times();
            }
        }
        self.bound_time();
    }

    fn bound_time(&mut self) {
        if let (Ok(trust), Ok(memory)) = (self.keys.current(), self.state.memory()) {
            let until = memory.plausible_until(trust.valid_until());
            self.state.set_plausible_until(until);
        }
    }

    /// When the memory began, and how often what must not be forgotten has changed.
    pub fn memory_age(&self) -> Option<(OffsetDateTime, u64)> {
        self.state.age()
    }

    /// Faces that passed before this process, as far as is remembered.
    pub fn faces(&self) -> Option<DayCounts> {
        self.state.memory().ok()?.faces().cloned()
    }

    /// Remembers how many faces have passed. Where that cannot be stored nobody is matched until it
    /// is.
    pub fn keep_faces(&mut self, counts: DayCounts) {
        self.state.keep_faces(counts);
    }

    /// Remembers the time at the end of the process.
    pub fn remember_time(&mut self, now: Now) {
        self.state.remember_time(now);
    }

    /// Why a list that [`Keeper::load`] left unread can be read now, if it can.
    pub fn may_load_now(&mut self, now: Now) -> Option<LoadOccasion> {
        if !self.state.read_again(now) {
            if self.unread {
                let clock_set = self.state.judge_clock(now).is_ok();
                return clock_set.then_some(LoadOccasion::ClockSet);
            }
            if self.untimely.is_none_or(|at| now.monotonic < at) {
                return None;
            }
            self.untimely = Some(now.monotonic + LOOK_AGAIN);
            // Asked first, so that a refusal which has not changed is not told again.
            let opened = self.vault.stored().ok()?;
            return self.try_out(opened, now).is_ok().then_some(LoadOccasion::TimeCame);
        }
        for order in std::mem::take(&mut self.unremembered) {
            if let Err(error) = self.obey(&order, now) {
                warn!("An order of before the state could be read is over: {error}.");
            }
        }
        Some(LoadOccasion::MemoryRead)
    }

    /// As [`Keeper::load`], but stores nothing: for `watchpost check`, which may run as another
    /// user.
    ///
    /// # Errors
    /// Why nobody could be matched.
    pub fn examine(&mut self, now: Now) -> Result<ActiveList, Blindness> {
        self.state.clock_verdict(now)?;
        let stored = self.vault.stored().map_err(|missing| self.withdrawn().unwrap_or(missing))?;
        let (active, memory) = self.try_out(stored, now)?;
        self.state.adopt(memory);
        Ok(active)
    }

    /// Why there is no list on the disk, where that is because it was revoked.
    pub(super) fn withdrawn(&self) -> Option<Blindness> {
        let memory = self.state.memory().ok()?;
        let (list, order) = memory.withdrawn().filter(|_| self.vault.is_empty())?;
        Some(revoked(list, order))
    }

    /// Destroys on the disk what was revoked: the stored list, or what was revoked of it one by
    /// one, whether it is in force or not; what is left of one that was being written; and in the
    /// inbox every list of which something was revoked. What cannot be destroyed is tried again
    /// ([`Keeper::remove_again`]).
    pub fn remove_revoked(&mut self) {
        let rest = self.vault.destroy_rest();
        let mut left: Vec<String> = rest.err().map(|error| error.to_string()).into_iter().collect();
        // Without a memory nothing is matched, and it is not known what was revoked.
        let memory = self.state.memory().cloned().unwrap_or_default();
        let whole = |list: &str, version| {
            memory.revoked_through(list).is_some_and(|through| version <= through)
        };
        let offered = self.vault.destroy_offered(|list, version| {
            whole(list, version) || memory.revoked_entries(list, version).next().is_some()
        });
        left.extend(offered.iter().map(ToString::to_string));
        let stored = self.vault.stored_identity();
        if stored.is_some_and(|(id, version)| whole(&id, version)) {
            left.extend(self.vault.destroy().err().map(|error| error.to_string()));
        } else if memory.revokes_entries() {
            left.extend(self.remove_entries(&memory).err().map(|blindness| blindness.to_string()));
        }
        self.left = (!left.is_empty()).then(|| left.join("; "));
        if let Some(left) = &self.left {
            error!(
                "What was revoked is used no more and is still on the disk; it is tried again: \
                 {left}."
            );
        }
    }

    fn remove_entries(&mut self, memory: &DeviceMemory) -> Result<(), Blindness> {
        let Self { vault, state, .. } = self;
        let gone = |list: &Reference, version, entry: &Reference| {
            memory.revoked_entries(list, version).any(|revoked| revoked == entry)
        };
        // First the memory: a list in which entries are missing that nobody remembers is refused.
        let remember = |list: &Reference, version, digests: &[[u8; 32]]| {
            let mut memory = state.memory()?.clone();
            if !memory.take_out(list, version, digests) {
                let full = "no more entries that were taken out of lists can be remembered";
                return Err(Blindness::new(Cause::TooManyOrders, full));
            }
            state.store(memory).map_err(|error| Blindness::new(Cause::StateNotStored, error))
        };
        let removed = vault.remove(gone, remember)?;
        if removed > 0 {
            info!("Revoked entries were removed from the stored list: removed={removed}.");
        }
        Ok(())
    }

    /// Tries again, at growing intervals, to destroy what was revoked and is still on the disk.
    pub fn remove_again(&mut self, now: Now) {
        if self.left.is_none() || !self.removal.left(now.monotonic).is_zero() {
            return;
        }
        self.remove_revoked();
        match self.left {
            Some(_) => self.removal.failed(now.monotonic, NO_JITTER),
            None => self.removal.reset(),
        }
    }

    /// What was revoked and is still on the disk, if anything, in words.
    pub fn left_on_disk(&self) -> Option<&str> {
        self.left.as_deref()
    }

    /// The keys that are believed now: the pinned ones, or those that followed them.
    ///
    /// # Errors
    /// Where a file cannot be used, or newer keys were in use before.
    pub fn trust(&self) -> Result<Trust, Blindness> {
        self.keys.believed(self.state.memory().ok())
    }

    /// Verifies a rotation of the keys and keeps it; the serial that is in use from now on.
    ///
    /// # Errors
    /// Why not; the keys before are still in use.
    pub fn rotate(&mut self, bytes: &[u8], now: Now) -> Result<u64, Blindness> {
        let new = rotation::rotate(&self.trust()?, bytes)?;
        // A wrong clock of before does not keep out what sets it right.
        if !new.resets_clock() {
            self.state.judge_clock(now)?;
        }
        if now.wall < new.valid_from() || now.wall >= new.valid_until() {
            let (from, until, now) = (new.valid_from(), new.valid_until(), now.wall);
            return Err(Refusal::TrustNotValid { from, until, now }.into());
        }
        let chain = self.keys.chain_with(bytes)?;
        let mut memory = self.state.memory()?.clone();
        memory.trust(new.serial())?;
        if new.resets_clock() {
            memory.reset_clock(new.valid_from());
        }
        let failed = |error| Blindness::new(Cause::StateNotStored, error);
        // In this order a power cut leaves the new keys with the old memory, which is consistent.
        self.keys.keep(&chain).map_err(failed)?;
        self.state.store(memory).map_err(failed)?;
        if new.resets_clock() {
            warn!("The latest time seen is forgotten, as the new keys say.");
            self.state.forget_times();
        }
        self.bound_time();
        Ok(new.serial())
    }

    /// The configured list for counting without matching, during a calibration: verified, and what
    /// was revoked of it wiped, but not held against its budget. Changes nothing.
    ///
    /// # Errors
    /// Why it may not be used.
    pub fn for_counting(&self, now: Now) -> Result<(Watchlist, Gallery), Blindness> {
        let opened = self.vault.stored()?;
        let mut list = self.judge.verified(&opened.bytes, &self.trust()?, now.wall)?;
        let mut memory = self.state.memory()?.clone();
        memory.admit(&list, now.wall)?;
        let Some(mut gallery) = list.take_gallery().filter(|g| g.templates() > 0) else {
            return Err(Blindness::new(Cause::EmptyList, "the watch list has no entry"));
        };
        for entry in memory.revoked_entries(list.id(), list.version()) {
            if let Some(position) = list.position(entry) {
                gallery.wipe(position);
            }
        }
        Ok((list, gallery))
    }

    /// The opened list as it would be in force, and the memory with it; changes nothing.
    fn try_out(&self, opened: Opened, now: Now) -> Result<(ActiveList, DeviceMemory), Blindness> {
        let trust = self.trust()?;
        let mut memory = self.state.memory()?.clone();
        memory.trust(trust.serial())?;
        let mut active = self.judge.judge(&opened.bytes, &trust, now.wall, |list| {
            memory.admit(list, now.wall)?;
            Ok(memory.promotion(list.id()).copied())
        })?;
        let (id, version) = (active.list().id(), active.list().version());
        if self.state.logged_as_exceeded(id, version) {
            return Err(Blindness::new(
                Cause::BudgetExceeded,
                format_args!(
                    "the audit log says that version {version} of the list {id} gave more false \
                     alerts than it may; this version is not used any more"
                ),
            ));
        }
        if !(opened.bytes.is_locked() && active.gallery().is_locked()) {
            let size = opened.bytes.len().div_ceil(1024);
            if self.locked_memory {
                return Err(Blindness::new(
                    Cause::MemoryNotLocked,
                    format_args!(
                        "the list's templates ({size} kB and as much again while it is read) \
                         cannot be locked in memory; {LOCK}, or set \
                         {key} = false where swap is encrypted or absent",
                        key = setting!(watchlist.require_locked_memory)
                    ),
                ));
            }
            warn!(
                "The list's templates are not locked in memory and may reach swap; {LOCK}: \
                 kilobytes={size}."
            );
        }
        let (id, version) = (active.list().id().clone(), active.list().version());
        for entry in memory.revoked_entries(&id, version) {
            active.revoke(entry);
        }
        Ok((active, memory))
    }
}

#[cfg(test)]
mod tests;
