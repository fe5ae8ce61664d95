//! Lists of genuine and impostor similarities: operating points, DET curve, equal error rate,
//! verification accuracy.
//!
//! Exact: every distinct similarity is a possible threshold, nothing is binned. For many millions
//! of comparisons see [`super::tally`].

use serde::Serialize;

use super::interval::Rate;

/// Similarities of comparisons whose truth is known, each list in falling order. NaN is not
/// possible: cosines of finite, non-zero vectors.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    genuine: Vec<f32>,
    impostor: Vec<f32>,
}

/// What happens at one threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperatingPoint {
    /// The false accept rate asked for; `None` where the threshold was given.
    pub target_far: Option<f64>,
    /// Similarity from which a comparison counts as a match.
    pub threshold: Option<f32>,
    /// Impostor comparisons at or above the threshold.
    pub far: Option<Rate>,
    /// Genuine comparisons at or above the threshold.
    pub tar: Option<Rate>,
    /// Why the data cannot support this point; the other fields are then empty.
    pub unsupported: Option<String>,
}

/// One point of a DET curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DetPoint {
    /// Similarity from which a comparison counts as a match.
    pub threshold: f32,
    /// Impostor comparisons at or above it.
    pub fmr: f64,
    /// Genuine comparisons below it.
    pub fnmr: f64,
}

impl Scores {
    /// Sorts both lists.
    pub fn new(mut genuine: Vec<f32>, mut impostor: Vec<f32>) -> Self {
        for list in [&mut genuine, &mut impostor] {
            list.sort_unstable_by(|a, b| b.total_cmp(a));
        }
        Self { genuine, impostor }
    }

    /// Genuine similarities, falling.
    pub fn genuine(&self) -> &[f32] {
        &self.genuine
    }

    /// Impostor similarities, falling.
    pub fn impostor(&self) -> &[f32] {
        &self.impostor
    }

    /// What happens at `threshold`.
    pub fn at_threshold(&self, threshold: f32) -> OperatingPoint {
        let rate = |list: &[f32]| Rate::new(at_or_above(list, threshold), list.len() as u64);
        OperatingPoint {
            target_far: None,
            threshold: Some(threshold),
            far: Some(rate(&self.impostor)),
            tar: Some(rate(&self.genuine)),
            unsupported: None,
        }
    }

    /// The lowest threshold at which no more than `target` of the impostor comparisons match.
    ///
    /// Supported from `1 / target` impostor comparisons on: with fewer, the threshold would be set
    /// by the absence of data.
    pub fn at_false_accept_rate(&self, target: f64) -> OperatingPoint {
        let point = match threshold_for(&self.impostor, target) {
            Ok(threshold) if self.genuine.is_empty() => {
                Err(format!("no genuine comparison (threshold {threshold:.4})"))
            }
            other => other,
        };
        match point {
            Ok(threshold) => {
                OperatingPoint { target_far: Some(target), ..self.at_threshold(threshold) }
            }
            Err(reason) => OperatingPoint {
                target_far: Some(target),
                threshold: None,
                far: None,
                tar: None,
                unsupported: Some(reason),
            },
        }
    }

    /// The DET curve from loose to strict, one point for each impostor similarity that changes it,
    /// thinned to at most about `most` points, evenly in the logarithm of the false-match count.
    /// Empty where either list is.
    pub fn det(&self, most: usize) -> Vec<DetPoint> {
        let (g, i) = (self.genuine.len(), self.impostor.len());
        if g == 0 || i == 0 || most < 2 {
            return Vec::new();
        }
        let step = ((i as f64).ln() / most as f64).exp();
        let mut points = Vec::new();
        let mut next = 0.0f64;
        while (next as usize) < i {
            let allowed = next as usize;
            let threshold = self.impostor[allowed].next_up();
            points.push(DetPoint {
                threshold,
                fmr: at_or_above(&self.impostor, threshold) as f64 / i as f64,
                fnmr: 1.0 - at_or_above(&self.genuine, threshold) as f64 / g as f64,
            });
            next = (next * step).max(next + 1.0);
        }
        points.reverse();
        points.dedup_by_key(|p| p.threshold);
        points
    }

    /// Where the rate of false matches meets that of false non-matches: the mean of both at the
    /// threshold where they differ least, with that threshold. `None` where either list is empty.
    pub fn equal_error(&self) -> Option<(f64, f32)> {
        let (g, i) = (self.genuine.len(), self.impostor.len());
        if g == 0 || i == 0 {
            return None;
        }
        // FNMR rises and FMR falls with the threshold: bisect over all similarities.
        let mut all: Vec<f32> = self.genuine.iter().chain(&self.impostor).copied().collect();
        all.sort_unstable_by(f32::total_cmp);
        let rates = |t: f32| {
            (
                at_or_above(&self.impostor, t) as f64 / i as f64,
                1.0 - at_or_above(&self.genuine, t) as f64 / g as f64,
            )
        };
        let crossing = all.partition_point(|t| {
            let (fmr, fnmr) = rates(*t);
            fnmr < fmr
        });
        [crossing.saturating_sub(1), crossing.min(all.len() - 1)]
            .map(|at| {
                let (fmr, fnmr) = rates(all[at]);
                ((fmr - fnmr).abs(), (fmr + fnmr) / 2.0, all[at])
            })
            .into_iter()
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, rate, threshold)| (rate, threshold))
    }
}

/// How many of the falling `list` are at or above `threshold`.
pub fn at_or_above(list: &[f32], threshold: f32) -> u64 {
    list.partition_point(|s| *s >= threshold) as u64
}

/// The lowest threshold at which no more than `target` of the falling `list` is at or above it.
///
/// # Errors
/// A sentence, where the list is shorter than `1 / target`.
pub fn threshold_for(list: &[f32], target: f64) -> Result<f32, String> {
    // The small addend: .001 x 3000 must allow 3, whatever the product rounds to.
    let allowed = (target * list.len() as f64 + 1e-9).floor() as usize;
    if allowed == 0 || target <= 0.0 {
        return Err(format!(
            "a rate of {target} needs at least {:.0} comparisons or probes that must not match, \
             there are {}",
            (1.0 / target).ceil(),
            list.len()
        ));
    }
    Ok(match list.get(allowed) {
        Some(first_refused) => first_refused.next_up(),
        None => *list.last().expect("allowed is at least 1 and at most the length"),
    })
}

/// A comparison whose truth is known, for accuracy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnownComparison {
    /// Similarity.
    pub similarity: f32,
    /// Two photographs of one person.
    pub genuine: bool,
}

/// The threshold with the most right answers, and how many there are. Candidates lie halfway
/// between neighbouring similarities; of several equally good ones the middle of the first (lowest)
/// plateau is taken. `None` without comparisons.
pub fn best_threshold(comparisons: &[KnownComparison]) -> Option<(f32, u64)> {
    let mut sorted = comparisons.to_vec();
    sorted.sort_unstable_by(|a, b| a.similarity.total_cmp(&b.similarity));
    let (first, last) = (sorted.first()?.similarity, sorted.last()?.similarity);
    // A threshold at or below everything accepts all: the genuine ones are right.
    let mut right = sorted.iter().filter(|c| c.genuine).count() as u64;
    let (mut best, mut low, mut high, mut open) = (right, first - 1e-3, first, true);
    let mut at = 0;
    while at < sorted.len() {
        let here = sorted[at].similarity;
        // Everything of the same similarity falls together.
        while at < sorted.len() && sorted[at].similarity == here {
            if sorted[at].genuine {
                right -= 1
            } else {
                right += 1
            }
            at += 1;
        }
        let above = sorted.get(at).map_or(last + 1e-3, |c| c.similarity);
        if right > best {
            (best, low, high, open) = (right, here, above, true);
        } else if right == best && open {
            high = above;
        } else {
            open = false;
        }
    }
    // Halfway may round down onto the lower neighbour, which would then match.
    let middle = low + (high - low) / 2.0;
    Some((if middle > low { middle } else { low.next_up() }, best))
}

/// How many of `comparisons` are right at `threshold`.
pub fn right_at(comparisons: &[KnownComparison], threshold: f32) -> u64 {
    comparisons.iter().filter(|c| (c.similarity >= threshold) == c.genuine).count() as u64
}

/// Accuracy where each fold is judged at the threshold that is best on all the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossValidated {
    /// Mean of the folds' accuracies.
    pub mean: f64,
    /// Standard deviation of the folds' accuracies (divisor folds - 1).
    pub standard_deviation: f64,
    /// Standard error of the mean: that deviation over the square root of the number of folds (the
    /// LFW protocol's S_E).
    pub standard_error: f64,
    /// All folds pooled, with its interval.
    pub pooled: Rate,
    /// Each fold: the threshold chosen on the others, and its accuracy.
    pub folds: Vec<Fold>,
}

/// One fold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fold {
    /// Chosen on the other folds.
    pub threshold: f32,
    /// Right answers of this fold.
    pub accuracy: Rate,
}

/// Cross-validated accuracy over `folds`; empty ones are passed over. `None` with fewer than two
/// that hold comparisons.
pub fn cross_validate(folds: &[Vec<KnownComparison>]) -> Option<CrossValidated> {
    let folds: Vec<&Vec<KnownComparison>> = folds.iter().filter(|f| !f.is_empty()).collect();
    if folds.len() < 2 {
        return None;
    }
    let results: Vec<Fold> = (0..folds.len())
        .map(|held_back| {
            let others: Vec<KnownComparison> = folds
                .iter()
                .enumerate()
                .filter(|(k, _)| *k != held_back)
                .flat_map(|(_, f)| f.iter().copied())
                .collect();
            let (threshold, _) =
                best_threshold(&others).expect("at least one other fold, not empty");
            let fold = folds[held_back];
            Fold { threshold, accuracy: Rate::new(right_at(fold, threshold), fold.len() as u64) }
        })
        .collect();
    let accuracies: Vec<f64> = results.iter().filter_map(|f| f.accuracy.rate).collect();
    let (mean, standard_deviation) = mean_and_deviation(&accuracies);
    let sum = |f: fn(&Rate) -> u64| results.iter().map(|r| f(&r.accuracy)).sum();
    Some(CrossValidated {
        mean,
        standard_deviation,
        standard_error: standard_deviation / (accuracies.len() as f64).sqrt(),
        pooled: Rate::new(sum(|r| r.count), sum(|r| r.of)),
        folds: results,
    })
}

/// Mean and standard deviation (divisor n - 1; zero for a single value). NaN without values.
pub fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, 0.0);
    }
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labelled(similarity: f32, genuine: bool) -> KnownComparison {
        KnownComparison { similarity, genuine }
    }

    #[test]
    fn the_operating_point_lets_exactly_the_allowed_number_of_impostors_through() {
        let impostor: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        let s = Scores::new(vec![0.2, 0.9895, 0.99, 0.999], impostor);
        let p = s.at_false_accept_rate(0.01);
        assert_eq!(p.far.unwrap().count, 10);
        assert_eq!(p.tar.unwrap().count, 3);
        assert!(p.threshold.unwrap() > 0.989 && p.threshold.unwrap() <= 0.9895);
    }

    #[test]
    fn similarities_that_are_equal_to_the_first_refused_one_are_refused_too() {
        let s = Scores::new(vec![0.5, 0.6], vec![0.5; 100]);
        let p = s.at_false_accept_rate(0.1);
        assert_eq!((p.far.unwrap().count, p.tar.unwrap().count), (0, 1));
    }

    #[test]
    fn a_rate_that_needs_more_impostors_is_refused_with_the_number_that_it_needs() {
        let s = Scores::new(vec![0.5], vec![0.1; 500]);
        assert!(s.at_false_accept_rate(0.01).unsupported.is_none());
        let p = s.at_false_accept_rate(1e-3);
        assert_eq!((p.threshold, p.far), (None, None));
        assert!(p.unsupported.unwrap().contains("at least 1000"));
        // The product 1e-3 x 3000 must not round down to 2.
        let s = Scores::new(vec![0.5], (0..3000).map(|i| i as f32 * 1e-4).collect());
        assert_eq!(s.at_false_accept_rate(1e-3).far.unwrap().count, 3);
    }

    #[test]
    fn the_best_threshold_lies_in_the_middle_of_the_gap() {
        let c =
            [labelled(0.1, false), labelled(0.2, false), labelled(0.6, true), labelled(0.7, true)];
        let (t, right) = best_threshold(&c).unwrap();
        assert!((t - 0.4).abs() < 1e-6);
        assert_eq!(right, 4);
        // Neighbouring floats leave no room: the threshold must still refuse the lower one.
        let tight = [labelled(0.5, false), labelled(0.5f32.next_up(), true)];
        let (t, right) = best_threshold(&tight).unwrap();
        assert_eq!((right, right_at(&tight, t)), (2, 2));
        assert_eq!(best_threshold(&[]), None);
    }

    #[test]
    fn a_fold_is_judged_at_the_others_threshold() {
        let good = vec![labelled(0.1, false), labelled(0.9, true)];
        let shifted = vec![labelled(0.6, false), labelled(0.95, true)];
        let c = cross_validate(&[good.clone(), good, shifted, vec![]]).unwrap();
        assert_eq!(c.folds.len(), 3);
        // The others' threshold is .5: the shifted fold's impostor passes it.
        assert_eq!(c.folds[2].accuracy.count, 1);
        assert!((c.mean - (1.0 + 1.0 + 0.5) / 3.0).abs() < 1e-12);
        assert!((c.standard_error - c.standard_deviation / 3f64.sqrt()).abs() < 1e-12);
        assert_eq!(c.pooled.of, 6);
        assert!(cross_validate(&[vec![labelled(0.1, true)]]).is_none());
    }

    #[test]
    fn separated_scores_have_no_equal_error_and_swapped_ones_have_nothing_else() {
        let (low, high) = (vec![0.1, 0.2, 0.3], vec![0.7, 0.8, 0.9]);
        assert_eq!(Scores::new(high.clone(), low.clone()).equal_error().unwrap().0, 0.0);
        assert!(Scores::new(low, high).equal_error().unwrap().0 > 0.6);
        assert_eq!(Scores::new(vec![], vec![0.1]).equal_error(), None);
    }

    proptest! {
        #[test]
        fn no_other_threshold_is_better(
            c in prop::collection::vec((0u8..40, any::<bool>()), 1..60),
        ) {
            let c: Vec<KnownComparison> =
                c.into_iter().map(|(s, g)| labelled(f32::from(s) / 40.0, g)).collect();
            let (threshold, right) = best_threshold(&c).unwrap();
            prop_assert_eq!(right_at(&c, threshold), right);
            for step in -1..=42 {
                prop_assert!(right_at(&c, (step as f32 + 0.5) / 40.0) <= right);
            }
        }

        #[test]
        fn a_supported_rate_is_never_exceeded_and_its_threshold_is_the_lowest(
            list in prop::collection::vec(0u16..300, 1..400), target in 1e-3f64..1.0,
        ) {
            let mut list: Vec<f32> = list.into_iter().map(|v| f32::from(v) / 300.0).collect();
            list.sort_unstable_by(|a, b| b.total_cmp(a));
            let allowed = (target * list.len() as f64 + 1e-9).floor() as u64;
            match threshold_for(&list, target) {
                Ok(t) => {
                    prop_assert!(at_or_above(&list, t) <= allowed);
                    if at_or_above(&list, t) < list.len() as u64 {
                        prop_assert!(at_or_above(&list, t.next_down()) > allowed);
                    }
                }
                Err(_) => prop_assert_eq!(allowed, 0),
            }
        }

        #[test]
        fn along_a_det_curve_misses_rise_as_false_matches_fall(
            g in prop::collection::vec(0f32..1.0, 1..200),
            i in prop::collection::vec(0f32..1.0, 1..2000),
        ) {
            let det = Scores::new(g, i).det(50);
            prop_assert!(!det.is_empty() && det.len() <= 120);
            for w in det.windows(2) {
                prop_assert!(
                    w[0].threshold < w[1].threshold
                        && w[0].fmr >= w[1].fmr
                        && w[0].fnmr <= w[1].fnmr
                );
            }
            prop_assert_eq!(det.last().unwrap().fmr, 0.0);
        }
    }
}
