//! Joins the faces of successive frames to tracks, so that one passing person is one track.
//!
//! Each track predicts where its face is now, from a smoothed velocity; predictions and faces are
//! paired greedily, the best pair first, by overlap and by distance in face widths. A track
//! survives a few frames without a face and then ends for good: no person is found again after
//! that, in this camera or another, and numbers mean nothing outside the process. Who is seen at a
//! track's place is not known here; where somebody else took it, [`Tracker::renumber`] is told.
//! Where a face was is wiped with its track.
//!
//! Bounded: at most [`MAX_TRACKS`]. When they are all in use, the track that has gone longest
//! without a face ends for a new one; if each has a face in this frame, the new face gets none and
//! is counted. Time is an argument and may stand still or jump; nothing panics on it.

use std::time::Duration;

use zeroize::{DefaultIsZeroes, Zeroize as _};

use super::faces::{Detection, MAX_FACES};
use crate::geometry::{Point, Rect};
use crate::locked::take_out;

/// Most tracks at a time.
pub const MAX_TRACKS: usize = 128;

/// A track's number: unique among the tracks of a process, meaningless outside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u32);

/// The track of each face of a frame, in the order of the faces; `None` where all tracks were in
/// use.
pub type Assigned = heapless::Vec<Option<TrackId>, MAX_FACES>;

/// Speed below which a face may be sought, in face widths a second: a person who runs past close to
/// the camera.
const TOP_SPEED: f32 = 12.0;
/// How far from its prediction a face may be, in face widths, before anything is known of its
/// speed.
const REACH_UNKNOWN: f32 = 2.0;
/// The same once its speed is known.
const REACH_KNOWN: f32 = 1.2;
/// How far a face is always sought, in face widths: the detector's own jitter and a change of pace.
const REACH_LEAST: f32 = 0.4;
/// Faces whose widths differ by more than this factor are not the same a few frames on.
const SIZE_RATIO: f32 = 1.8;
/// Sightings after which a velocity is trusted.
const KNOWN: u32 = 3;
/// Sightings that are counted; the gains of the first ones depend on their number.
const COUNTED: u32 = 8;
/// The share of an error by which a settled position and size follow.
const FOLLOW: f32 = 0.6;
/// Time over which a settled velocity follows, in seconds: shorter, and the detector's jitter at 30
/// frames a second becomes speed; longer, and a change of pace loses the face.
const VELOCITY_TIME: f32 = 0.25;

#[derive(Debug, Clone, Copy, Default)]
struct Track {
    id: TrackId,
    center: Point,
    width: f32,
    height: f32,
    /// Pixels a second.
    velocity: Point,
    /// Up to `COUNTED`.
    sightings: u32,
    seen: Duration,
    /// Its face in the current frame.
    face: Option<usize>,
}

impl DefaultIsZeroes for Track {}

impl Track {
    fn start(id: TrackId, rect: &Rect, now: Duration, face: usize) -> Self {
        Self {
            id,
            center: rect.center(),
            width: rect.width,
            height: rect.height,
            velocity: Point::default(),
            sightings: 1,
            seen: now,
            face: Some(face),
        }
    }

    fn predict(&self, now: Duration) -> Rect {
        let dt = now.saturating_sub(self.seen).as_secs_f32();
        let (x, y) = (self.center.x + self.velocity.x * dt, self.center.y + self.velocity.y * dt);
        Rect::new(x - self.width / 2.0, y - self.height / 2.0, self.width, self.height)
    }

    /// How far from its prediction its face is sought, in face widths.
    fn reach(&self, now: Duration) -> f32 {
        let dt = now.saturating_sub(self.seen).as_secs_f32();
        let most = if self.sightings < KNOWN { REACH_UNKNOWN } else { REACH_KNOWN };
        (REACH_LEAST + TOP_SPEED * dt).min(most)
    }

    fn follow(&mut self, rect: &Rect, now: Duration, face: usize) {
        let dt = now.saturating_sub(self.seen).as_secs_f32();
        let predicted = self.predict(now).center();
        let seen = rect.center();
        let (ex, ey) = (seen.x - predicted.x, seen.y - predicted.y);
        // Alpha-beta filter; the gains of the n-th sighting are those of the straight line through
        // the first n in the least squares sense, until the settled ones take over.
        let n = (self.sightings + 1) as f32;
        let gain = (2.0 * (2.0 * n - 1.0) / (n * (n + 1.0))).max(FOLLOW);
        if dt > 0.0 {
            let follow = (6.0 / (n * (n + 1.0))).max(1.0 - (-dt / VELOCITY_TIME).exp());
            self.velocity =
                Point::new(self.velocity.x + follow * ex / dt, self.velocity.y + follow * ey / dt);
        }
        self.center = Point::new(predicted.x + gain * ex, predicted.y + gain * ey);
        self.width += FOLLOW * (rect.width - self.width);
        self.height += FOLLOW * (rect.height - self.height);
        self.sightings = (self.sightings + 1).min(COUNTED);
        self.seen = self.seen.max(now);
        self.face = Some(face);
    }
}

/// How well a face fits a prediction, 0 (not at all) to 2.
fn affinity(predicted: &Rect, reach: f32, face: &Rect) -> f32 {
    let (small, large) = (predicted.width.min(face.width), predicted.width.max(face.width));
    let alike = small > 0.0 && large <= small * SIZE_RATIO;
    let distance = predicted.center().distance(face.center()) / (0.5 * (small + large));
    // A NaN is neither alike nor near.
    let near = distance < reach;
    if alike && near { predicted.iou(face) + 1.0 - distance / reach } else { 0.0 }
}

/// The tracks of one camera.
#[derive(Debug)]
pub struct Tracker {
    tracks: heapless::Vec<Track, MAX_TRACKS>,
    survive: Duration,
    next: u32,
    /// (affinity, track, face) of the current frame; emptied after it, and kept to spare the
    /// allocation.
    pairs: Vec<(f32, u16, u16)>,
}

impl Tracker {
    /// A tracker whose tracks end once they have gone without a face for longer than `survive`.
    pub fn new(survive: Duration) -> Self {
        Self {
            tracks: heapless::Vec::new(),
            survive,
            next: 0,
            pairs: Vec::with_capacity(MAX_TRACKS * 4),
        }
    }

    /// Live tracks.
    pub fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Whether there is no live track.
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    /// Takes the faces of the frame captured at `now` (monotonic), says in `assigned` which track
    /// each belongs to, and calls `ended` for each track that ends. Returns how many faces got no
    /// track.
    pub fn update(
        &mut self,
        now: Duration,
        faces: &[Detection],
        assigned: &mut Assigned,
        mut ended: impl FnMut(TrackId),
    ) -> usize {
        let faces = &faces[..faces.len().min(MAX_FACES)];
        assigned.clear();
        assigned.resize(faces.len(), None).expect("as many places as faces");
        self.tracks.iter_mut().for_each(|t| t.face = None);

        self.end_where(|t, survive| now.saturating_sub(t.seen) > survive, &mut ended);
        self.pair(now, faces, assigned);

        let mut untracked = 0;
        for (i, face) in faces.iter().enumerate() {
            if assigned[i].is_some() {
                continue;
            }
            if self.tracks.is_full() && !self.make_room(&mut ended) {
                untracked += 1;
                continue;
            }
            let id = self.number();
            self.tracks
                .push(Track::start(id, &face.rect, now, i))
                .expect("there is room, or it was made");
            assigned[i] = Some(id);
        }
        untracked
    }

    /// Gives a live track another number: its face is of somebody else than before.
    pub fn renumber(&mut self, track: TrackId) -> Option<TrackId> {
        let at = self.tracks.iter().position(|t| t.id == track)?;
        let new = self.number();
        self.tracks[at].id = new;
        Some(new)
    }

    /// Ends every track, as when the camera is gone.
    pub fn end_all(&mut self, mut ended: impl FnMut(TrackId)) {
        self.end_where(|_, _| true, &mut ended);
    }

    fn pair(&mut self, now: Duration, faces: &[Detection], assigned: &mut Assigned) {
        for (t, track) in self.tracks.iter().enumerate() {
            let (predicted, reach) = (track.predict(now), track.reach(now));
            for (f, face) in faces.iter().enumerate() {
                let fit = affinity(&predicted, reach, &face.rect);
                if fit > 0.0 {
                    self.pairs.push((fit, t as u16, f as u16));
                }
            }
        }
        // Ties go by index, so that the same faces give the same tracks.
        self.pairs.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        for &(_, t, f) in &self.pairs {
            let (track, place) = (&mut self.tracks[t as usize], &mut assigned[f as usize]);
            if track.face.is_none() && place.is_none() {
                track.follow(&faces[f as usize].rect, now, f as usize);
                *place = Some(track.id);
            }
        }
        self.pairs.iter_mut().for_each(|(fit, ..)| fit.zeroize());
        self.pairs.clear();
    }

    /// Ends the track that has gone longest without a face, if any is without one in this frame.
    fn make_room(&mut self, ended: &mut impl FnMut(TrackId)) -> bool {
        let idle = self
            .tracks
            .iter()
            .enumerate()
            .filter(|(_, t)| t.face.is_none())
            .min_by_key(|(_, t)| t.seen);
        let Some((at, _)) = idle else { return false };
        ended(take_out(&mut self.tracks, at).id);
        true
    }

    fn end_where(
        &mut self,
        over: impl Fn(&Track, Duration) -> bool,
        ended: &mut impl FnMut(TrackId),
    ) {
        let mut at = 0;
        while at < self.tracks.len() {
            if over(&self.tracks[at], self.survive) {
                ended(take_out(&mut self.tracks, at).id);
            } else {
                at += 1;
            }
        }
    }

    fn number(&mut self) -> TrackId {
        loop {
            self.next = self.next.wrapping_add(1);
            let id = TrackId(self.next);
            // Only after four thousand million tracks can one that still lives have the same
            // number.
            if self.tracks.iter().all(|t| t.id != id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn face(x: f32, y: f32, size: f32) -> Detection {
        let rect = Rect::new(x - size / 2.0, y - size / 2.0, size, size);
        Detection { rect, landmarks: [Point::new(x, y); 5], score: 0.9 }
    }

    fn at(frame: u64, fps: u64) -> Duration {
        Duration::from_millis(frame * 1000 / fps)
    }

    struct TrackRun {
        tracker: Tracker,
        assigned: Assigned,
        ended: Vec<TrackId>,
    }

    impl TrackRun {
        fn new() -> Self {
            let tracker = Tracker::new(Duration::from_millis(700));
            Self { tracker, assigned: Assigned::new(), ended: Vec::new() }
        }

        fn frame(&mut self, now: Duration, faces: &[Detection]) -> Vec<Option<TrackId>> {
            self.tracker.update(now, faces, &mut self.assigned, |id| self.ended.push(id));
            self.assigned.to_vec()
        }
    }

    #[test]
    fn a_track_ends_after_its_time_without_a_face_and_its_number_is_not_used_again() {
        let mut run = TrackRun::new();
        let first = run.frame(at(0, 10), &[face(100.0, 100.0, 50.0)])[0];
        assert_eq!(
            run.frame(at(7, 10), &[face(100.0, 100.0, 50.0)])[0],
            first,
            "700 ms is not longer than 700 ms"
        );
        run.frame(at(15, 10), &[]);
        assert_eq!(run.ended, [first.unwrap()]);
        assert_ne!(run.frame(at(16, 10), &[face(100.0, 100.0, 50.0)])[0], first);
    }

    #[test]
    fn a_small_face_that_moves_further_than_its_own_width_each_frame_is_one_track() {
        let mut run = TrackRun::new();
        let ids: Vec<_> = (0..12)
            .map(|i| run.frame(at(i, 5), &[face(20.0 + 30.0 * i as f32, 50.0, 20.0)])[0])
            .collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn a_face_of_another_size_at_the_same_place_is_another_track() {
        let mut run = TrackRun::new();
        let near = run.frame(at(0, 30), &[face(100.0, 100.0, 120.0)])[0];
        assert_ne!(run.frame(at(1, 30), &[face(100.0, 100.0, 30.0)])[0], near);
    }

    #[test]
    fn when_all_tracks_are_in_use_the_longest_idle_one_makes_room_and_none_that_has_a_face() {
        let mut run = TrackRun::new();
        let grid: Vec<_> = (0..128)
            .map(|i| face((i % 16) as f32 * 100.0, (i / 16) as f32 * 100.0, 40.0))
            .collect();
        let ids = run.frame(at(0, 30), &grid);
        // All but the last are seen again, and one that was never there.
        let mut faces = grid[..127].to_vec();
        faces.push(face(5000.0, 5000.0, 40.0));
        let next = run.frame(at(1, 30), &faces);
        assert_eq!(next[..127], ids[..127]);
        assert_eq!(run.ended, [ids[127].unwrap()]);
        let mut assigned = Assigned::new();
        let mut moved = grid;
        moved.iter_mut().for_each(|f| f.rect.x += 20_000.0);
        let untracked = run.tracker.update(at(1, 30), &moved, &mut assigned, |_| ());
        assert_eq!((untracked, run.tracker.len()), (0, 128), "tracks without a face give way");
    }

    #[test]
    fn faces_that_are_no_numbers_and_time_that_goes_back_are_survived() {
        let mut run = TrackRun::new();
        run.frame(
            at(9, 10),
            &[face(f32::NAN, 1.0, 5.0), face(1.0, 1.0, f32::INFINITY), face(1.0, 1.0, 0.0)],
        );
        run.frame(at(1, 10), &[face(3.0, 3.0, 30.0)]);
        run.frame(at(1, 10), &[face(3.0, 3.0, 30.0)]);
        run.tracker.end_all(|_| ());
        assert!(run.tracker.is_empty());
    }

    fn crossing(fps: u64, size: f32, speed: f32, jitter: &[(f32, f32)]) -> bool {
        // Two persons walk towards each other on nearly the same line; while one hides the other,
        // only the nearer is seen.
        let mut run = TrackRun::new();
        let mut ids = [None; 2];
        let frames = (2.0 * 400.0 / speed * fps as f32) as u64;
        for i in 0..frames {
            let t = i as f32 / fps as f32;
            let (ax, bx) = (100.0 + speed * t, 900.0 - speed * t);
            let hidden = (ax - bx).abs() < size * 0.7;
            let j = |k: usize| jitter[(i as usize * 2 + k) % jitter.len()];
            let a = face(ax + size * j(0).0, 300.0 + size * j(0).1, size);
            let b = face(bx + size * j(1).0, 300.0 + size * (0.15 + j(1).1), size * 0.9);
            let got =
                if hidden { run.frame(at(i, fps), &[a]) } else { run.frame(at(i, fps), &[a, b]) };
            if i == 0 {
                ids = [got[0], got[1]];
            }
            if got[0] != ids[0] || (!hidden && got[1] != ids[1]) {
                return false;
            }
        }
        true
    }

    proptest! {
        #[test]
        fn a_passing_person_with_jitter_and_misses_is_one_track(
            fps in 8u64..31,
            speed in -500.0f32..500.0,
            size in 24.0f32..160.0,
            growth in 0.8f32..1.3,
            noise in proptest::collection::vec((-0.06f32..0.06, -0.06f32..0.06, 0.0f32..1.0), 60),
        ) {
            // Up to four face widths a second: a brisk walk close by.
            let speed = speed.clamp(-4.0 * size, 4.0 * size);
            let mut run = TrackRun::new();
            let mut ids = std::collections::BTreeSet::new();
            let mut missed = Duration::ZERO;
            for (i, (jx, jy, miss)) in noise.iter().enumerate() {
                let now = at(i as u64, fps);
                let t = now.as_secs_f32();
                let here = size * growth.powf(t);
                // No gap is longer than a track survives.
                if i > 2 && *miss < 0.3 && missed < Duration::from_millis(400) {
                    missed += at(1, fps);
                    run.frame(now, &[]);
                    continue;
                }
                missed = Duration::ZERO;
                ids.extend(
                    run.frame(now, &[face(500.0 + speed * t + jx * here, 300.0 + jy * here, here)])
                        [0],
                );
            }
            prop_assert_eq!(ids.len(), 1);
        }

        #[test]
        fn two_persons_who_cross_keep_their_tracks(
            // Face widths a second. Slower ones hide each other, for 1.4 / (2 * speed) seconds and
            // up to two frames more, longer than a track survives.
            fps in 12u64..31, size in 40.0f32..110.0, speed in 1.35f32..3.5,
            jitter in proptest::collection::vec((-0.03f32..0.03, -0.03f32..0.03), 64),
        ) {
            prop_assert!(crossing(fps, size, speed * size, &jitter));
        }

        #[test]
        fn there_are_never_more_tracks_than_allowed_and_never_two_with_one_number(
            frames in proptest::collection::vec(
                (
                    0u64..1000,
                    proptest::collection::vec(
                        (0.0f32..2000.0, 0.0f32..2000.0, 1.0f32..200.0),
                        0..=128,
                    ),
                ),
                1..12,
            ),
        ) {
            let mut run = TrackRun::new();
            let mut live = std::collections::BTreeSet::new();
            let mut now = Duration::ZERO;
            for (step, faces) in frames {
                now += Duration::from_millis(step);
                let faces: Vec<_> = faces.into_iter().map(|(x, y, s)| face(x, y, s)).collect();
                let got = run.frame(now, &faces);
                let ids: std::collections::BTreeSet<_> = got.iter().flatten().copied().collect();
                prop_assert_eq!(ids.len(), got.iter().flatten().count(), "one face a track");
                live.extend(ids);
                for id in run.ended.drain(..) {
                    prop_assert!(live.remove(&id), "ended once, after it lived");
                }
                prop_assert_eq!(live.len(), run.tracker.len());
                prop_assert!(live.len() <= MAX_TRACKS);
            }
        }
    }
}
