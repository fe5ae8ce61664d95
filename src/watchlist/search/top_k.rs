//! The best hits of a search, in a fixed amount of memory.

use zeroize::DefaultIsZeroes;

use crate::locked::wipe_list;

/// Most hits that a search returns.
pub const MAX_TOP: usize = 64;

/// An entry and its best score.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Hit {
    /// Position in [`entries`](crate::watchlist::Watchlist::entries).
    pub entry: usize,
    /// Which of the entry's templates scored best.
    pub template: usize,
    /// Cosine similarity, -1 to 1.
    pub score: f32,
}

impl DefaultIsZeroes for Hit {}

/// The best hits so far, best first; of equal scores the entry that is earlier in the list.
#[derive(Debug, Clone)]
pub struct TopK {
    k: usize,
    hits: heapless::Vec<Hit, MAX_TOP>,
}

impl TopK {
    /// Room for `k` hits, at least 1 and at most [`MAX_TOP`].
    pub fn new(k: usize) -> Self {
        Self { k: k.clamp(1, MAX_TOP), hits: heapless::Vec::new() }
    }

    /// Best first.
    pub fn hits(&self) -> &[Hit] {
        &self.hits
    }

    /// Forgets all hits: they are wiped.
    pub fn clear(&mut self) {
        wipe_list(&mut self.hits);
    }

    /// The similarity that a hit must exceed to find a place.
    pub(super) fn floor(&self) -> f32 {
        match self.hits.last() {
            Some(worst) if self.hits.len() == self.k => worst.score,
            _ => f32::NEG_INFINITY,
        }
    }

    pub(super) fn offer(&mut self, hit: Hit) {
        // Entries arrive in ascending order, so that an equal score never displaces an earlier one.
        if self.hits.len() == self.k {
            match self.hits.last() {
                Some(worst) if hit.score > worst.score => self.hits.truncate(self.k - 1),
                _ => return,
            }
        }
        let at = self.hits.partition_point(|h| h.score >= hit.score);
        self.hits.insert(at, hit).expect("k is at most the capacity, and a place was just made");
    }
}
