//! The evidence of a track, and when it is enough.
//!
//! Each compared view of a track goes to [`Decider::observe`] with the entries that its probe
//! came near to. The rule:
//!
//! * a view *supports* the entries whose similarity reaches the threshold;
//! * the *combined* similarity of a track and an entry is the mean over **all** compared views of
//!   the track, each weighted by its quality: the best views count most, and none is chosen for its
//!   similarity. A view in which [`MAX_HITS`] other entries were nearer counts as 0, which can only
//!   lower it. It does not depend on the order of the views;
//! * a track becomes a **candidate** for an entry when N of its latest M views support the entry,
//!   the entry was the nearest in at least one of them, and the combined similarity exceeds the
//!   threshold by [`EVIDENCE_MARGIN`] or more. Where several entries qualify, the one with the
//!   highest combined similarity is named. Those within the ambiguity margin of it are its
//!   alternatives, whether or not they reach the threshold themselves;
//! * a track gives **one candidate**, whatever other entries its later views resemble, and at most
//!   **one update** with a better view: when the track ends or some seconds have passed, whichever
//!   is first. Hysteresis: it takes the margin to become a candidate, but an update only needs a
//!   combined similarity that still reaches the threshold. Where the later views have taken the
//!   evidence below it, there is none;
//! * an entry that was announced is not announced again by this camera during the cool-down,
//!   whatever the track.
//!
//! What these conditions do to the rate of false alerts is in
//! `decisions/002-evidence-over-a-track.md`.
//!
//! Views that support no entry are dropped (and thereby wiped) before `observe` returns; of them
//! stay the similarities to the nearest entries, while the track lives. A supporting view is kept
//! only while its track lives, at most [`MAX_LEADERS`] a track. When a track ends everything about
//! it is forgotten.
//!
//! State in, findings out: no clock, no list, no input or output of its own.

use std::time::Duration;

use heapless::{Deque, LinearMap, Vec};
use serde::Serialize;
use uuid::Uuid;

use super::DecisionConfig;
use crate::clock::Now;
use crate::vision::TrackId;
use crate::watchlist::Hit;

/// By how much the combined similarity must exceed the threshold. A track is looked at again with
/// each view, which gives a stranger several chances; this takes them away again. From measured
/// sequences, see the decision record.
pub const EVIDENCE_MARGIN: f32 = 0.02;
/// Most views that can be asked to agree (N).
pub const MAX_AGREEING: usize = 8;
/// Most views among which they are counted (M).
pub const MAX_CONSIDERED: usize = 16;
/// Entries that a view is compared to: the nearest ones.
pub const MAX_HITS: usize = 4;
/// Entries for which a track keeps its best view.
pub const MAX_LEADERS: usize = 4;
/// Entries of which a track keeps the combined similarity. The least similar gives way: it starts
/// from 0 when it comes back.
const MAX_RIVALS: usize = 16;
/// Least weight of a view, so that one whose quality is zero or not a number still counts.
const LEAST_WEIGHT: f32 = 0.01;
/// Tracks that live at once; as many as the tracker follows.
const MAX_TRACKS: usize = 128;
/// Entries in cool-down at once; beyond, the one announced longest ago is forgotten first.
const MAX_COOLING: usize = 128;

/// An entry's place in the list that is being searched.
pub type EntryIndex = usize;

/// A view that has been searched with.
#[derive(Debug)]
pub struct Compared<'a, V> {
    /// Whose view it is.
    pub track: TrackId,
    /// What is to be kept of it, should it support an entry.
    pub view: V,
    /// How much it counts in the combined similarity, 0 to 1: its overall quality.
    pub quality: f32,
    /// The entries that are nearest to it, nearest first, at any similarity.
    pub hits: &'a [Hit],
    /// Similarity from which it supports an entry.
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
    /// Similarity of `view`.
    pub score: f32,
    /// Quality-weighted mean similarity over all compared views of the track.
    pub combined: f32,
    /// Views among the considered ones that supported the entry.
    pub agreeing: usize,
    /// Views that were considered, at most M.
    pub considered: usize,
    /// Views of this track compared so far.
    pub compared: u32,
    /// Entries that cannot be distinguished from the named one, most similar first.
    pub alternatives: Vec<EntryIndex, MAX_HITS>,
    /// The best view.
    pub view: V,
}

/// Drops and suppressions, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DecisionCounters {
    /// Views compared.
    pub compared: u64,
    /// Views that supported at least one entry.
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

struct Leader<V> {
    hit: Hit,
    view: V,
}

/// What a track was announced as, or would have been but for the cool-down.
struct Announced<V> {
    id: Uuid,
    entry: EntryIndex,
    alternatives: Vec<EntryIndex, MAX_HITS>,
    /// Similarity that was announced; `None` where there is nothing to update.
    score: Option<f32>,
    at: Duration,
    better: Option<Leader<V>>,
}

/// Weighted similarities of one entry to the views of a track.
#[derive(Debug, Clone, Copy)]
struct Rival {
    entry: EntryIndex,
    sum: f32,
}

struct Track<V> {
    compared: u32,
    /// Sum of the weights of all compared views.
    weight: f32,
    rivals: Vec<Rival, MAX_RIVALS>,
    /// What the latest views supported, oldest first; nearest entry first in each.
    recent: Deque<Vec<EntryIndex, MAX_HITS>, MAX_CONSIDERED>,
    leaders: Vec<Leader<V>, MAX_LEADERS>,
    announced: Option<Announced<V>>,
}

impl<V> Default for Track<V> {
    fn default() -> Self {
        Self {
            compared: 0,
            weight: 0.0,
            rivals: Vec::new(),
            recent: Deque::new(),
            leaders: Vec::new(),
            announced: None,
        }
    }
}

impl<V> Track<V> {
    /// Adds a view to the combined similarities.
    fn weigh(&mut self, quality: f32, hits: &[Hit]) {
        // `max` of a NaN is the other operand.
        let weight = quality.clamp(0.0, 1.0).max(LEAST_WEIGHT);
        self.compared = self.compared.saturating_add(1);
        self.weight += weight;
        for hit in hits.iter().take(MAX_HITS).filter(|h| h.score.is_finite()) {
            let share = weight * hit.score;
            if let Some(rival) = self.rivals.iter_mut().find(|r| r.entry == hit.entry) {
                rival.sum += share;
                continue;
            }
            if self.rivals.is_full() {
                let least = (0..self.rivals.len())
                    .min_by(|a, b| self.rivals[*a].sum.total_cmp(&self.rivals[*b].sum));
                let least = least.expect("a full list is not empty");
                if self.rivals[least].sum >= share {
                    continue;
                }
                self.rivals.swap_remove(least);
            }
            self.rivals.push(Rival { entry: hit.entry, sum: share }).expect("a place was made");
        }
    }

    /// Quality-weighted mean similarity of `entry` over all compared views.
    fn combined(&self, entry: EntryIndex) -> f32 {
        let sum = self.rivals.iter().find(|r| r.entry == entry).map_or(0.0, |r| r.sum);
        if self.weight > 0.0 { sum / self.weight } else { 0.0 }
    }

    /// Considered views that support `entry`.
    fn agreeing(&self, entry: EntryIndex) -> usize {
        self.recent.iter().filter(|supported| supported.contains(&entry)).count()
    }

    /// Entries whose combined similarity is within `margin` of that of `named`, or above it; most
    /// similar first.
    fn inseparable(&self, named: EntryIndex, margin: f32) -> Vec<EntryIndex, MAX_HITS> {
        let least = (self.combined(named) - margin) * self.weight;
        let mut near: Vec<Rival, MAX_RIVALS> =
            self.rivals.iter().filter(|r| r.entry != named && r.sum >= least).copied().collect();
        near.sort_unstable_by(|a, b| b.sum.total_cmp(&a.sum).then(a.entry.cmp(&b.entry)));
        near.iter().map(|r| r.entry).take(MAX_HITS).collect()
    }

    /// Keeps `view` where it is the best so far of its nearest entry; drops it otherwise.
    fn keep(&mut self, hit: Hit, view: V, update_margin: f32) {
        if let Some(a) = &mut self.announced {
            let Some(announced) = a.score.filter(|_| a.entry == hit.entry) else { return };
            let beats = a.better.as_ref().map_or(announced + update_margin, |b| b.hit.score);
            if hit.score > beats {
                a.better = Some(Leader { hit, view });
            }
            return;
        }
        if let Some(l) = self.leaders.iter_mut().find(|l| l.hit.entry == hit.entry) {
            if hit.score > l.hit.score {
                *l = Leader { hit, view };
            }
            return;
        }
        if self.leaders.is_full() {
            let weakest = (0..self.leaders.len())
                .min_by(|a, b| self.leaders[*a].hit.score.total_cmp(&self.leaders[*b].hit.score))
                .expect("a full list is not empty");
            if self.leaders[weakest].hit.score >= hit.score {
                return;
            }
            self.leaders.swap_remove(weakest);
        }
        self.leaders.push(Leader { hit, view }).ok().expect("a place was made");
    }

    /// The entry for which the evidence is enough, if there is one.
    fn decided(&self, agreeing: usize, least: f32) -> Option<EntryIndex> {
        let enough = |entry: &EntryIndex| {
            self.agreeing(*entry) >= agreeing && self.combined(*entry) >= least
        };
        let named = self.leaders.iter().map(|l| l.hit.entry).filter(enough);
        // Of equal ones the first in the list, whatever came first.
        named.max_by(|a, b| self.combined(*a).total_cmp(&self.combined(*b)).then(b.cmp(a)))
    }
}

/// Collects the evidence of all living tracks. `V` is what is kept of a view: in the daemon the
/// face's crop and quality.
pub struct Decider<V> {
    config: DecisionConfig,
    tracks: LinearMap<u32, Track<V>, MAX_TRACKS>,
    cooling: LinearMap<EntryIndex, Duration, MAX_COOLING>,
    /// Threshold of the latest view: that of the list in force.
    threshold: f32,
    counters: DecisionCounters,
}

impl<V> Decider<V> {
    /// A decider without evidence. `config` has no problems.
    pub fn new(config: DecisionConfig) -> Self {
        Self {
            config,
            tracks: LinearMap::new(),
            cooling: LinearMap::new(),
            // Nothing is decided before the first view says what it takes.
            threshold: f32::INFINITY,
            counters: DecisionCounters::default(),
        }
    }

    /// Takes one compared view. `id` names the candidate, should this view make one. A finding, if
    /// any, goes to `out`.
    pub fn observe(
        &mut self,
        now: Now,
        id: Uuid,
        compared: Compared<'_, V>,
        out: &mut impl FnMut(Finding<V>),
    ) {
        let Compared { track, view, quality, hits, threshold } = compared;
        self.counters.compared += 1;
        self.threshold = threshold;
        if !self.tracks.contains_key(&track.0)
            && self.tracks.insert(track.0, Track::default()).is_err()
        {
            self.counters.beyond_capacity += 1;
            return;
        }
        let t = self.tracks.get_mut(&track.0).expect("inserted above");
        t.weigh(quality, hits);
        while t.recent.len() >= self.config.considered_views {
            t.recent.pop_front();
        }
        // Written so that a NaN supports nothing.
        let mut supported = hits.iter().take(MAX_HITS).filter(|h| h.score >= threshold);
        let nearest = supported.clone().next().copied();
        let entries = supported.by_ref().map(|h| h.entry).collect();
        t.recent.push_back(entries).expect("considered_views is at most MAX_CONSIDERED");
        let Some(nearest) = nearest else { return };
        self.counters.supporting += 1;
        t.keep(nearest, view, self.config.update_margin);
        if t.announced.is_some() {
            return;
        }
        let Some(entry) = t.decided(self.config.agreeing_views, threshold + EVIDENCE_MARGIN) else {
            return;
        };
        let alternatives = t.inseparable(entry, self.config.ambiguity_margin);
        let at =
            t.leaders.iter().position(|l| l.hit.entry == entry).expect("decided among the leaders");
        let leader = t.leaders.swap_remove(at);
        // Nothing is kept any longer about the other entries that the track resembled.
        t.leaders.clear();
        let cool = Duration::from_secs(self.config.cool_down_s);
        let cooling = self
            .cooling
            .get(&entry)
            .is_some_and(|since| now.monotonic.saturating_sub(*since) < cool);
        t.announced = Some(Announced {
            id,
            entry,
            alternatives: alternatives.clone(),
            score: (!cooling).then_some(leader.hit.score),
            at: now.monotonic,
            better: None,
        });
        if cooling {
            self.counters.cooling += 1;
            return;
        }
        self.counters.candidates += 1;
        let finding = Finding {
            id,
            sequence: 1,
            track,
            entry,
            score: leader.hit.score,
            combined: t.combined(entry),
            agreeing: t.agreeing(entry),
            considered: t.recent.len(),
            compared: t.compared,
            alternatives,
            view: leader.view,
        };
        self.start_cool_down(entry, now.monotonic);
        out(finding);
    }

    /// Sends the updates that are due by time. Call it once a frame.
    pub fn tick(&mut self, now: Now, out: &mut impl FnMut(Finding<V>)) {
        let after = Duration::from_secs(self.config.update_after_s);
        let Self { config, tracks, threshold, counters, .. } = self;
        for (id, t) in tracks.iter_mut() {
            if t.announced.as_ref().is_some_and(|a| now.monotonic.saturating_sub(a.at) >= after) {
                update(TrackId(*id), t, *threshold, config, counters, out);
            }
        }
    }

    /// Forgets `track`, after its update if one is still due.
    pub fn end(&mut self, track: TrackId, out: &mut impl FnMut(Finding<V>)) {
        if let Some(mut t) = self.tracks.remove(&track.0) {
            update(track, &mut t, self.threshold, &self.config, &mut self.counters, out);
        }
    }

    /// Forgets all evidence for one entry: it may not be announced any more. That for others stays.
    pub fn forget(&mut self, entry: EntryIndex) {
        for t in self.tracks.values_mut() {
            for supported in t.recent.iter_mut() {
                supported.retain(|e| *e != entry);
            }
            t.rivals.retain(|r| r.entry != entry);
            t.leaders.retain(|l| l.hit.entry != entry);
            t.announced = t.announced.take().filter(|a| a.entry != entry);
            if let Some(a) = &mut t.announced {
                a.alternatives.retain(|e| *e != entry);
            }
        }
        self.cooling.remove(&entry);
    }

    /// Forgets all evidence and cool-downs: entry numbers of another list mean other people.
    pub fn reset(&mut self) {
        self.tracks.clear();
        self.cooling.clear();
    }

    /// Counts since the start.
    pub fn counters(&self) -> DecisionCounters {
        self.counters
    }

    fn start_cool_down(&mut self, entry: EntryIndex, at: Duration) {
        if self.cooling.insert(entry, at).is_err() {
            let oldest = self.cooling.iter().min_by_key(|(_, since)| **since).map(|(e, _)| *e);
            self.cooling.remove(&oldest.expect("a full map is not empty"));
            self.cooling.insert(entry, at).expect("a place was made");
        }
    }
}

/// Sends the better view of what `t` was announced as, where there is one and the evidence still
/// holds; there is no other update.
fn update<V>(
    track: TrackId,
    t: &mut Track<V>,
    threshold: f32,
    config: &DecisionConfig,
    counters: &mut DecisionCounters,
    out: &mut impl FnMut(Finding<V>),
) {
    let Some(a) = &mut t.announced else { return };
    let Some(better) = a.better.take() else { return };
    let (id, entry) = (a.id, a.entry);
    let mut alternatives = a.alternatives.clone();
    a.score = None;
    let combined = t.combined(entry);
    if combined < threshold {
        counters.faded += 1;
        return;
    }
    // Entries that have come close since are added; those named before stay named.
    for near in t.inseparable(entry, config.ambiguity_margin) {
        if !alternatives.contains(&near) && alternatives.push(near).is_err() {
            break;
        }
    }
    counters.updates += 1;
    out(Finding {
        id,
        sequence: 2,
        track,
        entry,
        score: better.hit.score,
        combined,
        agreeing: t.agreeing(entry),
        considered: t.recent.len(),
        compared: t.compared,
        alternatives,
        view: better.view,
    });
}

#[cfg(test)]
mod tests;
