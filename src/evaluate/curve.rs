//! The false-match curve: how often two different people reach a similarity, measured over all
//! pairs of a folder, with upper confidence bounds. A manifest carries it; the device derives its
//! threshold from it.
//!
//! * Thresholds are multiples of .01, from the highest at which a sample's rate is about a tenth.
//! * Each bound is the one-sided 95 % Poisson bound of counts divided by their design effect, since
//!   pairs that share a person are not independent (see [`crate::poisson`] and
//!   [`super::statistics::tally`]). A bound that a stricter threshold exceeds is raised to it, so
//!   that the table never rises.
//! * The table ends at the strictest threshold at which at least a number of *different pairs of
//!   people* (ten unless told otherwise) matched falsely: beyond, a few look-alikes or mislabelled
//!   photographs decide. Nothing in it is extrapolated.
//! * Beside it stand the bounds of the unit that is asked for, one template and one track a person
//!   ([`super::unit`]), counted and then extrapolated ([`super::bounds`]).
//!
//! Also told: false non-matches, people counted alike (see [`super::statistics::misses`]).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::bounds::rounded_up;
use super::compare::{
    AllPairs, Comparison, Ends, TemplateMatrix, all_pairs, record_pairs, thresholds,
};
use super::duplicates::{JudgedPeople, LikelyDuplicates};
use super::extract::{AcquirerFactory, Acquisition, photographs, subjects};
use super::groups::{SafetyFactor, SuspectPair};
use super::protocol::duplicates::JudgedCluster;
use super::protocol::folder::{self, shown};
use super::provenance::{curve_on, quoted};
use super::statistics::interval::Rate;
use super::statistics::misses::PeopleRate;
use super::unit::{Unit, UnitCurve};
use super::verification::Histogram;
use super::{Context, EvaluateError, TestedNetwork};
use crate::template::Template;

/// Fewest different pairs of people matched falsely at the last threshold, unless told otherwise.
pub const LEAST_PAIRS: u64 = 10;

/// One threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurveRow {
    /// Similarity from which a comparison counts as a match.
    pub threshold: f64,
    /// Impostor comparisons at or above it, with their interval from effective counts.
    pub fmr: Rate,
    /// One-sided 95 % upper bound, never rising from row to row.
    pub fmr_upper: f64,
    /// Different pairs of people among the false matches.
    pub pairs_of_people: u64,
    /// Variance over that of independent comparisons.
    pub design_effect: f64,
    /// Genuine comparisons below it, people counted alike.
    pub fnmr: PeopleRate,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// People with a template.
    pub people: usize,
    /// Templates.
    pub templates: usize,
    /// Comparisons of two people.
    pub impostor_comparisons: u64,
    /// Comparisons of two photographs of one person.
    pub genuine_comparisons: u64,
    /// Fewest different pairs of people at the last threshold.
    pub least_pairs: u64,
    /// The curve, thresholds rising.
    pub points: Vec<CurveRow>,
    /// Why it ends where it does, or why there is none.
    pub ends: String,
    /// Templates of several photographs with tracks of several views, or one with one: one of each
    /// a person.
    pub fused: UnitCurve,
    /// Photographs of different people that may show one person.
    pub likely_duplicates: LikelyDuplicates,
    /// Factor for the worst-served group, where groups were given.
    pub safety_factor: Option<SafetyFactor>,
    /// Comparisons left out because somebody judged the two people to be one person or twins.
    pub judged: u64,
    /// The most similar pairs of different people: look there for labels that are wrong.
    pub closest: Vec<SuspectPair>,
    /// All similarities.
    pub histogram: Histogram,
}

/// What is asked of [`run`].
#[derive(Debug, Clone, Copy)]
pub struct CurveQuestion<'a> {
    /// Fewest different pairs of people at the last threshold.
    pub least_pairs: u64,
    /// What somebody judged of duplicates and twins.
    pub judged: &'a [JudgedCluster],
    /// Different people are likely duplicates from this similarity on.
    pub likely_from: f32,
    /// What is compared.
    pub unit: Unit,
}

/// Compares all photographs of the folder of people `root`.
///
/// # Errors
/// A root that cannot be listed, models that do not load.
pub fn run<L: AcquirerFactory>(
    factory: &L,
    root: &Path,
    question: CurveQuestion<'_>,
    run: &mut Context<'_>,
) -> Result<(Curve, Acquisition), EvaluateError> {
    let listed = folder::read(root, run.left_out)
        .map_err(|source| EvaluateError::Root { path: root.into(), source })?;
    let files: Vec<PathBuf> = listed.iter().flat_map(|p| p.photographs.iter().cloned()).collect();
    let looked = photographs(factory, root, &files, run)?;
    let (mut templates, mut people, mut places) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = 0;
    for subject in subjects(root, &files, &listed, &looked, run.left_out) {
        let before = templates.len();
        for place in subject.photographs {
            if let Some(template) = &looked.templates[place] {
                templates.push(template);
                people.push(next);
                places.push(place);
            }
        }
        next += u32::from(templates.len() > before);
    }
    let rows = TemplateMatrix::new(templates);
    let grid = thresholds(&rows, &people);
    run.progress.reset();
    let name = |row: usize| shown(root, &files[places[row]]);
    let names: Vec<String> = (0..rows.len()).map(name).collect();
    let judged = JudgedPeople::new(question.judged, &names, &people, run.left_out);
    let how = Comparison {
        thresholds: &grid,
        likely_from: Some(question.likely_from),
        judged: Some(&judged),
        first_person: 0,
        threads: run.settings.threads,
    };
    let pairs = all_pairs(&rows, &people, how, run.progress);
    record_pairs(&rows, &people, run.records, |row| Ends { file: name(row), group: None });
    let named = |s: &super::duplicates::Suspect| SuspectPair {
        a: name(s.a),
        b: name(s.b),
        similarity: s.similarity,
    };
    let likely_duplicates = LikelyDuplicates::new(
        question.likely_from,
        &pairs.likely,
        pairs.judged,
        &judged,
        &people,
        name,
    );
    let fused = fused(question, &looked.templates, &places, &people, &judged, &pairs.likely);
    let (points, ends) = table(&grid, &pairs, question.least_pairs);
    let curve = Curve {
        people: next as usize,
        templates: rows.len(),
        impostor_comparisons: pairs.impostor.total(),
        genuine_comparisons: pairs.genuine.total(),
        least_pairs: question.least_pairs,
        points,
        ends,
        fused,
        likely_duplicates,
        safety_factor: None,
        judged: pairs.judged,
        closest: pairs.closest.iter().map(named).collect(),
        histogram: Histogram { genuine: pairs.genuine.coarse(), impostor: pairs.impostor.coarse() },
    };
    Ok((curve, looked.acquisition))
}

/// The curve of the unit asked for: row `i` is the photograph `places[i]` of `people[i]`. Of people
/// who are likely one, or were judged to be, one stays.
fn fused(
    question: CurveQuestion<'_>,
    templates: &[Option<Template>],
    places: &[usize],
    people: &[u32],
    judged: &JudgedPeople,
    likely: &[super::duplicates::Suspect],
) -> UnitCurve {
    let stays = judged.one_of_each(people, likely, people);
    let mut photographs: Vec<Vec<&Template>> = Vec::new();
    let mut all = 0;
    for rows in (0..people.len()).collect::<Vec<_>>().chunk_by(|a, b| people[*a] == people[*b]) {
        all += 1;
        if stays.contains(&people[rows[0]]) {
            let of = |row: &usize| templates[places[*row]].as_ref();
            photographs.push(rows.iter().filter_map(of).collect());
        }
    }
    // Three decimals, as they are given.
    let from = (f64::from(question.likely_from) * 1000.0).round() / 1000.0;
    UnitCurve::of(question.unit, &photographs, all - photographs.len(), Some(from))
}

fn table(grid: &[f32], pairs: &AllPairs, least_pairs: u64) -> (Vec<CurveRow>, String) {
    let supported = pairs.at.iter().take_while(|c| c.pairs_of_people >= least_pairs.max(1)).count();
    let mut points: Vec<CurveRow> = grid
        .iter()
        .zip(&pairs.at)
        .take(supported)
        .map(|(threshold, c)| {
            // Back from f32, so that .3 does not print as .30000001192092896.
            let threshold = (f64::from(*threshold) * 100.0).round() / 100.0;
            CurveRow {
                threshold,
                fmr: Rate::clustered(c.matches, c.comparisons, c.design_effect),
                fmr_upper: c.upper,
                pairs_of_people: c.pairs_of_people,
                design_effect: c.design_effect,
                fnmr: pairs.of_one.missed(threshold),
            }
        })
        .collect();
    let mut bound = 0.0f64;
    for point in points.iter_mut().rev() {
        bound = bound.max(point.fmr_upper);
        point.fmr_upper = bound;
    }
    let comparisons = pairs.impostor.total();
    let ends = match (points.last(), pairs.at.get(supported)) {
        (Some(last), Some(next)) => format!(
            "at {:.2}, the strictest threshold at which {least_pairs} or more different pairs of \
             people matched falsely ({} did; at {:.2} only {}) among {comparisons} comparisons",
            last.threshold,
            last.pairs_of_people,
            last.threshold + 0.01,
            next.pairs_of_people
        ),
        (Some(_), None) => "at 1, the greatest similarity there is".into(),
        (None, _) => format!(
            "there is no curve: of {comparisons} comparisons of two people, not {least_pairs} \
             different pairs of people matched falsely at any threshold"
        ),
    };
    (points, ends)
}

/// The table as the manifest carries it.
pub fn manifest_table(curve: &Curve, embedder: &TestedNetwork, root: &Path) -> String {
    let mut text = String::new();
    let mut line = |l: std::fmt::Arguments<'_>| {
        writeln!(text, "{l}").expect("writing to a string does not fail")
    };
    line(format_args!("# False-match curve of {} (SHA-256 {}),", embedder.name, embedder.sha256));
    let source = quoted(&curve_on(root));
    line(format_args!(
        "# measured as {source}: {} people, {} photographs,",
        curve.people, curve.templates
    ));
    line(format_args!(
        "# {} comparisons of two people. Upper bounds: one-sided, 95 %, with design effect.",
        curve.impostor_comparisons
    ));
    line(format_args!("# It ends {}.", curve.ends));
    if curve.judged > 0 {
        line(format_args!(
            "# {} comparisons of people judged to be one person or twins were left out.",
            curve.judged
        ));
    }
    if let Some(s) = &curve.safety_factor {
        line(format_args!(
            "# The worst-served group was {} at {:.2}, {:.1} times the rate of all: a group that \
             is confused more often needs rows of its own.",
            s.group, s.threshold, s.factor
        ));
    }
    let (Some(last), Some(all)) = (curve.points.last(), curve.points.first()) else {
        return text;
    };
    line(format_args!("\n[[embedder.groups]]"));
    line(format_args!("name = \"all\""));
    line(format_args!("source = {source}"));
    line(format_args!("people = {}", curve.people));
    line(format_args!("pairs = {}", all.fmr.of));
    line(format_args!("exact_to = {:.2}", last.threshold));
    line(format_args!("curve = ["));
    for p in &curve.points {
        line(format_args!("    [{:.2}, {}],", p.threshold, rounded_up(p.fmr_upper)));
    }
    line(format_args!("]"));
    text
}

impl Curve {
    /// Whether there is a curve.
    pub fn evaluated(&self) -> bool {
        !self.points.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::extract::fake::{FakeFactory, SETTINGS, lfw, with_run};
    use super::super::left_out::LeftOut;
    use super::*;
    use crate::decision::curve::{CurveError, PromiseCurve};
    use crate::vision::GroupCurve;

    const QUESTION: CurveQuestion<'static> = CurveQuestion {
        least_pairs: 10,
        judged: &[],
        likely_from: 0.9,
        unit: Unit { template_of: 1, track_of: 2, track_at_least: 2, ever: true, first_look: 1 },
    };

    fn evaluate(root: &Path, question: CurveQuestion<'_>) -> (Curve, LeftOut) {
        let ((c, _), left_out, lines) =
            with_run(&SETTINGS, |r| run(&FakeFactory, root, question, r).unwrap());
        assert_eq!(lines.len(), c.templates * c.templates.saturating_sub(1) / 2);
        (c, left_out)
    }

    fn embedder() -> TestedNetwork {
        TestedNetwork { name: "fake".into(), sha256: "0".repeat(64) }
    }

    #[test]
    fn the_curve_covers_all_pairs_and_ends_where_too_few_pairs_of_people_match() {
        let dir = tempfile::tempdir().unwrap();
        lfw(dir.path(), 120, |p| 1 + p % 2, 60);
        let (c, left_out) = evaluate(dir.path(), QUESTION);
        assert_eq!((c.people, c.templates, c.genuine_comparisons), (120, 180, 60));
        assert_eq!(c.impostor_comparisons, 180 * 179 / 2 - 60);
        assert!(c.evaluated() && left_out.is_empty());
        assert!((0.05..0.2).contains(&c.points[0].fmr.rate.unwrap()), "{:?}", c.points[0]);
        for p in &c.points {
            assert!(
                p.pairs_of_people >= 10
                    && p.fmr.rate.unwrap() < p.fmr_upper
                    && p.design_effect >= 1.0
            );
        }
        let (strict, _) = evaluate(dir.path(), CurveQuestion { least_pairs: 100, ..QUESTION });
        assert!(strict.points.len() < c.points.len());
        assert!(c.closest[0].similarity >= c.points.last().unwrap().threshold as f32);
        // Every person gives a template, every other one of two photographs a track.
        let fused = &c.fused;
        assert_eq!((fused.templates, fused.tracks, fused.bounds.pairs), (120, 60, 60 * 119));
    }

    #[test]
    fn the_table_is_one_that_the_decision_accepts() {
        let dir = tempfile::tempdir().unwrap();
        lfw(dir.path(), 60, |_| 2, 60);
        let (c, _) = evaluate(dir.path(), QUESTION);
        #[derive(serde::Deserialize)]
        struct EmbedderTable {
            groups: Vec<GroupCurve>,
        }
        #[derive(serde::Deserialize)]
        struct ManifestTable {
            embedder: EmbedderTable,
        }
        let table = manifest_table(&c, &embedder(), Path::new("a\nb\"c"));
        let m: ManifestTable = toml::from_str(&table).unwrap();
        let [group] = &m.embedder.groups[..] else { panic!("one group: {table}") };
        assert_eq!((group.people as usize, group.curve.len()), (c.people, c.points.len()));
        for (row, point) in group.curve.iter().zip(&c.points) {
            assert!(row.1 >= point.fmr_upper && row.1 <= point.fmr_upper * 1.011);
            assert_eq!((row.0, group.pairs), (point.threshold as f32, point.fmr.of));
        }
        // Of sixty people nothing is promised; of three hundred it would be.
        assert_eq!(PromiseCurve::of(&m.embedder.groups), Err(CurveError::TooFewPeople(60)));
        let more = GroupCurve { people: 300, ..group.clone() };
        assert!(PromiseCurve::of(&[more]).is_ok());
    }

    #[test]
    fn without_two_people_there_is_no_curve_and_it_says_so() {
        let dir = tempfile::tempdir().unwrap();
        for people in 0..3 {
            lfw(dir.path(), people, |_| 2, 10);
            let (c, _) = evaluate(dir.path(), QUESTION);
            assert!(!c.evaluated() && c.ends.contains("no curve"), "{}", c.ends);
        }
    }

    #[test]
    fn a_judged_duplicate_is_no_false_match_and_the_report_says_how_many_were_left_out() {
        use super::super::protocol::duplicates::PairVerdict;
        let dir = tempfile::tempdir().unwrap();
        lfw(dir.path(), 60, |_| 2, 60);
        // P001 under another name.
        std::fs::create_dir(dir.path().join("Q")).unwrap();
        for i in 1..=2 {
            let text = format!("face 1 {} 60", i + 7);
            std::fs::write(dir.path().join(format!("Q/Q_000{i}.jpg")), text).unwrap();
        }
        let (unjudged, _) = evaluate(dir.path(), QUESTION);
        let cluster = JudgedCluster {
            files: ["P001/P001_0001.jpg", "Q/Q_0002.jpg", "R/R.jpg"].map(str::to_owned).to_vec(),
            verdict: PairVerdict::SamePerson,
            judged_by: "Ann".into(),
            why: "one passport".into(),
        };
        let judged = [cluster];
        let (c, left_out) = evaluate(dir.path(), CurveQuestion { judged: &judged, ..QUESTION });
        assert_eq!((unjudged.judged, c.judged), (0, 4));
        assert_eq!((c.fused.templates, c.fused.bounds.joined), (60, 1), "of the two, one stays");
        assert_eq!(c.impostor_comparisons + 4, unjudged.impostor_comparisons);
        assert!(unjudged.closest[0].similarity > 0.6 && c.closest[0].similarity < 0.6);
        assert_eq!(left_out.omissions()[0].what, "R/R.jpg");
        let table = manifest_table(&c, &embedder(), dir.path());
        assert!(table.contains("# 4 comparisons of people judged"), "{table}");
    }
}
