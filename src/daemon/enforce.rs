//! From files to a list in force, and the watch over the clock while it is.
//!
//! Everything that is not a clear yes is a [`Blindness`]: a missing, unsigned, altered, expired or older list, one for
//! another device or another embedder, one whose budget cannot be met, a clock that went back or that nothing keeps right.

use std::path::PathBuf;
use std::time::Duration;

use log::{error, warn};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::Now;
use crate::config::Config;
use crate::decision::budget::{CurvePoint, FalseMatchCurve};
use crate::decision::policy::{Blindness, Force};
use crate::vision::Models;
use crate::watchlist::order::{self, OrderError, VerifiedOrder};
use crate::watchlist::store::{ClockTrust, Obeyed, State, clock_trust, kernel_synchronised, read_list, replace};
use crate::watchlist::trust::TrustError;
use crate::watchlist::{Refusal, Trust, WatchlistConfig, verify};

/// How often the clock is judged while running.
const JUDGE_EVERY: Duration = Duration::from_secs(5);

/// The curve that the embedder was measured with, in the decision's terms.
///
/// # Errors
/// Where the manifest carries none or a broken one: without a measured curve no budget can be kept.
pub fn curve(models: &Models) -> Result<FalseMatchCurve, Blindness> {
    let embedder = &models.manifest.embedder;
    let points =
        embedder.false_match.iter().map(|p| CurvePoint { threshold: p.threshold, fmr_upper: p.fmr_upper }).collect();
    FalseMatchCurve::new(points, embedder.worst_group_factor)
        .map_err(|error| Blindness::new("no-false-match-curve", error))
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

fn stamp(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

/// The device's memory over restarts, and what follows from it: which list may come into force, whether the clock may be
/// believed. The only one who writes the state file.
pub struct Keeper {
    state: Result<State, Blindness>,
    path: PathBuf,
    require_synchronised: bool,
    judged: Option<(Duration, Result<(), Blindness>)>,
    /// The configured list was not read because the clock could not be believed.
    unread: bool,
}

impl Keeper {
    /// Reads what the device remembers.
    pub fn new(config: &WatchlistConfig) -> Self {
        Self {
            state: State::load(&config.state).map_err(|error| Blindness::new("damaged-state", error)),
            path: config.state.clone(),
            require_synchronised: config.require_synchronised_clock,
            judged: None,
            unread: false,
        }
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

    fn clock_verdict(&self, now: Now) -> Result<(), Blindness> {
        let state = self.state.as_ref().map_err(|blindness| blindness.clone())?;
        let synchronised = !self.require_synchronised || kernel_synchronised();
        let trust = clock_trust(now.wall, state.last_seen(), synchronised);
        match trust {
            ClockTrust::Trusted => {}
            ClockTrust::Unsynchronised => {
                return Err(Blindness::new(
                    trust.code(),
                    "the kernel says that nothing keeps its clock right; start a time service, or set watchlist.require_synchronised_clock = false where somebody else answers for the clock",
                ));
            }
            ClockTrust::WentBack { by } => {
                return Err(Blindness::new(
                    trust.code(),
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
                "suspended",
                format_args!("matching is suspended until {}; it goes on by itself", stamp(until)),
            )),
        }
    }

    /// Verifies an order and remembers what it stops. Where the memory cannot be written it is followed all the same, until the
    /// next restart.
    ///
    /// # Errors
    /// Why it is not followed.
    pub fn obey(&mut self, bytes: &[u8], config: &Config, now: Now) -> Result<(VerifiedOrder, Obeyed), NotObeyed> {
        let w = &config.watchlist;
        let trust = Trust::open(&w.trust)?;
        let order = order::verify(bytes, &trust, now.wall)?;
        // Without a memory nothing is matched anyway, and the order can still wipe.
        let Ok(state) = &mut self.state else { return Ok((order, Obeyed::Now)) };
        let obeyed = state.obey(&order, now.wall, &config.device.id, w.position)?;
        if obeyed == Obeyed::Now
            && let Err(error) = state.save(&self.path)
        {
            error!("An order is followed but cannot be remembered over a restart: order={} error={error}.", order.id());
        }
        Ok((order, obeyed))
    }

    /// Verifies an offered list, checks that it could come into force, and stores it in place of the one before.
    ///
    /// # Errors
    /// Why not; the list before stays in force and on the disk.
    pub fn install(&mut self, offered: &[u8], config: &Config, models: &Models, now: Now) -> Result<Force, Blindness> {
        self.judge(now)?;
        let (force, state) = self.try_out(offered, config, models, now)?;
        let failed = |error| Blindness::new("state-not-stored", error);
        // In this order a power cut leaves the new list with the old memory, which is consistent.
        replace(&config.watchlist.list, offered).map_err(failed)?;
        state.save(&self.path).map_err(failed)?;
        self.state = Ok(state);
        Ok(force)
    }

    /// Reads, verifies and enacts the configured list, unless the clock forbids it, and remembers its version.
    ///
    /// # Errors
    /// Why nobody can be matched.
    pub fn load(&mut self, config: &Config, models: &Models, now: Now) -> Result<Force, Blindness> {
        let judged = self.judge(now);
        self.unread = judged.is_err();
        judged?;
        let before = self.state.clone();
        let force = self.examine(config, models, now)?;
        if self.state != before
            && let Ok(state) = &self.state
        {
            // A list whose version cannot be remembered could be rolled back later.
            state.save(&self.path).map_err(|error| Blindness::new("state-not-stored", error))?;
        }
        Ok(force)
    }

    /// Whether a list that [`Keeper::load`] left unread because of the clock can be read now: a board without a battery for its
    /// clock starts with a wrong one and hears the time later.
    pub fn may_load_now(&mut self, now: Now) -> bool {
        self.unread && self.judge(now).is_ok()
    }

    /// As [`Keeper::load`], but stores nothing: for `watchpost check`, which may run as another user.
    ///
    /// # Errors
    /// Why nobody could be matched.
    pub fn examine(&mut self, config: &Config, models: &Models, now: Now) -> Result<Force, Blindness> {
        self.clock_verdict(now)?;
        let bytes = read_list(&config.watchlist.list).map_err(|error| Blindness::new("no-list", error))?;
        let (force, state) = self.try_out(&bytes, config, models, now)?;
        self.state = Ok(state);
        Ok(force)
    }

    /// The list in `bytes` as it would be in force, and the memory with it; changes nothing.
    fn try_out(&self, bytes: &[u8], config: &Config, models: &Models, now: Now) -> Result<(Force, State), Blindness> {
        let curve = curve(models)?;
        let w = &config.watchlist;
        let trust = Trust::open(&w.trust).map_err(|error| Blindness::new("no-trust", error))?;
        let embedder = &models.manifest.embedder.sha256.0;
        let refused = |refusal: Refusal| Blindness::new(refusal.code(), refusal);
        let list = verify(bytes, &trust, now.wall, &config.device.id, embedder).map_err(refused)?;
        let mut state = self.state.clone()?;
        state.admit(&list, now.wall).map_err(refused)?;
        let mut force = Force::enact(list, &curve, &config.decision, w.position)?;
        let (id, version) = (force.list().id().clone(), force.list().version());
        for entry in state.revoked_entries(&id, version) {
            force.revoke(entry);
        }
        Ok((force, state))
    }
}
