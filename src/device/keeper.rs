//! From files to a list in force, and the watch over the clock while it is.
//!
//! Everything that is not a clear yes is a [`Blindness`]: a missing, unsigned, altered, expired or
//! older list, one for another device or another embedder, one whose budget cannot be met, a clock
//! that went back or that nothing keeps right.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use log::{error, info, warn};

use super::vault::{Opened, Vault};
use crate::cause::Cause;
use crate::clock::Now;
use crate::config::Config;
use crate::decision::budget::{CurvePoint, FalseMatchCurve};
use crate::decision::policy::{Blindness, Force};
use crate::files::replace;
use crate::vision::Models;
use crate::watchlist::clock::{ClockTrust, clock_trust, kernel_synchronised};
use crate::watchlist::memory::{DeviceMemory, Obeyed};
use crate::watchlist::order::{self, OrderError, VerifiedOrder};
use crate::watchlist::rotation;
use crate::watchlist::text::stamp;
use crate::watchlist::trust::TrustError;
use crate::watchlist::{Reference, Refusal, Trust, WatchlistConfig, verify};

/// What to do where templates cannot be locked.
const LOCK: &str = Cause::MemoryNotLocked.remedy();
/// How often the clock is judged while running.
const JUDGE_EVERY: Duration = Duration::from_secs(5);

/// The curve that the embedder was measured with, in the decision's terms.
///
/// # Errors
/// Where the manifest carries none or a broken one: without a measured curve no budget can be kept.
pub fn curve(models: &Models) -> Result<FalseMatchCurve, Blindness> {
    let embedder = &models.manifest.embedder;
    let points = embedder
        .false_match
        .iter()
        .map(|p| CurvePoint { threshold: p.threshold, fmr_upper: p.fmr_upper })
        .collect();
    FalseMatchCurve::new(points, embedder.worst_group_factor)
        .map_err(|error| Blindness::new(Cause::NoFalseMatchCurve, error))
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

/// The device's memory over restarts, and what follows from it: which list may come into force,
/// whether the clock may be believed. The only one who writes the state file.
pub struct Keeper {
    state: Result<DeviceMemory, Blindness>,
    path: PathBuf,
    vault: Vault,
    require_synchronised: bool,
    judged: Option<(Duration, Result<(), Blindness>)>,
    /// The configured list was not read because the clock could not be believed.
    unread: bool,
}

impl Keeper {
    /// Reads what the device remembers.
    pub fn new(config: &WatchlistConfig) -> Self {
        Self {
            state: DeviceMemory::load(&config.state)
                .map_err(|error| Blindness::new(Cause::DamagedState, error)),
            path: config.state.clone(),
            vault: Vault::new(config),
            require_synchronised: config.require_synchronised_clock,
            judged: None,
            unread: false,
        }
    }

    /// Where the list lies.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Whether the clock may be believed, as judged within the last five seconds.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn judge(&mut self, now: Now) -> Result<(), Blindness> {
        if let Some((at, verdict)) = &self.judged
            && now.monotonic.saturating_sub(*at) < JUDGE_EVERY
        {
            return verdict.clone();
        }
        let verdict = self.judge_anew(now);
        self.judged = Some((now.monotonic, verdict.clone()));
        verdict
    }

    fn judge_anew(&mut self, now: Now) -> Result<(), Blindness> {
        self.clock_verdict(now)?;
        let state = self.state.as_mut().map_err(|blindness| blindness.clone())?;
        if state.observe(now.wall)
            && let Err(error) = state.save(&self.path)
        {
            // Matching may go on: what is lost is the memory of the last minutes over a restart.
            warn!("The last time seen cannot be stored: {error}.");
        }
        Ok(())
    }

    /// As [`Keeper::judge`], but at once and without remembering anything: for commands that only
    /// look.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn clock_verdict(&self, now: Now) -> Result<(), Blindness> {
        let state = self.state.as_ref().map_err(|blindness| blindness.clone())?;
        let synchronised = !self.require_synchronised || kernel_synchronised();
        match clock_trust(now.wall, state.last_seen(), synchronised) {
            ClockTrust::Trusted => {}
            ClockTrust::Unsynchronised => {
                return Err(Blindness::new(
                    Cause::Unsynchronised,
                    "the kernel says that nothing keeps its clock right; start a time service, or \
                     set watchlist.require_synchronised_clock = false where somebody else answers \
                     for the clock",
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
        self.judge(now)?;
        let state = self.state.as_ref().map_err(Clone::clone)?;
        match state.suspended_until(now.wall) {
            None => Ok(()),
            Some(until) => Err(Blindness::new(
                Cause::Suspended,
                format_args!("matching is suspended until {}; it goes on by itself", stamp(&until)),
            )),
        }
    }

    /// Verifies an order and remembers what it stops. Where the memory cannot be written it is
    /// followed all the same, until the next restart.
    ///
    /// # Errors
    /// Why it is not followed.
    pub fn obey(
        &mut self,
        bytes: &[u8],
        config: &Config,
        now: Now,
    ) -> Result<(VerifiedOrder, Obeyed), NotObeyed> {
        let w = &config.watchlist;
        // Where rotations cannot be followed the pinned keys may still stop.
        let trust = self.trust(w).or_else(|_| Trust::open(&w.trust))?;
        let order = order::verify(bytes, &trust, now.wall)?;
        // Without a memory nothing is matched anyway, and the order can still wipe.
        let Ok(state) = &mut self.state else { return Ok((order, Obeyed::Now)) };
        let obeyed = state.obey(&order, now.wall, &config.device.id, w.position)?;
        if obeyed == Obeyed::Now
            && let Err(error) = state.save(&self.path)
        {
            error!(
                "An order is followed but cannot be remembered over a restart: order={} \
                 error={error}.",
                order.id()
            );
        }
        Ok((order, obeyed))
    }

    /// Opens and verifies an offered list, checks that it could come into force, and stores it as
    /// it came in place of the one before.
    ///
    /// # Errors
    /// Why not; the list before stays in force and on the disk.
    pub fn install(
        &mut self,
        offered: &[u8],
        config: &Config,
        models: &Models,
        now: Now,
    ) -> Result<Force, Blindness> {
        self.judge(now)?;
        let (force, state) = self.try_out(self.vault.open(offered)?, config, models, now)?;
        let failed = |error| Blindness::new(Cause::StateNotStored, error);
        // In this order a power cut leaves the new list with the old memory, which is consistent.
        replace(&config.watchlist.list, offered).map_err(failed)?;
        state.save(&self.path).map_err(failed)?;
        self.state = Ok(state);
        self.remove_revoked();
        Ok(force)
    }

    /// Opens, verifies and enacts the configured list, unless the clock forbids it, and remembers
    /// its version. What of it was revoked, and is there all the same, is destroyed on the disk.
    ///
    /// # Errors
    /// Why nobody can be matched.
    pub fn load(&mut self, config: &Config, models: &Models, now: Now) -> Result<Force, Blindness> {
        let judged = self.judge(now);
        self.unread = judged.is_err();
        judged?;
        let before = self.state.clone();
        let force = match self.examine(config, models, now) {
            Ok(force) => force,
            Err(blindness) => {
                if blindness.cause == Cause::Revoked
                    && let Err(error) = self.vault.destroy()
                {
                    error!(
                        "The revoked list is not used, but its file could not be destroyed; \
                         remove it: {error}."
                    );
                }
                return Err(blindness);
            }
        };
        if self.state != before
            && let Ok(state) = &self.state
        {
            // A list whose version cannot be remembered could be rolled back later.
            state.save(&self.path).map_err(|error| Blindness::new(Cause::StateNotStored, error))?;
        }
        self.remove_revoked();
        Ok(force)
    }

    /// Whether a list that [`Keeper::load`] left unread because of the clock can be read now: a
    /// board without a battery for its clock starts with a wrong one and hears the time later.
    pub fn may_load_now(&mut self, now: Now) -> bool {
        self.unread && self.judge(now).is_ok()
    }

    /// As [`Keeper::load`], but stores nothing: for `watchpost check`, which may run as another
    /// user.
    ///
    /// # Errors
    /// Why nobody could be matched.
    pub fn examine(
        &mut self,
        config: &Config,
        models: &Models,
        now: Now,
    ) -> Result<Force, Blindness> {
        self.clock_verdict(now)?;
        let (force, state) = self.try_out(self.vault.stored()?, config, models, now)?;
        self.state = Ok(state);
        Ok(force)
    }

    /// Removes from the stored list what was revoked of it one by one, whether it is in force or
    /// not.
    pub fn remove_revoked(&self) {
        let Ok(state) = &self.state else { return };
        if !state.revokes_entries() {
            return;
        }
        let gone = |list: &Reference, version, entry: &Reference| {
            state.revoked_entries(list, version).any(|revoked| revoked == entry)
        };
        match self.vault.remove(gone) {
            Ok(0) => {}
            Ok(removed) => {
                info!("Revoked entries were removed from the stored list: removed={removed}.")
            }
            Err(blindness) => error!(
                "Revoked entries are matched no more, but may still be in the stored list: \
                 reason={} {}.",
                blindness.cause, blindness.reason
            ),
        }
    }

    /// The keys that are believed now: the pinned ones, or those that followed them.
    ///
    /// # Errors
    /// Where a file cannot be used, or newer keys were in use before.
    fn trust(&self, w: &WatchlistConfig) -> Result<Trust, Blindness> {
        let pinned =
            Trust::open(&w.trust).map_err(|error| Blindness::new(Cause::NoTrust, error))?;
        let (trust, _) = rotation::follow(pinned, &kept_rotations(w)?)?;
        // Where the memory is damaged nothing is matched for that reason.
        if let Ok(state) = &self.state {
            state.clone().trust(trust.serial())?;
        }
        Ok(trust)
    }

    /// Verifies a rotation of the keys and keeps it; the serial that is in use from now on.
    ///
    /// # Errors
    /// Why not; the keys before are still in use.
    pub fn rotate(&mut self, bytes: &[u8], config: &Config, now: Now) -> Result<u64, Blindness> {
        self.judge(now)?;
        let w = &config.watchlist;
        let new = rotation::rotate(&self.trust(w)?, bytes)?;
        if now.wall < new.valid_from() || now.wall >= new.valid_until() {
            let (from, until, now) = (new.valid_from(), new.valid_until(), now.wall);
            return Err(Refusal::TrustNotValid { from, until, now }.into());
        }
        let mut chain = kept_rotations(w)?;
        chain.extend_from_slice(bytes);
        let pinned =
            Trust::open(&w.trust).map_err(|error| Blindness::new(Cause::NoTrust, error))?;
        rotation::follow(pinned, &chain)?;
        let mut state = self.state.clone()?;
        state.trust(new.serial())?;
        let failed = |error| Blindness::new(Cause::StateNotStored, error);
        // In this order a power cut leaves the new keys with the old memory, which is consistent.
        replace(&w.rotations(), &chain).map_err(failed)?;
        state.save(&self.path).map_err(failed)?;
        self.state = Ok(state);
        Ok(new.serial())
    }

    /// The opened list as it would be in force, and the memory with it; changes nothing.
    fn try_out(
        &self,
        opened: Opened,
        config: &Config,
        models: &Models,
        now: Now,
    ) -> Result<(Force, DeviceMemory), Blindness> {
        let curve = curve(models)?;
        let w = &config.watchlist;
        let trust = self.trust(w)?;
        let embedder = &models.manifest.embedder.sha256.0;
        let list = verify(&opened.bytes, &trust, now.wall, &config.device.id, embedder)?;
        let mut state = self.state.clone()?;
        state.trust(trust.serial())?;
        state.admit(&list, now.wall)?;
        let mut force = Force::enact(list, &curve, &config.decision, w.position)?;
        if !(opened.bytes.is_locked() && force.gallery().is_locked()) {
            let size = opened.bytes.len().div_ceil(1024);
            if w.require_locked_memory {
                return Err(Blindness::new(
                    Cause::MemoryNotLocked,
                    format_args!(
                        "the list's templates ({size} kB and as much again while it is read) \
                         cannot be locked in memory; {LOCK}, or set \
                         watchlist.require_locked_memory = false where swap is encrypted or absent"
                    ),
                ));
            }
            warn!(
                "The list's templates are not locked in memory and may reach swap; {LOCK}: \
                 kilobytes={size}."
            );
        }
        let (id, version) = (force.list().id().clone(), force.list().version());
        for entry in state.revoked_entries(&id, version) {
            force.revoke(entry);
        }
        Ok((force, state))
    }
}

/// The rotations that the device keeps; none where there is no such file.
fn kept_rotations(w: &WatchlistConfig) -> Result<Vec<u8>, Blindness> {
    let path = w.rotations();
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&path)?.take(rotation::MAX_CHAIN as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Blindness::new(
            Cause::NoTrust,
            format_args!("cannot read the rotations of the pinned keys {}: {e}", path.display()),
        )),
    }
}

#[cfg(test)]
mod tests;
