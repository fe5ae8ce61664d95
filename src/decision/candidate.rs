//! The evidence of a track, and when it is enough.
//!
//! Each compared view of a track is told to [`Decider::observe`] with the entries that its probe came near to. The rule:
//!
//! * a view *supports* the entries whose similarity reaches the threshold;
//! * when, among the latest M compared views of a track, N support one entry, and that entry was the nearest in at least
//!   one of them, the track is a **candidate** for it. Where several entries qualify, the one with the highest mean
//!   similarity is named, and those within the ambiguity margin of it are its alternatives;
//! * a track and entry give one candidate, and at most **one update** with a better view: when the track ends or some
//!   seconds have passed, whichever is first;
//! * an entry that was announced is not announced again by this camera during the cool-down, whatever the track.
//!
//! Views that support no entry are dropped (and thereby wiped) before `observe` returns. A supporting view is kept only
//! while its track lives, at most [`MAX_LEADERS`] a track. When a track ends everything about it is forgotten.
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

/// Most views that can be asked to agree (N).
pub const MAX_AGREEING: usize = 8;
/// Most views among which they are counted (M).
pub const MAX_CONSIDERED: usize = 16;
/// Entries a view can support at once; the nearest ones count.
pub const MAX_HITS: usize = 4;
/// Entries for which a track keeps its best view.
pub const MAX_LEADERS: usize = 4;
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
    /// Views among the considered ones that supported the entry.
    pub agreeing: usize,
    /// Views that were considered, at most M.
    pub considered: usize,
    /// Views of this track compared so far.
    pub compared: u32,
    /// Entries that cannot be told apart from the named one.
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
    /// Views of tracks beyond the most that are followed.
    pub beyond_capacity: u64,
}

struct Leader<V> {
    hit: Hit,
    view: V,
}

struct Announced<V> {
    id: Uuid,
    entry: EntryIndex,
    /// Named in the candidate as well; not announced on their own on this track.
    alternatives: Vec<EntryIndex, MAX_HITS>,
    /// Similarity that was announced; `None` where the cool-down suppressed the candidate.
    score: Option<f32>,
    at: Duration,
    updated: bool,
    better: Option<Leader<V>>,
}

struct Track<V> {
    compared: u32,
    /// What the latest views supported, oldest first; nearest entry first in each.
    recent: Deque<Vec<Hit, MAX_HITS>, MAX_CONSIDERED>,
    leaders: Vec<Leader<V>, MAX_LEADERS>,
    announced: Vec<Announced<V>, MAX_LEADERS>,
}

impl<V> Default for Track<V> {
    fn default() -> Self {
        Self { compared: 0, recent: Deque::new(), leaders: Vec::new(), announced: Vec::new() }
    }
}

/// Support of one entry among the considered views of a track.
#[derive(Debug, Clone, Copy)]
struct Support {
    entry: EntryIndex,
    views: usize,
    mean: f32,
}

impl<V> Track<V> {
    fn supports(&self) -> Vec<Support, { MAX_CONSIDERED * MAX_HITS }> {
        let mut sums: Vec<Support, { MAX_CONSIDERED * MAX_HITS }> = Vec::new();
        for hit in self.recent.iter().flatten() {
            match sums.iter_mut().find(|s| s.entry == hit.entry) {
                Some(s) => {
                    s.views += 1;
                    s.mean += hit.score;
                }
                None => {
                    let first = Support { entry: hit.entry, views: 1, mean: hit.score };
                    sums.push(first).expect("as many places as hits in all considered views");
                }
            }
        }
        for s in &mut sums {
            s.mean /= s.views as f32;
        }
        sums
    }

    fn is_settled(&self, entry: EntryIndex) -> bool {
        self.announced.iter().any(|a| a.entry == entry || a.alternatives.contains(&entry))
    }

    /// Keeps `view` where it is the best so far of its nearest entry; drops it otherwise.
    fn keep(&mut self, hit: Hit, view: V, update_margin: f32) {
        if let Some(a) = self.announced.iter_mut().find(|a| a.entry == hit.entry) {
            let Some(announced) = a.score else { return };
            let beats = a.better.as_ref().map_or(announced + update_margin, |b| b.hit.score);
            if !a.updated && hit.score > beats {
                a.better = Some(Leader { hit, view });
            }
            return;
        }
        if self.is_settled(hit.entry) {
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

    /// Takes the better view of announcement `index` as its update, where there is one.
    fn update(&mut self, index: usize, track: TrackId) -> Option<Finding<V>> {
        let entry = self.announced[index].entry;
        let agreeing = self.supports().iter().find(|s| s.entry == entry).map_or(0, |s| s.views);
        let a = &mut self.announced[index];
        let better = a.better.take()?;
        a.updated = true;
        Some(Finding {
            id: a.id,
            sequence: 2,
            track,
            entry,
            score: better.hit.score,
            agreeing,
            considered: self.recent.len(),
            compared: self.compared,
            alternatives: a.alternatives.clone(),
            view: better.view,
        })
    }
}

/// Collects the evidence of all living tracks. `V` is what is kept of a view: in the daemon the face's crop and quality.
pub struct Decider<V> {
    config: DecisionConfig,
    tracks: LinearMap<u32, Track<V>, MAX_TRACKS>,
    cooling: LinearMap<EntryIndex, Duration, MAX_COOLING>,
    counters: DecisionCounters,
}

impl<V> Decider<V> {
    /// A decider without evidence. `config` has no problems.
    pub fn new(config: DecisionConfig) -> Self {
        Self { config, tracks: LinearMap::new(), cooling: LinearMap::new(), counters: DecisionCounters::default() }
    }

    /// Takes one compared view. `id` names the candidate, should this view make one. A finding, if any, goes to `out`.
    pub fn observe(&mut self, now: Now, id: Uuid, compared: Compared<'_, V>, out: &mut impl FnMut(Finding<V>)) {
        let Compared { track, view, hits, threshold } = compared;
        self.counters.compared += 1;
        if !self.tracks.contains_key(&track.0) && self.tracks.insert(track.0, Track::default()).is_err() {
            self.counters.beyond_capacity += 1;
            return;
        }
        let (agreeing, margin) = (self.config.agreeing_views, self.config.ambiguity_margin);
        let t = self.tracks.get_mut(&track.0).expect("inserted above");
        t.compared = t.compared.saturating_add(1);
        while t.recent.len() >= self.config.considered_views {
            t.recent.pop_front();
        }
        let supported: Vec<Hit, MAX_HITS> =
            hits.iter().filter(|h| h.score >= threshold).take(MAX_HITS).copied().collect();
        let nearest = supported.first().copied();
        t.recent.push_back(supported).expect("considered_views is at most MAX_CONSIDERED");
        let Some(nearest) = nearest else { return };
        self.counters.supporting += 1;
        t.keep(nearest, view, self.config.update_margin);

        let supports = t.supports();
        let Some(named) = supports
            .iter()
            .filter(|s| s.views >= agreeing && !t.is_settled(s.entry))
            .filter(|s| t.leaders.iter().any(|l| l.hit.entry == s.entry))
            .max_by(|a, b| a.mean.total_cmp(&b.mean))
        else {
            return;
        };
        if t.announced.is_full() {
            // Four people announced for one track: the tracker is confused, and more would only repeat it.
            self.counters.beyond_capacity += 1;
            return;
        }
        let alternatives: Vec<EntryIndex, MAX_HITS> = supports
            .iter()
            .filter(|s| s.entry != named.entry && s.mean >= named.mean - margin)
            .map(|s| s.entry)
            .take(MAX_HITS)
            .collect();
        let at = t.leaders.iter().position(|l| l.hit.entry == named.entry).expect("filtered by having a leader");
        let leader = t.leaders.swap_remove(at);
        let cool = Duration::from_secs(self.config.cool_down_s);
        let cooling = self.cooling.get(&named.entry).is_some_and(|since| now.monotonic.saturating_sub(*since) < cool);
        let announced = Announced {
            id,
            entry: named.entry,
            alternatives: alternatives.clone(),
            score: (!cooling).then_some(leader.hit.score),
            at: now.monotonic,
            updated: false,
            better: None,
        };
        t.announced.push(announced).ok().expect("not full, as checked");
        if cooling {
            self.counters.cooling += 1;
            return;
        }
        self.counters.candidates += 1;
        let finding = Finding {
            id,
            sequence: 1,
            track,
            entry: named.entry,
            score: leader.hit.score,
            agreeing: named.views,
            considered: t.recent.len(),
            compared: t.compared,
            alternatives,
            view: leader.view,
        };
        self.start_cool_down(finding.entry, now.monotonic);
        out(finding);
    }

    /// Sends the updates that are due by time. Call it once a frame.
    pub fn tick(&mut self, now: Now, out: &mut impl FnMut(Finding<V>)) {
        let after = Duration::from_secs(self.config.update_after_s);
        for (id, t) in self.tracks.iter_mut() {
            for index in 0..t.announced.len() {
                if now.monotonic.saturating_sub(t.announced[index].at) >= after
                    && let Some(finding) = t.update(index, TrackId(*id))
                {
                    self.counters.updates += 1;
                    out(finding);
                }
            }
        }
    }

    /// Forgets `track`, after its updates that are still due.
    pub fn end(&mut self, track: TrackId, out: &mut impl FnMut(Finding<V>)) {
        let Some(mut t) = self.tracks.remove(&track.0) else { return };
        for index in 0..t.announced.len() {
            if let Some(finding) = t.update(index, track) {
                self.counters.updates += 1;
                out(finding);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::OffsetDateTime;

    fn at(ms: u64) -> Now {
        Now { monotonic: Duration::from_millis(ms), wall: OffsetDateTime::UNIX_EPOCH + Duration::from_millis(ms) }
    }

    /// Feeds views of one track, 100 ms apart; each view is the list of its hits.
    fn feed(
        d: &mut Decider<usize>,
        track: u32,
        from_ms: u64,
        views: &[&[(EntryIndex, f32)]],
    ) -> std::vec::Vec<Finding<usize>> {
        let mut found = std::vec::Vec::new();
        for (i, hits) in views.iter().enumerate() {
            let hits: std::vec::Vec<Hit> =
                hits.iter().map(|(entry, score)| Hit { entry: *entry, template: 0, score: *score }).collect();
            let id = Uuid::from_u128(u128::from(from_ms) + i as u128);
            let compared = Compared { track: TrackId(track), view: i, hits: &hits, threshold: 0.4 };
            d.observe(at(from_ms + 100 * i as u64), id, compared, &mut |f| found.push(f));
        }
        found
    }

    fn decider() -> Decider<usize> {
        Decider::new(DecisionConfig { agreeing_views: 2, considered_views: 3, ..DecisionConfig::default() })
    }

    #[test]
    fn one_view_above_the_threshold_is_no_candidate_and_two_of_three_are_one() {
        let mut d = decider();
        let found = feed(&mut d, 1, 0, &[&[(7, 0.5)], &[(7, 0.1)], &[(7, 0.6)], &[(7, 0.55)]]);
        assert_eq!(found.len(), 1);
        let f = &found[0];
        assert_eq!((f.entry, f.score, f.sequence, f.agreeing, f.considered, f.view), (7, 0.6, 1, 2, 3, 2));
    }

    #[test]
    fn support_that_has_left_the_window_does_not_count() {
        let mut d = decider();
        let poor: &[(EntryIndex, f32)] = &[(7, 0.2)];
        assert!(feed(&mut d, 1, 0, &[&[(7, 0.5)], poor, poor, &[(7, 0.5)], poor]).is_empty());
    }

    #[test]
    fn views_of_two_tracks_do_not_add_up() {
        let mut d = decider();
        assert!(feed(&mut d, 1, 0, &[&[(7, 0.5)]]).is_empty());
        assert!(feed(&mut d, 2, 50, &[&[(7, 0.5)]]).is_empty());
    }

    #[test]
    fn a_candidate_gets_one_better_update_when_the_track_ends() {
        let mut d = decider();
        let found = feed(&mut d, 1, 0, &[&[(7, 0.5)], &[(7, 0.5)], &[(7, 0.52)], &[(7, 0.7)], &[(7, 0.6)]]);
        assert_eq!(found.len(), 1);
        let mut more = std::vec::Vec::new();
        d.end(TrackId(1), &mut |f| more.push(f));
        assert_eq!(more.len(), 1);
        assert_eq!((more[0].sequence, more[0].score, more[0].view, more[0].id), (2, 0.7, 3, found[0].id));
        d.end(TrackId(1), &mut |f| more.push(f));
        assert_eq!(more.len(), 1, "the track is forgotten");
    }

    #[test]
    fn an_update_is_due_after_its_time_and_only_once() {
        let mut d = decider();
        feed(&mut d, 1, 0, &[&[(7, 0.5)], &[(7, 0.5)], &[(7, 0.7)]]);
        let mut more = std::vec::Vec::new();
        d.tick(at(9_000), &mut |f| more.push(f));
        assert!(more.is_empty());
        d.tick(at(10_200), &mut |f| more.push(f));
        assert_eq!(more.len(), 1);
        feed(&mut d, 1, 11_000, &[&[(7, 0.9)]]);
        d.tick(at(30_000), &mut |f| more.push(f));
        d.end(TrackId(1), &mut |f| more.push(f));
        assert_eq!(more.len(), 1, "one update a candidate");
    }

    #[test]
    fn an_entry_in_its_cool_down_is_not_announced_and_is_counted() {
        let mut d = decider();
        let two: &[&[(EntryIndex, f32)]] = &[&[(7, 0.5)], &[(7, 0.5)]];
        assert_eq!(feed(&mut d, 1, 0, two).len(), 1);
        assert_eq!(feed(&mut d, 2, 30_000, two).len(), 0);
        assert_eq!(d.counters().cooling, 1);
        assert_eq!(feed(&mut d, 3, 61_000, two).len(), 1);
    }

    #[test]
    fn entries_too_close_to_tell_apart_are_named_in_one_candidate() {
        let mut d = decider();
        let twins: &[&[(EntryIndex, f32)]] =
            &[&[(7, 0.52), (8, 0.51)], &[(8, 0.53), (7, 0.52)], &[(8, 0.53), (7, 0.5)]];
        let found = feed(&mut d, 1, 0, twins);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].entry, &found[0].alternatives[..]), (8, &[7][..]));
    }

    proptest! {
        #[test]
        fn no_candidate_without_n_supporting_views_and_never_two_for_one_track_and_entry(
            views in proptest::collection::vec((0u32..6, 0usize..5, 0.0f32..1.0), 0..300),
        ) {
            let mut d = Decider::new(DecisionConfig { cool_down_s: 0, ..DecisionConfig::default() });
            let mut seen = std::collections::HashMap::<(u32, usize), usize>::new();
            let mut announced = std::collections::HashSet::new();
            for (i, (track, entry, score)) in views.iter().enumerate() {
                if *score >= 0.4 {
                    *seen.entry((*track, *entry)).or_default() += 1;
                }
                let mut found = std::vec::Vec::new();
                let hits = [Hit { entry: *entry, template: 0, score: *score }];
                let compared = Compared { track: TrackId(*track), view: i, hits: &hits, threshold: 0.4 };
                d.observe(at(i as u64), Uuid::from_u128(i as u128), compared, &mut |f| found.push(f));
                for f in found {
                    prop_assert!(seen[&(f.track.0, f.entry)] >= 2);
                    prop_assert!(announced.insert((f.track.0, f.entry)));
                }
            }
        }
    }
}
