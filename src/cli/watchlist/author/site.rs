//! A site record on its way into a list.
//!
//! * What every device would refuse is not signed: a damaged record, one that has ended, one
//!   without a place, one in a list that other devices use as well.
//! * Whether the device made it is for the device to say.
//! * Those who sign see which entries it does not cover, and a day that was unlike the others.

use std::path::Path;

use time::OffsetDateTime;

use super::CliError;
use crate::calibrate::record::{RecordError, SiteRecord};
use crate::decision::curve::PromiseCurve;
use crate::decision::rates::ListRates;
use crate::template::Template;
use crate::watchlist::author::Draft;
use crate::watchlist::model::{Content, Entry};
use crate::watchlist::text::stamp;
use crate::watchlist::{Reference, read_list};

/// References that one sentence names.
const NAMED: usize = 5;

/// Puts the record of a file into `draft`.
pub fn put(draft: &mut Draft, file: &Path) -> Result<(), CliError> {
    draft.content_mut().site = Some(read_list(file)?.to_vec());
    of(draft.content()).map(drop).map_err(|e| format!("{}: {e}", file.display()).into())
}

/// The record that `content` has, if a device could take it.
pub fn of(content: &Content) -> Result<Option<SiteRecord>, CliError> {
    let Some(bytes) = &content.site else { return Ok(None) };
    let record = SiteRecord::from_bytes(bytes)?;
    if record.setup.position.is_none() {
        return Err(RecordError::NoPlace.into());
    }
    if record.expires <= OffsetDateTime::now_utc() {
        return Err(RecordError::NotNow { from: record.issued, until: record.expires }.into());
    }
    let device = &record.setup.device;
    if content.authorisation.devices != [device.clone()] {
        let devices: Vec<&str> =
            content.authorisation.devices.iter().map(Reference::as_str).collect();
        return Err(format!(
            "the site record is of {device} alone and the list is for {}: a list with a site record \
             is for its one device",
            devices.join(", ")
        )
        .into());
    }
    Ok(Some(record))
}

/// The rates of the entries of `content` at the place of `record`.
pub fn rates(curve: &PromiseCurve, content: &Content, record: Option<&SiteRecord>) -> ListRates {
    let photographs = |entry: &Entry| entry.photographs().count();
    let Some(record) = record else {
        return ListRates::by_groups(curve, content.entries.iter().map(photographs).collect());
    };
    let fused = |entry: &Entry| Some((entry.fused().ok()?.template, photographs(entry)));
    let entries: Vec<(Template, usize)> = content.entries.iter().filter_map(fused).collect();
    ListRates::at_site(curve, entries.iter().map(|(template, n)| (template, *n)), record)
}

/// The entries of `content` that keep the worst group's bound beside `record`: new ones, ones with
/// other photographs, and ones that are like too few decoys.
pub fn uncovered<'c>(content: &'c Content, record: &SiteRecord) -> Vec<&'c Reference> {
    let fused: Vec<Option<Template>> =
        content.entries.iter().map(|e| e.fused().ok().map(|fused| fused.template)).collect();
    let mut covered = record.covers(fused.iter().flatten()).into_iter();
    // Without a template there is nothing that was measured.
    let covered = fused.iter().map(|f| f.is_some() && covered.next().unwrap_or(false));
    let entries = content.entries.iter().zip(covered);
    entries.filter(|(_, covered)| !covered).map(|(entry, _)| &entry.reference).collect()
}

/// The first of `references`, and how many more there are.
fn named(references: &[&Reference]) -> String {
    let shown = references.iter().take(NAMED).map(|r| r.as_str()).collect::<Vec<_>>().join(", ");
    match references.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What those who sign have to know.
pub fn describe(content: &Content, record: &SiteRecord) -> String {
    let others = uncovered(content, record);
    let entries = content.entries.len();
    let mut text = format!(
        "camera {} of {}, {} days, until {}; {} of {entries} entries were measured there",
        record.setup.camera,
        record.setup.device,
        record.days.len(),
        stamp(&record.expires),
        entries - others.len(),
    );
    if !others.is_empty() {
        text += &format!(", not so {}", named(&others));
    }
    if let Some(drift) = record.drift() {
        text += &format!("; warning: {drift}");
    }
    text
}
