//! A calibration beside matching: which decoys, where the counts lie, when the record is made.
//!
//! * Decoys are taken only as `calibrate run` takes them: signed by two, for this camera, in their
//!   time. Where they cannot be used nothing is counted, and matching goes on.
//! * Counts are written now and then and at the end: at most so much is lost with the power.
//! * Counting ends by itself when the signed days are over; then the site record is written, once.
//!   Neither counts nor record are sent anywhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{error, info, warn};

use super::decoys::DecoyCounter;
use super::keeper::Keeper;
use crate::calibrate::config::CalibrateConfig;
use crate::calibrate::counts::{Counts, MAX_BYTES, Setup, day_of, place_of};
use crate::calibrate::decoys::{self, Decoys, Here};
use crate::calibrate::origin::SiteKey;
use crate::calibrate::record::{RecordError, SiteRecord};
use crate::clock::Now;
use crate::config::Config;
use crate::decision::promise;
use crate::delivery::event::Calibrating;
use crate::files::{FileError, read_bytes, replace};
use crate::template::PIPELINE;
use crate::vision::Models;
use crate::watchlist::{Reference, read_list, seal};

/// How often counts are written.
const SAVE_EVERY: Duration = Duration::from_secs(600);

/// Why nothing is counted against decoys.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotCounting(String);

fn not(why: impl std::fmt::Display) -> NotCounting {
    NotCounting(why.to_string())
}

/// Decoys that this device may count against now, and by what it vouches for the record.
pub struct OpenedDecoys {
    /// The set.
    pub decoys: Decoys,
    /// Of the device.
    pub key: SiteKey,
    /// What the counts have to be of.
    pub setup: Setup,
}

/// Reads and verifies the set of decoys in `file`.
///
/// # Errors
/// Why it may not be used here and now.
pub fn open(
    file: &Path,
    config: &Config,
    models: &Models,
    keeper: &Keeper,
    now: Now,
) -> Result<OpenedDecoys, NotCounting> {
    // Before weeks of counting, not after them.
    let key = keeper.vault().key().map(SiteKey::of).ok_or_else(|| not(RecordError::NoKey))?;
    let position = config.watchlist.position.ok_or_else(|| {
        not(concat!(
            "a site curve is of one place; set ",
            setting!(watchlist.position),
            " to where the camera stands. A camera that moves, such as a body camera, has none"
        ))
    })?;
    let trust = keeper.trust().map_err(not)?;
    let bytes = read_list(file).map_err(not)?;
    // Whatever is accepted of lists: a set of people who are on no list is never plain on a disk.
    if !seal::is_sealed(&bytes) {
        return Err(not(format_args!(
            "{} is not sealed; seal it to this device with `watchpost calibrate seal --to`",
            file.display()
        )));
    }
    let opened = keeper.vault().open(&bytes).map_err(not)?;
    let here = Here {
        device: &config.device.id,
        camera: &config.device.camera,
        embedder: &models.manifest.embedder.sha256.0,
        pipeline: PIPELINE,
    };
    let decoys = decoys::verify(&opened.bytes, &trust, now.wall, here).map_err(not)?;
    let setup = Setup {
        device: config.device.id.parse().map_err(not)?,
        camera: config.device.camera.parse().map_err(not)?,
        position: Some(place_of(position)),
        decoys: *decoys.digest(),
        promise: promise::of(models, &config.vision, &config.decision).digest(),
        days: decoys.head().days,
        least_faces: decoys.head().least_faces,
    };
    Ok(OpenedDecoys { decoys, key, setup })
}

/// The counts in `path`, which are of `setup`; new ones where there are none.
///
/// # Errors
/// Where they are damaged or of another calibration.
pub fn counts(path: &Path, setup: Setup, decoys: usize) -> Result<Counts, NotCounting> {
    let name = path.display();
    if !path.exists() {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|e| not(format_args!("no random numbers: {e}")))?;
        return Ok(Counts::new(setup, decoys, salt));
    }
    let bytes = read_bytes(path, MAX_BYTES as u64).map_err(|e| not(format_args!("{name}: {e}")))?;
    let counts = Counts::from_bytes(&bytes).map_err(|e| {
        not(format_args!("{name}: {e}; move the file away, and the calibration begins anew"))
    })?;
    if *counts.setup() != setup {
        return Err(not(format_args!(
            "{name} is of another calibration: decoys, camera, position, networks, quality gate or \
             decision rule differ; name another file"
        )));
    }
    Ok(counts)
}

/// A calibration that goes on beside matching.
pub struct Calibration {
    decoys: usize,
    days: u16,
    authority: String,
    decision: String,
    expires: time::OffsetDateTime,
    key: SiteKey,
    counts: PathBuf,
    record: PathBuf,
    saved: Duration,
    /// The days that were done when it was last told.
    told: usize,
    done: bool,
}

impl Calibration {
    /// Begins or goes on, where `[calibrate]` names decoys.
    ///
    /// # Errors
    /// Why nothing is counted.
    pub fn begin(
        config: &Config,
        models: &Models,
        keeper: &Keeper,
        now: Now,
    ) -> Result<Option<(Self, DecoyCounter)>, NotCounting> {
        let CalibrateConfig { decoys: Some(file), counts: path, record } = &config.calibrate else {
            return Ok(None);
        };
        if record.exists() {
            info!("The site record is there; nothing is counted: record={}.", record.display());
            return Ok(None);
        }
        let OpenedDecoys { decoys, key, setup } = open(file, config, models, keeper, now)?;
        let counted = counts(path, setup, decoys.templates().len())?;
        let counter = DecoyCounter::new(decoys.templates(), counted).map_err(not)?;
        let head = decoys.head();
        info!(
            "Passers-by are counted against decoys beside matching: decoys={} days={} allowed_by={}.",
            decoys.templates().len(),
            head.days,
            head.decision
        );
        let calibration = Self {
            decoys: decoys.templates().len(),
            days: head.days,
            authority: head.authority.clone(),
            decision: head.decision.clone(),
            expires: head.expires,
            key,
            counts: path.clone(),
            record: record.clone(),
            saved: now.monotonic,
            told: counter.counts().days_done(day_of(now.wall)),
            done: false,
        };
        Ok(Some((calibration, counter)))
    }

    /// What is published about it.
    pub fn status(&self) -> Calibrating {
        Calibrating {
            decoys: self.decoys as u64,
            days_done: self.told as u64,
            days: u64::from(self.days),
            authority: self.authority.clone(),
            decision: self.decision.clone(),
        }
    }

    /// Whether tracks may be counted at `now`.
    pub fn counts_at(&self, now: Now) -> bool {
        !self.done && now.wall < self.expires
    }

    /// Saves what is due and, when the signed days are over, writes the record of the entries of
    /// `list`. True where there is something new to publish.
    pub fn tick(
        &mut self,
        counter: &DecoyCounter,
        list: impl FnOnce() -> Option<(Reference, u64)>,
        now: Now,
    ) -> bool {
        if self.done {
            return false;
        }
        let (counts, today) = (counter.counts(), day_of(now.wall));
        let told = std::mem::replace(&mut self.told, counts.days_done(today));
        if counts.is_complete(today) {
            self.done = true;
            self.save(counter);
            match self.write(counts, list(), now) {
                Ok(()) => info!("The signed days are over, and the site record was written."),
                Err(why) => error!("The signed days are over, and there is no site record: {why}."),
            }
            return true;
        }
        if now.monotonic.saturating_sub(self.saved) >= SAVE_EVERY {
            self.saved = now.monotonic;
            self.save(counter);
        }
        told != self.told
    }

    /// Writes the counts, at the end of the process too.
    pub fn save(&self, counter: &DecoyCounter) {
        if let Err(error) = replace(&self.counts, &counter.counts().to_bytes()) {
            warn!("The counts against decoys cannot be stored: {error}.");
        }
    }

    fn write(
        &self,
        counts: &Counts,
        list: Option<(Reference, u64)>,
        now: Now,
    ) -> Result<(), NotCounting> {
        let record = SiteRecord::of(counts, list, &self.key, now.wall).map_err(not)?;
        let written: Result<(), FileError> = replace(&self.record, &record.to_bytes());
        written.map_err(not)
    }
}
