//! One track, one probe: the running mean of its views.
//!
//! * Each view counts by its quality; even the poorest counts a little, so that no view is chosen.
//! * The mean does not depend on the order of the views.
//! * It is wiped when its track ends, and never leaves but as a template to search with.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::template::{Embedding, Template};

/// Least weight of a view, so that one whose quality is zero or not a number still counts.
const LEAST_WEIGHT: f32 = 0.01;

/// A view less similar than this to the mean of two or more views before it shows somebody else.
///
/// Measured on press photographs of different days, 2,015 people who pass the gate, a mean of two
/// against a third: of one person's 1 in 915 comparisons is less alike (at most 1.4 %), of two
/// people's 0.29 % are as alike or more and go on unnoticed; of the group of whom most are mistaken
/// for each other at most 5.4 % (one photograph against one). At 0.15, as it was, 7 % went on
/// unnoticed, and at 0.40 three in 915 would be cut. Not measured on video, whose views are more
/// alike and less sharp.
///
/// `watchpost evaluate curve --root DIR --template-of 2 --track-of 1 --gate`
const SPLIT_BELOW: f32 = 0.30;
/// Views after which one can be told to be of somebody else.
const SPLIT_AFTER: u32 = 2;

/// Quality-weighted sum of the embeddings of a track.
#[derive(Debug, Default, Zeroize, ZeroizeOnDrop)]
pub struct FusedProbe {
    sum: Sum,
    views: u32,
}

/// Prints nothing of what it holds.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
struct Sum(Box<[f32]>);

impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} x f32>", self.0.len())
    }
}

impl FusedProbe {
    /// Adds a view of quality 0 to 1. A view of another embedder than the ones before starts anew.
    pub fn add(&mut self, view: &Embedding, quality: f32) {
        // `max` of a NaN is the other operand.
        let weight = quality.clamp(0.0, 1.0).max(LEAST_WEIGHT);
        let values = view.values();
        if self.sum.0.len() != values.len() {
            self.sum.zeroize();
            self.sum = Sum(vec![0.0; values.len()].into_boxed_slice());
            self.views = 0;
        }
        self.sum.0.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
        self.views = self.views.saturating_add(1);
    }

    /// Views in it.
    pub fn views(&self) -> u32 {
        self.views
    }

    /// Cosine similarity of a view to the mean so far; `None` before the first view and where the
    /// mean has no direction.
    pub fn similarity(&self, view: &Embedding) -> Option<f32> {
        let norm = self.sum.0.iter().map(|v| v * v).sum::<f32>().sqrt();
        if self.sum.0.len() != view.values().len() || norm < 1e-6 {
            return None;
        }
        Some(self.sum.0.iter().zip(view.values()).map(|(a, b)| a * b).sum::<f32>() / norm)
    }

    /// Whether a view has nothing in common with those before it (`SPLIT_BELOW`): it is of
    /// somebody who has taken their place.
    pub fn is_of_another(&self, view: &Embedding) -> bool {
        self.views >= SPLIT_AFTER && self.similarity(view).is_some_and(|s| s < SPLIT_BELOW)
    }

    /// The mean, to search with. `None` before the first view and where it has no direction.
    pub fn template(&self) -> Option<Template> {
        Embedding::normalised(&self.sum.0).ok().map(|mean| mean.quantize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn embedding(values: &[f32]) -> Option<Embedding> {
        Embedding::normalised(values).ok()
    }

    #[test]
    fn before_the_first_view_there_is_no_probe_and_views_that_cancel_have_none() {
        let mut probe = FusedProbe::default();
        assert!(probe.template().is_none());
        let view = embedding(&[0.5; 64]).unwrap();
        assert_eq!(probe.similarity(&view), None);
        probe.add(&view, 0.5);
        assert_eq!(probe.template().unwrap(), view.quantize(), "of one view it is that view");
        assert!((probe.similarity(&view).unwrap() - 1.0).abs() < 1e-5);
        probe.add(&embedding(&[-0.5; 64]).unwrap(), 0.5);
        assert!(probe.template().is_none() && probe.similarity(&view).is_none());
        assert_eq!(probe.views(), 2);
        assert!(!format!("{probe:?}").contains("0.5"));
    }

    #[test]
    fn a_good_view_counts_more_than_a_poor_one_and_even_a_worthless_one_counts() {
        let mut x = [0.0f32; 64];
        let mut y = x;
        (x[0], y[1]) = (1.0, 1.0);
        let (x, y) = (embedding(&x).unwrap(), embedding(&y).unwrap());
        for (quality, nearer) in [(0.1, true), (0.9, false), (0.0, true), (f32::NAN, true)] {
            let mut probe = FusedProbe::default();
            probe.add(&x, 0.5);
            probe.add(&y, quality);
            let (to_x, to_y) = (probe.similarity(&x).unwrap(), probe.similarity(&y).unwrap());
            assert_eq!(to_x > to_y, nearer, "{quality}");
            assert!(to_y > 0.0);
        }
    }

    proptest! {
        #[test]
        fn the_order_of_the_views_does_not_change_the_probe(
            views in proptest::collection::vec(
                (proptest::collection::vec(-1.0f32..1.0, 64), 0.0f32..1.0), 1..9),
            turn in 0usize..9,
        ) {
            let views: Vec<_> =
                views.iter().filter_map(|(v, q)| Some((embedding(v)?, *q))).collect();
            prop_assume!(!views.is_empty());
            let fuse = |turn: usize| {
                let mut probe = FusedProbe::default();
                let (before, after) = views.split_at(turn % views.len());
                after.iter().chain(before).for_each(|(v, q)| probe.add(v, *q));
                probe
            };
            let (a, b) = (fuse(0), fuse(turn));
            for (view, _) in &views {
                let (a, b) = (a.similarity(view), b.similarity(view));
                prop_assert!(a.zip(b).is_none_or(|(a, b)| (a - b).abs() < 1e-4), "{a:?} {b:?}");
            }
        }
    }
}
