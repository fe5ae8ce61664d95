//! Accuracy, ROC and TAR at FAR of pairs.

use super::Describe;
use super::parts::{det, figure, headline, histogram};
use crate::evaluate::report::format::{count, full, interval, rate, share, target, thousands};
use crate::evaluate::report::svg::{Axis, Plot};
use crate::evaluate::report::{Block, Headline, ReportTable, Section};
use crate::evaluate::verification::{TrueAcceptRate, Verification};

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
        let mut pairs = ReportTable::new("Pairs", &["kind", "compared", "without a template"]);
        pairs.row(["one person".into(), thousands(p.genuine), thousands(p.genuine_failed)]);
        pairs.row(["two people".into(), thousands(p.impostor), thousands(p.impostor_failed)]);
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
        let mut blocks = rates(&self.tar_at_far);
        let points: Vec<(f64, f64)> = self.det.iter().map(|d| (d.fmr, d.fnmr)).collect();
        blocks.extend(det(
            "DET curve",
            "false match rate",
            "false non-match rate",
            &points,
            &[],
            0.5 / p.genuine.max(1) as f64,
        ));
        blocks.extend(roc(self));
        blocks.extend(histogram(&self.histogram, ["one person", "two people"], &marks));
        vec![
            Section { heading: "Error rates".into(), blocks },
            Section {
                heading: "Accuracy".into(),
                blocks: vec![
                    Block::Text(accuracy_text(self)),
                    Block::Table(pairs),
                    Block::Table(folds(self)),
                ],
            },
        ]
    }
}

/// The table of true accept rates, and what the data cannot support.
fn rates(points: &[TrueAcceptRate]) -> Vec<Block> {
    let mut rates = ReportTable::new(
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
    for t in points {
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
    let mut blocks = vec![Block::Table(rates)];
    blocks.extend(unsupported);
    blocks
}

fn folds(v: &Verification) -> ReportTable {
    let mut accuracy = ReportTable::new(
        "Accuracy by fold, each at the threshold of the others",
        &["fold", "threshold", "accuracy", "interval"],
    );
    if let Some(a) = &v.accuracy {
        for (i, f) in a.folds.iter().enumerate() {
            accuracy.row([
                (i + 1).to_string(),
                format!("{:.4}", f.threshold),
                format!("{} ({})", rate(&f.accuracy), count(&f.accuracy)),
                interval(&f.accuracy),
            ]);
        }
    }
    accuracy
}

fn accuracy_text(v: &Verification) -> String {
    let mut text = match v.folds {
        Some(n) => format!("The pairs file has {n} folds."),
        None => "The pairs file has no folds; ten were cut, every tenth pair of each kind to \
            the same one."
            .into(),
    };
    if let Some(a) = &v.accuracy {
        text += &format!(" Standard error of the mean accuracy: {}.", share(a.standard_error));
    }
    for (name, at) in [
        ("At the best threshold of these very pairs (optimistic)", &v.best_accuracy),
        ("At the threshold given", &v.accuracy_at_threshold),
    ] {
        if let Some(b) = at {
            text += &format!(" {name}, {:.4}: {}.", b.threshold, full(&b.accuracy));
        }
    }
    if let Some(e) = &v.equal_error {
        text += &format!(" Equal error rate {} at {:.4}.", share(e.rate), e.threshold);
    }
    text
}

fn roc(v: &Verification) -> Option<Block> {
    let roc: Vec<(f64, f64)> =
        v.roc.iter().rev().filter(|r| r.far > 0.0).map(|r| (r.far, r.tar)).collect();
    let [first, .., last] = roc[..] else { return None };
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
        Axis::linear("true accept rate", (first.1 * 20.0 - 1.0).floor().max(0.0) / 20.0, 1.0)
            .percent(),
    );
    Some(figure(
        plot.line(0, "measured", &roc).finish(),
        "Receiver operating characteristic: the same points as above, with hits instead \
         of misses.",
    ))
}
