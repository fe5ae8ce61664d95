//! What the device remembers over restarts, and whether its clock may be believed.
//!
//! * A clock that went back, or that nothing keeps right, is not believed.
//! * A damaged memory is no fresh start: nobody is matched until it is repaired.
//! * A state that is missing on a device that has run before, or is older than it has been, is a
//!   damaged one. When it began, and how often it has changed, is published.
//! * So is one that lacks what the device's own audit log says that it has followed, until it is
//!   heard again.
//! * Blocks are reserved for it, so that a disk that others fill does not keep orders from it.
//! * While an order is not on the disk that a restart would forget, nobody is matched, and writing
//!   it is tried again and again.
//! * One writer: the daemon. Commands that only look change nothing here.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{error, info, warn};
use time::OffsetDateTime;

use super::logged::{Gap, Logged};
use crate::cause::Cause;
use crate::clock::Now;
use crate::config::Config;
use crate::decision::policy::Blindness;
use crate::files::{FileError, read_text, replace};
use crate::watchlist::Reference;
use crate::watchlist::clock::{ClockTrust, HighWater, clock_trust, kernel_synchronised};
use crate::watchlist::memory::{DayCounts, DeviceMemory, MemoryError};
use crate::watchlist::text::stamp;

/// Bytes that are held for the state on a disk that is full: the new file and the one before.
const RESERVE: usize = 128 * 1024;

/// Most bytes of the file beside the list.
const MAX_SEEN: u64 = 64;

/// How many changes the state has had, as it says beside the list.
fn changes_seen(path: &Path) -> Option<u64> {
    match read_text(path, MAX_SEEN) {
        Ok(text) => Some(text.trim().parse().unwrap_or(0)),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        // That it is there says enough.
        Err(_) => Some(0),
    }
}

/// Whether there is what only a device that has run before has.
fn ran_before(config: &Config) -> bool {
    let segments = config.broker.outbox_folder().map(fs::read_dir);
    let outbox = segments.is_some_and(|dir| {
        dir.is_ok_and(|mut files| {
            files.any(|f| f.is_ok_and(|f| f.path().extension().is_some_and(|e| e == "events")))
        })
    });
    // Both are written after a state was.
    let kept = [config.watchlist.rotations(), reserve_of(&config.watchlist.state)];
    outbox || kept.iter().any(|path| path.exists())
}

/// Where room for the state at `path` is held.
fn reserve_of(path: &Path) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(".reserve");
    path.into()
}

/// How long the last time seen may fail to be written before nobody is matched.
const UNSAVED_TIME: Duration = Duration::from_secs(600);
/// How often the clock is judged while running.
const JUDGE_EVERY: Duration = Duration::from_secs(5);

/// The state file, as it was read at the start and has changed since.
pub struct StateFile {
    memory: Result<DeviceMemory, Blindness>,
    /// As it is on the disk; `None` where nothing is.
    stored: Option<DeviceMemory>,
    /// Beside the list: how many changes the state has had, so that an older one is noticed.
    seen: PathBuf,
    path: PathBuf,
    require_synchronised: bool,
    judged: Option<(Duration, Result<(), Blindness>)>,
    /// Why what may not be forgotten is not on the disk.
    unsaved: Option<(Cause, String)>,
    /// Since when the last time seen is not on the disk.
    time_unsaved: Option<Duration>,
    high_water: HighWater,
    /// A later time is not remembered.
    plausible_until: Option<OffsetDateTime>,
    /// The file could not be read, and is tried again; since when (monotonic), where it was.
    unread: Option<Option<Duration>>,
    ran_before: bool,
    /// What the audit log has and the memory lacked when it was read.
    gaps: Vec<Gap>,
    logged: Logged,
}

impl StateFile {
    /// Reads what the device remembers.
    pub fn open(config: &Config) -> Self {
        let w = &config.watchlist;
        let logged = Logged::read(&config.audit.log);
        let (seen, ran_before) = (w.list_seen(), ran_before(config) || logged.ran_before());
        let read = Self::read(&w.state, &seen, ran_before);
        let (memory, unread) = match read {
            Ok(memory) => (memory, None),
            Err(error) => (Err(Blindness::new(Cause::DamagedState, error)), Some(None)),
        };
        let stored = memory.as_ref().ok().cloned().flatten();
        let gaps = stored.as_ref().map(|memory| logged.gaps(memory)).unwrap_or_default();
        Self {
            gaps,
            logged,
            memory: memory.map(Option::unwrap_or_default),
            stored,
            unread,
            ran_before,
            seen,
            path: w.state.clone(),
            require_synchronised: w.require_synchronised_clock,
            judged: None,
            unsaved: None,
            time_unsaved: None,
            high_water: HighWater::default(),
            plausible_until: None,
        }
    }

    /// What the file holds, or why that is not to be believed.
    ///
    /// # Errors
    /// Where the system does not give it.
    fn read(
        path: &Path,
        seen: &Path,
        ran_before: bool,
    ) -> Result<Result<Option<DeviceMemory>, Blindness>, FileError> {
        let damaged = |why: &dyn std::fmt::Display| Err(Blindness::new(Cause::DamagedState, why));
        let memory = match DeviceMemory::load(path) {
            Ok(memory) => memory,
            Err(MemoryError::File(error)) => return Err(error),
            Err(error) => return Ok(damaged(&error)),
        };
        Ok(match (memory, changes_seen(seen)) {
            (Some(memory), Some(changes)) if memory.changes() < changes => damaged(&format_args!(
                "the state file {} is older than it has been: {} changes where there were \
                 {changes}",
                path.display(),
                memory.changes()
            )),
            (Some(memory), _) => Ok(Some(memory)),
            (None, None) if !ran_before => Ok(None),
            (None, _) => damaged(&format_args!(
                "the state file {} is missing, and this device has run before",
                path.display()
            )),
        })
    }

    /// Reads a file again that the system did not give, as one does whose disk failed for a moment.
    /// Returns whether it was read.
    pub fn read_again(&mut self, now: Now) -> bool {
        let Some(tried) = self.unread else { return false };
        if tried.is_some_and(|at| now.monotonic.saturating_sub(at) < JUDGE_EVERY) {
            return false;
        }
        self.unread = Some(Some(now.monotonic));
        let Ok(memory) = Self::read(&self.path, &self.seen, self.ran_before) else { return false };
        self.unread = None;
        self.stored = memory.as_ref().ok().cloned().flatten();
        self.gaps = self.stored.as_ref().map(|m| self.logged.gaps(m)).unwrap_or_default();
        self.memory = memory.map(Option::unwrap_or_default);
        // What was said of the clock was said without it.
        self.judged = None;
        true
    }

    /// An order was followed that could not be remembered: only a restart, after which the broker
    /// sends it again, makes up for that.
    pub fn followed_without_memory(&mut self) {
        self.unread = None;
    }

    /// What is remembered.
    ///
    /// # Errors
    /// Where the file was damaged.
    pub fn memory(&self) -> Result<&DeviceMemory, Blindness> {
        self.memory.as_ref().map_err(Clone::clone)
    }

    /// The same, to be changed; [`StateFile::save`] makes the change last.
    ///
    /// # Errors
    /// Where the file was damaged.
    pub fn memory_mut(&mut self) -> Result<&mut DeviceMemory, Blindness> {
        self.memory.as_mut().map_err(|blindness| blindness.clone())
    }

    /// Remembers `memory` until the process ends.
    pub fn adopt(&mut self, memory: DeviceMemory) {
        self.memory = Ok(memory);
    }

    /// Writes what is remembered to the disk.
    ///
    /// # Errors
    /// Where it cannot be written. A damaged memory is left as it is.
    pub fn save(&mut self) -> Result<(), FileError> {
        let Ok(memory) = &self.memory else { return Ok(()) };
        let mut memory = memory.clone();
        let changed = memory.count_change(self.stored.as_ref());
        if let Err(error) = memory.save(&self.path) {
            let full =
                matches!(error.source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
            // What was set aside for this.
            if !full || fs::remove_file(self.reserve()).is_err() {
                return Err(error);
            }
            memory.save(&self.path)?;
        }
        self.keep_reserve();
        if changed && let Err(error) = replace(&self.seen, memory.changes().to_string().as_bytes())
        {
            warn!("An older state that is put back would not be noticed: {error}.");
        }
        self.stored = Some(memory.clone());
        self.memory = Ok(memory);
        Ok(())
    }

    /// Whether the memory has what the audit log says that the device has followed.
    ///
    /// # Errors
    /// What it lacks.
    fn fits_the_log(&self) -> Result<(), Blindness> {
        let memory = self.memory()?;
        match self.gaps.iter().find(|gap| !gap.is_filled(memory)) {
            None => Ok(()),
            Some(gap) => Err(Blindness::new(
                Cause::DamagedState,
                format_args!(
                    "the state file {} is older than it has been: the audit log has {gap}, and \
                     the state has not",
                    self.path.display()
                ),
            )),
        }
    }

    /// Whether the audit log says that this version of the list `id` exceeded its budget.
    pub fn logged_as_exceeded(&self, id: &Reference, version: u64) -> bool {
        self.logged.exceeded(id, version)
    }

    /// When the memory began, and how often what must not be forgotten has changed.
    pub fn age(&self) -> Option<(OffsetDateTime, u64)> {
        let memory = self.memory.as_ref().ok()?;
        Some((memory.since()?, memory.changes()))
    }

    fn reserve(&self) -> PathBuf {
        reserve_of(&self.path)
    }

    /// Holds blocks for the state on a disk that others fill. Where there is no room for that now
    /// it is tried again with the next write.
    fn keep_reserve(&self) {
        let path = self.reserve();
        if !path.exists()
            && let Err(error) = replace(&path, &[0x55; RESERVE])
        {
            warn!("No room can be reserved for the state: {error}.");
        }
    }

    /// Writes `memory` to the disk and remembers it.
    ///
    /// # Errors
    /// Where it cannot be written: then what was remembered before stays.
    pub fn store(&mut self, memory: DeviceMemory) -> Result<(), FileError> {
        let before = std::mem::replace(&mut self.memory, Ok(memory));
        self.save().inspect_err(|_| self.memory = before)
    }

    /// As [`StateFile::save`], of an order that may not be forgotten: where that fails nobody is
    /// matched until it has been written.
    pub fn save_order(&mut self) {
        self.save_or_hold(Cause::OrderNotStored);
    }

    /// Writes the state at the start, so that one that is missing later is noticed, and nobody is
    /// matched by a device that could not remember an order.
    pub fn begin(&mut self) {
        if self.memory.is_ok() {
            self.save_or_hold(Cause::StateNotStored);
        }
    }

    /// Keeps how many faces have passed; where that cannot be written nobody is matched until it
    /// is.
    pub fn keep_faces(&mut self, counts: DayCounts) {
        if let Ok(memory) = &mut self.memory {
            memory.keep_faces(counts);
            self.save_or_hold(Cause::StateNotStored);
        }
    }

    fn save_or_hold(&mut self, cause: Cause) {
        let failed = self.save().err().map(|e| e.to_string());
        match (&self.unsaved, &failed) {
            (None, Some(why)) => error!(
                "What may not be forgotten cannot be stored; nobody is matched until it is: \
                 cause={cause} error={why}."
            ),
            (Some(_), None) => info!("All that may not be forgotten is stored again."),
            _ => {}
        }
        self.unsaved = failed.map(|why| (cause, why));
    }

    /// Whether every order that is followed would survive a restart.
    pub fn is_stored(&self) -> bool {
        self.unsaved.is_none() && self.memory.is_ok()
    }

    /// Whether the clock may be believed, as judged within the last five seconds. The time is
    /// remembered.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn judge_clock(&mut self, now: Now) -> Result<(), Blindness> {
        if let Some((at, verdict)) = &self.judged
            && now.monotonic.saturating_sub(*at) < JUDGE_EVERY
        {
            return verdict.clone();
        }
        let verdict = self.judge_clock_anew(now);
        self.judged = Some((now.monotonic, verdict.clone()));
        if let Some((cause, _)) = self.unsaved {
            self.save_or_hold(cause);
        }
        verdict
    }

    fn judge_clock_anew(&mut self, now: Now) -> Result<(), Blindness> {
        self.clock_verdict(now)?;
        if !self.is_plausible(now) {
            return Ok(());
        }
        self.high_water.raise(now);
        let due = self.memory_mut()?.observe(now.wall);
        if !due && self.time_unsaved.is_none() {
            return Ok(());
        }
        match self.save() {
            Ok(()) => self.time_unsaved = None,
            Err(error) => {
                if self.time_unsaved.is_none() {
                    warn!("The last time seen cannot be stored: {error}.");
                }
                let since = *self.time_unsaved.get_or_insert(now.monotonic);
                // What a restart would forget is bounded as it is on a disk that works.
                if now.monotonic.saturating_sub(since) >= UNSAVED_TIME {
                    return Err(Blindness::new(Cause::StateNotStored, error));
                }
            }
        }
        Ok(())
    }

    /// Whether anything that the device has had is valid at `now`, or may be.
    fn is_plausible(&self, now: Now) -> bool {
        self.plausible_until.is_none_or(|until| now.wall < until)
    }

    /// Nothing that the device has had is valid after this time: a later one is not remembered.
    pub fn set_plausible_until(&mut self, until: OffsetDateTime) {
        self.plausible_until = Some(until);
    }

    /// Remembers the time at the end of the process, where the clock is believed.
    pub fn remember_time(&mut self, now: Now) {
        if self.clock_verdict(now).is_err() || !self.is_plausible(now) {
            return;
        }
        if let Ok(memory) = self.memory_mut() {
            memory.observe_at_stop(now.wall);
        }
        if let Err(error) = self.save() {
            warn!("The last time seen cannot be stored: {error}.");
        }
    }

    /// Judges the clock as if no time had been seen in this process.
    pub fn forget_times(&mut self) {
        self.high_water = HighWater::default();
        self.judged = None;
    }

    /// As [`StateFile::judge_clock`], but at once and without remembering anything: for commands
    /// that only look.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn clock_verdict(&self, now: Now) -> Result<(), Blindness> {
        let memory = self.memory()?;
        let synchronised = !self.require_synchronised || kernel_synchronised();
        let trust = match self.high_water.went_back(now) {
            Some(by) => ClockTrust::WentBack { by },
            None => clock_trust(now.wall, memory.last_seen(), synchronised),
        };
        match trust {
            ClockTrust::Trusted => {}
            ClockTrust::Unsynchronised => {
                return Err(Blindness::new(
                    Cause::Unsynchronised,
                    concat!(
                        "the kernel says that nothing keeps its clock right; start a time service, \
                         or set ",
                        setting!(watchlist.require_synchronised_clock),
                        " = false where somebody else answers for the clock"
                    ),
                ));
            }
            ClockTrust::WentBack { by } => {
                return Err(Blindness::new(
                    Cause::WentBack,
                    format_args!(
                        "the clock is {} earlier than it has been; correct it",
                        time::Duration::seconds(by.whole_seconds().max(1))
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Whether matching is allowed by the clock and by those who may suspend it.
    ///
    /// # Errors
    /// Why not.
    pub fn permits(&mut self, now: Now) -> Result<(), Blindness> {
        self.judge_clock(now)?;
        self.stopped(now)
    }

    /// As [`StateFile::permits`], of a clock that is believed, and without remembering anything:
    /// for commands that only look.
    ///
    /// # Errors
    /// Why not.
    pub fn stopped(&self, now: Now) -> Result<(), Blindness> {
        if let Some((cause, why)) = &self.unsaved {
            return Err(Blindness::new(*cause, format_args!("it cannot be stored: {why}")));
        }
        self.fits_the_log()?;
        if self.memory()?.is_full() {
            return Err(Blindness::new(
                Cause::TooManyOrders,
                "more lists were revoked on this device than it can remember",
            ));
        }
        match self.memory()?.suspended_until(now.wall) {
            None => Ok(()),
            Some(until) => Err(Blindness::new(
                Cause::Suspended,
                format_args!("matching is suspended until {}; it goes on by itself", stamp(&until)),
            )),
        }
    }
}
