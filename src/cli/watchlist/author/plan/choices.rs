//! What there is to choose between: budgets, photographs an entry, views of a passer-by; and what
//! each choice costs in listed people missed.
//!
//! * Thresholds are those that a device derives, from the same curve by the same rule.
//! * Misses are the manifest's, at that threshold. What was not measured is left empty.
//! * A device goes on looking: from the fourth view on a track is a candidate as soon as its
//!   running mean reaches the threshold, up to the eighth. [`AS_IT_RUNS`] is that rule.
//!   [`LEAVES_AT_TWO`] and [`LEAVES_AT_FOUR`] are passers-by who are gone sooner; both are shown
//!   beside it.
//! * Decides nothing.

use serde::Serialize;

use crate::decision::budget::Budget;
use crate::decision::curve::{Entries, PromiseCurve};
use crate::vision::{MissCurve, Missed};

/// Faces a day of the table.
const FACES: [u32; 3] = [1_000, 10_000, 50_000];
/// False alerts a day of the table.
const ALERTS: [f64; 4] = [0.1, 0.5, 1.0, 3.0];
/// Photographs an entry.
const PHOTOGRAPHS: [usize; 3] = [1, 2, 3];
/// Views of a passer-by who is gone after the second: decided when the track ends.
const LEAVES_AT_TWO: [u32; 2] = [2, 2];
/// Views of a passer-by who is gone after the fourth.
pub const LEAVES_AT_FOUR: [u32; 2] = [4, 4];
/// Views of a track under the rule that the device runs: looked at after the fourth view and after
/// each further one that it gives, up to the eighth.
pub const AS_IT_RUNS: [u32; 2] = [4, 8];
/// Views of the figures of a cell, in this order.
const VIEWS: [[u32; 2]; 3] = [LEAVES_AT_TWO, LEAVES_AT_FOUR, AS_IT_RUNS];

/// One budget.
#[derive(Debug, Serialize)]
pub struct Choice {
    faces_per_day: u32,
    false_alerts_per_day: f64,
    /// Most entries that fit.
    largest: usize,
    /// The list at hand, were each of its entries of so many photographs.
    variants: Vec<Variant>,
}

/// The list at hand with so many photographs an entry.
#[derive(Debug, Serialize)]
pub struct Variant {
    photographs: usize,
    /// Absent where the list is over the budget.
    threshold: Option<f32>,
    /// Whether the rate at it is extrapolated.
    extrapolated: bool,
    missed: Vec<MissedViews>,
}

/// Listed people missed at a variant's threshold.
#[derive(Debug, Serialize)]
pub struct MissedViews {
    /// Fewest and most views of the passer-by.
    pub views: [u32; 2],
    people: u32,
    #[serde(flatten)]
    pub missed: Missed,
}

/// The table for a list of `entries`: its own budget first.
pub fn choices(
    curve: &PromiseCurve,
    misses: &[MissCurve],
    entries: usize,
    own: (u32, f64),
) -> Vec<Choice> {
    let budgets = FACES.iter().flat_map(|f| ALERTS.iter().map(|a| (*f, *a)));
    std::iter::once(own)
        .chain(budgets.filter(|budget| *budget != own))
        .map(|(faces_per_day, false_alerts_per_day)| {
            let budget = Budget::of(faces_per_day, false_alerts_per_day);
            let variant = |photographs: &usize| {
                let entries: Entries = std::iter::repeat_n(*photographs, entries).collect();
                let plan = curve.plan(budget, &entries).ok();
                Variant {
                    photographs: *photographs,
                    threshold: plan.map(|plan| plan.threshold),
                    extrapolated: plan.is_some_and(|plan| plan.extrapolated),
                    missed: plan
                        .map_or_else(Vec::new, |p| missed(misses, *photographs, p.threshold)),
                }
            };
            Choice {
                faces_per_day,
                false_alerts_per_day,
                largest: curve.largest(budget),
                variants: PHOTOGRAPHS.iter().map(variant).collect(),
            }
        })
        .collect()
}

/// What was measured at `threshold` of entries of so many photographs.
pub fn missed(misses: &[MissCurve], photographs: usize, threshold: f32) -> Vec<MissedViews> {
    misses
        .iter()
        .filter(|curve| curve.photographs as usize == photographs)
        .filter_map(|curve| {
            let missed = curve.at(threshold)?;
            Some(MissedViews { views: curve.views, people: curve.people, missed })
        })
        .collect()
}

/// The table's columns.
pub const HEADER: [&str; 6] = [
    "faces/day",
    "alerts/day",
    "entries that fit",
    "1 photograph",
    "2 photographs",
    "3 photographs",
];

impl Choice {
    /// Its cells: `.77: 18 / 3 / 1 %` is a threshold, and what is missed there of passers-by who
    /// give two views, four, and four to eight.
    pub fn row(&self) -> Vec<String> {
        let mut row = vec![
            self.faces_per_day.to_string(),
            self.false_alerts_per_day.to_string(),
            self.largest.to_string(),
        ];
        row.extend(self.variants.iter().map(Variant::cell));
        row
    }
}

impl Variant {
    fn cell(&self) -> String {
        let Some(threshold) = self.threshold else { return "over budget".into() };
        let of = |views: &[u32; 2]| self.missed.iter().find(|m| m.views == *views);
        let share = |views| of(views).map_or_else(|| "?".into(), |m| percent(m.missed.share));
        format!("{threshold:.2}: {} %", VIEWS.each_ref().map(share).join(" / "))
    }
}

/// What the list's own budget misses, with the bounds of the people who were measured: a row for
/// each number of photographs.
pub const INTERVALS: [&str; 5] =
    ["photographs an entry", "threshold", "two views", "four views", "four to eight, as it runs"];

impl Choice {
    /// Rows of [`INTERVALS`].
    pub fn intervals(&self) -> Vec<Vec<String>> {
        let row = |variant: &Variant| {
            let threshold = variant.threshold?;
            let cell = |views: &[u32; 2]| {
                let known = variant.missed.iter().find(|m| m.views == *views);
                known.map_or_else(|| "?".into(), MissedViews::with_bound)
            };
            let row = [variant.photographs.to_string(), format!("{threshold:.2}")];
            Some(row.into_iter().chain(VIEWS.iter().map(cell)).collect())
        };
        self.variants.iter().filter_map(row).collect()
    }
}

impl MissedViews {
    /// `1.2 % (at most 6.2 %; 73 people)`.
    pub fn with_bound(&self) -> String {
        let Missed { share, upper } = self.missed;
        format!("{} % (at most {} %; {} people)", percent(share), percent(upper), self.people)
    }
}

/// Two significant digits, as far as people were counted.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 9.95 { format!("{percent:.0}") } else { format!("{percent:.1}") }
}

/// Listed people missed over false alerts a day, for the list at hand: the HTML report.
#[cfg(feature = "evaluate")]
pub mod page {
    use super::*;
    use crate::evaluate::report::svg::{Axis, Plot};
    use crate::evaluate::report::{Block, Document, Figure, ReportTable, Section};

    /// The page for `entries` entries and `faces` a day; `table` is what the terminal shows.
    pub fn document(
        curve: &PromiseCurve,
        misses: &[MissCurve],
        entries: usize,
        faces: u32,
        table: &[Choice],
    ) -> Document {
        let mut rows = ReportTable::new("What each budget costs this list", &HEADER);
        for choice in table {
            rows.row(choice.row());
        }
        let text = "A cell is the derived threshold, and the share of listed people missed there \
             of passers-by who give two views, four, and four to eight: the last is the rule that \
             a device runs, which goes on looking after the fourth view.";
        let mut blocks = vec![Block::Text(text.into()), Block::Table(rows)];
        blocks.extend(plot(curve, misses, entries, faces));
        Document {
            title: "Plan of a watch list".into(),
            facts: vec![
                ("entries".into(), entries.to_string()),
                ("faces a day".into(), faces.to_string()),
            ],
            headlines: Vec::new(),
            sections: vec![Section { heading: "Budgets".into(), blocks }],
        }
    }

    fn in_words([fewest, most]: [u32; 2]) -> String {
        if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") }
    }

    fn plot(
        curve: &PromiseCurve,
        misses: &[MissCurve],
        entries: usize,
        faces: u32,
    ) -> Option<Block> {
        let of_three = Entries::of_three(entries.max(1));
        let points = |views: &[u32; 2]| -> Option<Vec<(f64, f64)>> {
            let curve_of = |m: &&MissCurve| m.photographs == 3 && m.views == *views;
            let missed = misses.iter().find(curve_of)?;
            let point = |row: &(f32, f64, f64)| {
                let rate = curve.false_positive_rate(row.0, &of_three)?;
                Some((f64::from(faces) * rate, row.1))
            };
            Some(missed.rows.iter().filter_map(point).collect())
        };
        let lines: Vec<Vec<(f64, f64)>> = VIEWS.iter().filter_map(points).collect();
        let alerts = || lines.iter().flatten().map(|point| point.0);
        let (low, high) = (alerts().fold(f64::INFINITY, f64::min), alerts().fold(0.0, f64::max));
        if low >= high || lines.len() != VIEWS.len() {
            return None;
        }
        let mut plot = Plot::new(
            "Listed people missed over false alerts a day",
            "Fewer false alerts cost more missed people; more views miss fewer.",
            Axis::logarithmic("false alerts a day (upper bound)", low, high),
            Axis::linear("listed people missed", 0.0, 1.0).percent(),
        );
        for (series, (views, line)) in VIEWS.iter().zip(&lines).enumerate() {
            let name = format!("three photographs, {} views", in_words(*views));
            plot = plot.line(series, &name, line);
        }
        Some(Block::Figure(Figure {
            svg: plot.finish(),
            caption: "What a budget costs: each point is a threshold.".into(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::judge;
    use crate::vision::Models;

    fn table(entries: usize, own: (u32, f64)) -> Vec<Choice> {
        let models = Models::builtin().expect("built in");
        let curve = judge::curve(&models).expect("a curve");
        choices(&curve, &models.manifest.embedder.misses, entries, own)
    }

    #[test]
    fn the_lists_own_budget_comes_first_and_no_budget_comes_twice() {
        let all = table(5, (10_000, 1.0));
        assert_eq!((all[0].faces_per_day, all[0].false_alerts_per_day), (10_000, 1.0));
        assert_eq!(all.len(), FACES.len() * ALERTS.len());
        assert_eq!(table(5, (777, 0.2)).len(), FACES.len() * ALERTS.len() + 1);
    }

    #[test]
    fn the_lists_that_were_asked_for_fit_and_miss_at_most_three_in_a_hundred_by_the_rule_that_runs()
    {
        for (entries, budget) in [(25, (1_000, 0.5)), (5, (10_000, 1.0))] {
            let own = &table(entries, budget)[0];
            assert!(own.largest >= entries);
            let three = own.variants.iter().find(|v| v.photographs == 3).expect("a variant");
            assert!(three.threshold.is_some_and(|t| t > 0.7) && three.extrapolated, "{three:?}");
            let [two, four, runs] = VIEWS.map(|views| {
                three.missed.iter().find(|m| m.views == views).expect("measured").missed
            });
            assert!(runs.share <= 0.03 && runs.share < four.share && four.share < two.share);
            // An estimate: so few people cannot prove it, and that is told.
            assert!(runs.upper > 0.03, "{runs:?}");
            let told = own.intervals();
            assert_eq!((told.len(), told[2].len()), (3, INTERVALS.len()));
            assert!(told[2][4].contains("at most") && told[2][4].contains("people"), "{told:?}");
        }
    }

    #[test]
    fn what_is_over_budget_or_was_not_measured_is_said_and_never_guessed() {
        let models = Models::builtin().expect("built in");
        let curve = judge::curve(&models).expect("a curve");
        let all = choices(&curve, &[], 5000, (50_000, 0.1));
        assert!(all[0].row()[3..].iter().all(|cell| cell == "over budget"), "{all:?}");
        let all = choices(&curve, &[], 1, (1_000, 1.0));
        assert!(all[0].row()[5].ends_with(": ? / ? / ? %"), "{all:?}");
    }
}
