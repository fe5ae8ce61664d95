//! The two views of a track that are nearest to an entry.
//!
//! What is not among them is dropped, and wipes itself.

/// One view or two, each with its similarity.
pub(super) struct BestTwo<V> {
    best: (f32, V),
    second: Option<(f32, V)>,
}

impl<V> BestTwo<V> {
    /// Of one view.
    pub fn new(score: f32, view: V) -> Self {
        Self { best: (score, view), second: None }
    }

    /// Similarity of the best.
    pub fn score(&self) -> f32 {
        self.best.0
    }

    /// Takes `view` in where it is among the best two. Of equals the earlier one is better.
    pub fn offer(&mut self, score: f32, view: V) {
        if score > self.best.0 {
            self.second = Some(std::mem::replace(&mut self.best, (score, view)));
        } else if self.second.as_ref().is_none_or(|second| score > second.0) {
            self.second = Some((score, view));
        }
    }

    /// The best view with its similarity, and the other.
    pub fn into_parts(self) -> (f32, V, Option<(f32, V)>) {
        let (score, view) = self.best;
        (score, view, self.second)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_the_first_two_of_all_that_were_offered_by_similarity(
            scores in prop::collection::vec(-10i8..10, 1..12),
        ) {
            let score = |i: usize| f32::from(scores[i]) / 10.0;
            let mut two = BestTwo::new(score(0), 0);
            (1..scores.len()).for_each(|i| two.offer(score(i), i));
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
            let (best, view, second) = two.into_parts();
            prop_assert_eq!((best, view), (score(order[0]), order[0]));
            prop_assert_eq!(second.map(|s| s.0), order.get(1).map(|i| score(*i)));
        }
    }
}
