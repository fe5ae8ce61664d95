//! The file of the watchdog over a list's budget, and what the watchdog is told.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::error;

use super::DocketUnusable;
use crate::cause::Cause;
use crate::clock::Now;
use crate::decision::policy::Blindness;
use crate::decision::watchdog::{Watchdog, WatchedList};
use crate::files::{self, FileError};
use crate::judgement::Outcome;
use crate::review::docket::CaseAbout;

/// How often it is stored how many tracks were compared.
const KEEP_EVERY: Duration = Duration::from_secs(600);
/// Most bytes of what the watchdog counts.
const MAX_BYTES: u64 = 2 << 20;

/// What is counted against the budget of the list in force.
#[derive(Debug, Default)]
pub(super) struct WatchedBudget {
    watchdog: Watchdog,
    /// Beside the docket.
    path: PathBuf,
    /// Tracks that were compared since the start of the process, as counted last.
    tracks: u64,
    /// When it was stored last how many, on the monotonic clock.
    kept: Duration,
}

impl WatchedBudget {
    /// Reads what was counted beside `docket`.
    ///
    /// # Errors
    /// Where there is a file that is not that.
    pub fn open(docket: &Path) -> Result<Self, DocketUnusable> {
        let path = docket.with_extension("budget.json");
        let name = || path.display().to_string();
        let watchdog = match files::read_bytes(&path, MAX_BYTES) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| DocketUnusable::Watched { path: name(), error: e.to_string() })?,
            Err(error) if error.kind() == ErrorKind::NotFound => Watchdog::default(),
            Err(error) => return Err(DocketUnusable::Read { path: name(), error }),
        };
        Ok(Self { watchdog, path, ..Self::default() })
    }

    /// The list in force, the announced rate of false alerts of a track, and how many tracks were
    /// compared since the start of the process. Whether another list is in force than before.
    pub fn watch(&mut self, (list, rate, tracks): (WatchedList, f64, u64)) -> bool {
        let other = self.watchdog.watch(&list);
        self.watchdog.compared(tracks.saturating_sub(self.tracks), rate);
        self.tracks = tracks;
        other
    }

    /// Whether it is to be stored how many tracks were compared.
    pub fn is_due(&self, now: Now) -> bool {
        now.monotonic.saturating_sub(self.kept) >= KEEP_EVERY
    }

    /// It is about to be stored.
    pub fn kept(&mut self, now: Now) {
        self.kept = now.monotonic;
    }

    /// Counts an alert that is over. Its day is that of its deadline, which comes so long after
    /// every alert.
    pub fn count(&mut self, about: CaseAbout, outcome: Outcome) {
        let was = self.watchdog.is_exceeded();
        let day = about.until.unix_timestamp().div_euclid(86_400);
        let list = WatchedList { id: about.list, version: about.version };
        self.watchdog.ended(&list, &about.entry, day, outcome);
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

    /// Writes it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn store(&self) -> Result<(), FileError> {
        let text = serde_json::to_vec(&self.watchdog).expect("numbers and names serialise");
        files::replace(&self.path, &text)
    }
}
