//! What a rehearsal found, beside the bound.

use std::path::Path;

use serde::Serialize;
use time::OffsetDateTime;

use crate::calibrate::rehearsal::{HitRate, MAX_BYTES, RehearsalRecord};
use crate::cli::CliError;
use crate::files::read_bytes;
use crate::watchlist::text::stamp;

/// What a rehearsal found, and at what threshold.
#[derive(Debug, Serialize)]
pub struct RehearsedRate {
    /// Of the list that was rehearsed.
    threshold: f32,
    #[serde(flatten)]
    rate: HitRate,
}

impl RehearsedRate {
    /// Reads the record of a rehearsal that still says something.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        let named = |what: String| format!("{}: {what}", path.display());
        let bytes = read_bytes(path, MAX_BYTES).map_err(|e| named(e.to_string()))?;
        let record = RehearsalRecord::from_json(&bytes).map_err(|e| named(e.to_string()))?;
        if !record.is_good_at(OffsetDateTime::now_utc()) {
            let ended = stamp(&record.about.expires);
            return Err(
                named(format!("it says nothing since {ended}; hold another rehearsal")).into()
            );
        }
        Ok(Self { threshold: record.about.threshold, rate: record.rate() })
    }

    /// For people who plan a list of the threshold `own`.
    pub fn sentence(&self, own: Option<f32>) -> String {
        let Self { threshold, rate } = self;
        let stricter = own.is_some_and(|own| own > *threshold);
        format!(
            "found at the place: {} of {} passes of {} volunteers at the threshold {threshold:.2}, \
             {:.0} % (95 %: {:.0} to {:.0} %){}",
            rate.found,
            rate.passes,
            rate.volunteers,
            100.0 * rate.rate,
            100.0 * rate.lower,
            100.0 * rate.upper,
            if stricter { "; at this list's stricter threshold fewer are" } else { "" }
        )
    }
}
