//! Compares the tracks of passers-by with decoys, and counts: what `calibrate run` does instead of
//! matching, and the daemon beside it.
//!
//! * The probe that is compared is the one that the decision looks at, from the same number of
//!   views on. A track counts by the highest similarity that it ever reaches: at least as often as
//!   the decision rule, which waits for more views where it can, makes a candidate of it.
//! * A decoy has no reference, so that nothing could be published about one.

use std::io;

use crate::calibrate::counts::{Counter, Counts};
use crate::template::Template;
use crate::watchlist::Gallery;

/// Decoys, and what was counted against them.
pub struct DecoyCounter {
    decoys: Gallery,
    counter: Counter,
}

impl DecoyCounter {
    /// Goes on with `counts` of `decoys`, in the order of their set.
    ///
    /// # Errors
    /// Where there is no memory for them.
    pub fn new(decoys: &[Template], counts: Counts) -> io::Result<Self> {
        Ok(Self { decoys: Gallery::of_templates(decoys)?, counter: Counter::new(counts) })
    }

    /// Counts the entries of this list as well, mildly. Tracks that live are forgotten.
    pub fn set_entries(&mut self, list: &Gallery) {
        self.counter.set_entries(&list.first_templates());
    }

    /// The probe of `track`, `today`: compared with the decoys, and with `list`, which is that of
    /// [`DecoyCounter::set_entries`].
    pub fn compare(&mut self, track: u32, today: u32, probe: &Template, list: Option<&Gallery>) {
        let Self { decoys, counter } = self;
        let Some(mut counted) = counter.view(track, today) else { return };
        let probe = std::slice::from_ref(probe);
        decoys.scan(probe, 0, |_, hit| {
            counted.decoy(hit.entry, hit.score);
            f32::NEG_INFINITY
        });
        if let Some(list) = list {
            list.scan(probe, 0, |_, hit| {
                counted.entry(hit.entry, hit.score);
                f32::NEG_INFINITY
            });
        }
    }

    /// A track has ended.
    pub fn end(&mut self, track: u32, today: u32) {
        self.counter.end(track, today);
    }

    /// Forgets the tracks that live, uncounted: matching stopped.
    pub fn forget(&mut self) {
        self.counter.forget();
    }

    /// What was counted of tracks that have ended.
    pub fn counts(&self) -> &Counts {
        self.counter.counts()
    }
}
