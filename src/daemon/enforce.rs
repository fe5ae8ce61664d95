//! From files to a list in force, and the watch over the clock while it is.
//!
//! Everything that is not a clear yes is a [`Blindness`]: a missing, unsigned, altered, expired or older list, one for
//! another device or another embedder, one whose budget cannot be met, a clock that went back or that nothing keeps right.

use std::path::PathBuf;
use std::time::Duration;

use log::warn;

use crate::clock::Now;
use crate::config::Config;
use crate::decision::budget::{CurvePoint, FalseMatchCurve};
use crate::decision::policy::{Blindness, Force};
use crate::vision::Models;
use crate::watchlist::store::{ClockTrust, State, clock_trust, kernel_synchronised, read_list};
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

/// The device's memory over restarts, and what follows from it: which list may come into force, whether the clock may be
/// believed. The only one who writes the state file.
pub struct Keeper {
    state: Result<State, Blindness>,
    path: PathBuf,
    require_synchronised: bool,
    judged: Option<(Duration, Result<(), Blindness>)>,
}

impl Keeper {
    /// Reads what the device remembers.
    pub fn new(config: &WatchlistConfig) -> Self {
        Self {
            state: State::load(&config.state).map_err(|error| Blindness::new("damaged-state", error)),
            path: config.state.clone(),
            require_synchronised: config.require_synchronised_clock,
            judged: None,
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

    /// Reads, verifies and enacts the configured list, unless the clock forbids it, and remembers its version.
    ///
    /// # Errors
    /// Why nobody can be matched.
    pub fn load(&mut self, config: &Config, models: &Models, now: Now) -> Result<Force, Blindness> {
        self.judge(now)?;
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

    /// As [`Keeper::load`], but stores nothing: for `watchpost check`, which may run as another user.
    ///
    /// # Errors
    /// Why nobody could be matched.
    pub fn examine(&mut self, config: &Config, models: &Models, now: Now) -> Result<Force, Blindness> {
        self.clock_verdict(now)?;
        let curve = curve(models)?;
        let w = &config.watchlist;
        let trust = Trust::open(&w.trust).map_err(|error| Blindness::new("no-trust", error))?;
        let bytes = read_list(&w.list).map_err(|error| Blindness::new("no-list", error))?;
        let embedder = &models.manifest.embedder.sha256.0;
        let refused = |refusal: Refusal| Blindness::new(refusal.code(), refusal);
        let list = verify(&bytes, &trust, now.wall, &config.device.id, embedder).map_err(refused)?;
        let state = self.state.as_mut().map_err(|blindness| blindness.clone())?;
        state.admit(&list, now.wall).map_err(refused)?;
        Force::enact(list, &curve, &config.decision, w.position)
    }
}
