//! The evidence of a track, and when it is enough.
//!
//! One entry is one template, the mean of its photographs; one track is one probe, the mean of its
//! views ([`FusedProbe`]). The rule:
//!
//! * each view of a track is added to the track's probe ([`Decider::observe`]). From the second one
//!   on the probe is to be searched for, and what was found is told ([`Decider::searched`]);
//! * a track becomes a **candidate** for the entry that its probe is nearest to, when that
//!   similarity reaches the threshold and the probe is of `views` views (four), or of `least_views`
//!   (two) where the track has ended or `patience_ms` have passed since its first view. Entries
//!   within the ambiguity margin are its alternatives, whether or not they reach the threshold;
//! * a view that has nothing in common with those before it ([`FusedProbe::is_of_another`]) is of
//!   somebody who has taken their place: what was known of the track ends, and the evidence starts
//!   anew with it;
//! * a track gives **one candidate**, whoever else its later views resemble, and at most **one
//!   update** with a better view: when the track ends or some seconds have passed, whichever is
//!   first. Where the later views have taken the probe below the threshold, there is none;
//! * an entry that was announced is not announced again by this camera during the cool-down,
//!   whatever the track.
//!
//! The false-match curve is of exactly this: a running mean that is looked at from the fourth view
//! to the eighth (`decisions/003-one-fused-probe-a-track.md`).
//!
//! Of a view nothing is kept but its share in the probe, unless the probe with it reaches the
//! threshold for an entry; then the view is kept until its track is decided or ends. When a track
//! ends everything about it is wiped, where the allocator wipes what is freed.
//!
//! State in, findings out: no clock, no list, no input or output of its own.

use std::time::Duration;

use heapless::{LinearMap, Vec};
use serde::Serialize;
use uuid::Uuid;

use super::DecisionConfig;
use super::best_two::BestTwo;
pub use super::best_two::KeptOfView;
use super::probe::FusedProbe;
use crate::clock::Now;
use crate::template::{Embedding, Template};
use crate::vision::TrackId;
use crate::watchlist::Hit;

/// Entries that a probe is compared to: the nearest ones.
pub const MAX_HITS: usize = 4;
/// Tracks that live at once; as many as the tracker follows.
const MAX_TRACKS: usize = 128;
/// Entries in cool-down at once; beyond, the one announced longest ago is forgotten first.
const MAX_COOLING: usize = 128;

/// An entry's place in the list that is being searched.
pub type EntryIndex = usize;

/// A view on its way into the probe of its track.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Whose view it is.
    pub track: TrackId,
    /// Of the view.
    pub embedding: &'a Embedding,
    /// How much it counts, 0 to 1: its overall quality.
    pub quality: f32,
}

/// What the search found for a track's probe.
#[derive(Debug)]
pub struct Searched<'a, V> {
    /// Whose probe it was.
    pub track: TrackId,
    /// What is to be kept of the latest view, should the probe support an entry.
    pub view: V,
    /// The entries that are nearest to the probe, nearest first, at any similarity.
    pub hits: &'a [Hit],
    /// Similarity from which the probe supports an entry.
    pub threshold: f32,
}

/// A candidate, or the one better update of it.
#[derive(Debug)]
pub struct Finding<V> {
    /// Common to the candidate and its update.
    pub id: Uuid,
    /// 1: the candidate, 2: its update.
    pub sequence: u8,
    /// The track; means nothing outside this process.
    pub track: TrackId,
    /// The entry that is named.
    pub entry: EntryIndex,
    /// Similarity of `view` alone.
    pub score: f32,
    /// Similarity of the probe: what was held against the threshold.
    pub combined: f32,
    /// Views with which the probe reached the threshold for the entry.
    pub agreeing: u32,
    /// Views in the probe.
    pub compared: u32,
    /// Entries that cannot be told apart from the named one, most similar first.
    pub alternatives: Vec<EntryIndex, MAX_HITS>,
    /// The view of those kept that is nearest to the entry.
    pub view: V,
    /// The one after it, with its similarity, where two were kept.
    pub second: Option<(f32, V)>,
}

/// Drops and suppressions, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DecisionCounters {
    /// Views compared.
    pub compared: u64,
    /// Tracks whose probe was searched for, each once: those of enough views.
    pub searched_tracks: u64,
    /// Views with which the probe of their track supported an entry.
    pub supporting: u64,
    /// Candidates announced.
    pub candidates: u64,
    /// Updates announced.
    pub updates: u64,
    /// Candidates not announced because their entry was in its cool-down.
    pub cooling: u64,
    /// Updates not announced because the later views had taken the evidence below the threshold.
    pub faded: u64,
    /// Views of tracks beyond the most that are followed.
    pub beyond_capacity: u64,
}

/// The best views so far of the entry that the probe supports.
struct Held<V> {
    id: Uuid,
    entry: EntryIndex,
    agreeing: u32,
    views: BestTwo<V>,
}

/// What a track was announced as, or would have been but for the cool-down.
struct Announced<V> {
    id: Uuid,
    entry: EntryIndex,
    alternatives: Vec<EntryIndex, MAX_HITS>,
    /// Similarity that was announced; `None` where there is nothing to update.
    score: Option<f32>,
    agreeing: u32,
    at: Duration,
    /// The best views since.
    later: Option<BestTwo<V>>,
}

impl<V: KeptOfView> Announced<V> {
    /// Keeps `view` for the update, where there may be one and it is among the best two.
    fn keep(&mut self, score: f32, view: V) {
        if self.score.is_none() {
            return;
        }
        match &mut self.later {
            Some(later) => later.offer(score, view),
            none => *none = Some(BestTwo::new(score, view)),
        }
    }

    /// What is better than what was announced by more than `margin`, if anything is. Nothing is
    /// kept then.
    fn take_better(&mut self, margin: f32) -> Option<BestTwo<V>> {
        let least = self.score? + margin;
        let better = self.later.take_if(|later| later.score() > least);
        if better.is_some() {
            self.score = None;
        }
        better
    }
}

struct Followed<V> {
    probe: FusedProbe,
    /// When its first view came.
    since: Duration,
    /// The probe was searched for at least once.
    searched: bool,
    /// What the probe was nearest to at the last search.
    hits: Vec<Hit, MAX_HITS>,
    held: Option<Held<V>>,
    announced: Option<Announced<V>>,
}

impl<V: KeptOfView> Followed<V> {
    fn new(since: Duration) -> Self {
        Self {
            probe: FusedProbe::default(),
            since,
            searched: false,
            hits: Vec::new(),
            held: None,
            announced: None,
        }
    }

    /// Similarity of the probe to `entry` at the last search; 0 where others were nearer.
    fn combined(&self, entry: EntryIndex) -> f32 {
        self.hits.iter().find(|h| h.entry == entry).map_or(0.0, |h| h.score)
    }

    /// Entries that are nearly as near to the probe as `named`, nearest first.
    fn inseparable(&self, named: EntryIndex, margin: f32) -> Vec<EntryIndex, MAX_HITS> {
        let least = self.combined(named) - margin;
        let near = self.hits.iter().filter(|h| h.entry != named && h.score >= least);
        near.map(|h| h.entry).collect()
    }
}

/// What is decided by, and what was: everything but the tracks.
struct Rule {
    config: DecisionConfig,
    cooling: LinearMap<EntryIndex, Duration, MAX_COOLING>,
    /// Threshold of the latest search: that of the list in force.
    threshold: f32,
    counters: DecisionCounters,
}

/// Collects the evidence of all living tracks. `V` is what is kept of a view: in the daemon the
/// face's crop and quality.
pub struct Decider<V> {
    rule: Rule,
    // Each in memory of its own, which goes with it: a place in the map would keep what was there.
    tracks: LinearMap<u32, Box<Followed<V>>, MAX_TRACKS>,
    /// The view observed last is of somebody who took the place of whoever was followed.
    replaced: bool,
}

impl<V: KeptOfView> Decider<V> {
    /// A decider without evidence. `config` has no problems.
    pub fn new(config: DecisionConfig) -> Self {
        Self {
            rule: Rule {
                config,
                cooling: LinearMap::new(),
                // Nothing is decided before the first search says what it takes.
                threshold: f32::INFINITY,
                counters: DecisionCounters::default(),
            },
            tracks: LinearMap::new(),
            replaced: false,
        }
    }

    /// Adds a view to the probe of its track. Returns the probe where it is to be searched for:
    /// tell what was found with [`Decider::searched`]. What is left to say of somebody whose place
    /// was taken goes to `out`.
    pub fn observe(
        &mut self,
        now: Now,
        seen: Seen<'_>,
        out: &mut impl FnMut(Finding<V>),
    ) -> Option<Template> {
        let Seen { track, embedding, quality } = seen;
        self.rule.counters.compared += 1;
        self.replaced = self.is_of_another(track, embedding);
        if self.replaced {
            self.end(now, track, out);
        }
        if !self.tracks.contains_key(&track.0)
            && self.tracks.insert(track.0, Box::new(Followed::new(now.monotonic))).is_err()
        {
            self.rule.counters.beyond_capacity += 1;
            return None;
        }
        let t = self.tracks.get_mut(&track.0)?;
        t.probe.add(embedding, quality);
        if t.probe.views() < self.rule.config.least_views {
            return None;
        }
        let probe = t.probe.template();
        if probe.is_none() {
            t.held = None;
        }
        probe
    }

    /// Whether a view of `track` would be of somebody who took the place of whoever is followed.
    pub fn is_of_another(&self, track: TrackId, view: &Embedding) -> bool {
        self.tracks.get(&track.0).is_some_and(|t| t.probe.is_of_another(view))
    }

    /// Whether the view observed last is of somebody who took the place of whoever was followed: a
    /// track of its own begins with it. See [`Decider::renumber`].
    pub fn has_replaced(&self) -> bool {
        self.replaced
    }

    /// Goes on with `track` under the number `new`.
    pub fn renumber(&mut self, track: TrackId, new: TrackId) {
        if let Some(followed) = self.tracks.remove(&track.0) {
            let put = self.tracks.insert(new.0, followed);
            debug_assert!(put.is_ok(), "a place was made");
        }
    }

    /// Takes what the search found for the probe of a track. `id` names the candidate, should this
    /// view make one; `own` is the similarity of the latest view alone to an entry. A finding, if
    /// any, goes to `out`.
    pub fn searched(
        &mut self,
        now: Now,
        id: Uuid,
        searched: Searched<'_, V>,
        own: impl Fn(EntryIndex) -> f32,
        out: &mut impl FnMut(Finding<V>),
    ) {
        let Searched { track, view, hits, threshold } = searched;
        let rule = &mut self.rule;
        rule.threshold = threshold;
        let Some(t) = self.tracks.get_mut(&track.0) else { return };
        rule.counters.searched_tracks += u64::from(!std::mem::replace(&mut t.searched, true));
        t.hits = hits.iter().filter(|h| h.score.is_finite()).take(MAX_HITS).copied().collect();
        if let Some(a) = &mut t.announced {
            let combined = t.hits.iter().find(|h| h.entry == a.entry).map_or(0.0, |h| h.score);
            if combined >= threshold {
                rule.counters.supporting += 1;
                a.agreeing += 1;
                a.keep(own(a.entry), view);
            }
            return;
        }
        let Some(nearest) = t.hits.first().filter(|h| h.score >= threshold) else {
            t.held = None;
            return;
        };
        rule.counters.supporting += 1;
        let (entry, score) = (nearest.entry, own(nearest.entry));
        match &mut t.held {
            Some(held) if held.entry == entry => {
                held.agreeing += 1;
                held.views.offer(score, view);
            }
            held => {
                let views = BestTwo::new(score, view);
                *held = Some(Held { id, entry, agreeing: 1, views });
            }
        }
        if t.probe.views() >= rule.config.views || rule.is_late(t, now) {
            rule.announce(track, t, now, out);
        }
    }

    /// Decides tracks that have waited long enough, and sends the updates that are due by time.
    /// Call it once a frame.
    pub fn tick(&mut self, now: Now, out: &mut impl FnMut(Finding<V>)) {
        let after = Duration::from_secs(self.rule.config.update_after_s);
        for (id, t) in self.tracks.iter_mut() {
            match &t.announced {
                Some(a) if now.monotonic.saturating_sub(a.at) >= after => {
                    self.rule.update(TrackId(*id), t, out);
                }
                None if self.rule.is_late(t, now) => {
                    self.rule.announce(TrackId(*id), t, now, out);
                }
                _ => {}
            }
        }
    }

    /// Forgets `track`, after its candidate or its update if one is still due.
    pub fn end(&mut self, now: Now, track: TrackId, out: &mut impl FnMut(Finding<V>)) {
        let Some(mut t) = self.tracks.remove(&track.0) else { return };
        if t.announced.is_none() {
            self.rule.announce(track, &mut t, now, out);
        } else {
            self.rule.update(track, &mut t, out);
        }
    }

    /// Forgets all evidence for one entry: it may not be announced any more. That for others stays.
    pub fn forget(&mut self, entry: EntryIndex) {
        for t in self.tracks.values_mut() {
            t.hits.retain(|h| h.entry != entry);
            t.held = t.held.take().filter(|h| h.entry != entry);
            t.announced = t.announced.take().filter(|a| a.entry != entry);
            if let Some(a) = &mut t.announced {
                a.alternatives.retain(|e| *e != entry);
            }
        }
        self.rule.cooling.remove(&entry);
    }

    /// Forgets all evidence and cool-downs: entry numbers of another list mean other people.
    pub fn reset(&mut self) {
        self.tracks.clear();
        self.rule.cooling.clear();
    }

    /// Counts since the start.
    pub fn counters(&self) -> DecisionCounters {
        self.rule.counters
    }
}

impl Rule {
    /// Whether `t` has waited for more views as long as it may.
    fn is_late<V: KeptOfView>(&self, t: &Followed<V>, now: Now) -> bool {
        let patience = Duration::from_millis(self.config.patience_ms);
        now.monotonic.saturating_sub(t.since) >= patience
    }

    /// Makes the candidate of the entry that `t` supports, if there is one.
    fn announce<V: KeptOfView>(
        &mut self,
        track: TrackId,
        t: &mut Followed<V>,
        now: Now,
        out: &mut impl FnMut(Finding<V>),
    ) {
        if t.probe.views() < self.config.least_views {
            return;
        }
        let Some(Held { id, entry, agreeing, views }) = t.held.take() else { return };
        let (score, view, second) = views.into_parts();
        let alternatives = t.inseparable(entry, self.config.ambiguity_margin);
        let cool = Duration::from_secs(self.config.cool_down_s);
        let cooling = self
            .cooling
            .get(&entry)
            .is_some_and(|since| now.monotonic.saturating_sub(*since) < cool);
        t.announced = Some(Announced {
            id,
            entry,
            alternatives: alternatives.clone(),
            score: (!cooling).then_some(score),
            agreeing,
            at: now.monotonic,
            later: None,
        });
        if cooling {
            self.counters.cooling += 1;
            return;
        }
        self.counters.candidates += 1;
        self.start_cool_down(entry, now.monotonic);
        let (combined, compared) = (t.combined(entry), t.probe.views());
        out(Finding {
            id,
            sequence: 1,
            track,
            entry,
            score,
            combined,
            agreeing,
            compared,
            alternatives,
            view,
            second,
        });
    }

    /// Sends the better view of what `t` was announced as, where there is one and the evidence
    /// still holds; there is no other update.
    fn update<V: KeptOfView>(
        &mut self,
        track: TrackId,
        t: &mut Followed<V>,
        out: &mut impl FnMut(Finding<V>),
    ) {
        let Some(a) = &mut t.announced else { return };
        let Some(better) = a.take_better(self.config.update_margin) else { return };
        let (score, view, second) = better.into_parts();
        let (id, entry, agreeing) = (a.id, a.entry, a.agreeing);
        let mut alternatives = a.alternatives.clone();
        let combined = t.combined(entry);
        if combined.is_nan() || combined < self.threshold {
            self.counters.faded += 1;
            return;
        }
        // Who has come close since; whoever was named stays named.
        for near in t.inseparable(entry, self.config.ambiguity_margin) {
            if !alternatives.contains(&near) && alternatives.push(near).is_err() {
                break;
            }
        }
        self.counters.updates += 1;
        let (sequence, compared) = (2, t.probe.views());
        out(Finding {
            id,
            sequence,
            track,
            entry,
            score,
            combined,
            agreeing,
            compared,
            alternatives,
            view,
            second,
        });
    }

    fn start_cool_down(&mut self, entry: EntryIndex, at: Duration) {
        if self.cooling.insert(entry, at).is_err() {
            let oldest = self.cooling.iter().min_by_key(|(_, since)| **since).map(|(e, _)| *e);
            self.cooling.remove(&oldest.expect("a full map is not empty"));
            self.cooling.insert(entry, at).expect("a place was made");
        }
    }
}

#[cfg(test)]
mod tests;
