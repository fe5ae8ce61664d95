//! Headlines, drawings and lists that several results have.

use crate::evaluate::bounds::{Basis, Bounds, Extrapolation, rounded_up};
use crate::evaluate::contact::{MOST_CLUSTERS, Strip};
use crate::evaluate::duplicates::LikelyDuplicates;
use crate::evaluate::groups::{SafetyFactor, SuspectPair};
use crate::evaluate::report::format::{share, thousands};
use crate::evaluate::report::svg::{Axis, Plot};
use crate::evaluate::report::{Block, Figure, Headline, List, PictureStrip, ReportTable, Section};
use crate::evaluate::verification::Histogram;

pub fn headline(
    label: impl Into<String>,
    value: impl Into<String>,
    detail: impl Into<String>,
) -> Headline {
    Headline { label: label.into(), value: value.into(), detail: detail.into() }
}

pub fn figure(svg: String, caption: &str) -> Block {
    Block::Figure(Figure { caption: caption.into(), svg })
}

/// Both kinds of similarities as shares of their own number, with thresholds marked.
pub fn histogram(h: &Histogram, names: [&str; 2], marks: &[(f64, String)]) -> Option<Block> {
    let shares = |counts: &[(f64, u64)]| -> Vec<(f64, f64)> {
        let total: u64 = counts.iter().map(|c| c.1).sum();
        counts.iter().map(|(x, c)| (*x, *c as f64 / total.max(1) as f64)).collect()
    };
    let (genuine, impostor) = (shares(&h.genuine), shares(&h.impostor));
    let both = || genuine.iter().chain(&impostor);
    both().next()?;
    let low = both().map(|p| p.0).fold(1.0, f64::min);
    let high = both().map(|p| p.0 + 0.01).fold(-1.0, f64::max);
    let top = both().map(|p| p.1).fold(0.0, f64::max);
    let mut plot = Plot::new(
        "Histogram of similarities",
        &format!(
            "Similarities of {} and {} from {low:.2} to {high:.2}, each as a share of its own \
             number.",
            names[0], names[1]
        ),
        Axis::linear("similarity", low, high),
        Axis::linear("share of comparisons in bins of 0.01", 0.0, top * 1.05).percent(),
    )
    .steps(0, names[0], 0.01, &genuine)
    .steps(1, names[1], 0.01, &impostor);
    for (x, name) in marks {
        plot = plot.mark(*x, name);
    }
    Some(figure(
        plot.finish(),
        "How well similarities separate: the less the two overlap, the better. Each is scaled to \
         its own number.",
    ))
}

/// Misses over false matches on logarithmic axes.
pub fn det(
    title: &str,
    x: &str,
    y: &str,
    points: &[(f64, f64)],
    band: &[(f64, f64, f64)],
    least_y: f64,
) -> Option<Block> {
    let drawn: Vec<(f64, f64)> =
        points.iter().filter(|p| p.0 > 0.0).map(|p| (p.0, p.1.max(least_y))).collect();
    if drawn.len() < 2 {
        return None;
    }
    let least = |f: fn(&(f64, f64)) -> f64| drawn.iter().map(f).fold(1.0, f64::min);
    let most_y = drawn.iter().map(|p| p.1).fold(least_y, f64::max);
    let mut plot = Plot::new(
        title,
        &format!(
            "From {x} {} with {y} {} to {x} {} with {y} {}.",
            share(drawn[0].0),
            share(drawn[0].1),
            share(drawn[drawn.len() - 1].0),
            share(drawn[drawn.len() - 1].1)
        ),
        Axis::logarithmic(x, least(|p| p.0), 1.0).percent(),
        Axis::logarithmic(y, least(|p| p.1), most_y).percent(),
    );
    if !band.is_empty() {
        let band: Vec<(f64, f64, f64)> =
            band.iter().map(|p| (p.0, p.1.max(least_y), p.2.max(least_y))).collect();
        plot = plot.band(0, &band);
    }
    let name =
        if band.is_empty() { "measured" } else { "mean of draws; shaded: lowest to highest" };
    Some(figure(
        plot.line(0, name, &drawn).finish(),
        "Detection error trade-off on logarithmic axes: further down and left is better. A rate \
         of zero is drawn at half an error.",
    ))
}

pub fn safety_text(s: &SafetyFactor) -> String {
    format!(
        "{:.2}: the upper bound of {} at {:.2}, {}, over the rate of all pairs there, {}. Groups \
         could be measured up to {:.2}; that the factor holds at stricter thresholds is an \
         assumption.",
        s.factor,
        s.group,
        s.threshold,
        share(s.group_upper),
        share(s.all),
        s.measured_to
    )
}

pub const LOOK_ALIKES: &str = "\
    The most similar pairs of different people decide where rates can no \
    longer be measured. Look at them: one person under two names is an error of the labels, not \
    of the embedder.";

pub fn suspect_list(heading: &str, pairs: &[SuspectPair]) -> Block {
    let items = pairs.iter().map(|p| format!("{:.3}: {} and {}", p.similarity, p.a, p.b)).collect();
    Block::List(List { heading: heading.into(), items })
}

pub fn judged(comparisons: u64) -> String {
    format!(
        "{} comparisons were left out: somebody judged the two people to be one person or twins \
         (--duplicates).",
        thousands(comparisons)
    )
}

pub fn likely_duplicates(found: &LikelyDuplicates) -> Vec<Block> {
    let mut blocks = Vec::new();
    if found.left_out > 0 {
        blocks.push(Block::Text(judged(found.left_out)));
    }
    blocks.push(Block::Text(format!(
        "{} comparisons of different people at or above {}, in {} clusters, may be one person \
         under two names. Nobody has judged them, so each counts as a false match. {} more were \
         judged to be different people. Look at the photographs and write what you find into a \
         file for --duplicates.",
        thousands(found.unjudged as u64),
        found.from,
        thousands(found.clusters.len() as u64),
        thousands(found.judged_different as u64),
    )));
    let items = found
        .clusters
        .iter()
        .map(|c| format!("{:.3} to {:.3}: {}", c.loosest, c.closest, c.files.join(", ")))
        .collect();
    blocks.push(Block::List(List { heading: "Likely duplicates, unjudged".into(), items }));
    blocks
}

/// The likely duplicates' photographs; nothing where no sheet was asked for.
pub fn contact_sheet(strips: &[Strip]) -> Vec<Block> {
    if strips.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![Block::Text(format!(
        "One person, twins, or different people? At most {MOST_CLUSTERS} clusters are shown, the \
         most alike first. This page now holds pictures of people: keep it as you keep the \
         photographs."
    ))];
    blocks.extend(strips.iter().map(|strip| {
        let more = if strip.more > 0 {
            format!("; {} more are not shown", strip.more)
        } else {
            String::new()
        };
        Block::Pictures(PictureStrip {
            caption: format!("similarity {:.3} to {:.3}{more}", strip.loosest, strip.closest),
            pictures: strip.pictures.clone(),
        })
    }));
    blocks
}

/// The upper bounds of each population with what they rest on, and the tables of a manifest.
pub fn bounds_section(all: &[Bounds]) -> Option<Section> {
    if all.is_empty() {
        return None;
    }
    let mut blocks = vec![Block::Text(
        "One photograph a person; of likely duplicates one stays. Bounds: one-sided, 95 %. \
         Counted: Poisson with the design effect. Extrapolated: an exponential tail fitted to \
         counted pairs, 95th percentile over draws of people; nobody has seen so rare a false \
         match here."
            .into(),
    )];
    blocks.extend(all.iter().flat_map(bounds_blocks));
    let tables: String = all.iter().map(|b| b.manifest_table("NAME OF THE SET")).collect();
    blocks.push(Block::Text(
        "For the manifest. Write the name of the set of photographs in `source`, or take the file \
         that --table writes:"
            .into(),
    ));
    blocks.push(Block::Code(tables));
    Some(Section { heading: "Upper bounds by similarity".into(), blocks })
}

/// One population's table, and what stands behind its extrapolated rows.
pub fn bounds_blocks(bounds: &Bounds) -> [Block; 2] {
    [
        Block::Table(bounds_table(bounds)),
        Block::Text(format!("{}: {}", bounds.name, extrapolated_text(bounds))),
    ]
}

fn extrapolated_text(bounds: &Bounds) -> String {
    match &bounds.extrapolation {
        Extrapolation::Refused(why) => format!("not extrapolated: {why}."),
        Extrapolation::Fitted(tail) => format!(
            "EXTRAPOLATED beyond the counts from {} comparisons between {:.2} and {:.2} of {} \
             people: scale {:.4}; shape {:+.2} if it were generalised Pareto. Held-out check: {} \
             of {} halvings failed. Seed {}.",
            thousands(tail.exceedances as u64),
            tail.from,
            tail.until,
            thousands(tail.people as u64),
            tail.scale,
            tail.shape,
            tail.halvings_failed,
            tail.halvings,
            tail.seed,
        ),
    }
}

fn bounds_table(bounds: &Bounds) -> ReportTable {
    let joined = match bounds.joined_from {
        Some(from) => format!("; {} more joined from {from:.2} on", bounds.joined),
        None => String::new(),
    };
    let caption = format!(
        "{}: {} people, {} comparisons{joined}",
        bounds.name,
        thousands(bounds.people as u64),
        thousands(bounds.pairs)
    );
    let head = ["threshold", "upper bound", "rests on", "rate", "false matches", "design effect"];
    let mut table = ReportTable::new(caption, &head);
    let last = bounds.rows.len().saturating_sub(1);
    let first_extrapolated =
        bounds.rows.iter().position(|r| r.basis == Basis::Extrapolated).unwrap_or(last);
    for (at, row) in bounds.rows.iter().enumerate() {
        // Every fifth, and both sides of where counting ends.
        let fifth = ((row.threshold * 100.0).round() as u32).is_multiple_of(5);
        if !(fifth || at == last || at == first_extrapolated || at + 1 == first_extrapolated) {
            continue;
        }
        table.row([
            format!("{:.2}", row.threshold),
            rounded_up(row.upper),
            row.basis.name().into(),
            format!("{:.2e}", row.rate),
            row.matches.map_or_else(String::new, thousands),
            row.design_effect.map_or_else(String::new, |d| format!("{d:.2}")),
        ]);
    }
    table
}
