//! `watchpost compare`: one face against one face. Of several in a photograph, the one that is
//! large and near the centre.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::flags::{Networks, OutputFormat};
use super::photographs::{self, FaceReader, JudgedFace, face_json};
use super::{CliError, output};
use crate::device::judge;
use crate::template::Embedding;

#[derive(clap::Args)]
pub struct Args {
    /// A photograph.
    a: PathBuf,
    /// Another one.
    b: PathBuf,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let models = args.networks.open()?;
    let mut reader = FaceReader::new(&models)?;
    let (a, seen_a) = subject(&mut reader, &args.a)?;
    let (b, seen_b) = subject(&mut reader, &args.b)?;
    let similarity = a.quantize().cosine(&b.quantize());
    let rate = judge::curve(&models).ok().and_then(|curve| curve.single_rate_at(similarity));
    if args.format.json {
        output::json_line(&json!({
            "similarity": similarity,
            // Upper bound for two strangers, on the worst-served group measured; null below the
            // measured range.
            "false_match_rate": rate,
            "a": face_json(&seen_a), "b": face_json(&seen_b),
        }))?;
    } else {
        let rate = rate.map_or_else(
            || "that is below the measured range: strangers often look as alike".to_owned(),
            |r| format!("at most {r:.1e} of pairs of strangers look as alike"),
        );
        output::line(format!("similarity {similarity:.3}; {rate}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The face that the photograph is taken to show; its quality is reported, not enforced.
fn subject(reader: &mut FaceReader, path: &Path) -> Result<(Embedding, JudgedFace), CliError> {
    let photograph = photographs::open(path)?;
    let frame = photograph.frame();
    let seen =
        reader.subject(&frame)?.ok_or_else(|| format!("{}: no face was found", path.display()))?;
    Ok((reader.embed(&frame, &seen)?, seen))
}
