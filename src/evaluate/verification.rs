//! One to one: are two photographs of the same person? The LFW protocol.
//!
//! * Accuracy: each fold at the threshold that is best on the other folds. The form without folds
//!   is cut into ten, every tenth pair of each kind to the same one. Beside it the accuracy at the
//!   best threshold of all pairs, which is optimistic and says so.
//! * TAR at FAR: the share of genuine pairs at or above the lowest threshold that lets no more than
//!   that share of the impostor pairs through. Rates are over pairs of which both photographs gave
//!   a template; `tar_with_failures` counts a genuine pair without as refused (the generalised rate
//!   of ISO/IEC 19795-1).

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::extract::{AcquirerFactory, Acquisition, Photographs, photographs};
use super::left_out::LeftOut;
use super::protocol::folder::shown;
use super::protocol::pairs::{self, NamedPhotograph, Pair};
use super::statistics::interval::Rate;
use super::statistics::scores::{
    CrossValidated, DetPoint, KnownComparison, OperatingPoint, Scores, at_or_above, best_threshold,
    cross_validate, right_at,
};
use super::statistics::tally::Tally;
use super::{Context, EvaluateError};
use crate::template::Template;

/// False accept rates at which the true accept rate is reported.
pub const TARGETS: [f64; 3] = [1e-2, 1e-3, 1e-4];
/// Folds into which the form without any is cut.
const CUT: usize = 10;
/// Points that a DET curve keeps at most, about.
const DET_POINTS: usize = 200;

/// What became of the pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PairCounts {
    /// Compared, of one person.
    pub genuine: u64,
    /// Compared, of two people.
    pub impostor: u64,
    /// Of one person, but a photograph gave no template.
    pub genuine_failed: u64,
    /// Of two people, but a photograph gave no template.
    pub impostor_failed: u64,
}

/// Accuracy at one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AccuracyAt {
    /// Similarity from which a pair counts as one person.
    pub threshold: f32,
    /// Right answers.
    pub accuracy: Rate,
}

/// The true accept rate at a false accept rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrueAcceptRate {
    /// Threshold and both rates.
    #[serde(flatten)]
    pub point: OperatingPoint,
    /// The true accept rate where genuine pairs without two templates count as refused.
    pub tar_with_failures: Option<Rate>,
}

/// Where both error rates meet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EqualError {
    /// The rate.
    pub rate: f64,
    /// The threshold.
    pub threshold: f32,
}

/// Counts of similarities in bins of .01: (lower edge, count).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Histogram {
    /// Of one person.
    pub genuine: Vec<(f64, u64)>,
    /// Of two people.
    pub impostor: Vec<(f64, u64)>,
}

/// One point of the receiver operating characteristic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RocPoint {
    /// Similarity from which a comparison counts as a match.
    pub threshold: f32,
    /// Impostor comparisons at or above it.
    pub far: f64,
    /// Genuine comparisons at or above it.
    pub tar: f64,
}

#[derive(Serialize)]
struct PairLine {
    line: usize,
    fold: usize,
    a: String,
    b: String,
    genuine: bool,
    similarity: Option<f32>,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// Folds of the pairs file; `None` where it has none and ten were cut.
    pub folds: Option<usize>,
    /// What became of the pairs.
    pub pairs: PairCounts,
    /// Accuracy with the threshold from other folds; `None` where fewer than two folds hold pairs.
    pub accuracy: Option<CrossValidated>,
    /// Accuracy at the best threshold of these very pairs: optimistic.
    pub best_accuracy: Option<AccuracyAt>,
    /// Accuracy at the threshold that was given, if one was.
    pub accuracy_at_threshold: Option<AccuracyAt>,
    /// True accept rates at [`TARGETS`], and at the threshold that was given.
    pub tar_at_far: Vec<TrueAcceptRate>,
    /// Equal error rate; `None` where one kind of pairs is missing.
    pub equal_error: Option<EqualError>,
    /// ROC curve, from loose to strict.
    pub roc: Vec<RocPoint>,
    /// DET curve: the same points with misses.
    pub det: Vec<DetPoint>,
    /// Similarities.
    pub histogram: Histogram,
}

/// Compares the pairs of `list` (the text of a pairs file) under `root`. Where there is `covering`,
/// the second photograph of each pair is looked at by it, and what was acquired is of those.
///
/// # Errors
/// A text that is no pairs file, models that do not load.
pub fn run<L: AcquirerFactory>(
    factory: &L,
    covering: Option<&L>,
    root: &Path,
    list: &str,
    threshold: Option<f32>,
    run: &mut Context<'_>,
) -> Result<(Verification, Acquisition), EvaluateError> {
    let listed = pairs::parse(list, run.left_out)?;
    let mut files: Vec<PathBuf> = Vec::new();
    let mut place_of: HashMap<&NamedPhotograph, Option<usize>> = HashMap::new();
    for named in listed.pairs.iter().flat_map(|p| [&p.a, &p.b]) {
        place_of.entry(named).or_insert_with(|| {
            let file = named.find(root)?;
            files.push(file);
            Some(files.len() - 1)
        });
    }
    let places = |of: fn(&Pair) -> &NamedPhotograph| -> BTreeSet<usize> {
        listed.pairs.iter().filter_map(|p| place_of[of(p)]).collect()
    };
    let (first, second) = match covering {
        None => (LookedFiles::at(factory, root, &files, 0..files.len(), run)?, None),
        Some(covering) => {
            // Each photograph only as it is compared.
            let first = LookedFiles::at(factory, root, &files, places(|p| &p.a), run)?;
            (first, Some(LookedFiles::at(covering, root, &files, places(|p| &p.b), run)?))
        }
    };
    let sides = [&first, second.as_ref().unwrap_or(&first)];

    let fold_count = listed.folds.unwrap_or(CUT);
    let mut folds: Vec<Vec<KnownComparison>> = vec![Vec::new(); fold_count];
    let mut counts = PairCounts::default();
    let mut of_kind = [0usize; 2];
    for pair in &listed.pairs {
        let at = of_kind[usize::from(pair.genuine)];
        of_kind[usize::from(pair.genuine)] += 1;
        let fold = if listed.folds.is_some() { pair.fold } else { at % CUT };
        let Some(places) =
            usable(pair, [place_of[&pair.a], place_of[&pair.b]], sides, run.left_out)
        else {
            continue;
        };
        let name = |place: usize| shown(root, &files[place]);
        let similarity = match (sides[0].template(places[0]), sides[1].template(places[1])) {
            (Some(a), Some(b)) => Some(a.cosine(b)),
            _ => None,
        };
        match similarity {
            Some(similarity) => {
                folds[fold].push(KnownComparison { similarity, genuine: pair.genuine })
            }
            None if pair.genuine => counts.genuine_failed += 1,
            None => counts.impostor_failed += 1,
        }
        run.records.add(&PairLine {
            line: pair.line,
            fold,
            a: name(places[0]),
            b: name(places[1]),
            genuine: pair.genuine,
            similarity,
        });
    }
    let acquisition = second.unwrap_or(first).photographs.acquisition;
    Ok((figures(listed.folds, &folds, counts, threshold), acquisition))
}

/// Some of the files, looked at.
struct LookedFiles {
    photographs: Photographs,
    /// Where each of all files is among them.
    place: HashMap<usize, usize>,
}

impl LookedFiles {
    /// Looks at those of `files` that are at `places`.
    fn at<L: AcquirerFactory>(
        factory: &L,
        root: &Path,
        files: &[PathBuf],
        places: impl IntoIterator<Item = usize>,
        run: &mut Context<'_>,
    ) -> Result<Self, EvaluateError> {
        let places: Vec<usize> = places.into_iter().collect();
        let files: Vec<PathBuf> = places.iter().map(|at| files[*at].clone()).collect();
        let photographs = photographs(factory, root, &files, run)?;
        let place = places.into_iter().enumerate().map(|(own, of_all)| (of_all, own)).collect();
        Ok(Self { photographs, place })
    }

    fn template(&self, file: usize) -> Option<&Template> {
        self.photographs.templates[*self.place.get(&file)?].as_ref()
    }

    /// Of a file that can be read as a photograph.
    fn digest(&self, file: usize) -> Option<[u8; 32]> {
        let own = *self.place.get(&file)?;
        self.photographs.digests[own].filter(|_| self.photographs.readable[own])
    }
}

/// The places of both photographs, or why the pair is left out.
fn usable(
    pair: &Pair,
    places: [Option<usize>; 2],
    sides: [&LookedFiles; 2],
    left_out: &mut LeftOut,
) -> Option<[usize; 2]> {
    let what = || format!("line {}: {} and {}", pair.line, pair.a, pair.b);
    let [Some(a), Some(b)] = places else {
        let missing: Vec<String> = [(&pair.a, places[0]), (&pair.b, places[1])]
            .iter()
            .filter(|n| n.1.is_none())
            .map(|n| n.0.to_string())
            .collect();
        left_out.add(
            what(),
            "pair that names a missing file",
            format!("no {}", missing.join(", no ")),
        );
        return None;
    };
    let [Some(first), Some(second)] = [sides[0].digest(a), sides[1].digest(b)] else {
        left_out.add(what(), "pair with an unreadable photograph", "");
        return None;
    };
    // Files with the same bytes are one photograph: their similarity says nothing.
    if first == second {
        left_out.add(what(), "pair of one photograph with itself or a copy", "");
        return None;
    }
    Some([a, b])
}

fn figures(
    folds_of_list: Option<usize>,
    folds: &[Vec<KnownComparison>],
    mut counts: PairCounts,
    threshold: Option<f32>,
) -> Verification {
    let all: Vec<KnownComparison> = folds.iter().flatten().copied().collect();
    let similarities =
        |genuine: bool| all.iter().filter(move |c| c.genuine == genuine).map(|c| c.similarity);
    let scores = Scores::new(similarities(true).collect(), similarities(false).collect());
    counts.genuine = scores.genuine().len() as u64;
    counts.impostor = scores.impostor().len() as u64;
    let with_failures = |point: OperatingPoint| TrueAcceptRate {
        tar_with_failures: point.threshold.map(|t| {
            Rate::new(at_or_above(scores.genuine(), t), counts.genuine + counts.genuine_failed)
        }),
        point,
    };
    let mut tar_at_far: Vec<TrueAcceptRate> =
        TARGETS.map(|far| with_failures(scores.at_false_accept_rate(far))).into_iter().collect();
    tar_at_far.extend(threshold.map(|t| with_failures(scores.at_threshold(t))));
    let det = scores.det(DET_POINTS);
    Verification {
        folds: folds_of_list,
        pairs: counts,
        accuracy: cross_validate(folds),
        best_accuracy: best_threshold(&all).map(|(threshold, right)| AccuracyAt {
            threshold,
            accuracy: Rate::new(right, all.len() as u64),
        }),
        accuracy_at_threshold: threshold.filter(|_| !all.is_empty()).map(|threshold| AccuracyAt {
            threshold,
            accuracy: Rate::new(right_at(&all, threshold), all.len() as u64),
        }),
        tar_at_far,
        equal_error: scores.equal_error().map(|(rate, threshold)| EqualError { rate, threshold }),
        roc: det
            .iter()
            .map(|p| RocPoint { threshold: p.threshold, far: p.fmr, tar: 1.0 - p.fnmr })
            .collect(),
        det,
        histogram: Histogram {
            genuine: similarities(true).collect::<Tally>().coarse(),
            impostor: similarities(false).collect::<Tally>().coarse(),
        },
    }
}

impl Verification {
    /// Whether any pair was compared.
    pub fn evaluated(&self) -> bool {
        self.pairs.genuine + self.pairs.impostor > 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::extract::fake::{FakeFactory, SETTINGS, lfw, with_run};
    use super::*;

    fn pairs_file(folds: usize, per_kind: usize) -> String {
        let mut text =
            if folds > 1 { format!("{folds}\t{per_kind}\n") } else { format!("{per_kind}\n") };
        for fold in 0..folds {
            for i in 0..per_kind {
                text += &format!("P{0:03}\t1\t2\n", (fold * per_kind + i) % 60);
            }
            for i in 0..per_kind {
                text += &format!(
                    "P{0:03}\t1\tP{1:03}\t2\n",
                    (fold * per_kind + i) % 60,
                    (fold * per_kind + i + 7) % 60
                );
            }
        }
        text
    }

    fn evaluate(root: &Path, list: &str) -> (Verification, Acquisition, LeftOut) {
        let ((v, a), left_out, lines) =
            with_run(&SETTINGS, |r| run(&FakeFactory, None, root, list, Some(0.5), r).unwrap());
        // A line a pair, those without two templates included.
        let p = v.pairs;
        assert_eq!(
            lines.len() as u64,
            p.genuine + p.impostor + p.genuine_failed + p.impostor_failed
        );
        let failed = lines.iter().filter(|l| l["similarity"].is_null()).count() as u64;
        assert_eq!(failed, p.genuine_failed + p.impostor_failed);
        (v, a, left_out)
    }

    #[test]
    fn people_who_resemble_only_themselves_are_told_apart_in_both_forms() {
        let dir = tempfile::tempdir().unwrap();
        lfw(dir.path(), 60, |_| 2, 30);
        for (folds, per_kind) in [(10, 20), (1, 200)] {
            let (v, a, left_out) = evaluate(dir.path(), &pairs_file(folds, per_kind));
            assert_eq!(v.folds, (folds > 1).then_some(folds));
            assert_eq!((v.pairs.genuine, v.pairs.impostor, a.photographs), (200, 200, 120));
            let accuracy = v.accuracy.unwrap();
            assert_eq!((accuracy.mean, accuracy.folds.len(), accuracy.pooled.of), (1.0, 10, 400));
            assert_eq!(v.best_accuracy.unwrap().accuracy.count, 400);
            assert_eq!(v.tar_at_far[0].point.tar.unwrap().rate, Some(1.0));
            assert!(v.tar_at_far[1].point.unsupported.as_ref().unwrap().contains("there are 200"));
            assert_eq!(v.tar_at_far[3].point.threshold, Some(0.5));
            assert_eq!(v.equal_error.unwrap().rate, 0.0);
            assert!(left_out.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_compared_is_counted_and_listed_and_the_rest_is_compared() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        lfw(root, 4, |_| 3, 30);
        std::fs::write(root.join("P001/P001_0002.jpg"), "empty").unwrap();
        std::fs::write(root.join("P002/P002_0002.jpg"), "rubbish").unwrap();
        std::fs::copy(root.join("P003/P003_0001.jpg"), root.join("P003/P003_0002.jpg")).unwrap();
        let list = "6\nP000 1 2\nP001 1 2\nP002 1 2\nP003 1 2\nP000 1 9\nP000 3 3\nP000 1 P001 \
            1\nP000 1 P001 2\nP000 1 P009 1\nP001 1 P003 2\nP002 1 P003 1\nP002 1 P003 x\n";
        let (v, a, left_out) = evaluate(root, list);
        assert_eq!(
            v.pairs,
            PairCounts { genuine: 1, impostor: 3, genuine_failed: 1, impostor_failed: 1 }
        );
        assert_eq!(a.failure_to_acquire.count, 1);
        assert_eq!(
            left_out.by_reason().into_iter().collect::<Vec<_>>(),
            [
                ("line that is no pair", 1),
                ("pair of one photograph with itself or a copy", 2),
                ("pair that names a missing file", 2),
                ("pair with an unreadable photograph", 1),
                ("unreadable photograph", 1),
            ]
        );
        let at_threshold = v.tar_at_far.last().unwrap();
        assert_eq!(
            (at_threshold.point.tar.unwrap().of, at_threshold.tar_with_failures.unwrap().of),
            (1, 2)
        );
    }

    #[test]
    fn a_list_whose_files_are_all_missing_evaluates_nothing_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (v, _, left_out) = evaluate(dir.path(), "1\nA 1 2\nA 1 B 1\n");
        assert!(
            !v.evaluated() && v.accuracy.is_none() && v.best_accuracy.is_none() && v.det.is_empty()
        );
        assert_eq!(left_out.by_reason()["pair that names a missing file"], 2);
    }
}
