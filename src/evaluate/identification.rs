//! One to many, open set: a watch list of N people, and probes of whom most are not on it.
//!
//! A draw puts the people with two or more usable photographs (in the order of their names) into a
//! random order and takes the first N; of each, in a random order of photographs, the first is
//! enrolled and the next few are mated probes. Everybody else gives one non-mated probe, a random
//! one of their photographs. The order of all random choices is that of this text;
//! [`super::protocol::draw`] defines them.
//!
//! * FPIR at a threshold: non-mated probes whose best similarity in the gallery is at or above it.
//! * FNIR: mated probes whose best entry is not theirs, or is below the threshold. A probe without
//!   a template misses, as does every probe of somebody whose enrolled photograph gave none.
//! * The threshold for FPIR f is the lowest at which no more than f of the non-mated probes are
//!   false positives.
//!
//! Draws share people: their spread is given as it is, and the interval is that of one draw's
//! counts.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::compare::TemplateMatrix;
use super::extract::{AcquirerFactory, Acquisition, Photographs, Subject, photographs, subjects};
use super::protocol::draw::Draw;
use super::protocol::folder::{self, shown};
use super::statistics::interval::{Rate, clopper_pearson};
use super::statistics::scores::{at_or_above, mean_and_deviation, threshold_for};
use super::statistics::tally::Tally;
use super::verification::Histogram;
use super::work::spread;
use super::{Context, EvaluateError};

/// False-positive identification rates at which the misses are reported.
pub const TARGETS: [f64; 2] = [1e-2, 1e-3];

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DrawPlan {
    /// People to enrol.
    pub gallery: usize,
    /// Mated probes a person at most.
    pub probes_a_person: usize,
    /// Draws.
    pub draws: u32,
    /// Seed of the draws.
    pub seed: u64,
}

/// Misses at a false-positive rate in one draw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrawPoint {
    /// The rate asked for.
    pub target_fpir: f64,
    /// Similarity from which an entry is a candidate.
    pub threshold: Option<f32>,
    /// Non-mated probes at or above it.
    pub fpir: Option<Rate>,
    /// Mated probes that miss.
    pub fnir: Option<Rate>,
    /// Why the data cannot support this point.
    pub unsupported: Option<String>,
}

/// One draw.
#[derive(Debug, Clone, Serialize)]
pub struct DrawResult {
    /// Number of the draw, from 0.
    pub draw: u32,
    /// People whose enrolled photograph gave no template.
    pub failure_to_enrol: Rate,
    /// Mated probes, those without a template included.
    pub mated: u64,
    /// Non-mated probes with a template.
    pub non_mated: u64,
    /// Non-mated probes without a template; they alarm nobody and count nowhere.
    pub non_mated_failed: u64,
    /// Mated probes whose best entry is theirs, whatever its similarity.
    pub rank_1: Rate,
    /// At [`TARGETS`].
    pub points: Vec<DrawPoint>,
    /// Who was enrolled with which photograph.
    #[serde(skip)]
    enrolled: Vec<(usize, usize)>,
    #[serde(skip)]
    searched: Vec<SearchedProbe>,
    #[serde(skip)]
    hits: Vec<f32>,
    #[serde(skip)]
    alarms: Vec<f32>,
    #[serde(skip)]
    mated_tops: Tally,
    #[serde(skip)]
    non_mated_tops: Tally,
}

/// A probe that was searched: whose it is, which photograph, and the best entry with its owner;
/// `None` without a template.
#[derive(Debug, Clone)]
struct SearchedProbe {
    subject: usize,
    place: usize,
    mated: bool,
    best: Option<(f32, Option<usize>)>,
}

#[derive(Serialize)]
struct EnrolledLine<'a> {
    draw: u32,
    person: &'a str,
    enrolled: String,
    template: bool,
}

#[derive(Serialize)]
struct ProbeLine<'a> {
    draw: u32,
    person: &'a str,
    probe: String,
    mated: bool,
    best: Option<f32>,
    best_person: Option<&'a str>,
}

/// A rate over all draws.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OverDraws {
    /// The false-positive rate asked for; `None` for rank 1.
    pub target_fpir: Option<f64>,
    /// Draws that could support it.
    pub draws: usize,
    /// Mean.
    pub mean: Option<f64>,
    /// Standard deviation between draws (divisor draws - 1).
    pub standard_deviation: f64,
    /// Lowest of any draw.
    pub lowest: f64,
    /// Highest of any draw.
    pub highest: f64,
    /// Lower end of the interval at the mean, with one draw's number of probes.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Mated probes of a draw, on average.
    pub probes_a_draw: f64,
    /// Mean threshold.
    pub threshold: Option<f64>,
    /// Why no draw could support it.
    pub unsupported: Option<String>,
}

/// One point of the mean curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TradeOff {
    /// False-positive identification rate.
    pub fpir: f64,
    /// Mean FNIR over the draws.
    pub fnir: f64,
    /// Lowest of any draw.
    pub lowest: f64,
    /// Highest of any draw.
    pub highest: f64,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
pub struct Identification {
    /// What was asked for.
    pub plan: DrawPlan,
    /// People with a usable photograph.
    pub people: usize,
    /// Those with two or more, from whom galleries are drawn.
    pub people_with_two: usize,
    /// People enrolled in each draw: as asked for, or all with two photographs where there are
    /// fewer.
    pub gallery: usize,
    /// Share of mated probes whose best entry is theirs.
    pub rank_1: OverDraws,
    /// Share of mated probes that miss at [`TARGETS`].
    pub fnir_at_fpir: Vec<OverDraws>,
    /// FNIR over FPIR.
    pub curve: Vec<TradeOff>,
    /// Best similarity of mated and non-mated probes in the gallery, all draws.
    pub histogram: Histogram,
    /// Each draw.
    pub draws: Vec<DrawResult>,
}

/// Draws, enrols and searches.
///
/// # Errors
/// A root that cannot be listed, models that do not load.
pub fn run<L: AcquirerFactory>(
    factory: &L,
    root: &Path,
    plan: DrawPlan,
    run: &mut Context<'_>,
) -> Result<(Identification, Acquisition), EvaluateError> {
    let people = folder::read(root, run.left_out)
        .map_err(|source| EvaluateError::Root { path: root.into(), source })?;
    let files: Vec<PathBuf> = people.iter().flat_map(|p| p.photographs.iter().cloned()).collect();
    let looked = photographs(factory, root, &files, run)?;
    let subjects = subjects(root, &files, &people, &looked, run.left_out);
    let with_two: Vec<usize> =
        (0..subjects.len()).filter(|s| subjects[*s].photographs.len() >= 2).collect();
    let gallery = plan.gallery.min(with_two.len());
    if gallery < plan.gallery {
        run.left_out.add(
            "gallery",
            "gallery smaller than asked for",
            format!(
                "{} asked for, {gallery} people have two or more usable photographs",
                plan.gallery
            ),
        );
    }
    let draws: Vec<u32> = if gallery == 0 { Vec::new() } else { (0..plan.draws).collect() };
    let one =
        |(): &mut (), draw: &u32| one_draw(*draw, &plan, gallery, &subjects, &with_two, &looked);
    // A draw is arithmetic on what was checked; should it panic all the same, it is missing from
    // the list of draws.
    let broken = |_: &u32| None;
    run.progress.reset();
    let draws: Vec<DrawResult> = spread(
        &draws,
        run.settings.threads,
        run.progress,
        || Ok::<_, EvaluateError>(()),
        one,
        broken,
    )?
    .into_iter()
    .flatten()
    .collect();
    if run.records.wanted() {
        let person = |s: usize| subjects[s].name.as_str();
        let file = |place: usize| shown(root, &files[place]);
        for d in &draws {
            for (subject, place) in &d.enrolled {
                let template = looked.templates[*place].is_some();
                let enrolled = file(*place);
                run.records.add(&EnrolledLine {
                    draw: d.draw,
                    person: person(*subject),
                    enrolled,
                    template,
                });
            }
            for probe in &d.searched {
                run.records.add(&ProbeLine {
                    draw: d.draw,
                    person: person(probe.subject),
                    probe: file(probe.place),
                    mated: probe.mated,
                    best: probe.best.map(|b| b.0),
                    best_person: probe.best.and_then(|b| b.1).map(person),
                });
            }
        }
    }
    let result = Identification {
        plan,
        people: subjects.len(),
        people_with_two: with_two.len(),
        gallery,
        rank_1: summary(None, draws.iter().map(|d| (Some(d.rank_1), None, None)).collect()),
        fnir_at_fpir: (0..TARGETS.len())
            .map(|t| {
                let points = draws.iter().map(|d| &d.points[t]);
                summary(
                    Some(TARGETS[t]),
                    points.map(|p| (p.fnir, p.threshold, p.unsupported.clone())).collect(),
                )
            })
            .collect(),
        curve: mean_curve(&draws),
        histogram: histogram(&draws),
        draws,
    };
    Ok((result, looked.acquisition))
}

fn one_draw(
    number: u32,
    plan: &DrawPlan,
    gallery: usize,
    subjects: &[Subject],
    with_two: &[usize],
    looked: &Photographs,
) -> Option<DrawResult> {
    let mut draw = Draw::new(plan.seed, number);
    let mut order = with_two.to_vec();
    draw.shuffle(&mut order);
    let listed = &order[..gallery];
    // Rows of the gallery: those whose photograph gave a template, and who they are.
    let (mut enrolled, mut owners, mut listed_with) = (Vec::new(), Vec::new(), Vec::new());
    let mut mated: Vec<(usize, usize)> = Vec::new();
    let mut not_enrolled = 0;
    for subject in listed {
        let mut places = subjects[*subject].photographs.clone();
        draw.shuffle(&mut places);
        listed_with.push((*subject, places[0]));
        match &looked.templates[places[0]] {
            Some(template) => {
                enrolled.push(template);
                owners.push(*subject);
            }
            None => not_enrolled += 1,
        }
        mated.extend(places[1..].iter().take(plan.probes_a_person).map(|p| (*subject, *p)));
    }
    let mut on_list = vec![false; subjects.len()];
    listed.iter().for_each(|s| on_list[*s] = true);
    let non_mated: Vec<(usize, usize)> = (0..subjects.len())
        .filter(|s| !on_list[*s])
        .map(|s| (s, subjects[s].photographs[draw.below(subjects[s].photographs.len())]))
        .collect();

    let width = enrolled.len();
    let rows = TemplateMatrix::new(enrolled);
    let mut similarities = vec![0f32; width];
    let mut best = |place: usize| -> Option<(f32, Option<usize>)> {
        let probe = TemplateMatrix::new([looked.templates[place].as_ref()?]);
        rows.against(&probe, &mut similarities);
        let top =
            similarities.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
        // An empty gallery alarms nobody.
        Some(top.map_or((-1.0, None), |(row, s)| (*s, Some(owners[row]))))
    };
    let searched: Vec<SearchedProbe> = mated
        .iter()
        .map(|p| (p, true))
        .chain(non_mated.iter().map(|p| (p, false)))
        .map(|((subject, place), mated)| SearchedProbe {
            subject: *subject,
            place: *place,
            mated,
            best: best(*place),
        })
        .collect();
    let (mut hits, mut mated_tops, mut alarms) = (Vec::new(), Tally::default(), Vec::new());
    for probe in &searched {
        match probe.best {
            Some((similarity, owner)) if probe.mated => {
                mated_tops.add(similarity);
                if owner == Some(probe.subject) {
                    hits.push(similarity);
                }
            }
            Some((similarity, _)) => alarms.push(similarity),
            None => {}
        }
    }
    let falling = |list: &mut Vec<f32>| list.sort_unstable_by(|a, b| b.total_cmp(a));
    falling(&mut hits);
    falling(&mut alarms);
    let misses = |threshold: f32| {
        Rate::new(mated.len() as u64 - at_or_above(&hits, threshold), mated.len() as u64)
    };
    let points = TARGETS.map(|target| match threshold_for(&alarms, target) {
        Ok(t) => DrawPoint {
            target_fpir: target,
            threshold: Some(t),
            fpir: Some(Rate::new(at_or_above(&alarms, t), alarms.len() as u64)),
            fnir: Some(misses(t)),
            unsupported: None,
        },
        Err(reason) => DrawPoint {
            target_fpir: target,
            threshold: None,
            fpir: None,
            fnir: None,
            unsupported: Some(reason),
        },
    });
    Some(DrawResult {
        draw: number,
        failure_to_enrol: Rate::new(not_enrolled, gallery as u64),
        mated: mated.len() as u64,
        non_mated: alarms.len() as u64,
        non_mated_failed: (non_mated.len() - alarms.len()) as u64,
        rank_1: Rate::new(hits.len() as u64, mated.len() as u64),
        points: points.into(),
        enrolled: listed_with,
        searched,
        mated_tops,
        non_mated_tops: alarms.iter().copied().collect(),
        hits,
        alarms,
    })
}

fn summary(
    target_fpir: Option<f64>,
    draws: Vec<(Option<Rate>, Option<f32>, Option<String>)>,
) -> OverDraws {
    let supported: Vec<&Rate> = draws.iter().filter_map(|(rate, _, _)| rate.as_ref()).collect();
    let values: Vec<f64> = supported.iter().filter_map(|r| r.rate).collect();
    if values.is_empty() {
        let reason = draws
            .into_iter()
            .find_map(|d| d.2)
            .unwrap_or_else(|| "there are no mated probes".into());
        return OverDraws {
            target_fpir,
            draws: 0,
            mean: None,
            standard_deviation: 0.0,
            lowest: 0.0,
            highest: 1.0,
            lower: 0.0,
            upper: 1.0,
            probes_a_draw: 0.0,
            threshold: None,
            unsupported: Some(reason),
        };
    }
    let (mean, standard_deviation) = mean_and_deviation(&values);
    let thresholds: Vec<f64> = draws.iter().filter_map(|d| d.1).map(f64::from).collect();
    let average = |f: fn(&Rate) -> u64| {
        supported.iter().map(|r| f(r) as f64).sum::<f64>() / supported.len() as f64
    };
    let (lower, upper) = clopper_pearson(average(|r| r.count), average(|r| r.of));
    OverDraws {
        target_fpir,
        draws: values.len(),
        mean: Some(mean),
        standard_deviation,
        lowest: values.iter().copied().fold(1.0, f64::min),
        highest: values.iter().copied().fold(0.0, f64::max),
        lower,
        upper,
        probes_a_draw: average(|r| r.of),
        threshold: (!thresholds.is_empty()).then(|| mean_and_deviation(&thresholds).0),
        unsupported: None,
    }
}

/// FNIR at forty false-positive rates from one alarm of the draw with the fewest probes up to all.
fn mean_curve(draws: &[DrawResult]) -> Vec<TradeOff> {
    const POINTS: i32 = 40;
    let fewest = draws.iter().map(|d| d.alarms.len()).min().unwrap_or(0);
    if fewest < 2 || draws.iter().any(|d| d.mated == 0) {
        return Vec::new();
    }
    let step = (fewest as f64).ln() / f64::from(POINTS);
    let mut points: Vec<TradeOff> = (0..=POINTS)
        .filter_map(|k| {
            let fpir = (f64::from(k) * step).exp() / fewest as f64;
            let fnir: Vec<f64> = draws
                .iter()
                .filter_map(|d| {
                    let threshold = threshold_for(&d.alarms, fpir.min(1.0)).ok()?;
                    Some(1.0 - at_or_above(&d.hits, threshold) as f64 / d.mated as f64)
                })
                .collect();
            (!fnir.is_empty()).then(|| TradeOff {
                fpir,
                fnir: mean_and_deviation(&fnir).0,
                lowest: fnir.iter().copied().fold(1.0, f64::min),
                highest: fnir.iter().copied().fold(0.0, f64::max),
            })
        })
        .collect();
    points.dedup_by(|a, b| a.fnir == b.fnir && a.lowest == b.lowest && a.highest == b.highest);
    points
}

fn histogram(draws: &[DrawResult]) -> Histogram {
    let merged = |of: fn(&DrawResult) -> &Tally| {
        let mut all = Tally::default();
        draws.iter().for_each(|d| all.merge(of(d)));
        all.coarse()
    };
    Histogram { genuine: merged(|d| &d.mated_tops), impostor: merged(|d| &d.non_mated_tops) }
}

impl Identification {
    /// Whether anybody could be enrolled and searched for.
    pub fn evaluated(&self) -> bool {
        let searched = |d: &DrawResult| {
            d.failure_to_enrol.count < d.failure_to_enrol.of && d.mated_tops.total() > 0
        };
        self.draws.iter().any(searched)
    }
}

#[cfg(test)]
mod tests {
    use super::super::extract::fake::{FakeFactory, SETTINGS, lfw, with_run};
    use super::super::left_out::LeftOut;
    use super::*;

    const PLAN: DrawPlan = DrawPlan { gallery: 20, probes_a_person: 10, draws: 4, seed: 1 };

    fn evaluate(root: &Path, plan: DrawPlan) -> (Identification, Acquisition, LeftOut) {
        let ((i, a), left_out, lines) =
            with_run(&SETTINGS, |r| run(&FakeFactory, root, plan, r).unwrap());
        let enrolled = lines.iter().filter(|l| !l["enrolled"].is_null()).count();
        assert_eq!(enrolled, i.gallery * i.draws.len());
        let probes: u64 = i.draws.iter().map(|d| d.mated + d.non_mated + d.non_mated_failed).sum();
        assert_eq!((lines.len() - enrolled) as u64, probes);
        (i, a, left_out)
    }

    #[test]
    fn people_who_resemble_only_themselves_are_found_and_strangers_are_not() {
        let dir = tempfile::tempdir().unwrap();
        lfw(dir.path(), 140, |p| 1 + p % 2 * 3, 20);
        let (i, _, left_out) = evaluate(dir.path(), PLAN);
        assert_eq!((i.people, i.people_with_two, i.gallery, i.draws.len()), (140, 70, 20, 4));
        for d in &i.draws {
            assert_eq!((d.mated, d.non_mated, d.failure_to_enrol.count), (60, 120, 0));
            assert_eq!(d.rank_1.rate, Some(1.0));
            assert_eq!(d.points[0].fpir.unwrap().count, 1);
            assert!(d.points[1].unsupported.as_ref().unwrap().contains("1000"));
        }
        assert_eq!((i.fnir_at_fpir[0].mean, i.fnir_at_fpir[1].mean), (Some(0.0), None));
        assert!(i.fnir_at_fpir[0].upper > 0.0 && i.fnir_at_fpir[1].unsupported.is_some());
        assert!(left_out.is_empty() && i.evaluated() && !i.curve.is_empty());
    }

    #[test]
    fn the_same_seed_gives_the_same_draw_and_another_seed_another() {
        let dir = tempfile::tempdir().unwrap();
        lfw(dir.path(), 60, |_| 3, 120);
        let figures = |seed| {
            let (i, _, _) = evaluate(dir.path(), DrawPlan { seed, ..PLAN });
            i.draws
                .iter()
                .map(|d| (d.rank_1.count, d.hits.clone(), d.alarms.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(figures(1), figures(1));
        assert_ne!(figures(1), figures(2));
        assert_ne!(figures(1)[0], figures(1)[1]);
    }

    #[test]
    fn a_face_that_was_not_found_is_a_miss_at_enrolment_and_as_a_probe() {
        let dir = tempfile::tempdir().unwrap();
        lfw(dir.path(), 10, |_| 2, 10);
        for person in 0..10 {
            std::fs::write(
                dir.path().join(format!("P{person:03}/P{person:03}_0002.jpg")),
                format!("empty{}", " ".repeat(person)),
            )
            .unwrap();
        }
        let (i, a, _) = evaluate(dir.path(), DrawPlan { gallery: 10, ..PLAN });
        assert_eq!(a.failure_to_acquire.count, 10);
        for d in &i.draws {
            assert_eq!((d.mated, d.rank_1.count), (10, 0));
            // Either the enrolled photograph or the probe is empty.
            assert!(d.failure_to_enrol.count > 0);
        }
        assert_eq!(i.draws[0].non_mated, 0);
        assert!(i.fnir_at_fpir[0].unsupported.as_ref().unwrap().contains("there are 0"));
    }

    #[test]
    fn one_photograph_a_person_leaves_nothing_to_evaluate_and_a_gallery_too_large_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        lfw(dir.path(), 5, |_| 1, 10);
        let (i, _, left_out) = evaluate(dir.path(), PLAN);
        assert!(!i.evaluated() && i.draws.is_empty() && i.rank_1.unsupported.is_some());
        assert_eq!(left_out.by_reason()["gallery smaller than asked for"], 1);
        lfw(dir.path(), 5, |_| 2, 10);
        let (i, _, _) = evaluate(dir.path(), PLAN);
        assert_eq!((i.gallery, i.evaluated()), (5, true));
    }
}
