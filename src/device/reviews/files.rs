//! The files of reviews: the docket, and beside it what is counted against the budget, and the
//! controls. Device and doctor open them here.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use super::budget::WatchedBudget;
use crate::files::read_bytes;
use crate::review::controls::{self, ControlDocket};
use crate::review::docket::{self, Docket, DocketError};

/// Most bytes of what is counted against the budget.
const MAX_BUDGET_BYTES: u64 = 2 << 20;

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReviewsUnusable {
    /// One of them cannot be read.
    #[error("{path}: {error}; let the user that runs watchpost read it")]
    Read { path: String, error: Error },
    /// The docket is none.
    #[error(
        "{path}: {error}; move the file away to begin anew, and candidates that waited are lost"
    )]
    Docket { path: String, error: DocketError },
    /// The controls are none.
    #[error(
        "{path}: {error}; move the file away to begin anew, and controls that waited are not scored"
    )]
    Controls { path: String, error: DocketError },
    /// What is counted is not that.
    #[error(
        "{path}: {error}; move the file away to begin anew, and the false alerts that were counted \
         against the list are forgotten"
    )]
    Budget { path: String, error: String },
}

/// What the files hold; nothing of a file that is missing.
#[derive(Debug, Default)]
pub(crate) struct ReviewFiles {
    pub(super) docket: Docket,
    pub(super) budget: WatchedBudget,
    pub(super) controls: ControlDocket,
    /// What was counted against the budget is missing, though it was there once; for people.
    pub lost: Option<String>,
}

impl ReviewFiles {
    /// Opens the docket at `path` and what lies beside it. The device writes the docket last, so
    /// that one without a budget has lost it.
    ///
    /// # Errors
    /// Where there is a file that cannot be read, or that is not what it should be.
    pub fn open(path: &Path) -> Result<Self, ReviewsUnusable> {
        let name = |path: &Path| path.display().to_string();
        let budget = path.with_extension("budget.json");
        let docket = read(path, docket::MAX_BYTES as u64)?
            .map(|bytes| Docket::from_bytes(&bytes))
            .transpose()
            .map_err(|error| ReviewsUnusable::Docket { path: name(path), error })?;
        let counted = read(&budget, MAX_BUDGET_BYTES)?
            .map(|bytes| serde_json::from_slice(&bytes))
            .transpose()
            .map_err(|e| ReviewsUnusable::Budget { path: name(&budget), error: e.to_string() })?;
        let file = of_controls(path);
        let controls = read(&file, controls::MAX_BYTES as u64)?
            .map(|bytes| ControlDocket::from_bytes(&bytes))
            .transpose()
            .map_err(|error| ReviewsUnusable::Controls { path: name(&file), error })?;
        let lost = (docket.is_some() && counted.is_none()).then(|| {
            format!(
                "{} is missing, and false alerts are counted against the list's budget anew; find \
                 out who moved it away",
                budget.display()
            )
        });
        Ok(Self {
            docket: docket.unwrap_or_default(),
            budget: WatchedBudget::new(budget, counted),
            controls: controls.unwrap_or_default(),
            lost,
        })
    }

    /// How many candidates wait.
    pub fn waiting(&self) -> usize {
        self.docket.pending()
    }
}

/// Where the controls lie that are beside the docket at `path`.
pub(super) fn of_controls(path: &Path) -> PathBuf {
    path.with_extension("controls.cbor")
}

type FileBytes = zeroize::Zeroizing<Vec<u8>>;

fn read(path: &Path, most: u64) -> Result<Option<FileBytes>, ReviewsUnusable> {
    match read_bytes(path, most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ReviewsUnusable::Read { path: path.display().to_string(), error }),
    }
}
