//! What the device remembers over restarts, and whether its clock may be believed.
//!
//! * A clock that went back, or that nothing keeps right, is not believed.
//! * A damaged memory is no fresh start: nobody is matched until it is repaired.
//! * While an order is not on the disk that a restart would forget, nobody is matched, and writing
//!   it is tried again and again.
//! * One writer: the daemon. Commands that only look change nothing here.

use std::path::PathBuf;
use std::time::Duration;

use log::{error, info, warn};
use time::OffsetDateTime;

use crate::cause::Cause;
use crate::clock::Now;
use crate::decision::policy::Blindness;
use crate::files::FileError;
use crate::watchlist::WatchlistConfig;
use crate::watchlist::clock::{ClockTrust, HighWater, clock_trust, kernel_synchronised};
use crate::watchlist::memory::DeviceMemory;
use crate::watchlist::text::stamp;

/// How long the last time seen may fail to be written before nobody is matched.
const UNSAVED_TIME: Duration = Duration::from_secs(600);
/// How often the clock is judged while running.
const JUDGE_EVERY: Duration = Duration::from_secs(5);

/// The state file, as it was read at the start and has changed since.
pub struct StateFile {
    memory: Result<DeviceMemory, Blindness>,
    path: PathBuf,
    require_synchronised: bool,
    judged: Option<(Duration, Result<(), Blindness>)>,
    /// Why an order that is followed is not on the disk.
    unsaved: Option<String>,
    /// Since when the last time seen is not on the disk.
    time_unsaved: Option<Duration>,
    high_water: HighWater,
    /// A later time is not remembered.
    plausible_until: Option<OffsetDateTime>,
}

impl StateFile {
    /// Reads what the device remembers.
    pub fn open(config: &WatchlistConfig) -> Self {
        Self {
            memory: DeviceMemory::load(&config.state)
                .map_err(|error| Blindness::new(Cause::DamagedState, error)),
            path: config.state.clone(),
            require_synchronised: config.require_synchronised_clock,
            judged: None,
            unsaved: None,
            time_unsaved: None,
            high_water: HighWater::default(),
            plausible_until: None,
        }
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
    pub fn save(&self) -> Result<(), FileError> {
        self.memory.as_ref().map_or(Ok(()), |memory| memory.save(&self.path))
    }

    /// Writes `memory` to the disk and remembers it.
    ///
    /// # Errors
    /// Where it cannot be written: then what was remembered before stays.
    pub fn store(&mut self, memory: DeviceMemory) -> Result<(), FileError> {
        memory.save(&self.path)?;
        self.adopt(memory);
        Ok(())
    }

    /// As [`StateFile::save`], of an order that may not be forgotten: where that fails nobody is
    /// matched until it has been written.
    pub fn save_order(&mut self) {
        let failed = self.save().err().map(|e| e.to_string());
        match (&self.unsaved, &failed) {
            (None, Some(why)) => error!(
                "An order is followed and cannot be stored; nobody is matched until it is: \
                 error={why}."
            ),
            (Some(_), None) => info!("Every order that is followed is stored again."),
            _ => {}
        }
        self.unsaved = failed;
    }

    /// Whether every order that is followed would survive a restart.
    pub fn is_stored(&self) -> bool {
        self.unsaved.is_none()
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
        if self.unsaved.is_some() {
            self.save_order();
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
                    format_args!("the clock is {} earlier than it has been; correct it", by),
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
        if let Some(why) = &self.unsaved {
            return Err(Blindness::new(
                Cause::OrderNotStored,
                format_args!("an order that is followed cannot be stored: {why}"),
            ));
        }
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
