//! What a calibration at the place could buy: a projection, and called so wherever it is shown.
//!
//! * Not a bound, and nothing is decided by it. What a place gives is known when it was measured:
//!   `--site` shows that beside what the list costs without it.
//! * Strangers are taken to be confused as seldom as the least confused group of the manifest is at
//!   most. Where they are confused more often, less is bought, down to nothing.

use serde::Serialize;

use super::super::{CliError, PHOTOGRAPHS_WANTED};
use super::choices::{AS_IT_RUNS, MissedViews, missed};
use crate::calibrate::decoys::{DAYS, LEAST, LEAST_FACES};
use crate::calibrate::projection::{DESIGN_EFFECT, Passers, ProjectedCalibration};
use crate::cli::output;
use crate::decision::budget::Budget;
use crate::decision::curve::{Entries, LEAST_PEOPLE, PromiseCurve};
use crate::vision::{GroupCurve, MissCurve};

/// Days of the table.
const SOME_DAYS: [u16; 4] = [7, 14, 28, 56];
/// Decoys of the table: the fewest of a set, and many.
const SOME_DECOYS: [u32; 2] = [LEAST as u32, 2000];
/// Similarity at which groups are compared.
const COMPARED_AT: f32 = 0.60;

/// What calibrations could buy.
#[derive(Debug, Serialize)]
pub struct Projection {
    /// Always true: for whoever reads this alone.
    projection: bool,
    /// Of the arithmetic; where people return more, it is larger.
    design_effect: f64,
    /// The group that strangers are taken to be like.
    strangers_like: String,
    /// Why there are no rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    none_because: Option<String>,
    rows: Vec<ProjectedRow>,
}

/// What one calibration could buy.
#[derive(Debug, Serialize)]
struct ProjectedRow {
    #[serde(flatten)]
    calibration: ProjectedCalibration,
    /// Most entries that could be proved, where others pass each day.
    largest_at_most: usize,
    /// The same, where the same people pass each day.
    largest_at_most_of_returning: usize,
    /// Threshold of the list at hand, where it would be lower than without.
    threshold: Option<f32>,
    /// Listed people missed there, with three photographs an entry.
    missed: Vec<MissedViews>,
}

/// The days and decoys that were asked for beside the table's.
#[derive(Debug, Clone, Copy, Default)]
pub struct AskedCalibration {
    /// Days.
    pub days: Option<u16>,
    /// Decoys.
    pub decoys: Option<u32>,
}

/// For a list of `entries` and `budget`; `without` is its threshold without a calibration.
pub fn project(
    groups: &[GroupCurve],
    misses: &[MissCurve],
    entries: usize,
    budget: Budget,
    without: Option<f32>,
    asked: AskedCalibration,
) -> Projection {
    let of =
        |g: &GroupCurve| Some((g.name.clone(), PromiseCurve::of(std::slice::from_ref(g)).ok()?));
    let curves = groups.iter().filter(|g| g.people >= LEAST_PEOPLE).filter_map(of);
    let rate_of = |curve: &PromiseCurve| curve.single_rate_at(COMPARED_AT).unwrap_or(1.0);
    let least = curves.min_by(|a, b| rate_of(&a.1).total_cmp(&rate_of(&b.1)));
    let mut projection = Projection {
        projection: true,
        design_effect: DESIGN_EFFECT,
        strangers_like: least.as_ref().map_or_else(String::new, |(name, _)| name.clone()),
        none_because: None,
        rows: Vec::new(),
    };
    let Some((_, curve)) = least else { return projection };
    if budget.faces_a_day < f64::from(LEAST_FACES) {
        projection.none_because = Some(format!(
            "a day of fewer than {LEAST_FACES} faces does not count towards a calibration"
        ));
        return projection;
    }
    let one = Entries::of_three(1);
    let strictest = curve.strictest(&one).threshold;
    // Beyond its last row the curve says nothing about how much rarer it becomes.
    let rate = |t: f32| curve.false_positive_rate(t, &one).filter(|_| t <= strictest);
    let alerts_a_face = budget.false_alerts_a_day / budget.faces_a_day;
    let days = asked.days.map_or_else(|| SOME_DAYS.to_vec(), |days| vec![days]);
    let decoys = asked.decoys.map_or_else(|| SOME_DECOYS.to_vec(), |decoys| vec![decoys]);
    let calibrations = decoys.iter().flat_map(|decoys| {
        days.iter().map(|days| ProjectedCalibration {
            decoys: *decoys,
            days: *days,
            faces_a_day: budget.faces_a_day as u32,
        })
    });
    let row = |calibration: ProjectedCalibration| {
        let largest = |passers| calibration.provable(alerts_a_face, passers, rate);
        let threshold =
            calibration.threshold(entries, alerts_a_face, Passers::Others, strictest, rate);
        let threshold = threshold.filter(|t| without.is_none_or(|without| *t < without));
        ProjectedRow {
            calibration,
            largest_at_most: largest(Passers::Others),
            largest_at_most_of_returning: largest(Passers::TheSame),
            threshold,
            missed: threshold.map_or_else(Vec::new, |t| missed(misses, PHOTOGRAPHS_WANTED, t)),
        }
    };
    projection.rows = calibrations.map(row).collect();
    projection
}

/// Days that a calibration may take.
pub fn days(text: &str) -> Result<u16, String> {
    let days = text.parse().ok().filter(|days| DAYS.contains(days));
    days.ok_or_else(|| format!("a calibration takes {} to {} days", DAYS.start(), DAYS.end()))
}

/// Decoys that a set may have.
pub fn decoys(text: &str) -> Result<u32, String> {
    let most = crate::calibrate::counts::MAX_DECOYS as u32;
    let decoys = text.parse().ok().filter(|n| (LEAST as u32..=most).contains(n));
    decoys.ok_or_else(|| format!("a set has {LEAST} to {most} decoys"))
}

impl Projection {
    /// As a table.
    pub fn print(&self, alerts_a_face: f64) -> Result<(), CliError> {
        output::line(format!(
            "PROJECTION of what a calibration at the place could buy, at {alerts_a_face:.2e} false \
             alerts a face (no bound; `watchpost calibrate` measures one):"
        ))?;
        if let Some(why) = &self.none_because {
            output::line(format!("nothing: {why}"))?;
            return Ok(());
        }
        let head = [
            "decoys",
            "days",
            "longest list, at most",
            "where the same people pass daily",
            "this list's threshold",
            "missed (3 photographs, 4 to 8 views)",
        ];
        let rows: Vec<Vec<String>> = self.rows.iter().map(ProjectedRow::cells).collect();
        output::table(&head, &rows)?;
        output::line(format!(
            "Longest list: what so many comparisons can prove where nobody comes near a decoy. \
             Threshold: where strangers are confused as {} are at most; where they are confused \
             more often it is higher, or nothing is bought. A camera without a fixed place has no \
             calibration.",
            self.strangers_like
        ))?;
        Ok(())
    }
}

impl ProjectedRow {
    fn cells(&self) -> Vec<String> {
        let runs = self.missed.iter().find(|m| m.views == AS_IT_RUNS);
        vec![
            self.calibration.decoys.to_string(),
            self.calibration.days.to_string(),
            self.largest_at_most.to_string(),
            self.largest_at_most_of_returning.to_string(),
            self.threshold.map_or_else(|| "nothing gained".into(), |t| format!("{t:.2}")),
            runs.map_or_else(String::new, MissedViews::with_bound),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::Models;

    fn projected(entries: usize, faces: f64, alerts: f64, asked: AskedCalibration) -> Projection {
        let embedder = Models::builtin().expect("built in").manifest.embedder;
        let budget = Budget { faces_a_day: faces, false_alerts_a_day: alerts };
        project(&embedder.groups, &embedder.misses, entries, budget, Some(0.87), asked)
    }

    #[test]
    fn a_fortnight_at_ten_thousand_faces_proves_tens_of_entries_and_never_a_thousand() {
        let asked = AskedCalibration { days: Some(14), decoys: Some(2000) };
        let p = projected(5, 10_000.0, 1.0 / 6.0, asked);
        let [row] = &p.rows[..] else { panic!("{p:?}") };
        assert!((20..200).contains(&row.largest_at_most), "{row:?}");
        assert!(row.largest_at_most_of_returning < row.largest_at_most / 10);
        assert!(row.threshold.is_some_and(|t| t < 0.87) && !row.missed.is_empty(), "{row:?}");
    }

    #[test]
    fn more_days_and_decoys_buy_more_and_too_few_faces_buy_nothing() {
        let p = projected(25, 2_000.0, 0.5, AskedCalibration::default());
        assert_eq!(p.rows.len(), SOME_DAYS.len() * SOME_DECOYS.len());
        let rows = p.rows.chunk_by(|a, b| a.calibration.decoys == b.calibration.decoys);
        for rows in rows {
            assert!(rows.windows(2).all(|w| w[0].largest_at_most < w[1].largest_at_most));
        }
        let quiet = projected(25, 999.0, 0.5, AskedCalibration::default());
        assert!(quiet.rows.is_empty() && quiet.none_because.is_some());
        assert!(days("6").is_err() && days("7").is_ok() && decoys("499").is_err());
    }
}
