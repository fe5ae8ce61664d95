//! Counts tracks while they live.
//!
//! * A track is one byte a decoy and one an entry: the highest level so far. They are wiped when it
//!   ends, and when matching stops.
//! * Memory is bounded: [`Counter::most_bytes`].

use zeroize::Zeroize as _;

use super::{
    Counts, Day, DecoyCounts, EntryCounts, MAX_DAYS, MAX_LIVE, MILD_ONLY, Mark, NONE, level,
};
use crate::template::Template;

/// What is held of a track while it lives.
pub(super) struct Live {
    track: u32,
    fold: usize,
    /// Highest level so far.
    pub(super) decoys: Vec<u8>,
    pub(super) entries: Vec<u8>,
}

impl Live {
    fn wipe(&mut self) {
        self.decoys.as_mut_slice().zeroize();
        self.entries.as_mut_slice().zeroize();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// Counts tracks while they live, and adds them to [`Counts`] when they end.
pub struct Counter {
    counts: Counts,
    pub(super) live: Vec<Live>,
    /// Wiped, for the next tracks.
    pub(super) spare: Vec<Live>,
    unfollowed: u64,
}

/// One view's comparisons, on their way into a track.
pub struct CountedView<'a>(&'a mut Live);

impl CountedView<'_> {
    /// The probe's similarity to the decoy at `position`; one that there is not is left out.
    pub fn decoy(&mut self, position: usize, similarity: f32) {
        if let Some(highest) = self.0.decoys.get_mut(position) {
            *highest = (*highest).max(level(similarity));
        }
    }

    /// The probe's similarity to the entry at `position`. Whether it is mild is all that is kept.
    pub fn entry(&mut self, position: usize, similarity: f32) {
        if let Some(highest) = self.0.entries.get_mut(position) {
            *highest = (*highest).max(level(similarity).min(MILD_ONLY));
        }
    }
}

impl Counter {
    /// Goes on with `counts`.
    pub fn new(counts: Counts) -> Self {
        Self { counts, live: Vec::new(), spare: Vec::new(), unfollowed: 0 }
    }

    /// What was counted of tracks that have ended.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Tracks that were not counted because [`MAX_LIVE`] others were alive.
    pub fn unfollowed(&self) -> u64 {
        self.unfollowed
    }

    /// Most bytes that counting takes with so many decoys and entries, templates left out.
    pub const fn most_bytes(decoys: usize, entries: usize) -> usize {
        2 * decoys * size_of::<DecoyCounts>()
            + entries * size_of::<EntryCounts>()
            + MAX_LIVE * (decoys + entries + size_of::<Live>())
            + MAX_DAYS * size_of::<Day>()
    }

    /// Takes `templates`, in the list's order, for the entries that are counted from now on. Tracks
    /// that live are forgotten.
    pub fn set_entries<'t>(&mut self, templates: impl IntoIterator<Item = &'t Template>) {
        self.forget();
        // Of another length.
        self.spare.clear();
        let salt = self.counts.salt;
        self.counts.set_entries(templates.into_iter().map(|t| Mark::of(t, &salt)));
    }

    /// A view of `track` whose probe is compared now. `None` where the signed time is over on
    /// `today` (days since 1970), or too many tracks live.
    pub fn view(&mut self, track: u32, today: u32) -> Option<CountedView<'_>> {
        if self.counts.is_complete(today) {
            return None;
        }
        if let Some(at) = self.live.iter().position(|live| live.track == track) {
            return Some(CountedView(&mut self.live[at]));
        }
        if self.live.len() >= MAX_LIVE {
            self.unfollowed += 1;
            return None;
        }
        let (decoys, entries) = (self.counts.folds[0].decoys.len(), self.counts.entries.len());
        let mut live = self.spare.pop().unwrap_or_else(|| Live {
            track,
            fold: 0,
            decoys: vec![NONE; decoys],
            entries: vec![NONE; entries],
        });
        live.track = track;
        live.fold = (self.counts.begun % 2) as usize;
        self.counts.begun += 1;
        self.live.push(live);
        self.live.last_mut().map(CountedView)
    }

    /// A track has ended, `today` in days since 1970. One that was never compared is none.
    pub fn end(&mut self, track: u32, today: u32) {
        let Some(at) = self.live.iter().position(|live| live.track == track) else { return };
        let mut live = self.live.swap_remove(at);
        let known = self.counts.days.last().is_some_and(|last| last.day >= today);
        if known || self.counts.days.len() < MAX_DAYS {
            self.counts.end_track(live.fold, &live.decoys, &live.entries, today);
        }
        live.wipe();
        self.spare.push(live);
    }

    /// Forgets the tracks that live, uncounted: matching stopped, or the list changed.
    pub fn forget(&mut self) {
        for mut live in self.live.drain(..) {
            live.wipe();
            self.spare.push(live);
        }
    }
}
