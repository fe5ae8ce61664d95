//! `watchpost evaluate`: measures the models on photographs whose truth is known.
//!
//! Results go to standard output (text, or one JSON object), progress to standard error where that
//! is a terminal, the HTML report and the table of the manifest to files that are named. Exit
//! codes: 0 evaluated; 65 nothing could be evaluated, whatever could be said is in the output; 1
//! (from the caller) an error; 2 a wrong command line.

mod each;
mod ranges;
mod sites;

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::flags::{Networks, OutputFormat};
use super::{CliError, output};
use crate::evaluate::cover::Cover;
use crate::evaluate::extract::{Acquisition, Chain, Settings};
use crate::evaluate::left_out::LeftOut;
use crate::evaluate::protocol::duplicates::{JudgedCluster, parse as parse_judged};
use crate::evaluate::records::Records;
use crate::evaluate::report::pages::{Describe, document};
use crate::evaluate::report::{html, text};
use crate::evaluate::{
    Context, EvaluateError, Evaluation, curve, detection, duplicates, gate, networks, read_list,
};
use crate::vision::{Models, VisionConfig};
use ranges::{border, likely, long_side, share, similarity};

/// Exit code where nothing could be evaluated (`EX_DATAERR`).
pub const NOTHING_EVALUATED: u8 = 65;

/// Measure detector and embedder on photographs of your own, with the metrics of ISO/IEC 19795-1.
///
/// Every rate carries its 95 % interval and its count; what the data cannot support is said so;
/// what was not used is counted and listed. Exit code 65 means that nothing could be evaluated.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: Evaluator,
}

#[derive(Debug, Subcommand)]
enum Evaluator {
    /// One to one: accuracy, TAR at FAR 1e-2, 1e-3 and 1e-4, DET curve, over an LFW pairs file.
    Verification(VerificationArgs),
    /// One to many, open set: FNIR at FPIR .01 and .001 and rank 1, over several draws of a
    /// gallery.
    Identification(IdentificationArgs),
    /// Average precision (WIDER FACE protocol) and recall by face height.
    Detection(DetectionArgs),
    /// False matches and false non-matches by groups that you label yourself.
    Groups(GroupsArgs),
    /// The false-match curve over all pairs of a folder, as the manifest carries it.
    Curve(CurveArgs),
    /// Whether views that cannot match are counted as such: photographs degraded as on a street.
    Gate(GateArgs),
    /// Whether a calibration on site keeps its bound, at places that are drawn from people of known
    /// groups.
    Sites(sites::SitesArgs),
}

#[derive(Debug, clap::Args)]
struct CommonArgs {
    /// Folder of the photographs.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    #[command(flatten)]
    networks: Networks,
    /// Long side of the picture that the detector sees, in pixels; larger photographs are shrunk to
    /// it.
    #[arg(
        long,
        value_name = "PIXELS",
        default_value_t = VisionConfig::default().long_side,
        value_parser = long_side
    )]
    long_side: usize,
    /// Least detector score of a face, 0 to 1.
    #[arg(
        long,
        value_name = "SCORE",
        default_value_t = VisionConfig::default().min_score,
        value_parser = share
    )]
    min_score: f32,
    /// Threads; all cores unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    format: OutputFormat,
    /// Also write every comparison (for `detection`, every face) as a JSON line: file names,
    /// similarities and boxes, no templates. With these, other software can compute the figures
    /// again.
    #[arg(long, value_name = "FILE.jsonl")]
    scores: Option<PathBuf>,
    /// Also write a self-contained HTML report.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct FaceArgs {
    /// Put a black border on each side before detection, as a share of the long side: for chips
    /// cropped to the face.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = border)]
    pad: f32,
    /// Refuse faces that the quality gate refuses, instead of only counting them.
    #[arg(long)]
    gate: bool,
}

#[derive(Debug, clap::Args)]
struct VerificationArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    faces: FaceArgs,
    /// Pairs file of LFW, with folds (`pairs.txt`) or without (`pairsDevTest.txt`). Photographs are
    /// name/name_0001.jpg.
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// Paint this over the second face of each pair, as on a passer-by: what it costs.
    #[arg(long, value_enum)]
    cover: Option<Cover>,
    /// Also report the rates at this similarity.
    #[arg(
        long,
        value_name = "SIMILARITY",
        value_parser = similarity,
        allow_negative_numbers = true
    )]
    threshold: Option<f32>,
}

#[derive(Debug, clap::Args)]
struct IdentificationArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    faces: FaceArgs,
    /// People to enrol, one photograph each.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    gallery: u32,
    /// Seed of the draws: the same seed gives the same draws, for ever.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Draws of a gallery.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    draws: u32,
    /// Mated probes a person at most.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    probes: u32,
}

#[derive(Debug, clap::Args)]
struct DetectionArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// JSON Lines, an image a line: `{"image": "a.jpg", "boxes_xywh": [[x,y,w,h]], "easy": [0],
    /// "medium": [0], "hard": [0]}`.
    #[arg(long, value_name = "FILE.jsonl")]
    ground_truth: PathBuf,
    /// For the average precision, merge boxes whose intersection over union is above this; a device
    /// merges at 0.3.
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = detection::OVERLAP_OF_AP,
        value_parser = share
    )]
    overlap: f32,
}

#[derive(Debug, clap::Args)]
struct GateArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Photographs of a template; what more there is of a person are views.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    template_of: u8,
    /// Most views of a person.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    views: u8,
    /// A view whose similarity to its own person is below this cannot match.
    #[arg(
        long,
        value_name = "SIMILARITY",
        default_value_t = 0.6,
        value_parser = similarity,
        allow_negative_numbers = true
    )]
    threshold: f32,
    /// Look at everybody, or at one half of the people, by their names.
    #[arg(long, value_enum, default_value_t = gate::Half::All)]
    half: gate::Half,
    /// Fit the limits of the count anew, so that no more than this share of clean views is counted.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    fit: Option<f32>,
}

#[derive(Debug, clap::Args)]
struct JudgedArgs {
    /// What somebody judged of duplicates and twins: JSON with clusters of file names, the verdict
    /// (same_person, twins, different), who judged it and why.
    #[arg(long, value_name = "FILE.json")]
    duplicates: Option<PathBuf>,
}

impl JudgedArgs {
    fn read(&self) -> Result<Vec<JudgedCluster>, CliError> {
        let Some(path) = &self.duplicates else { return Ok(Vec::new()) };
        Ok(parse_judged(&read_list(path)?).map_err(EvaluateError::from)?)
    }
}

#[derive(Debug, clap::Args)]
struct GroupsArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    faces: FaceArgs,
    /// CSV with the columns file, person, group: your own labels; this program infers none.
    #[arg(long, value_name = "FILE.csv", visible_alias = "csv")]
    groups: PathBuf,
    /// List different people as likely duplicates from this similarity on, for somebody to judge.
    /// Until then they count as false matches.
    #[arg(
        long,
        value_name = "SIMILARITY",
        default_value_t = duplicates::LIKELY_FROM,
        value_parser = likely
    )]
    duplicates_from: f32,
    /// Put the likely duplicates' photographs into the HTML report, side by side, for a person to
    /// judge. The report then holds pictures of people.
    #[arg(long, requires = "report")]
    contact_sheet: bool,
    /// Write each group's bounds here, ready to paste into a manifest.
    #[arg(long, value_name = "FILE.toml")]
    table: Option<PathBuf>,
    /// Also report the rates at this similarity (three decimals); may be given several times.
    #[arg(
        long,
        value_name = "SIMILARITY",
        value_parser = similarity,
        allow_negative_numbers = true
    )]
    threshold: Vec<f32>,
    #[command(flatten)]
    judged: JudgedArgs,
}

#[derive(Debug, clap::Args)]
struct CurveArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    faces: FaceArgs,
    /// Write the table for the manifest here.
    #[arg(long, value_name = "FILE.toml")]
    table: Option<PathBuf>,
    /// End the curve at the strictest threshold at which this many different pairs of people
    /// matched falsely.
    #[arg(
        long,
        value_name = "N",
        default_value_t = curve::LEAST_PAIRS,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    least_pairs: u64,
    #[command(flatten)]
    judged: JudgedArgs,
    /// Take different people for likely duplicates from this similarity on: of such people one
    /// stays in the unit's bounds, and nothing near it is counted there.
    #[arg(long, value_name = "SIMILARITY", default_value_t = duplicates::LIKELY_FROM, value_parser = likely)]
    duplicates_from: f32,
    /// Photographs of which a template is the mean, as a list's entry is.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=20))]
    template_of: u8,
    /// Views of which a probe is the mean, as a track's is.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    track_of: u8,
    /// Fewest views of a track, where somebody has fewer photographs than --track-of; as many as
    /// --track-of unless given.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=64))]
    track_at_least: Option<u8>,
    /// Look at the probe after each view, as a device does, and count the highest similarity.
    #[arg(long)]
    ever: bool,
    /// With --ever: the view after which the probe is first looked at; at most --track-of.
    #[arg(long, value_name = "VIEW", default_value_t = 4, requires = "ever", value_parser = clap::value_parser!(u8).range(1..=64))]
    first_look: u8,
    /// Write the misses of the unit here, ready to paste into a manifest.
    #[arg(long, value_name = "FILE.toml")]
    misses: Option<PathBuf>,
    /// CSV with the columns file, person, group: also say how much more often the worst-served
    /// group is confused. No promise uses it.
    #[arg(long, value_name = "FILE.csv", requires = "groups_root")]
    groups: Option<PathBuf>,
    /// Folder of the photographs of --groups.
    #[arg(long, value_name = "DIR", requires = "groups")]
    groups_root: Option<PathBuf>,
    /// As --pad, for the photographs of --groups.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = border)]
    groups_pad: f32,
}

/// Runs the command.
///
/// # Errors
/// Models or lists that cannot be used, files that cannot be written; data that are merely poor are
/// no error.
pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let evaluated = execute(&args, &mut output::stdout())?;
    Ok(if evaluated { ExitCode::SUCCESS } else { ExitCode::from(NOTHING_EVALUATED) })
}

/// Whether anything could be evaluated. The result goes to `out`.
fn execute(args: &Args, out: &mut dyn Write) -> Result<bool, CliError> {
    match &args.what {
        Evaluator::Verification(a) => each::verify(a, out),
        Evaluator::Identification(a) => each::identify(a, out),
        Evaluator::Detection(a) => each::detect(a, out),
        Evaluator::Groups(a) => each::compare_groups(a, out),
        Evaluator::Curve(a) => each::measure_curve(a, out),
        Evaluator::Gate(a) => each::measure_gate(a, out),
        Evaluator::Sites(a) => sites::run(a, out),
    }
}

/// What every evaluation needs.
struct EvaluationRun<'a> {
    common: &'a CommonArgs,
    models: Models,
    settings: Settings,
    progress: ProgressBar,
    left_out: LeftOut,
    records: Records,
}

impl<'a> EvaluationRun<'a> {
    fn new(common: &'a CommonArgs, faces: Option<&FaceArgs>) -> Result<Self, CliError> {
        // Found out now rather than after minutes of work.
        if let Some(path) = &common.report {
            writable(path)?;
        }
        let records = match &common.scores {
            Some(path) => {
                let file = std::fs::File::create(path)
                    .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
                Records::to(BufWriter::new(file))
            }
            None => Records::default(),
        };
        let models = common.networks.open()?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let settings = Settings {
            long_side: common.long_side,
            min_score: common.min_score,
            pad: faces.map_or(0.0, |f| f.pad),
            cover: None,
            gate: faces.is_some_and(|f| f.gate),
            threads: common.threads.map_or_else(cores, usize::from),
        };
        Ok(Self {
            common,
            models,
            settings,
            progress: progress(),
            left_out: LeftOut::default(),
            records,
        })
    }

    /// Calls `work` with the models under test, looking at photographs as `settings` say.
    fn chain<R>(
        &mut self,
        settings: Settings,
        work: impl FnOnce(&Chain<'_>, &mut Context<'_>) -> Result<R, EvaluateError>,
    ) -> Result<R, EvaluateError> {
        let mut run = Context {
            settings: &settings,
            progress: &self.progress,
            left_out: &mut self.left_out,
            records: &mut self.records,
        };
        work(&Chain { models: &self.models, settings }, &mut run)
    }

    /// Puts a result out in every form that was asked for.
    fn finish<R: Describe + Serialize>(
        self,
        name: &'static str,
        list: Option<&Path>,
        evaluated: bool,
        acquisition: Option<Acquisition>,
        result: R,
        out: &mut dyn Write,
    ) -> Result<bool, CliError> {
        self.progress.finish_and_clear();
        if let Some(path) = &self.common.scores {
            self.records.finish().map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        }
        let (detector, embedder) = networks(&self.models);
        let evaluation = Evaluation {
            evaluation: name,
            program: env!("CARGO_PKG_VERSION"),
            detector,
            embedder,
            settings: self.settings,
            root: self.common.root.clone(),
            list: list.map(Path::to_path_buf),
            evaluated,
            acquisition,
            left_out: self.left_out,
            result,
        };
        let page = document(&evaluation);
        if let Some(path) = &self.common.report {
            write(path, &html::render(&page))?;
        }
        if self.common.format.json {
            serde_json::to_writer(&mut *out, &evaluation)?;
            writeln!(out)?;
        } else {
            out.write_all(text::render(&page).as_bytes())?;
        }
        out.flush()?;
        Ok(evaluated)
    }
}

fn progress() -> ProgressBar {
    // Draws to standard error, and only where that is a terminal.
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {elapsed} (about {eta} left)");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn writable(path: &Path) -> Result<(), CliError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let problem = if path.is_dir() {
        "it is a folder"
    } else if !folder.is_dir() {
        "its folder does not exist; make it first"
    } else {
        return Ok(());
    };
    Err(format!("cannot write {}: {problem}", path.display()).into())
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    /// Whether anything was evaluated, and what was printed.
    fn run_with(args: &[&str]) -> Result<(bool, String), String> {
        let cli = Cli::try_parse_from([&["evaluate"], args].concat()).map_err(|e| e.to_string())?;
        let mut out = Vec::new();
        let evaluated = execute(&cli.args, &mut out).map_err(|e| e.to_string())?;
        Ok((evaluated, String::from_utf8(out).expect("text")))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (flag, value) in [
            ("--min-score", "1.5"),
            ("--long-side", "8"),
            ("--pad", "9"),
            ("--gallery", "0"),
            ("--draws", "x"),
            ("--threads", "0"),
        ] {
            let e = run_with(&["identification", "--root", "/", flag, value]).unwrap_err();
            assert!(e.contains(flag), "{e}");
        }
    }

    #[test]
    fn judgements_that_nobody_stands_for_are_refused_before_any_work() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("judged.json");
        let text =
            r#"{"clusters":[{"files":["a","b"],"verdict":"twins","judged_by":"","why":"x"}]}"#;
        std::fs::write(&path, text).unwrap();
        let path = path.display().to_string();
        let e = run_with(&["curve", "--root", "/no/such", "--duplicates", &path]).unwrap_err();
        assert!(e.contains("cluster 1") && e.contains("who judged"), "{e}");
        for bad in ["NaN", "0.1", "2"] {
            let e = run_with(&["groups", "--root", "/", "--groups", "/", "--duplicates-from", bad]);
            assert!(e.unwrap_err().contains("--duplicates-from"));
        }
    }

    #[test]
    fn what_is_missing_is_named_before_any_work() {
        let e = run_with(&["verification", "--root", "/", "--pairs", "/no/such/file"]).unwrap_err();
        assert!(e.contains("/no/such/file"), "{e}");
        let e = run_with(&["identification", "--root", "/no/such/folder"]).unwrap_err();
        assert!(e.contains("/no/such/folder") && e.contains("--root"), "{e}");
        let e =
            run_with(&["curve", "--root", "/", "--table", "/no/such/folder/t.toml"]).unwrap_err();
        assert!(e.contains("/no/such/folder/t.toml") && e.contains("make it first"), "{e}");
    }

    #[test]
    fn photographs_without_faces_end_with_the_code_for_nothing_evaluated_and_a_report_that_says_so()
    {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for (person, shade) in [("A", 40u8), ("B", 200)] {
            std::fs::create_dir(root.join(person)).unwrap();
            for i in 1..=2u8 {
                let grey = image::GrayImage::from_fn(64, 48, |x, _| {
                    image::Luma([shade.wrapping_add(x as u8 * i)])
                });
                grey.save(root.join(format!("{person}/{person}_000{i}.png"))).unwrap();
            }
        }
        std::fs::write(root.join("A/A_0003.jpg"), b"\xff\xd8\xff\xe0 cut off").unwrap();
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let pairs = write("pairs.txt", "2\nA 1 2\nA 1 3\nA 1 B 1\nA 9 B 1\n");
        let empty = write("empty.jsonl", "");
        let groups = write("groups.csv", "file,person,group\nA/A_0001.png,a,x\nB/B_0001.png,b,y\n");
        let folder = root.display().to_string();
        let report = root.join("report.html").display().to_string();
        let table = root.join("table.toml").display().to_string();
        for args in [
            vec!["verification", "--pairs", &pairs],
            vec!["identification", "--gallery", "2"],
            vec!["detection", "--ground-truth", &empty],
            vec!["groups", "--groups", &groups, "--pad", "0.3"],
            vec!["curve", "--table", &table],
            vec!["gate", "--template-of", "1"],
        ] {
            let all =
                [args.as_slice(), &["--root", &folder, "--report", &report, "--json"]].concat();
            let (evaluated, printed) = run_with(&all).unwrap();
            let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
            assert_eq!(
                (evaluated, &json["evaluated"], &json["evaluation"]),
                (false, &false.into(), &args[0].into())
            );
            assert!(
                std::fs::read_to_string(&report).unwrap().contains("NOTHING COULD BE EVALUATED"),
                "{args:?}"
            );
        }
        assert!(!Path::new(&table).exists());
        let html = std::fs::read_to_string(&report).unwrap();
        assert!(html.contains("A/A_0003.jpg: unreadable photograph"));
    }
}
