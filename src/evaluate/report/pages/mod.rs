//! How each result describes itself: one file a result, what they share in `parts`.

mod curve;
mod detection;
mod gate;
mod groups;
mod identification;
mod parts;
mod verification;

use super::format::{full, thousands};
use super::{Block, Document, Headline, List, ReportTable, Section};
use crate::evaluate::extract::Acquisition;
use crate::evaluate::left_out::{LeftOut, Omission};
use crate::evaluate::{Evaluation, TestedNetwork};

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
    if let Some(cover) = s.cover {
        how += &format!(", {} painted over the second face of each pair", cover.as_str());
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
fn network(n: &TestedNetwork) -> String {
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
            let mut table = ReportTable::new(caption, &["reason", "photographs"]);
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
        let mut table = ReportTable::new("What was not used", &["reason", "count"]);
        l.by_reason()
            .iter()
            .for_each(|(reason, n)| table.row([(*reason).to_owned(), n.to_string()]));
        blocks.push(Block::Table(table));
        let item = |o: &Omission| {
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
