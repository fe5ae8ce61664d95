//! How each result describes itself.

use super::format::{count, full, interval, rate, share, span, target, thousands};
use super::svg::{Axis, Category, Plot, forest};
use super::{Block, Document, Figure, Headline, List, Section, Table};
use crate::evaluate::curve::Curve;
use crate::evaluate::detection::Detection;
use crate::evaluate::extract::Acquisition;
use crate::evaluate::groups::{AtThreshold, Groups, SafetyFactor, SuspectPair};
use crate::evaluate::identification::{Identification, Summary};
use crate::evaluate::left_out::LeftOut;
use crate::evaluate::statistics::differentials::{Differential, Interval};
use crate::evaluate::verification::{Histogram, Verification};
use crate::evaluate::{Evaluation, Network};

/// A result that can be shown.
pub trait Describe {
    /// What was evaluated, in a few words.
    fn title(&self) -> &'static str;
    /// The figures that matter most.
    fn headlines(&self) -> Vec<Headline>;
    /// Everything else.
    fn sections(&self) -> Vec<Section>;
}

/// The document of an evaluation: its head, its figures, who was not acquired and what was left
/// out.
pub fn document<R: Describe>(evaluation: &Evaluation<R>) -> Document {
    let e = evaluation;
    let mut facts = vec![
        ("Program".into(), format!("watchpost {}", e.program)),
        ("Detector".into(), network(&e.detector)),
        ("Embedder".into(), network(&e.embedder)),
        ("Photographs".into(), e.root.display().to_string()),
    ];
    facts.extend(e.list.as_ref().map(|l| ("List".into(), l.display().to_string())));
    let s = &e.settings;
    let mut how = format!("detector's long side {} px, least score {}", s.long_side, s.min_score);
    if s.pad > 0.0 {
        how += &format!(", border of {} of the long side", s.pad);
    }
    if e.acquisition.is_some() {
        how += if s.gate { ", quality gate on" } else { ", quality gate off" };
    }
    facts.push(("Settings".into(), how));
    if !e.evaluated {
        facts.push(("Outcome".into(), "NOTHING COULD BE EVALUATED; see what was left out".into()));
    }
    let mut sections = e.result.sections();
    sections.extend(e.acquisition.as_ref().map(acquired));
    sections.push(left_out(&e.left_out));
    sections.push(Section {
        heading: "How to read this".into(),
        blocks: vec![Block::Text(
            "Intervals are two-sided 95 % Clopper-Pearson intervals unless another kind is named. \
             They take trials as independent; comparisons that share people are less so than \
             that. Figures hold for these photographs: another camera, place or population gives \
             others."
                .into(),
        )],
    });
    Document { title: e.result.title().into(), facts, headlines: e.result.headlines(), sections }
}

/// Enough of the digest to tell files apart; all of it is in the JSON.
fn network(n: &Network) -> String {
    format!("{} (SHA-256 {}…)", n.name, n.sha256.get(..16).unwrap_or(&n.sha256))
}

fn acquired(a: &Acquisition) -> Section {
    let mut blocks = vec![Block::Text(format!(
        "Of {} photographs that could be read, {} gave no template. Failure to acquire: {}. \
         Failure to enrol, with what the quality gate refuses: {}.",
        thousands(a.photographs),
        thousands(a.failure_to_acquire.count),
        full(&a.failure_to_acquire),
        full(&a.failure_to_enrol)
    ))];
    for (caption, reasons) in [
        ("Failures to acquire", &a.reasons),
        ("Faces that the quality gate refuses", &a.refused_by_gate),
    ] {
        if !reasons.is_empty() {
            let mut table = Table::new(caption, &["reason", "photographs"]);
            reasons.iter().for_each(|(reason, n)| table.row([(*reason).to_owned(), n.to_string()]));
            blocks.push(Block::Table(table));
        }
    }
    if !a.failures.is_empty() {
        let items = a.failures.iter().map(|f| format!("{}: {}", f.what, f.reason)).collect();
        blocks.push(Block::List(List { heading: "Photographs without a template".into(), items }));
    }
    Section { heading: "Failure to acquire".into(), blocks }
}

fn left_out(l: &LeftOut) -> Section {
    let mut blocks = Vec::new();
    if l.is_empty() {
        blocks.push(Block::Text("Nothing was left out.".into()));
    } else {
        let mut table = Table::new("What was not used", &["reason", "count"]);
        l.by_reason()
            .iter()
            .for_each(|(reason, n)| table.row([(*reason).to_owned(), n.to_string()]));
        blocks.push(Block::Table(table));
        let item = |o: &crate::evaluate::left_out::Omission| {
            if o.detail.is_empty() {
                format!("{}: {}", o.what, o.reason)
            } else {
                format!("{}: {} ({})", o.what, o.reason, o.detail)
            }
        };
        blocks.push(Block::List(List {
            heading: "Left out".into(),
            items: l.omissions().iter().map(item).collect(),
        }));
    }
    Section { heading: "Left out".into(), blocks }
}

fn headline(
    label: impl Into<String>,
    value: impl Into<String>,
    detail: impl Into<String>,
) -> Headline {
    Headline { label: label.into(), value: value.into(), detail: detail.into() }
}

fn figure(svg: String, caption: &str) -> Block {
    Block::Figure(Figure { caption: caption.into(), svg })
}

/// Both kinds of similarities as shares of their own number, with thresholds marked.
fn histogram(h: &Histogram, names: [&str; 2], marks: &[(f64, String)]) -> Option<Block> {
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
fn det(
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

impl Describe for Verification {
    fn title(&self) -> &'static str {
        "Verification: are two photographs of one person?"
    }

    fn headlines(&self) -> Vec<Headline> {
        let mut all = vec![match &self.accuracy {
            Some(a) => headline(
                "Accuracy",
                share(a.mean),
                format!(
                    "± {} standard deviation over {} folds; pooled {}",
                    share(a.standard_deviation),
                    a.folds.len(),
                    interval(&a.pooled)
                ),
            ),
            None => headline("Accuracy", "not known", "fewer than two folds hold pairs"),
        }];
        for t in self.tar_at_far.iter().filter(|t| t.point.target_far.is_some()) {
            let label = format!("TAR at FAR {}", target(t.point.target_far.unwrap_or(0.0)));
            all.push(match (&t.point.tar, t.point.threshold) {
                (Some(tar), Some(threshold)) => headline(
                    label,
                    rate(tar),
                    format!("{}; {}; threshold {threshold:.3}", interval(tar), count(tar)),
                ),
                _ => headline(
                    label,
                    "not supported",
                    t.point.unsupported.clone().unwrap_or_default(),
                ),
            });
        }
        all
    }

    fn sections(&self) -> Vec<Section> {
        let p = &self.pairs;
        let mut pairs = Table::new("Pairs", &["kind", "compared", "without a template"]);
        pairs.row(["one person".into(), thousands(p.genuine), thousands(p.genuine_failed)]);
        pairs.row(["two people".into(), thousands(p.impostor), thousands(p.impostor_failed)]);

        let mut rates = Table::new(
            "True accept rate at false accept rates",
            &[
                "FAR asked for",
                "threshold",
                "FAR measured",
                "FAR interval",
                "TAR",
                "TAR interval",
                "TAR with failures",
            ],
        );
        let mut unsupported = Vec::new();
        for t in &self.tar_at_far {
            let label = t.point.target_far.map_or("threshold given".into(), target);
            match (&t.point.far, &t.point.tar, t.point.threshold) {
                (Some(far), Some(tar), Some(threshold)) => rates.row([
                    label,
                    format!("{threshold:.4}"),
                    format!("{} ({})", rate(far), count(far)),
                    interval(far),
                    format!("{} ({})", rate(tar), count(tar)),
                    interval(tar),
                    t.tar_with_failures.as_ref().map_or(String::new(), rate),
                ]),
                _ => unsupported.push(Block::Text(format!(
                    "FAR {label} is not supported by these data: {}.",
                    t.point.unsupported.as_deref().unwrap_or("no comparisons")
                ))),
            }
        }
        let mut accuracy = Table::new(
            "Accuracy by fold, each at the threshold of the others",
            &["fold", "threshold", "accuracy", "interval"],
        );
        if let Some(a) = &self.accuracy {
            for (i, f) in a.folds.iter().enumerate() {
                accuracy.row([
                    (i + 1).to_string(),
                    format!("{:.4}", f.threshold),
                    format!("{} ({})", rate(&f.accuracy), count(&f.accuracy)),
                    interval(&f.accuracy),
                ]);
            }
        }
        let mut text = match self.folds {
            Some(n) => format!("The pairs file has {n} folds."),
            None => "The pairs file has no folds; ten were cut, every tenth pair of each kind to \
                the same one."
                .into(),
        };
        if let Some(a) = &self.accuracy {
            text += &format!(" Standard error of the mean accuracy: {}.", share(a.standard_error));
        }
        for (name, at) in [
            ("At the best threshold of these very pairs (optimistic)", &self.best_accuracy),
            ("At the threshold given", &self.accuracy_at_threshold),
        ] {
            if let Some(b) = at {
                text += &format!(" {name}, {:.4}: {}.", b.threshold, full(&b.accuracy));
            }
        }
        if let Some(e) = &self.equal_error {
            text += &format!(" Equal error rate {} at {:.4}.", share(e.rate), e.threshold);
        }
        let marks: Vec<(f64, String)> = self
            .tar_at_far
            .iter()
            .filter_map(|t| {
                Some((
                    f64::from(t.point.threshold?),
                    t.point.target_far.map_or("given".into(), |f| format!("FAR {}", target(f))),
                ))
            })
            .collect();
        let mut blocks = vec![Block::Table(rates)];
        blocks.extend(unsupported);
        let points: Vec<(f64, f64)> = self.det.iter().map(|d| (d.fmr, d.fnmr)).collect();
        blocks.extend(det(
            "DET curve",
            "false match rate",
            "false non-match rate",
            &points,
            &[],
            0.5 / p.genuine.max(1) as f64,
        ));
        let roc: Vec<(f64, f64)> =
            self.roc.iter().rev().filter(|r| r.far > 0.0).map(|r| (r.far, r.tar)).collect();
        if let [first, .., last] = roc[..] {
            let plot = Plot::new(
                "ROC curve",
                &format!(
                    "True accept rate from {} at a false accept rate of {} to {} at {}.",
                    share(first.1),
                    share(first.0),
                    share(last.1),
                    share(last.0)
                ),
                Axis::logarithmic("false accept rate", first.0, 1.0).percent(),
                Axis::linear(
                    "true accept rate",
                    (first.1 * 20.0 - 1.0).floor().max(0.0) / 20.0,
                    1.0,
                )
                .percent(),
            );
            blocks.push(figure(
                plot.line(0, "measured", &roc).finish(),
                "Receiver operating characteristic: the same points as above, with hits instead \
                 of misses.",
            ));
        }
        blocks.extend(histogram(&self.histogram, ["one person", "two people"], &marks));
        vec![
            Section { heading: "Error rates".into(), blocks },
            Section {
                heading: "Accuracy".into(),
                blocks: vec![Block::Text(text), Block::Table(pairs), Block::Table(accuracy)],
            },
        ]
    }
}

impl Describe for Identification {
    fn title(&self) -> &'static str {
        "Identification: is this person on the list?"
    }

    fn headlines(&self) -> Vec<Headline> {
        let value = |s: &Summary| s.mean.map_or("not supported".into(), share);
        let detail = |s: &Summary| match s.mean {
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
        let mut summary = Table::new(
            "Mean of the draws",
            &[
                "rate",
                "mean",
                "deviation",
                "lowest to highest",
                "interval of a draw",
                "mean threshold",
            ],
        );
        for s in self.fnir_at_fpir.iter().chain([&self.rank_1]) {
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
        let mut blocks = vec![Block::Text(text), Block::Table(summary)];
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

        let mut draws = Table::new(
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
        for d in &self.draws {
            let mut row = vec![
                (d.draw + 1).to_string(),
                thousands(d.mated),
                thousands(d.failure_to_enrol.count),
                thousands(d.non_mated),
                format!("{} ({})", rate(&d.rank_1), interval(&d.rank_1)),
            ];
            for p in &d.points {
                row.push(
                    p.fnir.as_ref().map_or("not supported".into(), |f| {
                        format!("{} ({})", rate(f), interval(f))
                    }),
                );
                row.push(p.threshold.map_or(String::new(), |t| format!("{t:.4}")));
            }
            draws.row(row);
        }
        vec![
            Section { heading: "Open-set search".into(), blocks },
            Section { heading: "Draws".into(), blocks: vec![Block::Table(draws)] },
        ]
    }
}

impl Describe for Detection {
    fn title(&self) -> &'static str {
        "Detection: where are the faces?"
    }

    fn headlines(&self) -> Vec<Headline> {
        self.sets
            .iter()
            .map(|s| {
                let label = format!("Average precision, {}", s.set);
                match (s.average_precision, s.lower, s.upper) {
                    (Some(ap), Some(low), Some(high)) => headline(
                        label,
                        format!("{ap:.3}"),
                        format!(
                            "{low:.3} to {high:.3} (bootstrap over images); {} faces",
                            thousands(s.faces)
                        ),
                    ),
                    (Some(ap), ..) => headline(label, format!("{ap:.3}"), "one image: no interval"),
                    _ => {
                        headline(label, "not supported", s.unsupported.clone().unwrap_or_default())
                    }
                }
            })
            .collect()
    }

    fn sections(&self) -> Vec<Section> {
        let mut text = format!(
            "{} images with {} marked faces. At the score {} that the device uses: {} detections, \
             of which {} overlap no marked face ({:.2} an image).",
            thousands(self.images),
            thousands(self.faces),
            self.threshold,
            thousands(self.detections),
            full(&self.false_positives),
            self.false_positives_an_image
        );
        if self.beyond_capacity > 0 {
            text += &format!(
                " A device keeps the best {1} of an image and would drop {0} of them.",
                thousands(self.beyond_capacity),
                self.capacity
            );
        }
        let mut recall = Table::new(
            format!("Recall at score {}", self.threshold),
            &["set", "recall", "interval", "faces"],
        );
        for s in &self.sets {
            recall.row([s.set.into(), rate(&s.recall), interval(&s.recall), count(&s.recall)]);
        }
        let mut blocks = vec![Block::Text(text), Block::Table(recall)];
        let drawn: Vec<_> =
            self.sets.iter().enumerate().filter(|(_, s)| s.curve.len() > 1).collect();
        if !drawn.is_empty() {
            let mut plot = Plot::new(
                "Precision over recall",
                &drawn
                    .iter()
                    .map(|(_, s)| {
                        format!(
                            "{}: average precision {:.3}.",
                            s.set,
                            s.average_precision.unwrap_or(0.0)
                        )
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
                Axis::linear("recall", 0.0, 1.0).percent(),
                Axis::linear("precision", 0.0, 1.0).percent(),
            );
            for (i, s) in drawn {
                plot = plot.line(i, s.set, &s.curve);
            }
            blocks.push(figure(
                plot.finish(),
                "Precision over recall as the score falls: further up and right is better.",
            ));
        }
        let label = |from: f64, to: Option<f64>| {
            to.map_or(format!("{from} px and more"), |to| format!("{from} to {to} px"))
        };
        let mut heights = Table::new(
            format!(
                "Recall at score {} by height on the detector's canvas, {} set",
                self.threshold, self.heights_of
            ),
            &["height", "recall", "interval", "faces"],
        );
        let mut rows = Vec::new();
        for h in &self.by_height {
            let name = label(h.from, h.to);
            heights.row([name.clone(), rate(&h.recall), interval(&h.recall), count(&h.recall)]);
            rows.push(Category {
                name,
                rate: h.recall.rate,
                lower: h.recall.lower,
                upper: h.recall.upper,
                note: count(&h.recall),
            });
        }
        let drawing = forest(
            "Recall by face height",
            "Recall with its 95 % interval for each range of heights; the same numbers are in the \
             table.",
            Axis::linear("recall", 0.0, 1.0).percent(),
            &rows,
            None,
        );
        vec![
            Section { heading: "Precision and recall".into(), blocks },
            Section {
                heading: "By face height".into(),
                blocks: vec![
                    figure(
                        drawing,
                        "Dots: recall. Whiskers: 95 % interval. What decides is the height after \
                         the image was shrunk.",
                    ),
                    Block::Table(heights),
                ],
            },
        ]
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

fn at_threshold(at: &AtThreshold) -> Section {
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
    let mut rates = Table::new(
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
            rate(&g.fnmr),
            if g.fnmr.of > 0 { interval(&g.fnmr) } else { String::new() },
        ]);
        rows.push(Category {
            name: g.group.clone(),
            rate: g.fmr.rate,
            lower: g.fmr.lower,
            upper: g.fmr.upper,
            note: count(&g.fmr),
        });
    }
    let mut summaries = Table::new(
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
    let positive = |f: fn(&Category) -> f64| rows.iter().map(f).filter(|v| *v > 0.0);
    let low = positive(|r| r.rate.unwrap_or(0.0))
        .chain(all.rate)
        .filter(|v| *v > 0.0)
        .fold(1.0, f64::min)
        / 2.0;
    let high = positive(|r| r.upper).fold(low, f64::max);
    blocks.push(figure(
        forest(
            "False match rate by group",
            "False match rate among the people of each group with its 95 % interval; the same \
             numbers are in the table.",
            Axis::logarithmic("false match rate", low, high).percent(),
            &rows,
            all.rate.map(|r| (r, "all pairs")),
        ),
        "Dots: false match rate between two people of the group. Whiskers: 95 % interval with \
         design effect. A rate of zero lies at the left end.",
    ));
    blocks.push(Block::Table(summaries));
    blocks.extend(reasons);
    Section { heading, blocks }
}

fn safety_text(s: &SafetyFactor) -> String {
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

const LOOK_ALIKES: &str = "The most similar pairs of different people decide where rates can no \
    longer be measured. Look at them: one person under two names is an error of the labels, not \
    of the embedder.";

fn suspect_list(heading: &str, pairs: &[SuspectPair]) -> Block {
    let items = pairs.iter().map(|p| format!("{:.3}: {} and {}", p.similarity, p.a, p.b)).collect();
    Block::List(List { heading: heading.into(), items })
}

fn duplicates(limit: Option<f32>, suspects: &[SuspectPair]) -> Vec<Block> {
    let Some(limit) = limit else { return Vec::new() };
    vec![
        Block::Text(format!(
            "{} pairs of different people with a similarity above {limit} were taken for \
             unlabelled duplicates and left out of every rate. Where some of them are different \
             people, the false-match rates are too low.",
            suspects.len()
        )),
        suspect_list("Taken for duplicates", suspects),
    ]
}

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
        let mut who = Table::new(
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
        blocks.extend(duplicates(self.duplicates_above, &self.suspects));
        blocks.extend(
            self.safety_factor
                .as_ref()
                .map(|s| Block::Text(format!("Safety factor {}", safety_text(s)))),
        );
        let mut sections = vec![Section { heading: "Who was compared".into(), blocks }];
        sections.extend(self.thresholds.iter().map(at_threshold));
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
        let mut table = Table::new(
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
        for p in &self.points {
            table.row([
                format!("{:.2}", p.threshold),
                rate(&p.fmr),
                share(p.fmr_upper),
                thousands(p.fmr.count),
                thousands(p.pairs_of_people),
                format!("{:.2}", p.design_effect),
                rate(&p.fnmr),
                if p.fnmr.of > 0 { interval(&p.fnmr) } else { String::new() },
            ]);
        }
        let mut blocks = vec![Block::Text(format!(
            "Upper bounds: one-sided, 95 %, Clopper-Pearson on counts divided by the design \
             effect, the factor by which bunching of false matches by person widens the \
             uncertainty. The curve ends {}.",
            self.ends
        ))];
        blocks.extend(self.safety_factor.as_ref().map(|s| {
            Block::Text(format!("Safety factor for the worst-served group {}", safety_text(s)))
        }));
        if self.points.len() > 1 {
            let of = |f: fn(&crate::evaluate::curve::CurveRow) -> f64| {
                self.points.iter().map(|p| (p.threshold, f(p))).collect::<Vec<_>>()
            };
            let (measured, upper) = (of(|p| p.fmr.rate.unwrap_or(0.0)), of(|p| p.fmr_upper));
            let (first, last) =
                (self.points[0].threshold, self.points[self.points.len() - 1].threshold);
            let plot = Plot::new(
                "False match rate over threshold",
                &format!(
                    "Falls from {} at {first:.2} to {} at {last:.2}.",
                    share(measured[0].1),
                    share(measured[measured.len() - 1].1)
                ),
                Axis::linear("threshold", first, last),
                Axis::logarithmic("false match rate", measured[measured.len() - 1].1, upper[0].1)
                    .percent(),
            )
            .line(0, "measured", &measured)
            .line(1, "upper bound", &upper);
            blocks.push(figure(
                plot.finish(),
                "The false match rate as the threshold rises, and the bound that the device works \
                 with.",
            ));
        }
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
        blocks.push(Block::Table(table));
        let mut suspicious = duplicates(self.duplicates_above, &self.suspects);
        suspicious.push(Block::Text(LOOK_ALIKES.into()));
        suspicious.push(suspect_list("Most similar pairs of different people", &self.closest));
        vec![
            Section { heading: "The curve".into(), blocks },
            Section { heading: "Look-alikes".into(), blocks: suspicious },
        ]
    }
}
