//! What a site record buys: bound, threshold and misses of one list without it and with it.

use serde::Serialize;

use super::super::{CliError, PHOTOGRAPHS_WANTED, site};
use super::choices::{AS_IT_RUNS, LEAVES_AT_FOUR, MissedViews, missed};
use crate::calibrate::record::SiteRecord;
use crate::cli::output;
use crate::decision::budget::Budget;
use crate::decision::curve::PromiseCurve;
use crate::decision::rates::ListRates;
use crate::vision::MissCurve;
use crate::watchlist::model::Content;
use crate::watchlist::text::stamp;

/// The list without its record and with it.
#[derive(Debug, Serialize)]
pub struct SideBySide {
    device: String,
    camera: String,
    /// When the record ends.
    until: String,
    days: usize,
    faces: u64,
    /// Entries that were measured at the place.
    covered: usize,
    /// Entries that keep the worst group's bound either way.
    others: usize,
    /// Which those are.
    uncovered: Vec<String>,
    /// A day that was unlike the others.
    drift: Option<String>,
    without: Column,
    with: Column,
}

/// One way to plan.
#[derive(Debug, Serialize)]
struct Column {
    /// Absent where the budget cannot be met.
    threshold: Option<f32>,
    /// Upper bound at the threshold, or the least that can be reached.
    false_positive_rate: f64,
    expected_false_alerts_per_day: f64,
    extrapolated: bool,
    /// Listed people missed at the threshold, with three photographs an entry.
    missed: Vec<MissedViews>,
}

impl Column {
    fn of(rates: &ListRates, misses: &[MissCurve], budget: Budget) -> Self {
        let plan = rates.plan(budget);
        let rate = match &plan {
            Ok(plan) => plan.false_positive_rate,
            Err(over) => over.least_rate(),
        };
        let plan = plan.ok();
        Self {
            threshold: plan.map(|p| p.threshold),
            false_positive_rate: rate,
            expected_false_alerts_per_day: budget.faces_a_day * rate,
            extrapolated: plan.is_some_and(|p| p.extrapolated),
            missed: plan.map_or_else(Vec::new, |p| missed(misses, PHOTOGRAPHS_WANTED, p.threshold)),
        }
    }

    fn cells(&self) -> [String; 5] {
        let missed = |views: [u32; 2]| {
            let known = self.missed.iter().find(|m| m.views == views);
            match (self.threshold, known) {
                (None, _) => String::new(),
                (Some(_), None) => "?".into(),
                (Some(_), Some(known)) => known.with_bound(),
            }
        };
        [
            self.threshold.map_or_else(|| "over budget".into(), |t| format!("{t:.2}")),
            format!("{:.2e}", self.false_positive_rate),
            format!("{:.4}", self.expected_false_alerts_per_day),
            missed(LEAVES_AT_FOUR),
            missed(AS_IT_RUNS),
        ]
    }
}

/// Both columns of `content` for `budget`.
pub fn side_by_side(
    curve: &PromiseCurve,
    misses: &[MissCurve],
    content: &Content,
    record: &SiteRecord,
    budget: Budget,
) -> SideBySide {
    let (without, with) =
        (site::rates(curve, content, None), site::rates(curve, content, Some(record)));
    SideBySide {
        device: record.setup.device.to_string(),
        camera: record.setup.camera.to_string(),
        until: stamp(&record.expires),
        days: record.days.len(),
        faces: record.days.iter().map(|d| d.faces).sum(),
        covered: with.covered(),
        others: with.entries() - with.covered(),
        uncovered: site::uncovered(content, record).iter().map(ToString::to_string).collect(),
        drift: record.drift().map(|drift| drift.to_string()),
        without: Column::of(&without, misses, budget),
        with: Column::of(&with, misses, budget),
    }
}

impl SideBySide {
    /// As a table.
    pub fn print(&self) -> Result<(), CliError> {
        output::line(format!(
            "the site record of the camera {} of {}: {} days, {} faces, until {}; {} entries are \
             measured by it, {} keep the worst group's bound",
            self.camera, self.device, self.days, self.faces, self.until, self.covered, self.others
        ))?;
        if !self.uncovered.is_empty() {
            output::line(format!(
                "not measured, because they are new, have other photographs, or are like too few \
                 decoys: {}",
                self.uncovered.join(", ")
            ))?;
        }
        if let Some(drift) = &self.drift {
            output::line(format!("warning: {drift}"))?;
        }
        let names = [
            "threshold",
            "rate a face, at most",
            "false alerts a day, at most",
            "missed (3 photographs, 4 views)",
            "missed (3 photographs, 4 to 8, as it runs)",
        ];
        let columns = self.without.cells().into_iter().zip(self.with.cells());
        let rows: Vec<Vec<String>> = names
            .iter()
            .zip(columns)
            .map(|(name, (without, with))| vec![(*name).into(), without, with])
            .collect();
        output::table(&["", "without it", "with it"], &rows)?;
        Ok(())
    }
}
