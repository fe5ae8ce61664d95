//! Finds faces: a frame in, boxes and five landmarks in the frame's own pixels out.
//!
//! Networks are made for one canvas size; the last few sizes are kept, so that a camera pays once
//! and a folder of photographs of a few shapes hardly more. At most [`MAX_FACES`] faces are given,
//! the best by score; the others are counted.

use std::time::{Duration, Instant};

use zeroize::Zeroize;

use super::VisionError;
use super::align::AlignedFace;
use super::engine::{self, Input, Network};
use super::letterbox::{Fit, Letterbox};
use super::manifest::{DetectorSpec, Family, Models};
use super::second_look::{self, SecondLook};
use crate::frame::Frame;
use crate::geometry::{Point, Rect};
use crate::kernels::pixels;

/// Most faces of one frame.
pub const MAX_FACES: usize = 128;

/// The faces of one frame, best score first.
pub type Faces = heapless::Vec<Detection, MAX_FACES>;

/// One face, in pixels of the frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Its box. Parts may lie outside the frame.
    pub rect: Rect,
    /// Image-left eye, image-right eye, nose tip, image-left and image-right corner of the mouth.
    pub landmarks: [Point; 5],
    /// The detector's confidence, 0 to 1.
    pub score: f32,
}

/// What a run of the detector cost, and what it left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DetectReport {
    /// Faces beyond [`MAX_FACES`].
    pub beyond_capacity: usize,
    /// Time to fill the network's input.
    pub resize: Duration,
    /// Time in the network.
    pub network: Duration,
    /// Time to read its outputs.
    pub decode: Duration,
}

/// Two boxes that overlap by more than this (intersection over union) are one face.
const OVERLAP: f32 = 0.3;
/// Candidates before overlapping ones are merged; a crowd of [`MAX_FACES`] faces has a quarter of
/// these.
const MAX_CANDIDATES: usize = 4096;
/// Most anchors a cell of an SCRFD detector; InsightFace's have two.
const MAX_ANCHORS: usize = 3;
/// Canvas sizes whose networks are kept: two of second looks, three of frames.
const KEPT_NETWORKS: usize = 5;
/// The most by which a small frame is stretched: beyond its own resolution there is nothing to
/// find.
const MAX_STRETCH: f32 = 1.0;

/// Shortest and longest allowed long side of the canvas.
pub const LONG_SIDE: std::ops::RangeInclusive<usize> = 64..=4096;

/// Runs the detector of a manifest.
pub struct Detector {
    spec: DetectorSpec,
    engine: String,
    onnx: Vec<u8>,
    long_side: usize,
    letterbox: Letterbox,
    /// Most recently used last.
    pub(super) networks: Vec<Fixed>,
    scratch: Scratch,
    pub(super) second_look: SecondLook,
}

/// A network for one canvas size.
pub(super) struct Fixed {
    network: Box<dyn Network>,
    levels: Vec<LevelOutputs>,
}

/// Which outputs hold one level.
struct LevelOutputs {
    stride: usize,
    columns: usize,
    rows: usize,
    anchors: usize,
    scores: heapless::Vec<usize, 2>,
    boxes: usize,
    points: usize,
}

#[derive(Default)]
struct Scratch {
    candidates: Vec<Detection>,
    kept: Vec<Rect>,
    square: Vec<u8>,
}

impl Detector {
    /// A detector whose canvas has the long side `long_side` at most.
    ///
    /// # Errors
    /// [`VisionError::Detector`] where the network does not load or [`VisionError::Outputs`] where
    /// it lacks an output that the manifest names: found out here, on the smallest canvas, and not
    /// with the first frame.
    pub fn new(models: &Models, long_side: usize) -> Result<Self, VisionError> {
        let spec = models.manifest.detector.clone();
        let smallest = Fixed::load(&spec, models.detector(), spec.multiple, spec.multiple)?;
        Ok(Self {
            engine: smallest.network.name().to_owned(),
            onnx: models.detector().to_vec(),
            long_side: long_side.clamp(*LONG_SIDE.start(), *LONG_SIDE.end()),
            letterbox: Letterbox::new(pixels::in_use()),
            networks: Vec::with_capacity(KEPT_NETWORKS),
            scratch: Scratch::default(),
            second_look: SecondLook::new(),
            spec,
        })
    }

    /// Engine and kernel that run it.
    pub fn engine(&self) -> &str {
        &self.engine
    }

    /// Loads the networks for frames of this size, and for second looks, ahead of the first one.
    ///
    /// # Errors
    /// [`VisionError::Detector`].
    pub fn prepare(&mut self, frame: &Frame<'_>) -> Result<(), VisionError> {
        let fit = self.fit(frame);
        for side in second_look::SIDES {
            let canvas = side.next_multiple_of(self.spec.multiple);
            self.sized(canvas, canvas)?;
        }
        self.sized(fit.canvas_height, fit.canvas_width).map(|_| ())
    }

    /// Makes the network's input from `frame` and runs nothing, for measuring; returns its number
    /// of bytes.
    pub fn fill(&mut self, frame: &Frame<'_>) -> usize {
        let fit = self.fit(frame);
        self.letterbox.fill(frame, fit, self.spec.channels).len()
    }

    /// Replaces `faces` by the faces of `frame` whose score is at least `min_score`, best first.
    ///
    /// # Errors
    /// [`VisionError::Detector`] where the engine fails; `faces` is then empty.
    pub fn detect(
        &mut self,
        frame: &Frame<'_>,
        min_score: f32,
        faces: &mut Faces,
    ) -> Result<DetectReport, VisionError> {
        faces.clear();
        let (fit, mut report) = self.look(frame, min_score)?;
        let start = Instant::now();
        let Scratch { candidates, kept, .. } = &mut self.scratch;
        report.beyond_capacity =
            suppress(candidates, kept, MAX_CANDIDATES, OVERLAP, |c| faces.push(*c).is_ok());
        for face in faces.iter_mut() {
            to_frame(face, &fit);
        }
        report.decode += start.elapsed();
        Ok(report)
    }

    /// As [`Detector::detect`] without a bound, merging boxes that overlap by more than `overlap`:
    /// for measuring on pictures of crowds with scores so low that most boxes are no faces. Its
    /// memory grows with the canvas; never for a device.
    ///
    /// # Errors
    /// [`VisionError::Detector`] where the engine fails; `faces` is then empty.
    pub fn detect_unbounded(
        &mut self,
        frame: &Frame<'_>,
        min_score: f32,
        overlap: f32,
        faces: &mut Vec<Detection>,
    ) -> Result<(), VisionError> {
        faces.clear();
        let (fit, _) = self.look(frame, min_score)?;
        let Scratch { candidates, kept, .. } = &mut self.scratch;
        suppress(candidates, kept, usize::MAX, overlap, |c| {
            faces.push(*c);
            true
        });
        for face in faces.iter_mut() {
            to_frame(face, &fit);
        }
        Ok(())
    }

    /// Fills the candidates, in pixels of the canvas.
    fn look(
        &mut self,
        frame: &Frame<'_>,
        min_score: f32,
    ) -> Result<(Fit, DetectReport), VisionError> {
        let fit = self.fit(frame);
        let at = self.sized(fit.canvas_height, fit.canvas_width)?;
        let Fixed { network, levels } = &mut self.networks[at];

        let start = Instant::now();
        let canvas = self.letterbox.fill(frame, fit, self.spec.channels);
        let resized = Instant::now();
        network.run(&Input::Interleaved(canvas)).map_err(VisionError::Detector)?;
        let ran = Instant::now();
        let candidates = &mut self.scratch.candidates;
        candidates.clear();
        for level in levels.iter() {
            decode(&**network, level, self.spec.family, min_score, candidates);
        }
        let report = DetectReport {
            beyond_capacity: 0,
            resize: resized - start,
            network: ran - resized,
            decode: ran.elapsed(),
        };
        Ok((fit, report))
    }

    /// The faces of a square picture, in its own pixels.
    pub(super) fn detect_square(
        &mut self,
        picture: &AlignedFace,
        min_score: f32,
        faces: &mut Faces,
    ) -> Result<(), VisionError> {
        faces.clear();
        let side = picture.side();
        let canvas = side.next_multiple_of(self.spec.multiple);
        let at = self.sized(canvas, canvas)?;
        let Fixed { network, levels } = &mut self.networks[at];
        let Scratch { candidates, kept, square } = &mut self.scratch;
        square.clear();
        square.resize(canvas * canvas * 3, 0);
        for (to, from) in
            square.chunks_exact_mut(canvas * 3).zip(picture.rgb().chunks_exact(side * 3))
        {
            self.spec.channels.copy_rgb(from, &mut to[..side * 3]);
        }
        let ran = network.run(&Input::Interleaved(square)).map_err(VisionError::Detector);
        square.as_mut_slice().zeroize();
        ran?;
        candidates.clear();
        for level in levels.iter() {
            decode(&**network, level, self.spec.family, min_score, candidates);
        }
        suppress(candidates, kept, MAX_CANDIDATES, OVERLAP, |c| faces.push(*c).is_ok());
        Ok(())
    }

    fn fit(&self, frame: &Frame<'_>) -> Fit {
        Fit::new(frame, self.long_side, MAX_STRETCH, self.spec.multiple)
    }

    /// Index of the network for a canvas; it becomes the most recently used.
    fn sized(&mut self, height: usize, width: usize) -> Result<usize, VisionError> {
        let shape = [1, 3, height, width];
        if let Some(at) = self.networks.iter().position(|n| n.network.input_shape() == shape) {
            let used = self.networks.remove(at);
            self.networks.push(used);
        } else {
            let loaded = Fixed::load(&self.spec, &self.onnx, height, width)?;
            if self.networks.len() == KEPT_NETWORKS {
                self.networks.remove(0);
            }
            self.scratch.candidates.reserve(loaded.levels.iter().map(LevelOutputs::anchors).sum());
            self.networks.push(loaded);
        }
        Ok(self.networks.len() - 1)
    }
}

impl LevelOutputs {
    fn anchors(&self) -> usize {
        self.columns * self.rows * self.anchors
    }
}

impl Fixed {
    fn load(
        spec: &DetectorSpec,
        onnx: &[u8],
        height: usize,
        width: usize,
    ) -> Result<Self, VisionError> {
        let network = engine::load(onnx, height, width, spec.normalization())
            .map_err(VisionError::Detector)?;
        let find = |name: &str| {
            network.output_names().iter().position(|n| n == name).ok_or_else(|| {
                VisionError::Outputs {
                    network: spec.name.clone(),
                    reason: format!(
                        "no output `{name}`; it has {}",
                        network.output_names().join(", ")
                    ),
                }
            })
        };
        let mut levels = Vec::with_capacity(spec.levels.len());
        for level in &spec.levels {
            let (columns, rows) = (width / level.stride, height / level.stride);
            let mut scores = heapless::Vec::new();
            for name in &level.scores {
                scores
                    .push(find(name)?)
                    .expect("the manifest was checked to name at most two scores");
            }
            let (boxes, points) = (find(&level.boxes)?, find(&level.points)?);
            let cells = columns * rows;
            let length = |index: usize| network.output(index).len();
            let anchors = length(scores[0]) / cells;
            let right = match spec.family {
                Family::Yunet => anchors == 1,
                Family::Scrfd => (1..=MAX_ANCHORS).contains(&anchors),
            };
            let expect = |index: usize, values: usize| {
                if right && length(index) == cells * anchors * values {
                    return Ok(());
                }
                Err(VisionError::Outputs {
                    network: spec.name.clone(),
                    reason: format!(
                        "output `{}` has {} values on a {width}x{height} image, but {values} for \
                         each of {cells} cells of stride {} are needed",
                        network.output_names()[index],
                        length(index),
                        level.stride
                    ),
                })
            };
            for score in &scores {
                expect(*score, 1)?;
            }
            expect(boxes, 4)?;
            expect(points, 10)?;
            levels.push(LevelOutputs {
                stride: level.stride,
                columns,
                rows,
                anchors,
                scores,
                boxes,
                points,
            });
        }
        Ok(Self { network, levels })
    }
}

/// Adds the candidates of one level, in pixels of the canvas.
///
/// YuNet (libfacedetection): cells count from their left top corner; centre = (cell + d) * stride,
/// size = exp(d) * stride, point = (cell + d) * stride, score = sqrt(class * objectness). SCRFD
/// (InsightFace): edges = cell * stride -/+ d * stride, point = (cell + d) * stride, one score an
/// anchor.
fn decode(
    network: &dyn Network,
    level: &LevelOutputs,
    family: Family,
    min_score: f32,
    out: &mut Vec<Detection>,
) {
    let first = network.output(level.scores[0]);
    let second = level.scores.get(1).map(|s| network.output(*s));
    let (boxes, points) = (network.output(level.boxes), network.output(level.points));
    let stride = level.stride as f32;
    let least = match second {
        Some(_) => min_score * min_score,
        None => min_score,
    };
    for (i, class) in first.iter().enumerate() {
        let product = match second {
            Some(second) => class.clamp(0.0, 1.0) * second[i].clamp(0.0, 1.0),
            None => class.clamp(0.0, 1.0),
        };
        if product < least || product.is_nan() {
            continue;
        }
        let score = if second.is_some() { product.sqrt() } else { product };
        let cell = i / level.anchors;
        let (x, y) = ((cell % level.columns) as f32, (cell / level.columns) as f32);
        let d: &[f32; 4] = boxes[i * 4..i * 4 + 4].try_into().expect("a slice of four");
        let rect = match family {
            Family::Yunet => {
                let (w, h) = (d[2].exp() * stride, d[3].exp() * stride);
                Rect::new((x + d[0]) * stride - w / 2.0, (y + d[1]) * stride - h / 2.0, w, h)
            }
            Family::Scrfd => Rect::new(
                (x - d[0]) * stride,
                (y - d[1]) * stride,
                (d[0] + d[2]) * stride,
                (d[1] + d[3]) * stride,
            ),
        };
        let p = &points[i * 10..i * 10 + 10];
        let landmarks: [Point; 5] = std::array::from_fn(|k| {
            Point::new((x + p[2 * k]) * stride, (y + p[2 * k + 1]) * stride)
        });
        let extent = 4.0 * stride * (level.columns.max(level.rows) as f32);
        let plausible = |v: f32| v.abs() <= extent;
        let rect_plausible = rect.width > 0.0
            && rect.height > 0.0
            && [rect.x, rect.y, rect.width, rect.height].into_iter().all(plausible);
        if rect_plausible && landmarks.iter().all(|p| plausible(p.x) && plausible(p.y)) {
            out.push(Detection { rect, landmarks, score });
        }
    }
}

/// Greedy non-maximum suppression of the best `most` candidates: the best of those that overlap by
/// more than `overlap` is offered to `keep`, best first. Returns how many `keep` had no place for.
fn suppress(
    candidates: &mut Vec<Detection>,
    kept: &mut Vec<Rect>,
    most: usize,
    overlap: f32,
    mut keep: impl FnMut(&Detection) -> bool,
) -> usize {
    let by_score = |a: &Detection, b: &Detection| b.score.total_cmp(&a.score);
    if candidates.len() > most {
        candidates.select_nth_unstable_by(most, by_score);
        candidates.truncate(most);
    }
    candidates.sort_unstable_by(by_score);
    kept.clear();
    kept.reserve(MAX_CANDIDATES);
    let mut beyond = 0;
    for c in candidates.iter() {
        if kept.iter().any(|k| k.iou(&c.rect) > overlap) {
            continue;
        }
        kept.push(c.rect);
        beyond += usize::from(!keep(c));
    }
    beyond
}

fn to_frame(face: &mut Detection, fit: &Fit) {
    let (sx, sy) = fit.scale();
    let corner = fit.to_frame(Point::new(face.rect.x, face.rect.y));
    face.rect = Rect::new(corner.x, corner.y, face.rect.width * sx, face.rect.height * sy);
    face.landmarks = face.landmarks.map(|p| fit.to_frame(p));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Layout, PixelFormat, Range};
    use crate::vision::engine::EngineError;
    use proptest::prelude::*;

    /// A network that has run already.
    struct Ran {
        names: Vec<String>,
        outputs: Vec<Vec<f32>>,
    }

    impl Network for Ran {
        fn name(&self) -> &str {
            "fake"
        }
        fn input_shape(&self) -> [usize; 4] {
            [1, 3, 64, 64]
        }
        fn output_names(&self) -> &[String] {
            &self.names
        }
        fn run(&mut self, _: &Input<'_>) -> Result<(), EngineError> {
            Ok(())
        }
        fn output(&self, index: usize) -> &[f32] {
            &self.outputs[index]
        }
        fn wipe(&mut self) {}
    }

    fn level(columns: usize, rows: usize, anchors: usize, scores: &[usize]) -> LevelOutputs {
        let scores = heapless::Vec::from_slice(scores).unwrap();
        LevelOutputs { stride: 8, columns, rows, anchors, scores, boxes: 2, points: 3 }
    }

    fn decoded(level: &LevelOutputs, family: Family, outputs: Vec<Vec<f32>>) -> Vec<Detection> {
        let mut out = Vec::new();
        decode(&Ran { names: Vec::new(), outputs }, level, family, 0.5, &mut out);
        out
    }

    fn found(x: f32, y: f32, size: f32, score: f32) -> Detection {
        Detection { rect: Rect::new(x, y, size, size), landmarks: [Point::new(x, y); 5], score }
    }

    #[test]
    fn a_yunet_cell_is_read_by_libfacedetections_formulas() {
        // 4x2 cells; the face is in column 3, row 1, hence cell 7.
        let mut outputs = vec![vec![0.0; 8], vec![0.0; 8], vec![0.0; 32], vec![0.0; 80]];
        outputs[0][7] = 0.81;
        outputs[1][7] = 1.0;
        outputs[2][28..].copy_from_slice(&[0.5, 0.25, 2.0f32.ln(), 4.0f32.ln()]);
        outputs[3][70..].copy_from_slice(&[0.0, 0.5, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0, -1.0, 2.0]);
        let got = decoded(&level(4, 2, 1, &[0, 1]), Family::Yunet, outputs);
        assert_eq!(got.len(), 1);
        assert!((got[0].score - 0.9).abs() < 1e-6);
        let r = got[0].rect;
        assert_eq!(
            (r.center(), r.width.round(), r.height.round()),
            (Point::new(28.0, 10.0), 16.0, 32.0)
        );
        assert_eq!(
            (got[0].landmarks[1], got[0].landmarks[4]),
            (Point::new(32.0, 12.0), Point::new(16.0, 24.0))
        );
    }

    #[test]
    fn an_scrfd_anchor_is_read_as_distances_from_its_cell() {
        // 2x2 cells of two anchors; the face is at the second anchor of column 1, row 0, hence
        // anchor 3.
        let mut outputs = vec![vec![0.0; 8], Vec::new(), vec![0.0; 32], vec![0.0; 80]];
        outputs[0][3] = 0.7;
        outputs[2][12..16].copy_from_slice(&[1.0, 0.5, 2.0, 3.0]);
        outputs[3][30..32].copy_from_slice(&[0.25, 0.5]);
        let got = decoded(&level(2, 2, 2, &[0]), Family::Scrfd, outputs);
        assert_eq!(got[0].rect, Rect::new(0.0, -4.0, 24.0, 28.0));
        assert_eq!((got[0].landmarks[0], got[0].score), (Point::new(10.0, 4.0), 0.7));
    }

    #[test]
    fn outputs_that_are_no_numbers_or_absurd_boxes_are_no_faces() {
        for (class, size, point) in [
            (f32::NAN, 0.0, 0.0),
            (1.0, f32::NAN, 0.0),
            (1.0, 1e9, 0.0),
            (1.0, 0.0, f32::INFINITY),
            (1.0, 30.0, 0.0),
        ] {
            let outputs = vec![vec![class], vec![1.0], vec![0.0, 0.0, size, 0.0], vec![point; 10]];
            assert!(
                decoded(&level(1, 1, 1, &[0, 1]), Family::Yunet, outputs).is_empty(),
                "{class} {size} {point}"
            );
        }
    }

    #[test]
    fn the_best_of_overlapping_candidates_is_kept_and_faces_beyond_128_are_counted() {
        let mut candidates = vec![
            found(0.0, 0.0, 10.0, 0.7),
            found(1.0, 0.0, 10.0, 0.9),
            found(50.0, 0.0, 10.0, 0.8),
        ];
        let (mut kept, mut faces) = (Vec::new(), Faces::new());
        assert_eq!(suppress(&mut candidates, &mut kept, 9, OVERLAP, |c| faces.push(*c).is_ok()), 0);
        assert_eq!(faces.iter().map(|f| f.score).collect::<Vec<_>>(), [0.9, 0.8]);

        let mut crowd: Vec<_> =
            (0..200).map(|i| found(20.0 * i as f32, 0.0, 10.0, 0.5 + i as f32 / 1000.0)).collect();
        faces.clear();
        assert_eq!(suppress(&mut crowd, &mut kept, 200, OVERLAP, |c| faces.push(*c).is_ok()), 72);
        assert_eq!((faces.len(), faces[0].score), (128, 0.5 + 199.0 / 1000.0));
        faces.clear();
        assert_eq!(suppress(&mut crowd, &mut kept, 50, OVERLAP, |c| faces.push(*c).is_ok()), 0);
        assert_eq!((faces.len(), faces[49].score), (50, 0.5 + 150.0 / 1000.0));
    }

    #[test]
    fn a_network_that_lacks_an_output_or_has_too_few_values_is_refused_by_name() {
        let refused = |from: &str, to: &str| {
            let mut models = Models::builtin().unwrap();
            let text = include_str!("../../models/manifest.toml").replacen(from, to, 1);
            models.manifest =
                super::super::Manifest::parse(&text, std::path::Path::new("test")).unwrap();
            match Detector::new(&models, 320) {
                Err(VisionError::Outputs { reason, .. }) => reason,
                other => panic!("{to}: {:?}", other.map(|_| ())),
            }
        };
        assert!(refused("boxes = \"bbox_8\"", "boxes = \"box_8\"").contains("`box_8`"));
        assert!(refused("points = \"kps_8\"", "points = \"bbox_8\"").contains("10 for each"));
        assert!(refused("stride = 8", "stride = 16").contains("stride 16"));
    }

    #[test]
    fn frames_of_extreme_shapes_and_colours_are_looked_at_without_a_face_in_them() {
        let mut detector = Detector::new(&Models::builtin().unwrap(), 128).unwrap();
        let mut faces = Faces::new();
        for (width, height) in [(1, 1), (17, 4001), (3000, 2), (64, 64), (640, 481), (300, 300)] {
            for code in [0, 255] {
                let layout =
                    Layout::packed(PixelFormat::I420, Range::Limited, width, height).unwrap();
                let data = vec![code; layout.min_len()];
                let frame = Frame::new(layout, &data).unwrap();
                let report = detector.detect(&frame, 0.6, &mut faces).unwrap();
                assert_eq!(
                    (faces.len(), report.beyond_capacity),
                    (0, 0),
                    "{width}x{height} {code}"
                );
            }
        }
        assert_eq!(detector.networks.len(), KEPT_NETWORKS, "only the last few sizes are kept");
    }

    proptest! {
        #[test]
        fn faces_are_sorted_apart_and_no_more_than_the_candidates(
            boxes in proptest::collection::vec((0.0f32..300.0, 0.0f32..300.0, 1.0f32..80.0, 0.0f32..1.0), 0..300),
        ) {
            let mut candidates: Vec<_> = boxes.iter().map(|(x, y, s, score)| found(*x, *y, *s, *score)).collect();
            let mut faces = Faces::new();
            let beyond = suppress(&mut candidates, &mut Vec::new(), MAX_CANDIDATES, OVERLAP, |c| faces.push(*c).is_ok());
            prop_assert!(faces.len() + beyond <= boxes.len());
            prop_assert!(faces.windows(2).all(|w| w[0].score >= w[1].score));
            for (i, a) in faces.iter().enumerate() {
                prop_assert!(faces[..i].iter().all(|b| a.rect.iou(&b.rect) <= OVERLAP));
            }
        }
    }
}
