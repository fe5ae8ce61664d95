//! FNIR at FPIR and rank 1 of an open-set search.

use super::Describe;
use super::parts::{det, headline, histogram};
use crate::evaluate::identification::{DrawResult, Identification, OverDraws};
use crate::evaluate::report::format::{interval, rate, share, span, target, thousands};
use crate::evaluate::report::{Block, Headline, ReportTable, Section};

impl Describe for Identification {
    fn title(&self) -> &'static str {
        "Identification: is this person on the list?"
    }

    fn headlines(&self) -> Vec<Headline> {
        let value = |s: &OverDraws| s.mean.map_or("not supported".into(), share);
        let detail = |s: &OverDraws| match s.mean {
            Some(_) => format!(
                "± {} between {} draws; {} with one draw's {:.0} probes",
                share(s.standard_deviation),
                s.draws,
                span(s.lower, s.upper),
                s.probes_a_draw
            ),
            None => s.unsupported.clone().unwrap_or_default(),
        };
        let mut all: Vec<Headline> = self
            .fnir_at_fpir
            .iter()
            .map(|s| {
                headline(
                    format!("FNIR at FPIR {}", target(s.target_fpir.unwrap_or(0.0))),
                    value(s),
                    detail(s),
                )
            })
            .collect();
        all.push(headline("Rank-1 identification rate", value(&self.rank_1), detail(&self.rank_1)));
        all
    }

    fn sections(&self) -> Vec<Section> {
        let text = format!(
            "Gallery of {} people ({} asked for), one photograph each, out of {} with two or \
             more; {} people in all. Seed {}. FNIR: mated probes whose best entry is another \
             person's or below the threshold; probes without a template miss. FPIR: strangers \
             whose best similarity is at or above it.",
            self.gallery, self.plan.gallery, self.people_with_two, self.people, self.plan.seed
        );
        let mut blocks = vec![Block::Text(text), Block::Table(means(self))];
        for s in self.fnir_at_fpir.iter().filter(|s| s.mean.is_none()) {
            blocks.push(Block::Text(format!(
                "FPIR {} is not supported by these data: {}.",
                target(s.target_fpir.unwrap_or(0.0)),
                s.unsupported.as_deref().unwrap_or("no probes")
            )));
        }
        let points: Vec<(f64, f64)> = self.curve.iter().map(|p| (p.fpir, p.fnir)).collect();
        let band: Vec<(f64, f64, f64)> =
            self.curve.iter().map(|p| (p.fpir, p.lowest, p.highest)).collect();
        let least = 0.5 / self.rank_1.probes_a_draw.max(1.0);
        blocks.extend(det(
            "FNIR over FPIR",
            "false-positive identification rate",
            "false-negative identification rate",
            &points,
            &band,
            least,
        ));
        let marks: Vec<(f64, String)> = self
            .fnir_at_fpir
            .iter()
            .filter_map(|s| Some((s.threshold?, format!("FPIR {}", target(s.target_fpir?)))))
            .collect();
        blocks.extend(histogram(&self.histogram, ["people on the list", "strangers"], &marks));

        vec![
            Section { heading: "Open-set search".into(), blocks },
            Section { heading: "Draws".into(), blocks: vec![Block::Table(draws(&self.draws))] },
        ]
    }
}

fn means(i: &Identification) -> ReportTable {
    let mut summary = ReportTable::new(
        "Mean of the draws",
        &["rate", "mean", "deviation", "lowest to highest", "interval of a draw", "mean threshold"],
    );
    for s in i.fnir_at_fpir.iter().chain([&i.rank_1]) {
        let Some(mean) = s.mean else { continue };
        summary.row([
            s.target_fpir.map_or("rank 1".into(), |f| format!("FNIR at FPIR {}", target(f))),
            share(mean),
            share(s.standard_deviation),
            span(s.lowest, s.highest),
            span(s.lower, s.upper),
            s.threshold.map_or(String::new(), |t| format!("{t:.4}")),
        ]);
    }
    summary
}

fn draws(all: &[DrawResult]) -> ReportTable {
    let mut draws = ReportTable::new(
        "Each draw",
        &[
            "draw",
            "mated probes",
            "not enrolled",
            "strangers",
            "rank 1",
            "FNIR at FPIR 1 %",
            "threshold",
            "FNIR at FPIR 0.1 %",
            "threshold",
        ],
    );
    for d in all {
        let mut row = vec![
            (d.draw + 1).to_string(),
            thousands(d.mated),
            thousands(d.failure_to_enrol.count),
            thousands(d.non_mated),
            format!("{} ({})", rate(&d.rank_1), interval(&d.rank_1)),
        ];
        for p in &d.points {
            row.push(
                p.fnir
                    .as_ref()
                    .map_or("not supported".into(), |f| format!("{} ({})", rate(f), interval(f))),
            );
            row.push(p.threshold.map_or(String::new(), |t| format!("{t:.4}")));
        }
        draws.row(row);
    }
    draws
}
