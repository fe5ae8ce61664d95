//! Whether a camera knows how blind it is.

use super::Describe;
use super::parts::headline;
use crate::evaluate::gate::{DegradedViews, Gate, Half, ShareOfViews};
use crate::evaluate::gate_fit::FittedLimits;
use crate::evaluate::report::format::{share, span, thousands};
use crate::evaluate::report::{Block, Headline, ReportTable, Section};

impl Describe for Gate {
    fn title(&self) -> &'static str {
        "Gate: are views that cannot match counted as such?"
    }

    fn headlines(&self) -> Vec<Headline> {
        let of = |label: &str, s: &ShareOfViews| match s.share {
            Some(value) => {
                headline(label, share(value), format!("{}; {}", span(s.lower, s.upper), counted(s)))
            }
            None => headline(label, "not known", "there is no such view"),
        };
        vec![
            of("Degraded views that cannot match, counted as hardly able to", &self.degraded),
            of("Clean views that are counted so", &self.clean),
        ]
    }

    fn sections(&self) -> Vec<Section> {
        let q = &self.question;
        let whom = match q.half {
            Half::All => "everybody",
            Half::Development => "the development half of people",
            Half::HeldOut => "the held-out half of people",
        };
        let text = format!(
            "A view cannot match where its similarity to the template of {} photographs of its own \
             person is below {:.2}. {} people ({whom}), at most {} views each, people counted \
             alike. Views without a face and refused ones are never compared; they stand apart.",
            q.template_of,
            q.threshold,
            thousands(self.people as u64),
            q.views
        );
        let mut table = ReportTable::new(
            "Views by degradation",
            &[
                "degradation",
                "views",
                "no face",
                "refused",
                "cannot match",
                "of these counted as hardly able",
                "interval",
                "can match, counted all the same",
                "refused or counted, of all that cannot",
            ],
        );
        self.degradations.iter().for_each(|d| table.row(row(d)));
        let mut sections = vec![Section {
            heading: "Degradations".into(),
            blocks: vec![Block::Text(text), Block::Table(table)],
        }];
        if let Some(most_clean) = q.fit {
            let blocks = match &self.fitted {
                Some(limits) => fitted(limits),
                None => vec![Block::Text(
                    "There are too few views that cannot match, that can, or that are clean; or \
                     a line divides them without an error. No limits follow from these."
                        .into(),
                )],
            };
            let heading = format!("Limits that count at most {} of clean views", share(most_clean));
            sections.push(Section { heading, blocks });
        }
        sections
    }
}

fn fitted(limits: &FittedLimits) -> Vec<Block> {
    let text = format!(
        "Fitted to {} views of {} people, people counted alike: intercept and weights of detail, \
         noise and contrast, and the cut.",
        thousands(limits.views as u64),
        thousands(limits.people as u64)
    );
    let [base, detail, noise, contrast] = limits.weights;
    let code = format!("{base:.3}, {detail:.3}, {noise:.3}, {contrast:.3}; {:.3}", limits.cut);
    vec![Block::Text(text), Block::Code(code)]
}

fn counted(s: &ShareOfViews) -> String {
    let [counted, of, people] = [s.counted, s.of, s.people].map(thousands);
    format!("{counted} of {of} views of {people} people")
}

fn row(d: &DegradedViews) -> [String; 9] {
    let known = |s: &ShareOfViews| s.share.map_or_else(String::new, share);
    let c = &d.cannot_match;
    [
        d.name.into(),
        thousands(d.views),
        thousands(d.no_face),
        thousands(d.refused),
        thousands(c.of),
        known(c),
        if c.people > 0 { span(c.lower, c.upper) } else { String::new() },
        known(&d.can_match),
        known(&d.told),
    ]
}
