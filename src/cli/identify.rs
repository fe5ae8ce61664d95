//! `watchpost identify`: who of a watch list may be in a photograph. It obeys what a list says, as
//! the daemon does: signatures, device, validity, hours, area, budget. What a device remembers
//! (revocations, suspensions, the highest version) it does not know. A photograph that cannot be
//! read is named, and the others are still looked at; the exit code is then 1.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use time::OffsetDateTime;

use super::flags::{Networks, Opening, OutputFormat, PlaceFlags};
use super::photographs::{self, FaceReader, face_json};
use super::{CliError, output};
use crate::device::judge::ListJudge;
use crate::watchlist::{TopK, Trust};

#[derive(clap::Args)]
pub struct Args {
    /// JPEG or PNG files.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Signed list.
    #[arg(long, value_name = "FILE")]
    watchlist: PathBuf,
    #[command(flatten)]
    opening: Opening,
    /// Trust file with the pinned keys.
    #[arg(long, value_name = "FILE", default_value = "/etc/watchpost/trust.toml")]
    trust: PathBuf,
    /// Name of this device, as the list's authorisation has it.
    #[arg(long, value_name = "ID", default_value = "watchpost-1")]
    device: String,
    #[command(flatten)]
    place: PlaceFlags,
    /// The photographs are of the device's camera of this name: the list is judged as there, by its
    /// site record where it has one. Otherwise they are from anywhere, and no record is of them.
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Most entries a face.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=64))]
    top: u8,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let models = args.networks.open()?;
    let trust = Trust::open(&args.trust)?;
    let now = OffsetDateTime::now_utc();
    let mut judge = ListJudge::as_shipped(args.device, args.place.position, &models);
    if let Some(camera) = args.camera {
        judge = judge.with_camera(camera);
    }
    let bytes = args.opening.read(&args.watchlist)?;
    let active = judge.usable_now(&bytes, &trust, now).map_err(|b| b.to_string())?;
    let mut reader = FaceReader::new(&models)?;
    let mut top = TopK::new(args.top.into());
    let mut all_read = true;
    for path in &args.images {
        let photograph = match photographs::open(path) {
            Ok(photograph) => photograph,
            Err(error) => {
                all_read = false;
                photographs::tell_unread(path, &*error, args.format.json)?;
                continue;
            }
        };
        let frame = photograph.frame();
        let (faces, _) = reader.faces(&frame)?;
        let mut lines = Vec::new();
        for seen in &faces {
            // A face that is too poor is not compared, here as in the daemon.
            let mut candidates = Vec::new();
            if seen.verdict.is_ok() {
                top.clear();
                active.gallery().search(&reader.embed(&frame, seen)?.quantize(), &mut top);
                for hit in top.hits().iter().filter(|h| h.score >= active.plan().threshold) {
                    candidates.push(json!({
                        "entry": active.list().entries()[hit.entry].reference,
                        "score": hit.score,
                        "expected_false_positive_rate": active.expected_rate(hit.score),
                    }));
                }
            }
            let mut line = face_json(seen);
            line["candidates"] = candidates.into();
            lines.push(line);
        }
        if args.format.json {
            output::json_line(&json!({
                "image": path,
                "list": { "id": active.list().id(), "version": active.list().version() },
                "threshold": active.plan().threshold,
                "covered": active.covered(),
                "templates": active.gallery().templates(),
                "faces": lines,
            }))?;
            continue;
        }
        output::line(format!(
            "{}: {} faces, against {} templates at threshold {:.2}",
            path.display(),
            lines.len(),
            active.gallery().templates(),
            active.plan().threshold
        ))?;
        for line in &lines {
            let candidates = line["candidates"].as_array().map(Vec::as_slice).unwrap_or_default();
            if candidates.is_empty() {
                output::line(format!(
                    "  face at {}: no candidate{}",
                    line["box"],
                    match line["too_poor"].as_str() {
                        Some(reason) => format!(" (not compared: {reason})"),
                        None => String::new(),
                    }
                ))?;
            }
            for c in candidates {
                output::line(format!(
                    "  face at {}: candidate {}, similarity {:.3}, false-positive rate at most \
                     {:.1e}",
                    line["box"],
                    c["entry"].as_str().unwrap_or("?"),
                    c["score"].as_f64().unwrap_or(f64::NAN),
                    c["expected_false_positive_rate"].as_f64().unwrap_or(f64::NAN),
                ))?;
            }
        }
    }
    Ok(if all_read { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
