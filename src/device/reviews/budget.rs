//! The file of the watchdog over a list's budget, and what the watchdog is told.

use std::path::PathBuf;
use std::time::Duration;

use log::error;

use crate::cause::Cause;
use crate::clock::Now;
use crate::decision::policy::Blindness;
use crate::decision::watchdog::{Watchdog, WatchedList};
use crate::device::Watched;
use crate::files::{self, FileError};
use crate::judgement::Outcome;
use crate::review::docket::CaseAbout;

/// How often it is stored how many tracks were searched for.
const KEEP_EVERY: Duration = Duration::from_secs(600);

/// What the file lacks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unstored {
    #[default]
    Nothing,
    /// Tracks: a kill that forgets them makes the watchdog stricter.
    Tracks,
    /// Alerts: nothing of them is acknowledged before.
    Alerts,
}

/// What is counted against the budget of the list in force.
#[derive(Debug, Default)]
pub(super) struct WatchedBudget {
    pub(super) watchdog: Watchdog,
    /// Beside the docket.
    path: PathBuf,
    /// Whether there is a file.
    on_disk: bool,
    unstored: Unstored,
    /// Tracks that were searched for since the start of the process, as counted last.
    tracks: u64,
    /// The announced rate of those that come now; `None` while they do not count.
    rate: Option<f64>,
    /// When it was stored last, on the monotonic clock.
    kept: Duration,
}

impl WatchedBudget {
    /// What was read from `path`, where there was a file.
    pub fn new(path: PathBuf, read: Option<Watchdog>) -> Self {
        let on_disk = read.is_some();
        Self { watchdog: read.unwrap_or_default(), path, on_disk, ..Self::default() }
    }

    /// The list in force, and whether anybody is asked to judge its alerts: tracks count only while
    /// somebody is, as no alert does otherwise. Tracks since the last call were compared with the
    /// list of then.
    pub fn watch(&mut self, watched: Option<Watched<'_>>, asked: bool) {
        if let Some(Watched { rate, tracks, .. }) = watched {
            let more = tracks.saturating_sub(self.tracks);
            if self.rate.is_some_and(|then| self.watchdog.compared(more, then)) {
                self.unstored = self.unstored.max(Unstored::Tracks);
            }
            self.tracks = tracks;
            self.rate = asked.then_some(rate);
        }
        self.watchdog.watch(watched.map(|watched| watched.list));
    }

    /// Counts an alert that is over. Its day is that of its deadline, which comes so long after
    /// every alert.
    pub fn count(&mut self, about: &CaseAbout, outcome: Outcome) {
        let was = self.watchdog.is_exceeded();
        let day = about.until.unix_timestamp().div_euclid(86_400);
        let list = WatchedList { id: &about.list, version: about.version };
        if self.watchdog.ended(list, &about.entry, day, outcome) {
            self.unstored = Unstored::Alerts;
        }
        if !was && let Some(Blindness { cause, reason }) = self.blindness() {
            error!("Nobody is matched: reason={cause} {reason}.");
        }
    }

    /// Why nobody may be matched, where the list gives more false alerts than it may.
    pub fn blindness(&self) -> Option<Blindness> {
        self.watchdog.is_exceeded().then(|| {
            Blindness::new(
                Cause::BudgetExceeded,
                format_args!(
                    "nobody confirmed {} alerts of different entries and days, where at most {:.2} \
                     false alerts were to be expected of the faces that have passed; this version \
                     of the list is not used any more",
                    self.watchdog.clusters(),
                    self.watchdog.exposure()
                ),
            )
        })
    }

    /// Whether an alert was counted that a restart would forget.
    pub fn has_unstored_alerts(&self) -> bool {
        self.unstored == Unstored::Alerts
    }

    /// Whether a restart would forget anything.
    pub fn has_changed(&self) -> bool {
        self.unstored != Unstored::Nothing
    }

    /// Whether a restart would forget anything that has waited long enough.
    pub fn is_due(&self, now: Now) -> bool {
        self.has_changed() && now.monotonic.saturating_sub(self.kept) >= KEEP_EVERY
    }

    /// Writes it, where the file lacks anything, or is missing.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn store(&mut self, now: Now) -> Result<(), FileError> {
        if self.on_disk && !self.has_changed() {
            return Ok(());
        }
        let text = serde_json::to_vec(&self.watchdog).expect("numbers and names serialise");
        files::replace(&self.path, &text)?;
        (self.on_disk, self.unstored, self.kept) = (true, Unstored::Nothing, now.monotonic);
        Ok(())
    }
}
