//! Rates by group, and by how much they differ.

use super::Describe;
use super::parts::{
    LOOK_ALIKES, bounds_section, contact_sheet, figure, headline, likely_duplicates, safety_text,
    suspect_list,
};
use crate::evaluate::groups::{Groups, RatesAt};
use crate::evaluate::report::format::{
    count, full, interval, of_people, rate, span, target, thousands,
};
use crate::evaluate::report::svg::{Axis, Category, forest};
use crate::evaluate::report::{Block, Headline, ReportTable, Section};
use crate::evaluate::statistics::differentials::{Differential, Interval};
use crate::evaluate::statistics::interval::Rate;

impl Describe for Groups {
    fn title(&self) -> &'static str {
        "Groups: who is served worse?"
    }

    fn headlines(&self) -> Vec<Headline> {
        let mut all = vec![match &self.safety_factor {
            Some(s) => headline(
                "Safety factor",
                format!("{:.1}", s.factor),
                format!("{}, threshold {:.2}", s.group, s.threshold),
            ),
            None => headline(
                "Safety factor",
                "not supported",
                "no group has enough false matches at a measurable rate",
            ),
        }];
        for at in self.thresholds.iter().filter(|t| t.threshold.is_some()) {
            let Some(d) = &at.fmr_differential else { continue };
            let label = at.target_fmr.map_or("Worst / best at the threshold".into(), |t| {
                format!("FMR worst / best at FMR {}", target(t))
            });
            all.push(match (d.worst_over_best, &d.worst, &d.best) {
                (Some(ratio), Some(worst), Some(best)) => headline(
                    label,
                    format!("{ratio:.1}"),
                    format!(
                        "{}{worst} over {best}; MXOG {:.2}, Gini {:.2}",
                        d.worst_over_best_interval.map_or(String::new(), |i| format!(
                            "{:.1} to {:.1}; ",
                            i.lower, i.upper
                        )),
                        d.max_over_geometric_mean.unwrap_or(0.0),
                        d.gini.unwrap_or(0.0)
                    ),
                ),
                _ => headline(label, "not supported", d.unsupported.clone().unwrap_or_default()),
            });
        }
        all
    }

    fn sections(&self) -> Vec<Section> {
        let mut who = ReportTable::new(
            "Groups as labelled by whoever made the list",
            &[
                "group",
                "people",
                "photographs",
                "pairs of two people",
                "pairs of one person",
                "failure to acquire",
            ],
        );
        for g in &self.groups {
            who.row([
                g.group.clone(),
                thousands(g.people as u64),
                thousands(g.photographs as u64),
                thousands(g.impostor_comparisons),
                thousands(g.genuine_comparisons),
                format!("{} ({})", rate(&g.failure_to_acquire), interval(&g.failure_to_acquire)),
            ]);
        }
        let mut blocks = vec![Block::Table(who)];
        blocks.extend(self.likely_duplicates.iter().flat_map(likely_duplicates));
        blocks.extend(contact_sheet(&self.sheet));
        blocks.extend(
            self.safety_factor
                .as_ref()
                .map(|s| Block::Text(format!("Safety factor {}", safety_text(s)))),
        );
        let mut sections = vec![Section { heading: "Who was compared".into(), blocks }];
        sections.extend(self.thresholds.iter().map(at_threshold));
        sections.extend(bounds_section(&self.bounds));
        sections.push(Section {
            heading: "Look-alikes".into(),
            blocks: vec![
                Block::Text(LOOK_ALIKES.into()),
                suspect_list("Most similar pairs of different people", &self.closest),
            ],
        });
        sections
    }
}

fn differential(name: &str, d: &Differential) -> Vec<String> {
    let number = |value: Option<f64>, interval: Option<Interval>| match (value, interval) {
        (Some(v), Some(i)) => format!("{v:.2} ({:.2} to {:.2})", i.lower, i.upper),
        (Some(v), None) => format!("{v:.2}"),
        (None, _) => "not supported".into(),
    };
    vec![
        name.into(),
        d.worst.clone().unwrap_or_default(),
        d.best.clone().unwrap_or_default(),
        number(d.worst_over_best, d.worst_over_best_interval),
        number(d.max_over_geometric_mean, d.max_over_geometric_mean_interval),
        number(d.gini, d.gini_interval),
    ]
}

fn at_threshold(at: &RatesAt) -> Section {
    let heading = match (at.target_fmr, at.threshold) {
        (Some(asked), Some(t)) => {
            format!("At a false match rate of {} over all pairs (threshold {t:.3})", target(asked))
        }
        (Some(asked), None) => format!("At a false match rate of {} over all pairs", target(asked)),
        (None, t) => format!("At the threshold {:.3}", t.unwrap_or(0.0)),
    };
    let Some(all) = &at.all else {
        let reason = at.unsupported.as_deref().unwrap_or("no comparisons");
        return Section {
            heading,
            blocks: vec![Block::Text(format!("Not supported by these data: {reason}."))],
        };
    };
    let mut rates = ReportTable::new(
        format!("Rates by group; false matches over all pairs: {}", full(all)),
        &["group", "FMR", "interval", "false matches", "design effect", "FNMR", "interval"],
    );
    let mut rows = Vec::new();
    for g in &at.groups {
        rates.row([
            g.group.clone(),
            rate(&g.fmr),
            interval(&g.fmr),
            count(&g.fmr),
            format!("{:.2}", g.design_effect),
            of_people(&g.fnmr),
            if g.fnmr.people > 0 { span(g.fnmr.lower, g.fnmr.upper) } else { String::new() },
        ]);
        rows.push(Category {
            name: g.group.clone(),
            rate: g.fmr.rate,
            lower: g.fmr.lower,
            upper: g.fmr.upper,
            note: count(&g.fmr),
        });
    }
    let mut summaries = ReportTable::new(
        "Differentials (ISO/IEC 19795-10), with 95 % intervals",
        &["rate", "worst", "best", "worst / best", "max / geometric mean", "Gini"],
    );
    let mut blocks = vec![Block::Table(rates)];
    let mut reasons = Vec::new();
    for (name, d) in [
        ("false match rate", &at.fmr_differential),
        ("false non-match rate", &at.fnmr_differential),
    ] {
        let Some(d) = d else { continue };
        summaries.row(differential(name, d));
        reasons.extend(
            d.unsupported.as_ref().map(|r| Block::Text(format!("Summaries of the {name}: {r}."))),
        );
    }
    blocks.push(false_matches_by_group(all, &rows));
    blocks.push(Block::Table(summaries));
    blocks.extend(reasons);
    Section { heading, blocks }
}

fn false_matches_by_group(all: &Rate, rows: &[Category]) -> Block {
    let positive = |f: fn(&Category) -> f64| rows.iter().map(f).filter(|v| *v > 0.0);
    let low = positive(|r| r.rate.unwrap_or(0.0))
        .chain(all.rate)
        .filter(|v| *v > 0.0)
        .fold(1.0, f64::min)
        / 2.0;
    let high = positive(|r| r.upper).fold(low, f64::max);
    figure(
        forest(
            "False match rate by group",
            "False match rate among the people of each group with its 95 % interval; the same \
             numbers are in the table.",
            Axis::logarithmic("false match rate", low, high).percent(),
            rows,
            all.rate.map(|r| (r, "all pairs")),
        ),
        "Dots: false match rate between two people of the group. Whiskers: 95 % interval with \
         design effect. A rate of zero lies at the left end.",
    )
}
