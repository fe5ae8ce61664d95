//! Finds faces: a frame in, boxes and five landmarks in the frame's own pixels out.
//!
//! * Networks are made for one canvas size. The last few sizes are kept, so that a camera pays once
//!   and a folder of photographs of a few shapes hardly more.
//! * Of a picture nothing stays after a run, in the network's memory neither.
//! * At most [`MAX_FACES`](super::MAX_FACES) faces are given, the best by score; the others are
//!   counted.

mod outputs;
mod suppress;

use std::time::{Duration, Instant};

use self::outputs::{LevelOutputs, SizedNetwork, decode};
use self::suppress::{MAX_CANDIDATES, suppress};
use super::VisionError;
use super::align::AlignedFace;
use super::engine::NetworkInput;
use super::faces::{Detection, Faces};
use super::letterbox::{Fit, Letterbox};
use super::manifest::{DetectorSpec, Models};
use crate::frame::Frame;
use crate::geometry::{Point, Rect};
use crate::kernels::pixels;
use crate::locked::wipe;

/// What a run of the detector cost, and what it left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DetectReport {
    /// Faces beyond [`MAX_FACES`](super::MAX_FACES).
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
    pub(super) networks: Vec<SizedNetwork>,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    candidates: Vec<Detection>,
    kept: Vec<Rect>,
    square: Vec<u8>,
}

impl Scratch {
    fn wipe(&mut self) {
        wipe(&mut self.candidates);
        self.candidates.clear();
        wipe(&mut self.kept);
        self.kept.clear();
    }
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
        let smallest = SizedNetwork::load(&spec, models.detector(), spec.multiple, spec.multiple)?;
        Ok(Self {
            engine: smallest.network.name().to_owned(),
            onnx: models.detector().to_vec(),
            long_side: long_side.clamp(*LONG_SIDE.start(), *LONG_SIDE.end()),
            letterbox: Letterbox::new(pixels::in_use()),
            networks: Vec::with_capacity(KEPT_NETWORKS),
            scratch: Scratch::default(),
            spec,
        })
    }

    /// Engine and kernel that run it.
    pub fn engine(&self) -> &str {
        &self.engine
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
        self.scratch.wipe();
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
        self.scratch.wipe();
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
        let SizedNetwork { network, levels } = &mut self.networks[at];

        let start = Instant::now();
        let canvas = self.letterbox.fill(frame, fit, self.spec.channels);
        let resized = Instant::now();
        let outcome = network.run(&NetworkInput::Interleaved(canvas));
        self.letterbox.wipe();
        let ran = Instant::now();
        let candidates = &mut self.scratch.candidates;
        candidates.clear();
        if outcome.is_ok() {
            for level in levels.iter() {
                decode(&**network, level, self.spec.family, min_score, candidates);
            }
        }
        network.wipe();
        outcome.map_err(VisionError::Detector)?;
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
        let SizedNetwork { network, levels } = &mut self.networks[at];
        let Scratch { candidates, kept, square } = &mut self.scratch;
        // All zeros since the last one was wiped.
        square.resize(canvas * canvas * 3, 0);
        for (to, from) in
            square.chunks_exact_mut(canvas * 3).zip(picture.rgb().chunks_exact(side * 3))
        {
            self.spec.channels.copy_rgb(from, &mut to[..side * 3]);
        }
        let outcome = network.run(&NetworkInput::Interleaved(square));
        wipe(square);
        candidates.clear();
        if outcome.is_ok() {
            for level in levels.iter() {
                decode(&**network, level, self.spec.family, min_score, candidates);
            }
        }
        network.wipe();
        suppress(candidates, kept, MAX_CANDIDATES, OVERLAP, |c| faces.push(*c).is_ok());
        self.scratch.wipe();
        outcome.map_err(VisionError::Detector)
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
            let loaded = SizedNetwork::load(&self.spec, &self.onnx, height, width)?;
            if self.networks.len() == KEPT_NETWORKS {
                self.networks.remove(0);
            }
            self.scratch.candidates.reserve(loaded.levels.iter().map(LevelOutputs::anchors).sum());
            self.networks.push(loaded);
        }
        Ok(self.networks.len() - 1)
    }
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

    #[test]
    fn a_network_that_lacks_an_output_or_has_too_few_values_is_refused_by_name() {
        let refused = |from: &str, to: &str| {
            let mut models = Models::builtin().unwrap();
            let text = include_str!("../../../models/manifest.toml").replacen(from, to, 1);
            models.manifest =
                crate::vision::Manifest::parse(&text, std::path::Path::new("test")).unwrap();
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
}
