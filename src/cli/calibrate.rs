//! `watchpost calibrate`: how often strangers at this place would be taken for somebody on the
//! list. What makes and signs sets of decoys is in `author`.

#[cfg(feature = "author")]
mod author;
mod foreground;
mod rehearse;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;
use time::OffsetDateTime;

use super::flags::{Opening, OutputFormat};
use super::{CliError, output};
use crate::calibrate::counts::{Counts, day_of};
use crate::calibrate::decoys;
use crate::calibrate::record::SiteRecord;
use crate::calibrate::rehearsal::RehearsalRecord;
use crate::calibrate::strata::Drift;
use crate::watchlist::text::{hex, stamp};

/// Thresholds of the table that `show` prints.
const SHOWN: [f32; 10] = [0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85];

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: CalibrateCommand,
}

#[derive(Subcommand)]
enum CalibrateCommand {
    #[cfg(feature = "author")]
    #[command(flatten)]
    Author(author::DecoyCommand),
    /// Count passers-by against the decoys instead of matching, until the signed days are over;
    /// then write the site record. Nobody is matched meanwhile.
    Run(run::Args),
    /// Count in how many passes volunteers on a test list are found here, and write the record.
    /// Nobody is published meanwhile.
    Rehearse(rehearse::Args),
    /// Print what a set of decoys, counts, a site record or a rehearsal say; never what a single
    /// decoy or volunteer did.
    Show {
        /// Set of decoys, counts, site record, or record of a rehearsal.
        file: PathBuf,
        #[command(flatten)]
        opening: Opening,
        #[command(flatten)]
        format: OutputFormat,
    },
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.command {
        #[cfg(feature = "author")]
        CalibrateCommand::Author(command) => author::run(command)?,
        CalibrateCommand::Run(args) => return run::run(&args),
        CalibrateCommand::Rehearse(args) => return rehearse::run(&args),
        CalibrateCommand::Show { file, opening, format } => {
            show(&opening.read(&file)?, format.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(bytes: &[u8], json: bool) -> Result<(), CliError> {
    if let Ok(record) = SiteRecord::from_bytes(bytes) {
        return show_record(&record, json);
    }
    if let Ok(counts) = Counts::from_bytes(bytes) {
        return show_counts(&counts, json);
    }
    if let Ok(record) = RehearsalRecord::from_json(bytes) {
        return show_rehearsal(&record, json);
    }
    let (head, count, signers) = decoys::inspect(bytes)?;
    if json {
        output::json_line(&json!({
            "kind": "decoys", "id": head.id, "decoys": count, "signers": signers,
            "authority": head.authority, "decision": head.decision, "source": head.source,
            "device": head.device, "camera": head.camera, "days": head.days,
            "least_faces": head.least_faces, "not_before": stamp(&head.not_before),
            "expires": stamp(&head.expires),
        }))?;
        return Ok(());
    }
    output::line(format!(
        "{}: {count} decoys ({}), {} signatures, for the camera {} of {}, from {} until {}; counts \
         for {} days of at least {} faces; allowed by {}, {}",
        head.id,
        head.source,
        signers.len(),
        head.camera,
        head.device,
        stamp(&head.not_before),
        stamp(&head.expires),
        head.days,
        head.least_faces,
        head.authority,
        head.decision
    ))?;
    Ok(())
}

fn show_counts(counts: &Counts, json: bool) -> Result<(), CliError> {
    let today = day_of(OffsetDateTime::now_utc());
    let setup = counts.setup();
    let (done, wanted) = (counts.days_done(today), setup.days);
    let drifts: Vec<String> = counts.drifts().iter().map(Drift::to_string).collect();
    if json {
        output::json_line(&json!({
            "kind": "counts", "device": setup.device, "camera": setup.camera,
            "tracks": counts.tracks(), "days_done": done, "days_wanted": wanted,
            "least_faces": setup.least_faces, "drifts": drifts,
        }))?;
        return Ok(());
    }
    output::line(format!(
        "counts of the camera {} of {}: {} tracks; {done} of {wanted} days with at least {} faces \
         are over",
        setup.camera,
        setup.device,
        counts.tracks(),
        setup.least_faces
    ))?;
    for drift in drifts {
        output::line(format!("warning: {drift}"))?;
    }
    Ok(())
}

/// What a rehearsal found.
fn show_rehearsal(record: &RehearsalRecord, json: bool) -> Result<(), CliError> {
    let (about, rate) = (&record.about, record.rate());
    if json {
        output::json_line(&json!({
            "kind": "rehearsal", "device": about.device, "camera": about.camera,
            "list": about.list, "version": about.version, "threshold": about.threshold,
            "issued": stamp(&about.issued), "expires": stamp(&about.expires),
            "volunteers": rate.volunteers, "passes": rate.passes, "found": rate.found,
            "rate": rate.rate, "lower": rate.lower, "upper": rate.upper,
            "design_effect": rate.design_effect,
        }))?;
        return Ok(());
    }
    output::line(format!(
        "rehearsal at the camera {} of {}, good until {}: {} of {} passes of {} volunteers were \
         found at the threshold {:.2}, {:.0} % (95 %: {:.0} to {:.0} %)",
        about.camera,
        about.device,
        stamp(&about.expires),
        rate.found,
        rate.passes,
        rate.volunteers,
        about.threshold,
        100.0 * rate.rate,
        100.0 * rate.lower,
        100.0 * rate.upper
    ))?;
    Ok(())
}

fn show_record(record: &SiteRecord, json: bool) -> Result<(), CliError> {
    let curve = &record.curve;
    let faces = record.days.iter().map(|d| d.faces as f64).sum::<f64>() / record.days.len() as f64;
    let drift = record.drift().map(|drift| drift.to_string());
    if json {
        let rows: Vec<_> = SHOWN
            .iter()
            .map(|t| {
                json!({
                    "threshold": t, "events": curve.events(*t), "estimate": curve.estimate(*t),
                    "upper_bound": curve.upper_bound(*t), "average_decoy": curve.average_decoy(*t),
                })
            })
            .collect();
        output::json_line(&json!({
            "kind": "site-record", "device": record.setup.device, "camera": record.setup.camera,
            "digest": hex(&record.digest()), "issued": stamp(&record.issued),
            "expires": stamp(&record.expires), "days": record.days.len(), "faces_a_day": faces,
            "covered": curve.covered.len(), "uncovered": curve.uncovered, "drift": drift,
            "thresholds": rows,
        }))?;
        return Ok(());
    }
    output::line(format!(
        "site record of the camera {} of {}, good until {}: {} days, {faces:.0} faces a day; {} \
         entries are covered, {} are like too few decoys and keep the worst group's bound",
        record.setup.camera,
        record.setup.device,
        stamp(&record.expires),
        record.days.len(),
        curve.covered.len(),
        curve.uncovered
    ))?;
    if let Some(drift) = drift {
        output::line(format!("warning: {drift}"))?;
    }
    output::line(
        "threshold  decoy events  false alerts a day of the covered entries: estimated, at most \
         (95 %)",
    )?;
    for threshold in SHOWN {
        output::line(format!(
            "{threshold:9.2}  {:12}  {:10.4}  {:10.4}",
            curve.events(threshold),
            curve.estimate(threshold) * faces,
            curve.upper_bound(threshold) * faces
        ))?;
    }
    Ok(())
}
