//! What a rehearsal found, beside the bound.

use std::path::Path;

use serde::Serialize;
use time::OffsetDateTime;

use crate::calibrate::rehearsal::{HitRate, MAX_BYTES, RehearsalRecord};
use crate::cli::CliError;
use crate::files::read_bytes;
use crate::watchlist::Reference;
use crate::watchlist::text::stamp;

/// What a rehearsal found: where, of which list, when and at what threshold.
#[derive(Debug, Serialize)]
pub struct RehearsedRate {
    device: String,
    camera: String,
    /// The test list.
    list: String,
    version: u64,
    /// When it was made.
    issued: String,
    /// Of the list that was rehearsed.
    threshold: f32,
    /// Whether the list at hand is for the device that rehearsed.
    same_device: bool,
    #[serde(flatten)]
    rate: HitRate,
}

impl RehearsedRate {
    /// Reads the record of a rehearsal that still says something, beside a list for `devices`.
    pub fn read(path: &Path, devices: &[Reference]) -> Result<Self, CliError> {
        let named = |what: String| format!("{}: {what}", path.display());
        let bytes = read_bytes(path, MAX_BYTES).map_err(|e| named(e.to_string()))?;
        let record = RehearsalRecord::from_json(&bytes).map_err(|e| named(e.to_string()))?;
        if !record.is_good_at(OffsetDateTime::now_utc()) {
            let ended = stamp(&record.about.expires);
            return Err(
                named(format!("it says nothing since {ended}; hold another rehearsal")).into()
            );
        }
        let rate = record.rate();
        let about = record.about;
        Ok(Self {
            same_device: devices.iter().any(|d| d.as_str() == about.device),
            device: about.device,
            camera: about.camera,
            list: about.list,
            version: about.version,
            issued: stamp(&about.issued),
            threshold: about.threshold,
            rate,
        })
    }

    /// For people who plan a list of the threshold `own`.
    pub fn sentence(&self, own: Option<f32>) -> String {
        let Self { threshold, rate, .. } = self;
        let stricter = own.is_some_and(|own| own > *threshold);
        let elsewhere = if self.same_device {
            ""
        } else {
            "; this list is not for that device, and another camera finds more or fewer"
        };
        format!(
            "found by the camera {} of {} on {}: {} of {} passes of {} volunteers on the list {} \
             version {}, at the threshold {threshold:.2}, {:.0} % (95 %: {:.0} to {:.0} %)\
             {}{elsewhere}",
            self.camera,
            self.device,
            self.issued,
            rate.found,
            rate.passes,
            rate.volunteers,
            self.list,
            self.version,
            100.0 * rate.rate,
            100.0 * rate.lower,
            100.0 * rate.upper,
            if stricter { "; at this list's stricter threshold fewer are" } else { "" }
        )
    }
}
