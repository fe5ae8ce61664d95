//! The two views of a track that are nearest to an entry.
//!
//! What is not among them is dropped, and wipes itself. So is what only the best one needs once a
//! view is the second.

/// What is kept of a view.
pub trait KeptOfView {
    /// It is the second best from now on: what is published of the best alone goes.
    fn become_second(&mut self);
}

/// One view or two, each with its similarity.
pub(super) struct BestTwo<V> {
    best: (f32, V),
    second: Option<(f32, V)>,
}

impl<V: KeptOfView> BestTwo<V> {
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
        let mut second = (score, view);
        if score > self.best.0 {
            std::mem::swap(&mut self.best, &mut second);
        } else if self.second.as_ref().is_some_and(|known| second.0 <= known.0) {
            return;
        }
        second.1.become_second();
        self.second = Some(second);
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

    impl KeptOfView for usize {
        fn become_second(&mut self) {}
    }

    /// Whether it still has what only the best needs.
    impl KeptOfView for bool {
        fn become_second(&mut self) {
            *self = false;
        }
    }

    #[test]
    fn only_the_best_keeps_what_is_published_of_the_best_alone() {
        let mut two = BestTwo::new(0.5, true);
        two.offer(0.4, true);
        assert_eq!((two.best, two.second), ((0.5, true), Some((0.4, false))));
        let mut two = BestTwo::new(0.5, true);
        two.offer(0.6, true);
        assert_eq!((two.best, two.second), ((0.6, true), Some((0.5, false))));
    }

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
