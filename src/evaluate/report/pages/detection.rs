//! Precision, and recall by the height of a face.

use super::Describe;
use super::parts::{figure, headline};
use crate::evaluate::detection::{DetectionResult, Precision};
use crate::evaluate::report::format::{count, full, interval, rate, thousands};
use crate::evaluate::report::svg::{Axis, Category, Plot, forest};
use crate::evaluate::report::{Block, Headline, ReportTable, Section};

impl Describe for DetectionResult {
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
        let mut recall = ReportTable::new(
            format!("Recall at score {}", self.threshold),
            &["set", "recall", "interval", "faces"],
        );
        for s in &self.sets {
            recall.row([s.set.into(), rate(&s.recall), interval(&s.recall), count(&s.recall)]);
        }
        let mut blocks = vec![Block::Text(text), Block::Table(recall)];
        blocks.extend(precision_over_recall(&self.sets));
        vec![
            Section { heading: "Precision and recall".into(), blocks },
            Section { heading: "By face height".into(), blocks: heights(self) },
        ]
    }
}

fn precision_over_recall(sets: &[Precision]) -> Option<Block> {
    let drawn: Vec<_> = sets.iter().enumerate().filter(|(_, s)| s.curve.len() > 1).collect();
    if drawn.is_empty() {
        return None;
    }
    let mut plot = Plot::new(
        "Precision over recall",
        &drawn
            .iter()
            .map(|(_, s)| {
                format!("{}: average precision {:.3}.", s.set, s.average_precision.unwrap_or(0.0))
            })
            .collect::<Vec<_>>()
            .join(" "),
        Axis::linear("recall", 0.0, 1.0).percent(),
        Axis::linear("precision", 0.0, 1.0).percent(),
    );
    for (i, s) in drawn {
        plot = plot.line(i, s.set, &s.curve);
    }
    Some(figure(
        plot.finish(),
        "Precision over recall as the score falls: further up and right is better.",
    ))
}

fn heights(d: &DetectionResult) -> Vec<Block> {
    let label = |from: f64, to: Option<f64>| {
        to.map_or(format!("{from} px and more"), |to| format!("{from} to {to} px"))
    };
    let mut heights = ReportTable::new(
        format!(
            "Recall at score {} by height on the detector's canvas, {} set",
            d.threshold, d.heights_of
        ),
        &["height", "recall", "interval", "faces"],
    );
    let mut rows = Vec::new();
    for h in &d.by_height {
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
        figure(
            drawing,
            "Dots: recall. Whiskers: 95 % interval. What decides is the height after the image was \
             shrunk.",
        ),
        Block::Table(heights),
    ]
}
