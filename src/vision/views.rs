//! Which views of a track are worth an embedding.
//!
//! The first few good views come quickly, so that a decision that needs several agreeing ones is
//! reached within a second; after that only a view that is clearly better than the best so far, or
//! that comes long after the last. A track has a fixed number of attempts. Once they are used up, a
//! view now and then only tells whether it is still the same face.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::DefaultIsZeroes;

use super::track::{MAX_TRACKS, TrackId};
use crate::locked::take_out;
use crate::problem::Problem;

/// `[vision.views]`: how many views of a track are embedded, and when.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ViewConfig {
    /// Most views of one track that are embedded. A list is signed for at most so many: with each
    /// one a stranger has one more chance, and the false-match curve is of eight.
    pub max_a_track: u32,
    /// So many are embedded as they come, `min_interval_ms` apart; later ones must be better.
    pub first: u32,
    /// Least time between two embedded views of a track, milliseconds.
    pub min_interval_ms: u64,
    /// By how much a later view must exceed the best so far in overall quality, 0 to 1.
    pub margin: f32,
    /// A later view that is not better is embedded all the same after so long without one,
    /// milliseconds.
    pub refresh_ms: u64,
    /// Most embeddings a frame; the faces beyond wait for the next frame and are counted as
    /// deferred.
    pub max_a_frame: u32,
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self {
            max_a_track: 8,
            first: 5,
            min_interval_ms: 150,
            margin: 0.05,
            refresh_ms: 1000,
            max_a_frame: 8,
        }
    }
}

impl ViewConfig {
    /// Adds what is wrong with it to `out`.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        let mut check = |key: &str, value: f64, low: f64, high: f64| {
            if !(low..=high).contains(&value) {
                out.push(Problem {
                    key: format!("{vision_views}.{key}", vision_views = setting!(vision.views)),
                    value: value.to_string(),
                    remedy: format!("write a number from {low} to {high}"),
                });
            }
        };
        check("max_a_track", self.max_a_track.into(), 1.0, 1000.0);
        check("first", self.first.into(), 1.0, f64::from(self.max_a_track.clamp(1, 1000)));
        check("min_interval_ms", self.min_interval_ms as f64, 0.0, 10_000.0);
        check("margin", self.margin.into(), 0.0, 1.0);
        check("refresh_ms", self.refresh_ms as f64, 0.0, 600_000.0);
        check("max_a_frame", self.max_a_frame.into(), 1.0, 128.0);
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Attempts {
    track: TrackId,
    count: u32,
    last: Duration,
    best: f32,
}

impl DefaultIsZeroes for Attempts {}

/// What was embedded of each live track.
#[derive(Debug)]
pub(super) struct Views {
    config: ViewConfig,
    attempts: heapless::Vec<Attempts, MAX_TRACKS>,
    /// Tracks of which a face lay.
    lying: heapless::Vec<TrackId, MAX_TRACKS>,
}

impl Views {
    pub(super) fn new(config: ViewConfig) -> Self {
        Self { config, attempts: heapless::Vec::new(), lying: heapless::Vec::new() }
    }

    /// How many views of `track` were embedded.
    pub(super) fn count(&self, track: TrackId) -> u32 {
        self.of(track).map_or(0, |a| a.count)
    }

    /// Whether a view of `track` may be embedded at `now`, if it is good enough: spares reading its
    /// pixels.
    pub(super) fn due(&self, track: TrackId, now: Duration) -> bool {
        self.of(track).is_none_or(|a| {
            let wait = if a.count < self.config.max_a_track {
                self.config.min_interval_ms
            } else {
                self.config.refresh_ms
            };
            now.saturating_sub(a.last) >= Duration::from_millis(wait)
        })
    }

    /// Whether a view of overall quality `overall` is to be embedded.
    pub(super) fn wants(&self, track: TrackId, overall: f32, now: Duration) -> bool {
        self.due(track, now)
            && self.of(track).is_none_or(|a| {
                a.count < self.config.first
                    || overall > a.best + self.config.margin
                    || now.saturating_sub(a.last) >= Duration::from_millis(self.config.refresh_ms)
            })
    }

    /// A view of `track` was embedded. Says whether that was beyond its attempts.
    pub(super) fn embedded(&mut self, track: TrackId, overall: f32, now: Duration) -> bool {
        if let Some(a) = self.attempts.iter_mut().find(|a| a.track == track) {
            let beyond = a.count >= self.config.max_a_track;
            a.count += u32::from(!beyond);
            a.last = now;
            a.best = a.best.max(overall);
            beyond
        } else {
            // There is a place for each live track, and ended ones are forgotten.
            let new = Attempts { track, count: 1, last: now, best: overall };
            self.attempts.push(new).expect("no more tracks than places");
            false
        }
    }

    /// A face of `track` lies. Says whether that is its first that does.
    pub(super) fn lies(&mut self, track: TrackId) -> bool {
        let first = !self.lying.contains(&track);
        if first {
            self.lying.push(track).expect("no more tracks than places");
        }
        first
    }

    /// The latest view of `track` is the first of somebody else, who is followed as `new`.
    pub(super) fn replaced(&mut self, track: TrackId, new: TrackId) {
        if let Some(a) = self.attempts.iter_mut().find(|a| a.track == track) {
            (a.track, a.count, a.best) = (new, 1, 0.0);
        }
        self.lying.retain(|lies| *lies != track);
    }

    /// Forgets a track that ended.
    pub(super) fn ended(&mut self, track: TrackId) {
        if let Some(at) = self.attempts.iter().position(|a| a.track == track) {
            take_out(&mut self.attempts, at);
        }
        self.lying.retain(|lies| *lies != track);
    }

    fn of(&self, track: TrackId) -> Option<&Attempts> {
        self.attempts.iter().find(|a| a.track == track)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TrackId = TrackId(7);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Times in milliseconds at which views of the given quality, one every 33 ms, are embedded.
    fn embedded(quality: impl Fn(u64) -> f32, until: u64) -> Vec<u64> {
        embedded_or_beyond(quality, until).into_iter().filter(|v| !v.1).map(|v| v.0).collect()
    }

    /// The same with those beyond the track's attempts, which are said to be.
    fn embedded_or_beyond(quality: impl Fn(u64) -> f32, until: u64) -> Vec<(u64, bool)> {
        let mut views = Views::new(ViewConfig::default());
        let mut out = Vec::new();
        for t in (0..until).step_by(33) {
            if views.wants(T, quality(t), ms(t)) {
                out.push((t, views.embedded(T, quality(t), ms(t))));
            }
        }
        out
    }

    #[test]
    fn five_views_are_embedded_within_a_second_and_then_one_a_second_while_none_is_better() {
        let times = embedded(|_| 0.5, 4000);
        assert_eq!(times[..5], [0, 165, 330, 495, 660]);
        assert!(times[5..].windows(2).all(|w| w[1] - w[0] >= 1000), "{times:?}");
    }

    #[test]
    fn a_clearly_better_view_is_embedded_at_once_and_a_slightly_better_one_is_not() {
        let better = |step: f32| embedded(|t| if t < 900 { 0.5 } else { 0.5 + step }, 1100);
        assert_eq!(better(0.1).len(), 6);
        assert_eq!(better(0.02).len(), 5);
    }

    #[test]
    fn no_track_is_embedded_more_often_than_allowed_and_an_ended_one_is_forgotten() {
        assert_eq!(embedded(|t| t as f32 / 1e5, 100_000).len(), 8);
        let beyond = embedded_or_beyond(|_| 0.5, 20_000);
        let beyond: Vec<u64> = beyond.into_iter().filter(|v| v.1).map(|v| v.0).collect();
        assert!(beyond.len() > 10 && beyond.windows(2).all(|w| w[1] - w[0] >= 1000));
        let mut views = Views::new(ViewConfig { max_a_track: 1, ..ViewConfig::default() });
        views.embedded(T, 0.5, ms(0));
        assert!(!views.due(T, ms(999)) && views.due(T, ms(1000)), "to tell who it is");
        views.replaced(T, TrackId(8));
        assert_eq!((views.count(T), views.count(TrackId(8))), (0, 1));
        views.ended(TrackId(8));
        assert!(views.due(TrackId(8), ms(0)) && views.count(TrackId(8)) == 0);
    }
}
