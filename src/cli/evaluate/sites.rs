//! `watchpost evaluate sites`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ranges::{border, likely};
use crate::cli::flags::{Networks, OutputFormat};
use crate::cli::photographs::{self, FaceReader};
use crate::cli::{CliError, output};
use crate::evaluate::extract::padded;
use crate::evaluate::sites::{
    Goal, GroupedPerson, Population, SitePlan, SitesResult, evaluate, one_of_each,
};
use crate::files::{read_text, replace};
use crate::frame::Frame;
use crate::template::Template;

#[derive(Debug, clap::Args)]
pub struct SitesArgs {
    /// Folder with one folder a group, and in it one photograph a person. Different files are
    /// different people.
    #[arg(long, value_name = "DIR", required_unless_present = "embeddings")]
    root: Option<PathBuf>,
    /// Templates: read where the file exists, written where it does not. It holds biometric data;
    /// remove it when the work is done.
    #[arg(long, value_name = "FILE")]
    embeddings: Option<PathBuf>,
    /// Where a photograph shows nobody as it is, look again with a black border on each side, as a
    /// share of the long side: for chips cropped to the face.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = border)]
    pad: f32,
    /// Take photographs that hang together by similarities from here on for one person, of whom one
    /// stays: for sets that hold people more than once.
    #[arg(long, value_name = "SIMILARITY", value_parser = likely)]
    duplicates_from: Option<f32>,
    #[command(flatten)]
    networks: Networks,
    /// Places to draw.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    sites: u32,
    /// Entries of each list.
    #[arg(long, value_name = "N", default_value_t = 100)]
    entries: usize,
    /// Decoys of each set.
    #[arg(long, value_name = "N", default_value_t = 500)]
    decoys: usize,
    /// Tracks that pass at each place.
    #[arg(long, value_name = "N", default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..))]
    tracks: u32,
    /// A group that is missing among the decoys; may be given several times.
    #[arg(long, value_name = "GROUP")]
    without: Vec<String>,
    /// Also plan lists that may give so many false alerts a face: how many entries fit.
    #[arg(long, value_name = "RATE", value_parser = alerts)]
    alerts_a_face: Option<f64>,
    /// The highest threshold that such a list may have, in similarities of single photographs.
    #[arg(long, value_name = "SIMILARITY", default_value_t = 0.77, value_parser = likely)]
    highest: f32,
    /// Seed of the draws: the same seed gives the same draws, for ever.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    format: OutputFormat,
}

/// A person's group by name, and the template.
type NamedTemplate = (String, Template);

/// Whether anything could be evaluated.
pub fn run(args: &SitesArgs, out: &mut dyn Write) -> Result<bool, CliError> {
    let rows = match (&args.embeddings, &args.root) {
        (Some(file), _) if file.exists() => read(file)?,
        (file, Some(root)) => {
            let rows = look(root, args.pad, &args.networks)?;
            if let Some(file) = file {
                replace(file, write(&rows).as_bytes())?;
            }
            rows
        }
        (_, None) => return Err("name the folder of the photographs with --root".into()),
    };
    let groups: BTreeSet<&String> = rows.iter().map(|(group, _)| group).collect();
    let groups: Vec<String> = groups.into_iter().cloned().collect();
    if let Some(unknown) = args.without.iter().find(|name| !groups.contains(name)) {
        return Err(format!("there is no group {unknown}; there are {}", groups.join(", ")).into());
    }
    let mut people: Vec<GroupedPerson> = rows
        .into_iter()
        .map(|(name, template)| {
            let group = groups.binary_search(&name).expect("collected from these");
            GroupedPerson { group, template }
        })
        .collect();
    let photographs = people.len();
    if let Some(from) = args.duplicates_from {
        people = one_of_each(people, from);
    }
    if people.len() < 3 * args.entries.max(args.decoys) {
        output::say(format_args!(
            "{} people of {photographs} photographs are too few: of three thirds one is listed, \
             one are decoys and one pass",
            people.len()
        ));
        return Ok(false);
    }
    let bar = indicatif::ProgressBar::new(people.len() as u64);
    let population = Population::new(groups, &people, |done| bar.set_position(done as u64));
    bar.set_length(args.sites.into());
    let plan = SitePlan {
        sites: args.sites,
        entries: args.entries,
        decoys: args.decoys,
        tracks: args.tracks,
        without: args.without.clone(),
        seed: args.seed,
        goal: args.alerts_a_face.map(|alerts_a_face| Goal { alerts_a_face, highest: args.highest }),
    };
    let result = evaluate(&population, plan, |done| bar.set_position(done.into()));
    bar.finish_and_clear();
    if args.format.json {
        writeln!(out, "{}", serde_json::to_string(&result)?)?;
    } else {
        print(&result, out)?;
    }
    Ok(true)
}

fn print(result: &SitesResult, out: &mut dyn Write) -> Result<(), CliError> {
    let plan = &result.plan;
    let people: usize = result.groups.iter().map(|(_, n)| n).sum();
    writeln!(
        out,
        "{} places of {} entries, {} decoys and {} tracks, drawn from {people} people of {} groups; \
         missing among the decoys: {}; entries covered {:.3}; places without a curve: {}",
        plan.sites,
        plan.entries,
        plan.decoys,
        plan.tracks,
        result.groups.len(),
        if plan.without.is_empty() { "none".into() } else { plan.without.join(", ") },
        result.covered,
        result.no_curve
    )?;
    writeln!(
        out,
        "threshold  bound held (95 % interval)  median of: bound, estimate, average decoy over \
         truth; uncovered over covered"
    )?;
    for at in &result.thresholds {
        writeln!(
            out,
            "{:9.2}  {:.3} ({:.3}-{:.3})  {:.2}  {:.2}  {:.2}  {:.2}",
            at.threshold,
            at.held.rate.unwrap_or(f64::NAN),
            at.held.lower,
            at.held.upper,
            at.bound_over_truth,
            at.estimate_over_truth,
            at.average_decoy_over_truth,
            at.uncovered_over_covered
        )?;
    }
    if let (Some(goal), Some(planned)) = (plan.goal, &result.planned) {
        writeln!(
            out,
            "at {:.3e} false alerts a face and thresholds up to {:.2}: the largest list has {:.0} \
             entries in the median place, {:.0} or more in 19 of 20; one of {} keeps it in {:.3} \
             of places by its bound, and in {:.3} ({:.3}-{:.3}) of these in truth",
            goal.alerts_a_face,
            goal.highest,
            planned.largest.floor(),
            planned.largest_of_nearly_all.floor(),
            plan.entries,
            planned.fits.rate.unwrap_or(f64::NAN),
            planned.held.rate.unwrap_or(f64::NAN),
            planned.held.lower,
            planned.held.upper
        )?;
    }
    Ok(())
}

/// Group and template of each photograph below the groups' folders. One that shows nobody, or
/// several people, is left out.
fn look(root: &Path, pad: f32, networks: &Networks) -> Result<Vec<NamedTemplate>, CliError> {
    let mut reader = FaceReader::new(&networks.open()?)?;
    let inside = |folder: &Path| -> Result<Vec<PathBuf>, CliError> {
        let mut paths = std::fs::read_dir(folder)?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<Result<Vec<_>, _>>()?;
        paths.sort();
        Ok(paths)
    };
    let mut rows = Vec::new();
    for group in inside(root)?.into_iter().filter(|path| path.is_dir()) {
        let name = group.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        for path in inside(&group)? {
            let Ok(photograph) = photographs::open(&path) else { continue };
            let mut enrolled = reader.single(&photograph.frame());
            if enrolled.is_err() && pad > 0.0 {
                let (layout, pixels) = padded(&photograph.frame(), pad)?;
                enrolled = reader.single(&Frame::new(layout, &pixels)?);
            }
            if let Ok(enrolled) = enrolled {
                rows.push((name.clone(), enrolled.embedding.quantize()));
            }
        }
    }
    Ok(rows)
}

fn alerts(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| *rate > 0.0 && *rate <= 1.0);
    rate.ok_or_else(|| "write a rate above 0, at most 1, such as 1.67e-5".into())
}

/// A line a person: group, tab, components in base64.
fn write(rows: &[NamedTemplate]) -> String {
    let line = |(group, template): &NamedTemplate| {
        let bytes: Vec<u8> = template.values().iter().map(|v| v.cast_unsigned()).collect();
        format!("{group}\t{}\n", STANDARD.encode(bytes))
    };
    rows.iter().map(line).collect()
}

/// Most bytes of a table of templates.
const MAX_TABLE: u64 = 256 << 20;

fn read(file: &Path) -> Result<Vec<NamedTemplate>, CliError> {
    let text =
        read_text(file, MAX_TABLE).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    text.lines()
        .enumerate()
        .map(|(n, line)| {
            let row = || {
                let (group, components) = line.split_once('\t')?;
                let bytes = STANDARD.decode(components).ok()?;
                let values = bytes.iter().map(|b| b.cast_signed()).collect();
                Some((group.to_owned(), Template::new(values).ok()?))
            };
            row().ok_or_else(|| {
                format!("{}, line {}: no group, tab and template", file.display(), n + 1).into()
            })
        })
        .collect()
}
