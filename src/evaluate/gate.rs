//! Whether a camera knows how blind it is: of degraded views that cannot match, how many are
//! counted as hardly able to match, and how many good ones are counted so wrongly.
//!
//! * A person's first photographs make a template, the others are views. Each view is looked at as
//!   it is and under every degradation ([`super::degrade`]), by the chain that a device runs:
//!   detector, second look, quality gate, [`Fitness`](crate::vision::Fitness).
//! * A view **cannot match** where its similarity to the template of its own person is below the
//!   threshold. Views without a face and refused ones are counted apart: they are never compared,
//!   and the device says so already.
//! * People are counted alike, with the exact interval of so many people.
//! * [`Half`] takes every second person, by the name alone: to fit the limits on one half
//!   ([`super::gate_fit`]) and to report the other.
//!
//! Not promised: that these degradations come as often at a place as they do here.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::degrade::{self, PlainPicture};
use super::gate_fit::{self, FitView, FittedLimits};
use super::protocol::folder::{self, Person, shown};
use super::statistics::misses::PeopleAlike;
use super::work::spread;
use super::{Context, EvaluateError};
use crate::frame::Frame;
use crate::source::Photograph;
use crate::template::{Template, fuse};
use crate::vision::photographs::FaceReader;
use crate::vision::{Fitness, HardlyAble, JudgedFace, Models};

/// Name of the views that nothing was done to.
pub const CLEAN: &str = "clean";

/// Which people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Half {
    /// Everybody.
    All,
    /// To choose by.
    Development,
    /// To report.
    HeldOut,
}

impl Half {
    fn holds(self, name: &str) -> bool {
        let odd = Sha256::digest(name)[0] & 1 == 1;
        match self {
            Self::All => true,
            Self::Development => !odd,
            Self::HeldOut => odd,
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GateQuestion {
    /// Photographs of a template.
    pub template_of: usize,
    /// Most views of a person.
    pub views: usize,
    /// Similarity below which a view cannot match.
    pub threshold: f32,
    /// Which people.
    pub half: Half,
    /// Fit the limits anew: the largest share of clean views that may be counted.
    pub fit: Option<f64>,
}

/// A share of views, people counted alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ShareOfViews {
    /// People with such a view.
    pub people: u64,
    /// Views.
    pub of: u64,
    /// Those that are counted as hardly able to match.
    pub counted: u64,
    /// Mean over people; `None` without any.
    pub share: Option<f64>,
    /// Lower end of its 95 % interval.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// Shares person by person, while they are counted.
#[derive(Debug, Clone, Default)]
struct PeopleTally(BTreeMap<usize, [u64; 2]>);

impl PeopleTally {
    fn add(&mut self, person: usize, counted: bool) {
        let of = self.0.entry(person).or_default();
        of[0] += u64::from(counted);
        of[1] += 1;
    }

    fn share(&self) -> ShareOfViews {
        let of_people = self.0.values();
        let PeopleAlike { people, share, lower, upper } =
            PeopleAlike::of(of_people.clone().map(|[counted, of]| *counted as f64 / *of as f64));
        ShareOfViews {
            people,
            of: of_people.clone().map(|n| n[1]).sum(),
            counted: of_people.map(|n| n[0]).sum(),
            share,
            lower,
            upper,
        }
    }
}

/// What became of the views of one degradation.
#[derive(Debug, Clone, Serialize)]
pub struct DegradedViews {
    /// Which.
    pub name: &'static str,
    /// Views.
    pub views: u64,
    /// In which no face was found.
    pub no_face: u64,
    /// That the quality gate refused.
    pub refused: u64,
    /// Of the compared ones that cannot match: counted as hardly able to match.
    pub cannot_match: ShareOfViews,
    /// Of the compared ones that can match: counted so all the same.
    pub can_match: ShareOfViews,
    /// Of all that cannot match, or were never compared: those of which the device says something.
    pub told: ShareOfViews,
    /// Reasons of those that are counted.
    pub reasons: BTreeMap<&'static str, u64>,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
pub struct Gate {
    /// What was asked.
    pub question: GateQuestion,
    /// People with a template and a view.
    pub people: usize,
    /// Of compared degraded views that cannot match, those that are counted as such.
    pub degraded: ShareOfViews,
    /// Of compared views that nothing was done to, whether they match or not, those that are.
    pub clean: ShareOfViews,
    /// Every degradation; first the clean views.
    pub degradations: Vec<DegradedViews>,
    /// The limits that these people would give, where that was asked and they are enough for it.
    pub fitted: Option<FittedLimits>,
}

impl Gate {
    /// Whether anybody was looked at.
    pub fn evaluated(&self) -> bool {
        self.people > 0
    }
}

/// What is seen in one picture.
#[derive(Debug)]
enum SeenView {
    NoFace,
    Refused,
    Compared { template: Template, fitness: Option<Fitness> },
}

/// What is to be looked at.
struct Look<'a> {
    person: usize,
    file: &'a Path,
    /// A photograph of the template: it is not degraded.
    template: bool,
}

#[derive(Serialize)]
struct ViewLine<'a> {
    file: &'a str,
    degradation: &'static str,
    similarity: f32,
    hardly_able: Option<HardlyAble>,
    #[serde(flatten)]
    fitness: Option<Fitness>,
}

/// Looks at the people of the folder `root`.
///
/// # Errors
/// A root that cannot be listed, models that do not load.
pub fn run(
    models: &Models,
    root: &Path,
    question: GateQuestion,
    run: &mut Context<'_>,
) -> Result<Gate, EvaluateError> {
    let listed = folder::read(root, run.left_out)
        .map_err(|source| EvaluateError::Root { path: root.into(), source })?;
    let listed: Vec<Person> = listed.into_iter().filter(|p| question.half.holds(&p.name)).collect();
    let wanted = question.template_of + 1;
    let mut looks = Vec::new();
    for (person, of) in listed.iter().enumerate() {
        if of.photographs.len() < wanted {
            run.left_out.add(&of.name, "person of too few photographs", "");
            continue;
        }
        let most = question.template_of + question.views;
        looks.extend(of.photographs.iter().take(most).enumerate().map(|(at, file)| Look {
            person,
            file,
            template: at < question.template_of,
        }));
    }
    let settings = run.settings;
    let seen = spread(
        &looks,
        settings.threads,
        run.progress,
        || FaceReader::with(models, &settings.vision()),
        look_at,
        |_| Err("it made the program panic; please report it".to_owned()),
    )?;
    Ok(tally(root, question, &looks, seen, run))
}

/// What is seen in a photograph as it is, and under every degradation where it is a view.
fn look_at(reader: &mut FaceReader, look: &Look<'_>) -> Result<Vec<SeenView>, String> {
    let bytes = Zeroizing::new(std::fs::read(look.file).map_err(|e| e.to_string())?);
    let photograph = Photograph::decode(&bytes).map_err(|e| e.to_string())?;
    let frame = photograph.frame();
    let subject = reader.subject(&frame).map_err(|e| e.to_string())?;
    let eyes = subject.as_ref().map(|s| s.quality.eye_distance_px);
    let mut all = vec![see(reader, &frame, subject)?];
    let Some(eyes) = eyes.filter(|_| !look.template) else { return Ok(all) };
    let picture = PlainPicture::of(&frame)?;
    let digest = Sha256::digest(&*bytes);
    let seed = u64::from_be_bytes(digest[..8].try_into().expect("eight bytes"));
    for degradation in degrade::ALL {
        let degraded = degradation.apply(&picture, eyes, seed)?;
        let frame = Frame::new(degraded.layout()?, &degraded.rgb).map_err(|e| e.to_string())?;
        let subject = reader.subject(&frame).map_err(|e| e.to_string())?;
        all.push(see(reader, &frame, subject)?);
    }
    Ok(all)
}

/// What is seen of the `subject` of a picture.
fn see(
    reader: &mut FaceReader,
    frame: &Frame<'_>,
    subject: Option<JudgedFace>,
) -> Result<SeenView, String> {
    let Some(subject) = subject else { return Ok(SeenView::NoFace) };
    if subject.verdict.is_err() {
        return Ok(SeenView::Refused);
    }
    let seen = reader.embed_with_fitness(frame, &subject);
    let (embedding, fitness) = seen.map_err(|e| e.to_string())?;
    Ok(SeenView::Compared { template: embedding.quantize(), fitness })
}

fn tally(
    root: &Path,
    question: GateQuestion,
    looks: &[Look<'_>],
    seen: Vec<Result<Vec<SeenView>, String>>,
    run: &mut Context<'_>,
) -> Gate {
    let mut readable: Vec<(&Look<'_>, Vec<SeenView>)> = Vec::new();
    for (look, seen) in looks.iter().zip(seen) {
        match seen {
            Ok(seen) => readable.push((look, seen)),
            Err(why) => run.left_out.add(shown(root, look.file), "unreadable photograph", why),
        }
    }
    let mut rows: Vec<TallyRow> = std::iter::once(CLEAN)
        .chain(degrade::ALL.iter().map(|d| d.name))
        .map(|name| TallyRow { name, ..TallyRow::default() })
        .collect();
    let (mut degraded, mut clean, mut people) =
        (PeopleTally::default(), PeopleTally::default(), HashSet::new());
    let mut to_fit = Vec::new();
    for looks in readable.chunk_by(|a, b| a.0.person == b.0.person) {
        let of_template = looks.iter().filter(|(look, _)| look.template);
        let usable: Vec<&Template> = of_template
            .filter_map(|(_, seen)| match seen.first() {
                Some(SeenView::Compared { template, .. }) => Some(template),
                _ => None,
            })
            .collect();
        let template = (usable.len() == question.template_of).then(|| fuse(usable).ok()).flatten();
        let Some(template) = template else {
            let what = shown(root, looks[0].0.file);
            run.left_out.add(what, "person without a template", "");
            continue;
        };
        for (look, seen) in looks.iter().filter(|(look, _)| !look.template) {
            if let [SeenView::NoFace] = seen[..] {
                run.left_out.add(shown(root, look.file), "view without a face", "");
                continue;
            }
            people.insert(look.person);
            for (at, (seen, row)) in seen.iter().zip(&mut rows).enumerate() {
                let Some(counted) = row.add(look.person, seen, &template, question.threshold)
                else {
                    continue;
                };
                run.records.add(&ViewLine {
                    file: &shown(root, look.file),
                    degradation: row.name,
                    similarity: counted.similarity,
                    hardly_able: counted.hardly(),
                    fitness: counted.fitness,
                });
                let (marked, cannot_match) =
                    (counted.hardly().is_some(), counted.similarity < question.threshold);
                if at == 0 {
                    clean.add(look.person, marked);
                } else if cannot_match {
                    degraded.add(look.person, marked);
                }
                to_fit.extend(counted.fitness.map(|fitness| FitView {
                    person: look.person,
                    fitness,
                    clean: at == 0,
                    cannot_match,
                }));
            }
        }
    }
    Gate {
        question,
        people: people.len(),
        degraded: degraded.share(),
        clean: clean.share(),
        degradations: rows.into_iter().map(TallyRow::finish).collect(),
        fitted: question.fit.and_then(|most_clean| gate_fit::fit(&to_fit, most_clean)),
    }
}

/// One degradation, while it is counted.
#[derive(Default)]
struct TallyRow {
    name: &'static str,
    views: u64,
    no_face: u64,
    refused: u64,
    cannot_match: PeopleTally,
    can_match: PeopleTally,
    told: PeopleTally,
    reasons: BTreeMap<&'static str, u64>,
}

/// A view that was compared.
struct ComparedView {
    similarity: f32,
    fitness: Option<Fitness>,
}

impl ComparedView {
    fn hardly(&self) -> Option<HardlyAble> {
        self.fitness.and_then(|f| f.hardly_able())
    }
}

impl TallyRow {
    /// Counts one view; what came of it, where it was compared.
    fn add(
        &mut self,
        person: usize,
        seen: &SeenView,
        own: &Template,
        threshold: f32,
    ) -> Option<ComparedView> {
        self.views += 1;
        match seen {
            SeenView::NoFace => {
                self.no_face += 1;
                self.told.add(person, false);
                None
            }
            SeenView::Refused => {
                self.refused += 1;
                self.told.add(person, true);
                None
            }
            SeenView::Compared { template, fitness } => {
                let view = ComparedView { similarity: template.cosine(own), fitness: *fitness };
                let hardly = view.hardly();
                if let Some(reason) = hardly {
                    *self.reasons.entry(reason.name()).or_insert(0) += 1;
                }
                if view.similarity < threshold {
                    self.cannot_match.add(person, hardly.is_some());
                    self.told.add(person, hardly.is_some());
                } else {
                    self.can_match.add(person, hardly.is_some());
                }
                Some(view)
            }
        }
    }

    fn finish(self) -> DegradedViews {
        DegradedViews {
            name: self.name,
            views: self.views,
            no_face: self.no_face,
            refused: self.refused,
            cannot_match: self.cannot_match.share(),
            can_match: self.can_match.share(),
            told: self.told.share(),
            reasons: self.reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::extract::fake::{SETTINGS, with_run};
    use super::*;
    use crate::template::Embedding;

    const QUESTION: GateQuestion =
        GateQuestion { template_of: 2, views: 2, threshold: 0.5, half: Half::All, fit: None };

    /// A template at this similarity to that of [`own`].
    fn at(similarity: f32) -> Template {
        let mut values = [0.0; 64];
        (values[0], values[1]) = (similarity, (1.0 - similarity * similarity).sqrt());
        Embedding::normalised(&values).unwrap().quantize()
    }

    fn compared(similarity: f32, hardly: Option<HardlyAble>) -> SeenView {
        let mut fitness = Fitness { detail: -2.25, noise: -2.93, contrast: 7.26 };
        match hardly {
            None => {}
            Some(HardlyAble::Blurred) => fitness.detail = -5.0,
            Some(HardlyAble::Noisy) => fitness.noise = 0.0,
            Some(HardlyAble::Dark) => fitness.contrast = 1.0,
        }
        assert_eq!(fitness.hardly_able(), hardly);
        SeenView::Compared { template: at(similarity), fitness: Some(fitness) }
    }

    fn view(degraded: impl Fn() -> SeenView) -> Vec<SeenView> {
        let clean = std::iter::once(compared(0.9, None));
        clean.chain(degrade::ALL.iter().map(|_| degraded())).collect()
    }

    fn gate(seen: Vec<(usize, bool, Result<Vec<SeenView>, String>)>) -> (Gate, Vec<&'static str>) {
        let root = Path::new("/r");
        let (looks, seen): (Vec<Look<'_>>, Vec<_>) = seen
            .into_iter()
            .map(|(person, template, seen)| (Look { person, file: root, template }, seen))
            .unzip();
        let (gate, left_out, _) =
            with_run(&SETTINGS, |run| tally(root, QUESTION, &looks, seen, run));
        (gate, left_out.by_reason().into_keys().collect())
    }

    #[test]
    fn people_are_counted_alike_and_only_what_was_compared_and_cannot_match_enters_the_figure() {
        let template = |person| (person, true, Ok(vec![compared(1.0, None)]));
        let marked = || compared(0.3, Some(HardlyAble::Blurred));
        let unmarked = || compared(0.3, None);
        let (gate, left_out) = gate(vec![
            template(0),
            template(0),
            (0, false, Ok(view(marked))),
            (0, false, Ok(view(marked))),
            template(1),
            template(1),
            (1, false, Ok(view(unmarked))),
            // Of nobody else's business: refused, no face, able all the same.
            template(2),
            template(2),
            (2, false, Ok(view(|| SeenView::Refused))),
            (2, false, Ok(view(|| compared(0.8, Some(HardlyAble::Noisy))))),
        ]);
        assert_eq!((gate.people, left_out), (3, vec![]));
        // Three views of four, and one person of two.
        assert_eq!((gate.degraded.people, gate.degraded.share), (2, Some(0.5)));
        assert_eq!((gate.clean.people, gate.clean.share, gate.clean.of), (3, Some(0.0), 5));
        let one = &gate.degradations[1];
        assert_eq!((one.views, one.refused, one.no_face), (5, 1, 0));
        assert_eq!((one.can_match.share, one.told.people), (Some(1.0), 3));
        assert_eq!(one.reasons, BTreeMap::from([("blurred", 2), ("noisy", 1)]));
    }

    #[test]
    fn who_cannot_be_looked_at_is_listed() {
        let template = |person| (person, true, Ok(vec![compared(1.0, None)]));
        let (gate, left_out) = gate(vec![
            template(0),
            (0, true, Ok(vec![SeenView::Refused])),
            (0, false, Ok(view(|| SeenView::NoFace))),
            (1, true, Err("cut off".into())),
            template(1),
            (1, false, Ok(view(|| SeenView::NoFace))),
            template(2),
            template(2),
            (2, false, Ok(vec![SeenView::NoFace])),
        ]);
        assert!(!gate.evaluated());
        let reasons = ["person without a template", "unreadable photograph", "view without a face"];
        assert_eq!(left_out, reasons);
    }

    #[test]
    fn the_halves_are_everybody_once_and_about_alike() {
        let names: Vec<String> = (0..1000).map(|i| format!("person {i}")).collect();
        let of = |half: Half| names.iter().filter(|n| half.holds(n)).count();
        assert_eq!(of(Half::Development) + of(Half::HeldOut), of(Half::All));
        assert!((400..600).contains(&of(Half::HeldOut)), "{}", of(Half::HeldOut));
    }
}
