//! The false-match curve that a manifest carries.

use super::Describe;
use super::parts::{
    LOOK_ALIKES, bounds_blocks, det, figure, headline, histogram, likely_duplicates, safety_text,
    suspect_list,
};
use crate::evaluate::curve::{Curve, CurveRow};
use crate::evaluate::report::format::{of_people, rate, share, span, thousands};
use crate::evaluate::report::svg::{Axis, Plot};
use crate::evaluate::report::{Block, Headline, ReportTable, Section};
use crate::evaluate::unit::{Unit, UnitCurve};

impl Describe for Curve {
    fn title(&self) -> &'static str {
        "False-match curve"
    }

    fn headlines(&self) -> Vec<Headline> {
        let mut all = vec![headline(
            "Comparisons of two people",
            thousands(self.impostor_comparisons),
            format!(
                "{} photographs of {} people",
                thousands(self.templates as u64),
                thousands(self.people as u64)
            ),
        )];
        all.push(match self.points.last() {
            Some(last) => headline(
                "Strictest measured threshold",
                format!("{:.2}", last.threshold),
                format!(
                    "false match rate {}, upper bound {}",
                    rate(&last.fmr),
                    share(last.fmr_upper)
                ),
            ),
            None => headline("Curve", "not supported", self.ends.clone()),
        });
        all.extend(self.safety_factor.as_ref().map(|s| {
            headline(
                "Safety factor for the worst group",
                format!("{:.1}", s.factor),
                s.group.clone(),
            )
        }));
        all
    }

    fn sections(&self) -> Vec<Section> {
        let mut blocks = vec![Block::Text(format!(
            "Upper bounds: one-sided, 95 %, Poisson on counts divided by the design effect, \
             the factor by which bunching of false matches by person widens the uncertainty. \
             FNMR: the mean over people of the share of their pairs that is missed. The curve ends {}.",
            self.ends
        ))];
        blocks.extend(self.safety_factor.as_ref().map(|s| {
            Block::Text(format!("Safety factor for the worst-served group {}", safety_text(s)))
        }));
        blocks.extend(rate_over_threshold(&self.points));
        let points: Vec<(f64, f64)> =
            self.points.iter().filter_map(|p| Some((p.fmr.rate?, p.fnmr.rate?))).collect();
        blocks.extend(det(
            "DET curve",
            "false match rate",
            "false non-match rate",
            &points,
            &[],
            0.5 / self.genuine_comparisons.max(1) as f64,
        ));
        blocks.extend(histogram(&self.histogram, ["one person", "two people"], &[]));
        blocks.push(Block::Table(rates(&self.points)));
        let mut suspicious = likely_duplicates(&self.likely_duplicates);
        suspicious.push(Block::Text(LOOK_ALIKES.into()));
        suspicious.push(suspect_list("Most similar pairs of different people", &self.closest));
        vec![
            Section { heading: "The curve".into(), blocks },
            unit_section(&self.fused),
            Section { heading: "Look-alikes".into(), blocks: suspicious },
        ]
    }
}

fn unit_text(unit: &Unit) -> String {
    if unit.is_single() {
        return "One photograph of each person against one of every other.".into();
    }
    let looked = if unit.ever {
        let first = unit.first_look.min(unit.track_of);
        format!("looked at after each view from the {first}. to the {}. on", unit.track_of)
    } else {
        format!("looked at after the {}. view", unit.track_of)
    };
    let shorter = if unit.track_at_least < unit.track_of {
        format!(" (of at least {}, where somebody has no more)", unit.track_at_least)
    } else {
        String::new()
    };
    format!(
        "Templates of {} photographs against the running mean of {} views{shorter}, {looked}; one \
         template and one track a person.",
        unit.template_of, unit.track_of
    )
}

fn unit_section(fused: &UnitCurve) -> Section {
    let mut blocks = vec![Block::Text(format!(
        "{} {} people give a template, {} a track.",
        unit_text(&fused.unit),
        thousands(fused.templates as u64),
        thousands(fused.tracks as u64)
    ))];
    blocks.extend(bounds_blocks(&fused.bounds));
    let mut table = ReportTable::new(
        "Misses of listed people, people counted alike",
        &["threshold", "missed", "interval", "people"],
    );
    let fifth = |t: f64| ((t * 100.0).round() as u32).is_multiple_of(5);
    for miss in fused.misses.iter().filter(|m| fifth(m.threshold) && m.fnmr.people > 0) {
        table.row([
            format!("{:.2}", miss.threshold),
            of_people(&miss.fnmr),
            span(miss.fnmr.lower, miss.fnmr.upper),
            thousands(miss.fnmr.people),
        ]);
    }
    blocks.push(if table.rows.is_empty() {
        Block::Text("Nobody has photographs enough for both a template and a track.".into())
    } else {
        Block::Table(table)
    });
    Section { heading: "Bounds of the unit that is decided".into(), blocks }
}

fn rates(points: &[CurveRow]) -> ReportTable {
    let mut table = ReportTable::new(
        "Rates by threshold",
        &[
            "threshold",
            "FMR",
            "upper bound",
            "false matches",
            "pairs of people",
            "design effect",
            "FNMR",
            "interval",
        ],
    );
    for p in points {
        table.row([
            format!("{:.2}", p.threshold),
            rate(&p.fmr),
            share(p.fmr_upper),
            thousands(p.fmr.count),
            thousands(p.pairs_of_people),
            format!("{:.2}", p.design_effect),
            of_people(&p.fnmr),
            if p.fnmr.people > 0 { span(p.fnmr.lower, p.fnmr.upper) } else { String::new() },
        ]);
    }
    table
}

fn rate_over_threshold(points: &[CurveRow]) -> Option<Block> {
    let [first, .., last] = points else { return None };
    let of =
        |f: fn(&CurveRow) -> f64| points.iter().map(|p| (p.threshold, f(p))).collect::<Vec<_>>();
    let (measured, upper) = (of(|p| p.fmr.rate.unwrap_or(0.0)), of(|p| p.fmr_upper));
    let (first, last) = (first.threshold, last.threshold);
    let plot = Plot::new(
        "False match rate over threshold",
        &format!(
            "Falls from {} at {first:.2} to {} at {last:.2}.",
            share(measured[0].1),
            share(measured[measured.len() - 1].1)
        ),
        Axis::linear("threshold", first, last),
        Axis::logarithmic("false match rate", measured[measured.len() - 1].1, upper[0].1).percent(),
    )
    .line(0, "measured", &measured)
    .line(1, "upper bound", &upper);
    Some(figure(
        plot.finish(),
        "The false match rate as the threshold rises, and the bound that the device works \
         with.",
    ))
}
