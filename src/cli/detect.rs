//! `watchpost detect`: faces in photographs, as the daemon would see them.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::flags::{Networks, OutputFormat};
use super::photographs::{self, FaceReader, face_json};
use super::{CliError, output};

#[derive(clap::Args)]
pub struct Args {
    /// JPEG or PNG files.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let mut reader = FaceReader::new(&args.networks.open()?)?;
    let mut all_read = true;
    for path in &args.images {
        let photograph = match photographs::open(path) {
            Ok(photograph) => photograph,
            Err(error) => {
                // The other images are still looked at; the exit code tells.
                all_read = false;
                photographs::tell_unread(path, &*error, args.format.json)?;
                continue;
            }
        };
        let frame = photograph.frame();
        let (faces, beyond_capacity) = reader.faces(&frame)?;
        if args.format.json {
            output::json_line(&json!({
                "image": path, "width": frame.width(), "height": frame.height(),
                "faces": faces.iter().map(face_json).collect::<Vec<_>>(),
                "beyond_capacity": beyond_capacity,
            }))?;
            continue;
        }
        output::line(format!("{}: {} faces", path.display(), faces.len()))?;
        for seen in &faces {
            let r = &seen.face.rect;
            let verdict =
                seen.verdict.err().map_or("good enough to compare", |reason| reason.name());
            output::line(format!(
                "  {:.0}x{:.0} px at ({:.0}, {:.0}), score {:.2}, quality {:.2}, {:.0} px between \
                 the eyes: {verdict}",
                r.width,
                r.height,
                r.x,
                r.y,
                seen.face.score,
                seen.quality.overall,
                seen.quality.eye_distance_px
            ))?;
        }
    }
    Ok(if all_read { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
