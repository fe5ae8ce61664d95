//! `watchpost watchlist show`: what a draft, a list or an order says, never its templates.

use std::path::PathBuf;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{CliError, draft_of, look_alikes, output, site, stop};
use crate::cli::flags::{Opening, OutputFormat};
use crate::promise::{Setting, Stricter};
use crate::vision::Models;
use crate::watchlist::author::{self, Draft, ListSummary, PromiseSummary};
use crate::watchlist::model::{Area, Hours, Position};
use crate::watchlist::text::{counted, hex};
use crate::watchlist::{Reference, Trust, order};

#[derive(clap::Args)]
pub struct Args {
    /// Draft, signed list or order.
    file: PathBuf,
    /// Say how each signature counts by this trust file.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    #[command(flatten)]
    opening: Opening,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: &Args) -> Result<(), CliError> {
    let trust = args.trust.as_deref().map(Trust::open).transpose()?;
    let bytes = args.opening.read(&args.file)?;
    if let Ok(order) = order::inspect(&bytes) {
        return stop::show(&order, trust.as_ref(), &bytes, args.format.json);
    }
    let (summary, draft) = match draft_of(&bytes) {
        Some(draft) => {
            let draft = draft?;
            (draft.summary(), draft)
        }
        // The next version's draft has this version's entries.
        None => (
            author::show(&bytes, trust.as_ref())?,
            Draft::revise(&bytes, OffsetDateTime::now_utc())?,
        ),
    };
    let found = look_alikes::find(&Models::builtin()?, draft.content());
    if args.format.json {
        let mut value = serde_json::to_value(&summary)?;
        value["look_alikes"] = serde_json::to_value(found.map(|(_, pairs)| pairs))?;
        output::json_line(&value)?;
    } else {
        print(&summary)?;
        let says = match site::of(draft.content()) {
            Ok(record) => record.map(|record| site::describe(draft.content(), &record)),
            Err(error) => Some(format!("every device will refuse it: {error}")),
        };
        if let Some(says) = says {
            output::line(format!("site record: {says}"))?;
        }
        for sentence in
            found.iter().flat_map(|(limit, pairs)| look_alikes::sentences(*limit, pairs))
        {
            output::line(sentence)?;
        }
    }
    Ok(())
}

/// Prints it for people.
pub fn print(s: &ListSummary) -> Result<(), CliError> {
    let a = &s.authorisation;
    let devices: Vec<&str> = a.devices.iter().map(Reference::as_str).collect();
    let facts = [
        ("list", format!("{} version {}", s.id, s.version)),
        ("valid", format!("{} to {}", s.not_before.format(&Rfc3339)?, s.expires.format(&Rfc3339)?)),
        ("authority", format!("{}, {}", a.authority, a.decision)),
        ("aim", serde_json::to_value(a.aim)?.as_str().unwrap_or_default().to_string()),
        ("devices", devices.join(", ")),
        (
            "budget",
            format!(
                "{} false alerts in {} faces a day",
                a.false_alerts_per_day, a.expected_faces_per_day
            ),
        ),
        ("hours", hours(&a.hours)),
        ("areas", areas(&a.areas)),
        ("entries", format!("{} of at most {}", s.entries.len(), a.most_entries)),
        ("stage", stage(s)),
        ("embedder", format!("{}, pipeline {}", s.embedder, s.pipeline)),
        ("promise", s.promise.clone().unwrap_or_else(|| "none before it is signed".into())),
        ("digest", s.digest.clone().unwrap_or_else(|| "none: a draft".into())),
    ];
    for (name, value) in facts {
        output::line(format!("{name:<10} {value}"))?;
    }
    for line in s.promised.iter().flat_map(promise) {
        output::line(format!("{:<10} {line}", ""))?;
    }
    for signature in &s.signatures {
        output::line(format!("{:<10} {} ({})", "signature", signature.key, signature.state))?;
    }
    if s.removed > 0 {
        let removed = counted(s.removed, "entry, after it was", "entries, after they were");
        output::line(format!("{:<10} {removed} revoked", "removed"))?;
    }
    output::line("")?;
    let rows: Vec<Vec<String>> = s
        .entries
        .iter()
        .map(|e| {
            Ok(vec![
                e.reference.to_string(),
                e.photographs.len().to_string(),
                e.expires.format(&Rfc3339)?,
                e.legal_basis.clone(),
                e.purpose.clone(),
            ])
        })
        .collect::<Result<_, time::error::Format>>()?;
    output::table(&["reference", "photographs", "expires", "legal basis", "purpose"], &rows)?;
    output::line("")?;
    let rows: Vec<Vec<String>> = s
        .entries
        .iter()
        .flat_map(|e| {
            e.photographs
                .iter()
                .map(|p| vec![e.reference.to_string(), format!("{:.2}", p.quality), hex(&p.sha256)])
        })
        .collect();
    output::table(&["reference", "quality", "SHA-256 of the photograph"], &rows)?;
    output::line("")?;
    output::line(
        "A near relative of a listed person can match, and so can a twin. The promise counts \
         strangers only.",
    )?;
    Ok(())
}

fn stage(s: &ListSummary) -> String {
    match &s.promotion {
        Some(rule) => format!("{}; {rule}", s.stage),
        None => s.stage.to_string(),
    }
}

fn hours(hours: &Hours) -> String {
    if *hours == Hours::always() {
        return "the whole week".into();
    }
    let minutes = hours.utc_offset_minutes;
    let (sign, offset) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
    let windows: Vec<String> = hours.windows.iter().map(ToString::to_string).collect();
    format!("{}; UTC{sign}{:02}:{:02}", windows.join("; "), offset / 60, offset % 60)
}

fn areas(areas: &[Area]) -> String {
    if areas.is_empty() {
        return "wherever the devices are".into();
    }
    let corner = |p: &Position| format!("{},{}", p.latitude, p.longitude);
    let area = |a: &Area| a.0.iter().map(corner).collect::<Vec<_>>().join(" ");
    areas.iter().map(area).collect::<Vec<_>>().join("; ")
}

/// What a promise rests on, a line each.
fn promise(p: &PromiseSummary) -> Vec<String> {
    let mut lines = vec![
        format!("detector {}", p.detector),
        format!("curve {}", p.curve),
        format!("no threshold below {}", p.floor),
    ];
    lines.extend(Setting::ALL.iter().filter_map(|setting| {
        let bound = match setting.stricter() {
            Stricter::Higher => "at least",
            Stricter::Lower => "at most",
        };
        Some(format!("{} {bound} {}", setting.key(), p.settings.get(setting.key())?))
    }));
    lines
}
