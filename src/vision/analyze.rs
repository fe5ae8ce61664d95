//! The stage: a frame in, the best views of each track out.
//!
//! Detector, tracker, quality gate, choice of views and embedder in this order, once a frame. The
//! work of a frame is bounded whatever it shows: at most 128 faces, at most so many embeddings; the
//! best of the tracks with the fewest views come first, the rest are counted as deferred and come
//! first in the next frame.
//!
//! A face that is not embedded leaves nothing but a count, and its place until its track ends. A
//! view that is emitted belongs to the caller; its pixels and its embedding wipe themselves when
//! dropped.

use std::time::Duration;

use zeroize::DefaultIsZeroes;

use super::align::AlignedFace;
use super::detect::Detector;
use super::embed::Embedder;
use super::faces::{Faces, MAX_FACES, forget};
use super::fitness::{Fitness, HardlyAble};
use super::head::InCompany;
use super::judge::{FaceJudge, JudgedFace};
use super::manifest::Models;
use super::quality::{Quality, TooPoor};
use super::second_look::Stance;
use super::track::{Assigned, TrackId, Tracker};
use super::views::Views;
use super::{VisionConfig, VisionError};
use crate::clock::{Now, Stopwatch};
use crate::frame::Frame;
use crate::geometry::{Point, Rect, Turn};
use crate::locked::wipe_list;
use crate::template::Embedding;

/// One embedded view of a face.
#[derive(Debug)]
pub struct View {
    /// How fit it is for comparison.
    pub quality: Quality,
    /// What is searched with.
    pub probe: Embedding,
    /// The pixels, for the crop of a candidate's event.
    pub face: AlignedFace,
    /// Where it is in the frame.
    pub rect: Rect,
    /// In the frame; see [`super::Detection`].
    pub landmarks: [Point; 5],
    /// When the frame was captured.
    pub at: Now,
    /// Its track has had all its views: it is there to tell whether the face is still the same, and
    /// for nothing else.
    pub beyond: bool,
}

/// What the stage tells.
#[derive(Debug)]
pub enum Sighting<'a> {
    /// A view of a track was embedded.
    Viewed {
        /// Which track.
        track: TrackId,
        /// The view.
        view: View,
        /// Who else was found in the frame.
        company: InCompany<'a>,
    },
    /// A track is over; its number will not come again.
    Ended {
        /// Which track.
        track: TrackId,
    },
}

/// Views turned away, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TooPoorCounts([u32; TooPoor::ALL.len()]);

impl TooPoorCounts {
    /// One more.
    pub fn add(&mut self, reason: TooPoor) {
        self.0[reason as usize] += 1;
    }

    /// How many for `reason`.
    pub fn of(&self, reason: TooPoor) -> u32 {
        self.0[reason as usize]
    }

    /// For whatever reason.
    pub fn total(&self) -> u32 {
        self.0.iter().sum()
    }
}

/// Views that were embedded though they are hardly able to match, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HardlyAbleCounts([u32; HardlyAble::ALL.len()]);

impl HardlyAbleCounts {
    /// One more.
    pub fn add(&mut self, reason: HardlyAble) {
        self.0[reason as usize] += 1;
    }

    /// How many for `reason`.
    pub fn of(&self, reason: HardlyAble) -> u32 {
        self.0[reason as usize]
    }
}

/// Tracks that lie, by the turn of the camera's picture with which they would stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnCounts([u32; Turn::ALL.len()]);

impl TurnCounts {
    /// One more.
    pub fn add(&mut self, turn: Turn) {
        self.0[turn as usize] += 1;
    }

    /// How many with `turn`.
    pub fn of(&self, turn: Turn) -> u32 {
        self.0[turn as usize]
    }
}

/// Where the time of a frame went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Decoding the picture, where that was timed: the analyzer gets decoded ones.
    pub decode: Duration,
    /// The detector: resizing, network, reading its outputs.
    pub detect: Duration,
    /// The tracker and the choice of views.
    pub track: Duration,
    /// Alignment and quality of the faces that were due.
    pub align: Duration,
    /// The embedder.
    pub embed: Duration,
}

/// What a frame held. Counts only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameCounts {
    /// Faces found, those beyond capacity not among them.
    pub faces: u32,
    /// Faces found beyond what a frame may hold.
    pub beyond_capacity: u32,
    /// Faces for which no track was free.
    pub untracked: u32,
    /// Faces turned away; blur and cut-off are looked for only where a view was due.
    pub too_poor: TooPoorCounts,
    /// Views embedded.
    pub embedded: u32,
    /// Those of them that are hardly able to match.
    pub hardly_able: HardlyAbleCounts,
    /// Tracks of which the first view was embedded.
    pub viewed_tracks: u32,
    /// Tracks of which a face lay for the first time.
    pub lying_tracks: u32,
    /// Those of them that would stand with one of the turns. The turn is that of the picture as it
    /// is captured: a setting's value, whatever it is now.
    pub upright_if_rotated: TurnCounts,
    /// Views that were due but beyond the frame's budget.
    pub deferred: u32,
    /// Tracks alive after the frame.
    pub tracks: u32,
    /// Where the time went.
    pub times: StageTimes,
}

/// A face that may be embedded, before its pixels are read.
#[derive(Debug, Clone, Copy, Default)]
struct Due {
    face: usize,
    track: TrackId,
    views: u32,
    quality: Quality,
}

impl DefaultIsZeroes for Due {}

/// Most faces whose pixels are read a frame, in multiples of its embeddings: some turn out to be
/// blurred.
const LOOKS_AN_EMBEDDING: usize = 3;

/// The stage of one camera.
pub struct Analyzer {
    judge: FaceJudge,
    tracker: Tracker,
    views: Views,
    min_score: f32,
    budget: usize,
    faces: Faces,
    assigned: Assigned,
    due: heapless::Vec<Due, MAX_FACES>,
}

impl Analyzer {
    /// Loads both networks.
    ///
    /// # Errors
    /// Where one of them does not load or is not what the manifest says.
    pub fn new(models: &Models, config: &VisionConfig) -> Result<Self, VisionError> {
        Ok(Self {
            judge: FaceJudge::new(models, config)?,
            tracker: Tracker::new(Duration::from_millis(config.track_survives_ms)),
            views: Views::new(config.views),
            min_score: config.min_score,
            budget: config.views.max_a_frame as usize,
            faces: Faces::new(),
            assigned: Assigned::new(),
            due: heapless::Vec::new(),
        })
    }

    /// The detector, as for `doctor` and `bench`.
    pub fn detector(&mut self) -> &mut Detector {
        self.judge.detector()
    }

    /// The embedder, as for `doctor` and `bench`.
    pub fn embedder(&mut self) -> &mut Embedder {
        self.judge.embedder()
    }

    /// Looks at the frame captured at `now`; `out` receives the tracks that ended, then the views.
    /// `stopwatch` measures where the time went.
    ///
    /// # Errors
    /// Where a network fails to run. The tracks live on; the next frame may succeed.
    pub fn analyze(
        &mut self,
        frame: &Frame<'_>,
        now: Now,
        stopwatch: &mut dyn Stopwatch,
        out: &mut impl FnMut(Sighting<'_>),
    ) -> Result<FrameCounts, VisionError> {
        let start = stopwatch.elapsed();
        let report = self.judge.detector().detect(frame, self.min_score, &mut self.faces)?;
        let mut counts = FrameCounts {
            beyond_capacity: report.beyond_capacity as u32,
            ..FrameCounts::default()
        };
        counts.times.detect = stopwatch.elapsed().saturating_sub(start);
        let result = self.follow(frame, now, stopwatch, out, &mut counts);
        forget(&mut self.faces);
        wipe_list(&mut self.due);
        result.map(|()| counts)
    }

    /// Everything after the detector, for the faces in `faces`.
    fn follow(
        &mut self,
        frame: &Frame<'_>,
        now: Now,
        stopwatch: &mut dyn Stopwatch,
        out: &mut impl FnMut(Sighting<'_>),
        counts: &mut FrameCounts,
    ) -> Result<(), VisionError> {
        let start = stopwatch.elapsed();
        let views = &mut self.views;
        let untracked =
            self.tracker.update(now.monotonic, &self.faces, &mut self.assigned, |track| {
                views.ended(track);
                out(Sighting::Ended { track });
            });
        counts.faces = self.faces.len() as u32;
        counts.untracked = untracked as u32;
        counts.tracks = self.tracker.len() as u32;
        self.choose(now.monotonic, &mut counts.too_poor);
        counts.times.track = stopwatch.elapsed().saturating_sub(start);
        self.embed_due(frame, now, stopwatch, out, counts)
    }

    /// Live tracks.
    pub fn tracks(&self) -> usize {
        self.tracker.len()
    }

    /// Begins a track of its own with the latest view of `track`, which is of somebody else than
    /// those before. Returns its number; the old one will not come again.
    pub fn replaced(&mut self, track: TrackId) -> Option<TrackId> {
        let new = self.tracker.renumber(track)?;
        self.views.replaced(track, new);
        Some(new)
    }

    /// Ends all tracks, as when the camera is gone or matching is suspended.
    pub fn end_all(&mut self, out: &mut impl FnMut(Sighting<'_>)) {
        let views = &mut self.views;
        self.tracker.end_all(|track| {
            views.ended(track);
            out(Sighting::Ended { track });
        });
    }

    /// Fills `due` with the faces that may be embedded, in the order in which they should be.
    fn choose(&mut self, now: Duration, too_poor: &mut TooPoorCounts) {
        wipe_list(&mut self.due);
        for (i, (face, track)) in self.faces.iter().zip(&self.assigned).enumerate() {
            let Some(track) = *track else { continue };
            let quality = Quality::of_detection(face);
            if let Err(reason) = self.judge.gate().check_geometry(&quality) {
                too_poor.add(reason);
                continue;
            }
            // Sharpness can only lower the overall quality, so what is not wanted now will not be
            // wanted later.
            if self.views.wants(track, quality.overall, now) {
                let due = Due { face: i, track, views: self.views.count(track), quality };
                self.due.push(due).expect("no more of them than faces");
            }
        }
        self.due.sort_unstable_by(|a, b| {
            a.views
                .cmp(&b.views)
                .then(b.quality.overall.total_cmp(&a.quality.overall))
                .then(a.face.cmp(&b.face))
        });
    }

    fn embed_due(
        &mut self,
        frame: &Frame<'_>,
        now: Now,
        stopwatch: &mut dyn Stopwatch,
        out: &mut impl FnMut(Sighting<'_>),
        counts: &mut FrameCounts,
    ) -> Result<(), VisionError> {
        let mut looks = 0;
        for due in &self.due {
            if counts.embedded as usize >= self.budget || looks >= self.budget * LOOKS_AN_EMBEDDING
            {
                counts.deferred += 1;
                continue;
            }
            looks += 1;
            let start = stopwatch.elapsed();
            let JudgedFace { face, quality, stance, verdict } =
                self.judge.judge(frame, &self.faces[due.face])?;
            let aligned = stopwatch.elapsed();
            counts.times.align += aligned.saturating_sub(start);
            if let Err(reason) = verdict {
                counts.too_poor.add(reason);
                if reason == TooPoor::Lying && self.views.lies(due.track) {
                    counts.lying_tracks += 1;
                    if let Stance::Lying { stands_after: Some(turn) } = stance {
                        let turn = frame.orientation().turned_further(turn);
                        counts.upright_if_rotated.add(turn);
                    }
                }
                continue;
            }
            if !self.views.wants(due.track, quality.overall, now.monotonic) {
                continue;
            }
            let embedded = self.judge.embed();
            counts.times.embed += stopwatch.elapsed().saturating_sub(aligned);
            let probe = match embedded {
                Ok(probe) => probe,
                Err(e) => {
                    self.judge.wipe();
                    return Err(e);
                }
            };
            counts.embedded += 1;
            let fitness = Fitness::of(self.judge.aligned());
            if let Some(reason) = fitness.and_then(|f| f.hardly_able()) {
                counts.hardly_able.add(reason);
            }
            counts.viewed_tracks += u32::from(self.views.count(due.track) == 0);
            let beyond = self.views.embedded(due.track, quality.overall, now.monotonic);
            let view = View {
                quality,
                probe,
                face: self.judge.aligned().clone(),
                rect: face.rect,
                landmarks: face.landmarks,
                at: now,
                beyond,
            };
            let company = InCompany { faces: &self.faces, own: due.face };
            out(Sighting::Viewed { track: due.track, view, company });
        }
        self.judge.wipe();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::clock::Clock;
    use crate::frame::{Layout, PixelFormat, Range};
    use crate::vision::Detection;
    use time::OffsetDateTime;

    /// A stage whose detector is replaced by the faces that a test says.
    struct StageWithFaces {
        analyzer: Analyzer,
        layout: Layout,
        data: Vec<u8>,
        views: BTreeMap<TrackId, u32>,
        ended: Vec<TrackId>,
    }

    const WIDTH: u32 = 1200;

    impl StageWithFaces {
        fn new(max_a_frame: u32, contrast: u8) -> Self {
            let mut config = VisionConfig::default();
            config.views.max_a_frame = max_a_frame;
            let layout = Layout::packed(PixelFormat::Grey, Range::Full, WIDTH, 900).unwrap();
            let texture = |i: u32| {
                if (i % WIDTH / 4 + i / WIDTH / 4).is_multiple_of(2) { contrast } else { 0 }
            };
            Self {
                analyzer: Analyzer::new(&Models::builtin().unwrap(), &config).unwrap(),
                layout,
                data: (0..WIDTH * 900).map(texture).collect(),
                views: BTreeMap::new(),
                ended: Vec::new(),
            }
        }

        fn frame(&mut self, ms: u64, faces: &[Detection]) -> FrameCounts {
            let now =
                Now { monotonic: Duration::from_millis(ms), wall: OffsetDateTime::UNIX_EPOCH };
            let frame = Frame::new(self.layout, &self.data).unwrap();
            self.analyzer.faces = Faces::from_slice(faces).unwrap();
            let mut counts = FrameCounts::default();
            let (views, ended) = (&mut self.views, &mut self.ended);
            let out = &mut |sighting: Sighting<'_>| match sighting {
                Sighting::Viewed { track, view, .. } => {
                    assert_eq!(
                        (view.probe.values().len(), view.face.side(), view.at),
                        (512, 112, now)
                    );
                    *views.entry(track).or_default() += 1;
                }
                Sighting::Ended { track } => ended.push(track),
            };
            self.analyzer.follow(&frame, now, &mut Clock::default(), out, &mut counts).unwrap();
            counts
        }
    }

    /// A frontal face of which the eyes are `eyes` pixels apart.
    fn face(x: f32, y: f32, eyes: f32) -> Detection {
        let template = Models::builtin().unwrap().manifest.embedder.template();
        let landmarks = template.map(|p| Point::new(x + p.x * eyes / 35.2, y + p.y * eyes / 35.2));
        Detection { rect: Rect::new(x, y, eyes * 3.0, eyes * 3.0), landmarks, score: 0.95 }
    }

    fn crowd(n: usize) -> Vec<Detection> {
        (0..n).map(|i| face((i % 10) as f32 * 110.0, (i / 10) as f32 * 110.0, 30.0)).collect()
    }

    #[test]
    fn a_crowd_is_embedded_within_the_budget_of_each_frame_and_everybody_has_a_turn() {
        let mut stage = StageWithFaces::new(3, 255);
        let first = stage.frame(0, &crowd(8));
        assert_eq!((first.faces, first.tracks, first.embedded, first.deferred), (8, 8, 3, 5));
        // By then the first three would be due again, but those without a view come before them.
        assert_eq!(stage.frame(200, &crowd(8)).embedded, 3);
        let third = stage.frame(400, &crowd(8));
        assert_eq!((third.embedded, third.deferred), (3, 5));
        assert_eq!(stage.views.len(), 8);
    }

    #[test]
    fn a_still_face_is_embedded_five_times_within_a_second_and_its_track_ends_when_it_is_gone() {
        let mut stage = StageWithFaces::new(8, 255);
        let embedded: u32 = (0..30).map(|i| stage.frame(i * 33, &crowd(1)).embedded).sum();
        assert_eq!(embedded, 5);
        assert_eq!(stage.frame(990, &[]).tracks, 1);
        assert_eq!(stage.frame(1800, &[]).tracks, 0);
        assert_eq!(stage.ended, stage.views.into_keys().collect::<Vec<_>>());
    }

    #[test]
    fn a_poor_view_is_counted_under_its_reason_and_never_embedded() {
        let mut stage = StageWithFaces::new(8, 0);
        let tiny = face(500.0, 500.0, 8.0);
        let cut = face(-60.0, 200.0, 40.0);
        let blurred = face(200.0, 200.0, 40.0);
        let mut averted = face(700.0, 200.0, 40.0);
        averted.landmarks[2].x += 50.0;
        let counts = stage.frame(0, &[tiny, cut, blurred, averted]);
        for reason in [TooPoor::TooSmall, TooPoor::CutOff, TooPoor::Blurred, TooPoor::Pose] {
            assert_eq!(counts.too_poor.of(reason), 1, "{}", reason.name());
        }
        assert_eq!((counts.too_poor.total(), counts.embedded, counts.deferred), (4, 0, 0));
        assert!(
            stage.views.is_empty() && stage.analyzer.judge.aligned().rgb().iter().all(|v| *v == 0)
        );
    }

    #[test]
    fn a_frame_without_a_face_goes_through_the_networks_and_gives_nothing() {
        let mut stage = StageWithFaces::new(8, 90);
        let frame = Frame::new(stage.layout, &stage.data).unwrap();
        let now = Now { monotonic: Duration::ZERO, wall: OffsetDateTime::UNIX_EPOCH };
        let counts = stage
            .analyzer
            .analyze(&frame, now, &mut Clock::default(), &mut |s| panic!("{s:?}"))
            .unwrap();
        assert_eq!((counts.faces, counts.embedded, counts.too_poor.total()), (0, 0, 0));
    }

    /// Does not compile once the stage hands out more than this: whoever adds a field has to say
    /// here what it is, and nothing that is guessed about a person may be among it.
    #[test]
    fn what_leaves_the_stage_is_a_box_points_quality_an_embedding_the_pixels_and_counts() {
        fn tell(sighting: Sighting<'_>) -> TrackId {
            match sighting {
                Sighting::Ended { track } => track,
                Sighting::Viewed {
                    track,
                    view: View { quality, probe, face, rect, landmarks, at, .. },
                    company: InCompany { faces: _, own: _ },
                } => {
                    let (_, _, _, _): (Embedding, AlignedFace, Rect, [Point; 5]) =
                        (probe, face, rect, landmarks);
                    let Now { monotonic: _, wall: _ } = at;
                    let Quality {
                        eye_distance_px,
                        sharpness,
                        yaw,
                        pitch,
                        roll,
                        detector_score,
                        outside,
                        overall,
                    } = quality;
                    let _: [f32; 8] = [
                        eye_distance_px,
                        sharpness,
                        yaw,
                        pitch,
                        roll,
                        detector_score,
                        outside,
                        overall,
                    ];
                    track
                }
            }
        }
        let _: fn(Sighting<'_>) -> TrackId = tell;
        let FrameCounts {
            faces,
            beyond_capacity,
            untracked,
            too_poor,
            embedded,
            hardly_able,
            viewed_tracks,
            lying_tracks,
            upright_if_rotated,
            deferred,
            tracks,
            times,
        } = FrameCounts::default();
        let _: [u32; 6] = [faces, beyond_capacity, untracked, embedded, deferred, tracks];
        let _: [u32; 2] = [viewed_tracks, lying_tracks];
        let (TooPoorCounts(_), HardlyAbleCounts(_)) = (too_poor, hardly_able);
        let TurnCounts(_) = upright_if_rotated;
        let StageTimes { decode: _, detect: _, track: _, align: _, embed: _ } = times;
        let Detection { rect: _, landmarks: _, score: _ } = face(0.0, 0.0, 40.0);
    }
}
