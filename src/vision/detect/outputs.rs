//! A network for one canvas size, and how its outputs become candidates.

use super::super::VisionError;
use super::super::engine::{self, Network};
use super::super::faces::Detection;
use super::super::manifest::{DetectorSpec, Family};
use crate::geometry::{Point, Rect};

/// Most anchors a cell of an SCRFD detector; InsightFace's have two.
const MAX_ANCHORS: usize = 3;

/// A network for one canvas size.
pub(in crate::vision) struct SizedNetwork {
    pub(super) network: Box<dyn Network>,
    pub(super) levels: Vec<LevelOutputs>,
}

/// Which outputs hold one level.
pub(super) struct LevelOutputs {
    stride: usize,
    columns: usize,
    rows: usize,
    anchors: usize,
    scores: heapless::Vec<usize, 2>,
    boxes: usize,
    points: usize,
}

impl LevelOutputs {
    pub(super) fn anchors(&self) -> usize {
        self.columns * self.rows * self.anchors
    }
}

impl SizedNetwork {
    pub(super) fn load(
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
pub(super) fn decode(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::engine::{EngineError, NetworkInput};

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
        fn run(&mut self, _: &NetworkInput<'_>) -> Result<(), EngineError> {
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
}
