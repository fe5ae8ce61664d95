//! `watchpost watchlist case-sheets`: the photographs of a list, sealed to those who review.

use std::collections::HashMap;
use std::path::PathBuf;

use super::check::find;
use super::{CliError, output};
use crate::cli::flags::{Networks, Opening, OutputFormat};
use crate::cli::photographs::FaceReader;
use crate::files::replace;
use crate::source::Photograph;
use crate::watchlist::author::case_sheet::{CaseSheet, Eyes};
use crate::watchlist::seal::Recipient;
use crate::watchlist::text::counted;

#[derive(clap::Args)]
pub struct Args {
    /// Signed list.
    list: PathBuf,
    /// Folder with the photographs that the entries are made of, under any name, in any subfolder.
    #[arg(long, value_name = "FOLDER")]
    photographs: PathBuf,
    /// The desk's public key: it checks each photograph against the list before it takes it.
    #[arg(long, value_name = "age1...")]
    desk: Recipient,
    /// A reviewer's reading key, as the desk's page of people shows it; may be given several times.
    /// Nobody else can look at the photographs.
    #[arg(long = "reviewer", value_name = "age1...", required = true)]
    reviewers: Vec<Recipient>,
    /// Case sheet to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    opening: Opening,
    #[command(flatten)]
    format: OutputFormat,
}

pub fn run(args: Args) -> Result<(), CliError> {
    let list = args.opening.read(&args.list)?;
    let people = args.reviewers.len();
    let mut sheet = CaseSheet::of(&list, args.desk, args.reviewers)?;
    let mut files = HashMap::new();
    let others = find(&args.photographs, 0, &sheet.wanted(), &mut files)?;
    let mut reader = FaceReader::new(&args.networks.open()?)?;
    // In one order, so that the same files make a sheet of the same order.
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort();
    let photographs = files.len();
    for (_, path) in files {
        let file = Photograph::read(&path)?;
        let named = |e| format!("{}: {e}", path.display());
        sheet.add(&file, eyes(&mut reader, &file)?).map_err(named)?;
    }
    let missing = sheet.without_photograph();
    let bytes = sheet.finish()?;
    replace(&args.out, &bytes)?;
    if args.format.json {
        output::json_line(&serde_json::json!({
            "photographs": photographs,
            "entries_without": missing,
            "other_files": others,
            "reviewers": people,
            "bytes": bytes.len(),
            "out": args.out,
        }))?;
    } else {
        output::line(format!(
            "{}: {}, for the desk and {}",
            args.out.display(),
            counted(photographs, "photograph", "photographs"),
            counted(people, "reviewer", "reviewers")
        ))?;
        for entry in &missing {
            output::line(format!("no photograph of {entry}: nobody can compare with it"))?;
        }
    }
    Ok(())
}

/// Where the eyes of the photograph's one person are, so that the page shows both pictures at one
/// scale. It is shown whole where nobody is found.
fn eyes(reader: &mut FaceReader, file: &[u8]) -> Result<Option<Eyes>, CliError> {
    let photograph = Photograph::decode(file)?;
    let Some(seen) = reader.subject(&photograph.frame())? else { return Ok(None) };
    let [left, right, ..] = seen.face.landmarks;
    let px = |at: f32| (0.0..=65_535.0).contains(&at).then(|| at.round() as u16);
    Ok((|| Some(Eyes([px(left.x)?, px(left.y)?, px(right.x)?, px(right.y)?])))())
}
