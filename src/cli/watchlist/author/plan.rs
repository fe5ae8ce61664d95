//! `watchpost watchlist plan`: the arithmetic between a list's size, the faces that pass and the
//! false alerts that follow.
//!
//! The same arithmetic that the daemon refuses by, so that nobody learns at the gate that a list is
//! too large.

mod choices;
mod projection;
mod rehearsed;
mod site;

use std::path::PathBuf;

use serde::Serialize;
use time::OffsetDateTime;

use self::choices::{AS_IT_RUNS, Choice, HEADER, INTERVALS, choices, missed};
use self::projection::{AskedCalibration, Projection, project};
use self::rehearsed::RehearsedRate;
use self::site::SideBySide;
use super::{CliError, draft_of, output, site as of_place};
use crate::cli::flags::{Networks, Opening, OutputFormat};
use crate::decision::budget::Budget;
use crate::decision::curve::{Entries, PromiseCurve};
use crate::decision::rates::ListRates;
use crate::device::judge;
#[cfg(feature = "evaluate")]
use crate::evaluate::report::html;
#[cfg(feature = "evaluate")]
use crate::files::replace;
use crate::vision::{GroupCurve, MissCurve, Models};
use crate::watchlist::author::Draft;
use crate::watchlist::model::{Content, check_budget};
use crate::watchlist::text::counted;

/// List sizes of the table, in entries of three photographs.
const SIZES: [usize; 7] = [1, 3, 10, 30, 100, 300, 1000];
/// Faces a day of the table.
const FACES: [u32; 5] = [100, 1_000, 5_000, 20_000, 100_000];

#[derive(clap::Args)]
pub struct Args {
    /// Draft or signed list.
    file: PathBuf,
    /// Plan for this many faces a day instead of the list's.
    #[arg(long, value_name = "N")]
    faces_per_day: Option<u32>,
    /// Plan for this many false alerts a day instead of the list's.
    #[arg(long, value_name = "X")]
    false_alerts_per_day: Option<f64>,
    /// Plan for this many entries of three photographs instead of those in the list.
    #[arg(long, value_name = "N")]
    entries: Option<usize>,
    /// Show what this site record buys beside what the list costs without it. A list that has one
    /// is shown with its own.
    #[arg(long, value_name = "FILE", conflicts_with = "entries")]
    site: Option<PathBuf>,
    /// Project what a calibration of so many days could buy; 7 to 56 unless given.
    #[arg(long, value_name = "DAYS", value_parser = projection::days)]
    calibration_days: Option<u16>,
    /// Project what a calibration with so many decoys could buy; 500 and 2,000 unless given.
    #[arg(long, value_name = "N", value_parser = projection::decoys)]
    decoys: Option<u32>,
    /// Record of a rehearsal (`watchpost calibrate rehearse`): what was found at the place, beside
    /// the bound.
    #[arg(long, value_name = "FILE")]
    rehearsal: Option<PathBuf>,
    /// Write the table and a plot as one HTML page.
    #[cfg(feature = "evaluate")]
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    opening: Opening,
    #[command(flatten)]
    format: OutputFormat,
}

/// The arithmetic for one list, and the table around it.
#[derive(Debug, Serialize)]
struct BudgetReport {
    faces_per_day: u32,
    false_alerts_per_day_allowed: f64,
    entries: usize,
    /// Whether a device with this embedder would use the list.
    fits: bool,
    /// Similarity from which a track is a candidate; absent where the budget cannot be met.
    threshold: Option<f32>,
    /// Upper bound at that threshold, or at the strictest measured one.
    expected_false_alerts_per_day: f64,
    /// Rate behind it at which a stranger's track ever reaches any of the entries, of the
    /// worst-served group, upper 95 % bound.
    false_positive_rate: f64,
    /// Whether that rate lies beyond what was counted, on an extrapolated tail.
    extrapolated: bool,
    /// Most entries that fit the budget.
    largest: usize,
    table: Vec<BudgetRow>,
    /// Budgets and photographs to choose between, and the misses of each; the list's own first.
    choices: Vec<Choice>,
    /// What a calibration at the place could buy: a projection.
    projection: Projection,
    /// Without and with the list's site record, where it has one; all else here is without.
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<SideBySide>,
    /// What volunteers' passes came to at the place, where that was rehearsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    rehearsal: Option<RehearsedRate>,
}

/// What one size of list takes.
#[derive(Debug, Serialize)]
struct BudgetRow {
    entries: usize,
    /// For each of the table's faces a day.
    cells: Vec<BudgetCell>,
}

#[derive(Debug, Serialize)]
struct BudgetCell {
    faces_per_day: u32,
    /// Threshold within the list's own false-alert budget; absent where none is.
    threshold: Option<f32>,
    /// Fewest false alerts a day that could be promised at the strictest measured threshold.
    least_false_alerts_per_day: f64,
}

fn report(
    curve: &PromiseCurve,
    embedder: (&[GroupCurve], &[MissCurve]),
    (faces, allowed): (u32, f64),
    entries: &Entries,
    asked: AskedCalibration,
) -> BudgetReport {
    let (groups, misses) = embedder;
    let budget = |faces: u32| Budget::of(faces, allowed);
    let plan = curve.plan(budget(faces), entries).ok();
    let at = plan.map_or(curve.strictest(entries).threshold, |p| p.threshold);
    let rate = curve.false_positive_rate(at, entries).unwrap_or(1.0);
    let row = |number: usize| {
        let entries = Entries::of_three(number);
        let strictest = curve.strictest(&entries).threshold;
        let best = curve.false_positive_rate(strictest, &entries).unwrap_or(1.0);
        let cell = |&faces: &u32| BudgetCell {
            faces_per_day: faces,
            threshold: curve.plan(budget(faces), &entries).ok().map(|p| p.threshold),
            least_false_alerts_per_day: f64::from(faces) * best,
        };
        BudgetRow { entries: number, cells: FACES.iter().map(cell).collect() }
    };
    BudgetReport {
        faces_per_day: faces,
        false_alerts_per_day_allowed: allowed,
        entries: entries.total(),
        fits: plan.is_some(),
        threshold: plan.map(|p| p.threshold),
        expected_false_alerts_per_day: f64::from(faces) * rate,
        false_positive_rate: rate,
        extrapolated: curve.extrapolated(at, entries),
        largest: curve.largest(budget(faces)),
        table: SIZES.into_iter().map(row).collect(),
        choices: choices(curve, misses, entries.total(), (faces, allowed)),
        projection: project(
            groups,
            misses,
            entries.total(),
            budget(faces),
            plan.map(|p| p.threshold),
            asked,
        ),
        site: None,
        rehearsal: None,
    }
}

pub fn run(args: Args) -> Result<(), CliError> {
    let models = args.networks.open()?;
    let curve = curve(&models)?;
    let bytes = args.opening.read(&args.file)?;
    let mut draft = match draft_of(&bytes) {
        Some(draft) => draft?,
        None => Draft::revise(&bytes, OffsetDateTime::now_utc())?,
    };
    if let Some(record) = &args.site {
        of_place::put(&mut draft, record)?;
    }
    let content = draft.content();
    let a = &content.authorisation;
    let faces = args.faces_per_day.unwrap_or(a.expected_faces_per_day);
    let allowed = args.false_alerts_per_day.unwrap_or(a.false_alerts_per_day);
    check_budget(faces, allowed)?;
    let photographs = content.entries.iter().map(|e| e.photographs().count());
    let entries = args.entries.map_or_else(|| photographs.collect(), Entries::of_three);
    let embedder = &models.manifest.embedder;
    let misses = &embedder.misses;
    let asked = AskedCalibration { days: args.calibration_days, decoys: args.decoys };
    let measured = (&embedder.groups[..], &misses[..]);
    let mut report = report(&curve, measured, (faces, allowed), &entries, asked);
    if let Some(record) = of_place::of(content)?.filter(|_| args.entries.is_none()) {
        let budget = Budget::of(faces, allowed);
        report.site = Some(site::side_by_side(&curve, misses, content, &record, budget));
    }
    let rehearsed = |path| RehearsedRate::read(path, &a.devices);
    report.rehearsal = args.rehearsal.as_deref().map(rehearsed).transpose()?;
    #[cfg(feature = "evaluate")]
    if let Some(path) = &args.report {
        let total = entries.total();
        let page = choices::page::document(&curve, misses, total, faces, &report.choices);
        replace(path, html::render(&page).as_bytes())?;
    }
    if args.format.json {
        return Ok(output::json_line(&report)?);
    }
    print(&report)?;
    Ok(())
}

fn print(r: &BudgetReport) -> Result<(), CliError> {
    if let Some(site) = &r.site {
        site.print()?;
        output::line("")?;
        output::line("without the site record:")?;
    }
    output::line(format!(
        "{} faces a day x {:.2e}, the rate of the worst-served group against {}{}, = {:.4} \
         false alerts a day",
        r.faces_per_day,
        r.false_positive_rate,
        entries(r.entries),
        if r.extrapolated { " (extrapolated)" } else { "" },
        r.expected_false_alerts_per_day
    ))?;
    match r.threshold {
        Some(threshold) => output::line(format!(
            "fits: allowed are {}; threshold {threshold:.2}; at most {} would fit",
            r.false_alerts_per_day_allowed,
            entries(r.largest)
        ))?,
        None => output::line(format!(
            "does not fit: allowed are {}, and no stricter threshold was measured; at most {} \
             entries fit, or have {:.4} false alerts a day authorised",
            r.false_alerts_per_day_allowed, r.largest, r.expected_false_alerts_per_day
        ))?,
    }
    if let Some(rehearsed) = &r.rehearsal {
        output::line(rehearsed.sentence(r.threshold))?;
    }
    output::line("")?;
    output::line(format!(
        "threshold for {} false alerts a day, or in brackets the fewest that can be promised:",
        r.false_alerts_per_day_allowed
    ))?;
    let header: Vec<String> = std::iter::once("entries".into())
        .chain(FACES.iter().map(|f| format!("{f} faces/day")))
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let cell = |c: &BudgetCell| {
        c.threshold
            .map_or_else(|| format!("({:.3})", c.least_false_alerts_per_day), |t| format!("{t:.2}"))
    };
    let rows: Vec<Vec<String>> = r
        .table
        .iter()
        .map(|row| {
            std::iter::once(row.entries.to_string()).chain(row.cells.iter().map(cell)).collect()
        })
        .collect();
    output::table(&header, &rows)?;
    output::line("")?;
    output::line(format!(
        "the cost of {}, by budget and photographs an entry: threshold, and the share of \
         listed people missed there of passers-by who give two views, four, and four to eight:",
        entries(r.entries)
    ))?;
    let rows: Vec<Vec<String>> = r.choices.iter().map(Choice::row).collect();
    output::table(&HEADER, &rows)?;
    output::line("")?;
    let own = r.choices.first().map(Choice::intervals).unwrap_or_default();
    if !own.is_empty() {
        output::line(
            "missed within the list's own budget, with the upper bound (95 %) of so many people:",
        )?;
        output::table(&INTERVALS, &own)?;
        output::line("")?;
    }
    r.projection.print(r.false_alerts_per_day_allowed / f64::from(r.faces_per_day))?;
    output::line("")?;
    output::line(
        "Misses are of press photographs of different days; views of one walk are more alike, and \
         more are missed. A near relative can match. A device decides after the fourth view and \
         goes on looking, up to the eighth; whoever is gone sooner, or gives fewer views in 1.5 \
         seconds, is decided on two or three.",
    )?;
    Ok(())
}

fn entries(number: usize) -> String {
    counted(number, "entry", "entries")
}

fn curve(models: &Models) -> Result<PromiseCurve, CliError> {
    judge::curve(models).map_err(|blindness| blindness.to_string().into())
}

/// A sentence for standard error where the authorised budget of `content` cannot be met (at least
/// one entry is assumed); silent where it can.
pub fn warn_of_budget(models: &Models, content: &Content) {
    let Ok(curve) = curve(models) else { return };
    let a = &content.authorisation;
    let budget = Budget::of(a.expected_faces_per_day, a.false_alerts_per_day);
    let record = of_place::of(content).ok().flatten();
    let rates = if content.entries.is_empty() {
        ListRates::by_groups(&curve, Entries::of_three(1))
    } else {
        of_place::rates(&curve, content, record.as_ref())
    };
    if let Err(over) = rates.plan(budget) {
        output::warn(format_args!(
            "devices will refuse this list. {over}; see `watchpost watchlist plan`"
        ));
    }
}

/// What entries of few photographs miss, at the threshold of their list and by the rule that a
/// device runs.
pub struct CostOfFew {
    /// Of the list as it stands; the strictest known one where its budget cannot be met.
    pub threshold: f32,
    misses: Vec<MissCurve>,
}

impl CostOfFew {
    /// That of the built-in embedder at `threshold`.
    #[cfg(test)]
    pub fn at(threshold: f32) -> Self {
        let misses = Models::builtin().expect("built in").manifest.embedder.misses;
        Self { threshold, misses }
    }

    /// Of the list `content`; `None` where the embedder's misses were not measured.
    pub fn of(models: &Models, content: &Content) -> Option<Self> {
        let curve = curve(models).ok()?;
        let a = &content.authorisation;
        let budget = Budget::of(a.expected_faces_per_day, a.false_alerts_per_day);
        let rates = of_place::rates(&curve, content, of_place::of(content).ok().flatten().as_ref());
        let plan = rates.plan(budget).unwrap_or_else(|_| rates.strictest(budget));
        let misses = models.manifest.embedder.misses.clone();
        (!misses.is_empty()).then_some(Self { threshold: plan.threshold, misses })
    }

    /// Of 100 passes of a person with so many photographs, how many are missed; `None` beyond what
    /// was measured.
    pub fn missed_of_100(&self, photographs: usize) -> Option<f64> {
        let all = missed(&self.misses, photographs, self.threshold);
        all.into_iter().find(|m| m.views == AS_IT_RUNS).map(|m| 100.0 * m.missed.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::curve::UNPROVEN_ALLOWANCE;

    /// Thresholds .37 and .57: those of single comparisons, moved by what fusing adds.
    fn curve() -> PromiseCurve {
        let group = GroupCurve {
            name: "all".into(),
            source: "a test".into(),
            people: 1000,
            pairs: 499_500,
            exact_to: 0.4,
            curve: [(0.3, 4e-3), (0.5, 4e-5)].map(|(t, p)| (t, p / UNPROVEN_ALLOWANCE)).to_vec(),
        };
        PromiseCurve::of(&[group]).expect("rising thresholds")
    }

    #[test]
    fn the_report_says_what_the_daemon_would_do_and_what_would_fit() {
        let report = |entries| {
            let asked = AskedCalibration::default();
            super::report(&curve(), (&[], &[]), (1000, 0.5), &Entries::of_three(entries), asked)
        };
        let good = report(10);
        assert_eq!((good.fits, good.threshold, good.largest), (true, Some(0.57), 12));
        assert!((good.expected_false_alerts_per_day - 0.4).abs() < 1e-9);
        let bad = report(13);
        assert_eq!((bad.fits, bad.threshold), (false, None));
        assert!((bad.expected_false_alerts_per_day - 0.52).abs() < 1e-9);
        for row in &bad.table {
            for cell in &row.cells {
                let over = cell.least_false_alerts_per_day > 0.5;
                assert_eq!(cell.threshold.is_none(), over, "{row:?}");
            }
        }
    }
}
