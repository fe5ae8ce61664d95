//! Where are the faces? The WIDER FACE protocol, and recall by the height of a face.
//!
//! Average precision follows the protocol's evaluation code: detections of an image, best first,
//! each go to the marked face that they overlap most; at an intersection over union of .5 (sides
//! counted as `right - left + 1`) they find it; faces outside the set are ignored, and detections
//! on them count neither way. Precision and recall are taken at 1000 equally spaced thresholds of
//! the scores, which are first stretched to 0..1 over all images; the area under the envelope of
//! that curve is the AP. As in that code, an image without marked faces does not lower the AP; its
//! detections count in the false positives an image. Its interval is a percentile bootstrap over
//! images. Every detection down to [`LEAST_SCORE`] counts, also those beyond the number of faces
//! that a device keeps, and boxes are merged at [`OVERLAP_OF_AP`]: that makes the AP comparable
//! with published ones, but it is the network's, not the device's.
//!
//! Recall and false positives are the device's: its threshold, its merging, the faces that it
//! keeps. Recall by height takes the faces of the widest set (WIDER's hard set, or all), by their
//! height in pixels of the detector's canvas, which is what decides.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::protocol::boxes::{self, Annotated, GroundTruth};
use super::protocol::draw::Draw;
use super::statistics::interval::Rate;
use super::work::spread;
use super::{Context, EvaluateError};
use crate::geometry::Rect;
use crate::source::Photograph;
use crate::vision::{Detection as Face, Detector, Faces, MAX_FACES, Models, VisionError};

/// Thresholds at which precision and recall are taken.
const THRESHOLDS: usize = 1000;
/// Lowest score of a detection that enters the average precision.
const LEAST_SCORE: f32 = 0.02;
/// Overlap above which boxes are merged for the average precision, as the authors of YuNet do. A
/// device merges earlier: at its threshold .45 finds no face more, but some twice.
pub const OVERLAP_OF_AP: f32 = 0.45;
/// Overlap at which a detection finds a face.
const OVERLAP: f64 = 0.5;
/// Overlap below which a detection is a false positive.
const NO_OVERLAP: f64 = 0.3;
/// Resamples of the images for the interval of an AP.
const RESAMPLES: u32 = 500;
/// Lower edges of the bins of heights, in pixels of the detector's canvas.
const HEIGHTS: [f64; 6] = [0.0, 10.0, 20.0, 40.0, 80.0, 160.0];

/// What the detector found in one image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DetectorOutput {
    /// Boxes in pixels of the image, with their scores, best first, down to the least score.
    pub faces: Vec<(Rect, f32)>,
    /// Those that a device reports: merged its way, at its threshold, as many as it keeps.
    pub reported: Vec<Rect>,
    /// How many it drops beyond these.
    pub beyond_capacity: usize,
    /// Pixels of the canvas a pixel of the image.
    pub scale: f64,
}

/// Finds faces in one image after another.
pub trait Find {
    /// The faces in the image with the file's `bytes`: all with scores of at least `least`, and
    /// what a device reports at `threshold`.
    ///
    /// # Errors
    /// In words, where the file is no image or the detector fails.
    fn find(&mut self, bytes: &[u8], least: f32, threshold: f32) -> Result<DetectorOutput, String>;
}

/// The detector under test.
pub struct DetectorFinder {
    detector: Detector,
    long_side: usize,
    overlap: f32,
    all: Vec<Face>,
    reported: Faces,
}

impl DetectorFinder {
    /// Loads it. For the average precision, boxes that overlap by more than `overlap` are merged.
    ///
    /// # Errors
    /// Where the network does not load.
    pub fn new(models: &Models, long_side: usize, overlap: f32) -> Result<Self, VisionError> {
        let detector = Detector::new(models, long_side)?;
        Ok(Self { detector, long_side, overlap, all: Vec::new(), reported: Faces::new() })
    }
}

impl Find for DetectorFinder {
    fn find(&mut self, bytes: &[u8], least: f32, threshold: f32) -> Result<DetectorOutput, String> {
        let photograph = Photograph::decode(bytes).map_err(|e| e.to_string())?;
        let frame = photograph.frame();
        let failed = |e: VisionError| e.to_string();
        self.detector
            .detect_unbounded(&frame, least, self.overlap, &mut self.all)
            .map_err(failed)?;
        let report = self.detector.detect(&frame, threshold, &mut self.reported).map_err(failed)?;
        let long = frame.width().max(frame.height()) as f64;
        Ok(DetectorOutput {
            faces: self.all.iter().map(|f| (f.rect, f.score)).collect(),
            reported: self.reported.iter().map(|f| f.rect).collect(),
            beyond_capacity: report.beyond_capacity,
            scale: (self.long_side as f64 / long).min(1.0),
        })
    }
}

#[derive(Serialize)]
struct ImageLine<'a> {
    image: &'a str,
    scale: f64,
    faces: Vec<[f32; 5]>,
    reported: Vec<[f32; 4]>,
}

/// Average precision on one set.
#[derive(Debug, Clone, Serialize)]
pub struct Precision {
    /// Name of the set.
    pub set: &'static str,
    /// Faces that count in it.
    pub faces: u64,
    /// The average precision; `None` without faces.
    pub average_precision: Option<f64>,
    /// Lower end of the 95 % bootstrap interval over images.
    pub lower: Option<f64>,
    /// Upper end.
    pub upper: Option<f64>,
    /// Faces of the set found at the device's threshold.
    pub recall: Rate,
    /// Why there is none.
    pub unsupported: Option<String>,
    /// (recall, precision), recall rising, thinned.
    pub curve: Vec<(f64, f64)>,
}

/// Recall of faces of one height.
#[derive(Debug, Clone, Serialize)]
pub struct ByHeight {
    /// Pixels of the canvas, from.
    pub from: f64,
    /// Up to and without; `None` for no end.
    pub to: Option<f64>,
    /// Faces found.
    pub recall: Rate,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
pub struct DetectionResult {
    /// Images that were looked at.
    pub images: u64,
    /// Faces marked in them.
    pub faces: u64,
    /// Score from which the device takes a detection for a face.
    pub threshold: f32,
    /// Average precision by set.
    pub sets: Vec<Precision>,
    /// The set whose faces are counted by height.
    pub heights_of: &'static str,
    /// Recall at the threshold by height.
    pub by_height: Vec<ByHeight>,
    /// Detections at the threshold.
    pub detections: u64,
    /// Those of them that overlap no marked face by 0.3.
    pub false_positives: Rate,
    /// The same an image.
    pub false_positives_an_image: f64,
    /// Detections dropped because an image had more than the device keeps.
    pub beyond_capacity: u64,
    /// How many it keeps.
    pub capacity: usize,
}

/// Looks at every image of `list` (the text of a ground-truth file) under `root`.
///
/// # Errors
/// Where the detector does not load.
pub fn run<F: Find>(
    make: impl Fn() -> Result<F, VisionError> + Sync,
    root: &Path,
    list: &str,
    run: &mut Context<'_>,
) -> Result<DetectionResult, EvaluateError> {
    let GroundTruth { sets, images } = boxes::parse(list, run.left_out);
    let paths: Vec<PathBuf> = images.iter().map(|i| root.join(&i.image)).collect();
    let threshold = run.settings.min_score;
    let look = |finder: &mut F, path: &PathBuf| match std::fs::read(path) {
        Ok(bytes) => {
            finder.find(&bytes, LEAST_SCORE, threshold).map_err(|e| ("unreadable image", e))
        }
        Err(e) => Err(("missing image", e.to_string())),
    };
    let broken = |_: &PathBuf| {
        Err(("internal error", "it made the program panic; please report it".to_owned()))
    };
    let looked = spread(&paths, run.settings.threads, run.progress, make, look, broken)?;
    let mut pairs: Vec<(Annotated, DetectorOutput)> = Vec::new();
    for (annotated, looked) in images.into_iter().zip(looked) {
        match looked {
            Ok(found) => {
                let face = |(r, score): &(Rect, f32)| [r.x, r.y, r.width, r.height, *score];
                let faces = found.faces.iter().map(face).collect();
                let reported =
                    found.reported.iter().map(|r| [r.x, r.y, r.width, r.height]).collect();
                run.records.add(&ImageLine {
                    image: &annotated.image,
                    scale: found.scale,
                    faces,
                    reported,
                });
                pairs.push((annotated, found));
            }
            Err((reason, detail)) => run.left_out.add(annotated.image, reason, detail),
        }
    }
    Ok(figures(&sets, &pairs, threshold))
}

fn figures(
    sets: &[&'static str],
    images: &[(Annotated, DetectorOutput)],
    threshold: f32,
) -> DetectionResult {
    let scores = images.iter().flat_map(|(_, f)| f.faces.iter().map(|(_, s)| f64::from(*s)));
    let (low, high) =
        scores.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), s| (l.min(s), h.max(s)));
    let widest = sets.len() - 1;
    let mut by_height: Vec<[u64; 2]> = vec![[0; 2]; HEIGHTS.len()];
    let mut recall = vec![[0u64; 2]; sets.len()];
    let (mut detections, mut false_positives, mut beyond_capacity) = (0, 0, 0);
    for (annotated, found) in images {
        let sure = &found.reported;
        beyond_capacity += found.beyond_capacity as u64;
        detections += sure.len() as u64;
        let astray = |d: &&Rect| annotated.boxes.iter().all(|b| overlap(b, d) < NO_OVERLAP);
        false_positives += sure.iter().filter(astray).count() as u64;
        for (set, counted) in annotated.counted.iter().enumerate() {
            for face in counted.iter().map(|i| &annotated.boxes[*i]) {
                let hit = u64::from(sure.iter().any(|d| overlap(face, d) >= OVERLAP));
                recall[set][0] += hit;
                recall[set][1] += 1;
                if set == widest {
                    let height = f64::from(face.height) * found.scale;
                    let bin = HEIGHTS.partition_point(|from| *from <= height).saturating_sub(1);
                    by_height[bin][0] += hit;
                    by_height[bin][1] += 1;
                }
            }
        }
    }
    DetectionResult {
        images: images.len() as u64,
        faces: images.iter().map(|(a, _)| a.boxes.len() as u64).sum(),
        threshold,
        sets: (0..sets.len())
            .map(|set| {
                let matched: Vec<Matched> =
                    images.iter().map(|(a, f)| Matched::new(a, f, set, low, high)).collect();
                precision(sets[set], &matched, Rate::new(recall[set][0], recall[set][1]))
            })
            .collect(),
        heights_of: sets[widest],
        by_height: (0..HEIGHTS.len())
            .map(|bin| ByHeight {
                from: HEIGHTS[bin],
                to: HEIGHTS.get(bin + 1).copied(),
                recall: Rate::new(by_height[bin][0], by_height[bin][1]),
            })
            .collect(),
        detections,
        false_positives: Rate::new(false_positives, detections),
        false_positives_an_image: false_positives as f64 / images.len().max(1) as f64,
        beyond_capacity,
        capacity: MAX_FACES,
    }
}

/// Intersection over union with the protocol's sides: a box from 3 to 5 is three pixels wide.
fn overlap(a: &Rect, b: &Rect) -> f64 {
    let edges = |r: &Rect| {
        let (x, y) = (f64::from(r.x), f64::from(r.y));
        [x, y, x + f64::from(r.width), y + f64::from(r.height)]
    };
    let ([ax, ay, ar, ab], [bx, by, br, bb]) = (edges(a), edges(b));
    let area = |x: f64, y: f64, r: f64, b: f64| (r - x + 1.0).max(0.0) * (b - y + 1.0).max(0.0);
    let inside = area(ax.max(bx), ay.max(by), ar.min(br), ab.min(bb));
    inside / (area(ax, ay, ar, ab) + area(bx, by, br, bb) - inside)
}

/// One image's contribution to precision and recall at each threshold, from strict to loose.
struct Matched {
    /// Faces of the set.
    faces: u64,
    /// Detections that count, at each threshold.
    proposed: Vec<u32>,
    /// Faces found, at each threshold.
    found: Vec<u32>,
}

impl Matched {
    fn new(annotated: &Annotated, found: &DetectorOutput, set: usize, low: f64, high: f64) -> Self {
        let counted = &annotated.counted[set];
        let mut image = Self {
            faces: counted.len() as u64,
            proposed: vec![0; THRESHOLDS],
            found: vec![0; THRESHOLDS],
        };
        if annotated.boxes.is_empty() || found.faces.is_empty() {
            return image;
        }
        let mut in_set = vec![false; annotated.boxes.len()];
        counted.iter().for_each(|i| in_set[*i] = true);
        let mut taken = vec![false; annotated.boxes.len()];
        let (mut proposed, mut hits) = (0u32, 0u32);
        // How many proposals and hits there are once this many detections are accepted.
        let running: Vec<(f64, u32, u32)> = found
            .faces
            .iter()
            .map(|(rect, score)| {
                let (mut most, mut face) = (-1.0, 0);
                for (i, marked) in annotated.boxes.iter().enumerate() {
                    let o = overlap(marked, rect);
                    if o > most {
                        (most, face) = (o, i);
                    }
                }
                if most >= OVERLAP && !in_set[face] {
                    // On an ignored face: as if it had not been proposed.
                } else {
                    proposed += 1;
                    if most >= OVERLAP && !taken[face] {
                        taken[face] = true;
                        hits += 1;
                    }
                }
                ((f64::from(*score) - low) / (high - low + 1e-12), proposed, hits)
            })
            .collect();
        for t in 0..THRESHOLDS {
            let threshold = 1.0 - (t + 1) as f64 / THRESHOLDS as f64;
            let accepted = running.partition_point(|(score, _, _)| *score >= threshold);
            if accepted > 0 {
                (_, image.proposed[t], image.found[t]) = running[accepted - 1];
            }
        }
        image
    }
}

fn precision(set: &'static str, images: &[Matched], recall: Rate) -> Precision {
    let faces: u64 = images.iter().map(|i| i.faces).sum();
    let mut p = Precision {
        set,
        faces,
        average_precision: None,
        lower: None,
        upper: None,
        recall,
        unsupported: None,
        curve: Vec::new(),
    };
    if faces == 0 {
        p.unsupported = Some("no image marks a face of this set".into());
        return p;
    }
    let curve = curve(images.iter());
    p.average_precision = Some(area(&curve));
    p.curve = thinned(&curve);
    let mut draw = Draw::new(0, 0);
    let mut resampled: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let sample: Vec<&Matched> =
                images.iter().map(|_| &images[draw.below(images.len())]).collect();
            (sample.iter().any(|i| i.faces > 0)).then(|| area(&self::curve(sample.into_iter())))
        })
        .collect();
    resampled.sort_unstable_by(f64::total_cmp);
    if images.len() > 1 && resampled.len() > 1 {
        let at = |share: f64| resampled[(share * (resampled.len() - 1) as f64).round() as usize];
        (p.lower, p.upper) = (Some(at(0.025)), Some(at(0.975)));
    }
    p
}

/// (recall, precision) at each threshold, from strict to loose.
fn curve<'a>(images: impl Iterator<Item = &'a Matched>) -> Vec<(f64, f64)> {
    let (mut proposed, mut found, mut faces) =
        (vec![0u32; THRESHOLDS], vec![0u32; THRESHOLDS], 0u64);
    for image in images {
        faces += image.faces;
        for (sum, v) in proposed.iter_mut().zip(&image.proposed) {
            *sum += v;
        }
        for (sum, v) in found.iter_mut().zip(&image.found) {
            *sum += v;
        }
    }
    let share = |a: u32, b: f64| if b > 0.0 { f64::from(a) / b } else { 0.0 };
    proposed
        .iter()
        .zip(&found)
        .map(|(p, f)| (share(*f, faces as f64), share(*f, f64::from(*p))))
        .collect()
}

/// Area under the envelope of precision over recall (Pascal VOC 2010, as the WIDER code has it).
fn area(curve: &[(f64, f64)]) -> f64 {
    let mut envelope = 0.0f64;
    let mut right = 1.0;
    let mut sum = 0.0;
    // From the right: beyond the last recall the precision is zero.
    for (recall, precision) in curve.iter().rev() {
        sum += (right - recall) * envelope;
        envelope = envelope.max(*precision);
        right = *recall;
    }
    sum + right * envelope
}

/// About every hundredth of recall, for drawing.
fn thinned(curve: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for point in curve.iter().filter(|p| p.0 > 0.0) {
        if points.last().is_none_or(|last| point.0 - last.0 >= 0.01) {
            points.push(*point);
        }
    }
    points.extend(curve.last().filter(|p| p.0 > 0.0));
    points.dedup();
    points
}

impl DetectionResult {
    /// Whether a face was marked in any image that could be looked at.
    pub fn evaluated(&self) -> bool {
        self.images > 0 && self.sets.iter().any(|s| s.average_precision.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::super::extract::fake::{SETTINGS, with_run};
    use super::*;
    use proptest::prelude::*;

    fn image(
        boxes: &[[f32; 4]],
        counted: &[usize],
        found: &[([f32; 4], f32)],
    ) -> (Annotated, DetectorOutput) {
        let rect = |b: &[f32; 4]| Rect::new(b[0], b[1], b[2], b[3]);
        (
            Annotated {
                image: "x".into(),
                boxes: boxes.iter().map(rect).collect(),
                counted: vec![counted.to_vec()],
            },
            DetectorOutput {
                faces: found.iter().map(|(b, s)| (rect(b), *s)).collect(),
                reported: found.iter().filter(|(_, s)| *s >= 0.5).map(|(b, _)| rect(b)).collect(),
                scale: 1.0,
                beyond_capacity: 0,
            },
        )
    }

    fn ap(images: &[(Annotated, DetectorOutput)]) -> f64 {
        figures(&["all"], images, 0.5).sets[0].average_precision.unwrap()
    }

    const A: [f32; 4] = [0.0, 0.0, 50.0, 50.0];
    const B: [f32; 4] = [100.0, 0.0, 50.0, 50.0];
    const NOWHERE: [f32; 4] = [300.0, 300.0, 50.0, 50.0];

    #[test]
    fn perfect_detections_score_one_and_none_score_nothing() {
        let perfect = [image(&[A, B], &[0, 1], &[(A, 0.9), (B, 0.8)])];
        assert!((ap(&perfect) - 1.0).abs() < 1e-9);
        assert_eq!(ap(&[image(&[A, B], &[0, 1], &[])]), 0.0);
    }

    #[test]
    fn a_false_positive_above_a_hit_costs_precision_and_one_on_an_ignored_face_does_not() {
        let above = [image(&[A], &[0], &[(NOWHERE, 0.9), (A, 0.1)])];
        assert!((ap(&above) - 0.5).abs() < 1e-9);
        let ignored = [image(&[A, B], &[0], &[(B, 0.9), (A, 0.1)])];
        assert!((ap(&ignored) - 1.0).abs() < 1e-9);
        // A second detection of a found face is a false positive, here below the hit.
        let twice =
            figures(&["all"], &[image(&[A, B], &[0, 1], &[(A, 0.9), (A, 0.8), (B, 0.1)])], 0.5);
        let expected = 0.5 + 0.5 * 2.0 / 3.0;
        assert!((twice.sets[0].average_precision.unwrap() - expected).abs() < 1e-9);
        // But it lies on a face: only what overlaps no face is astray.
        assert_eq!((twice.false_positives.count, twice.detections), (0, 2));
    }

    #[test]
    fn recall_is_counted_by_height_on_the_canvas() {
        let mut images = vec![
            image(&[A, [0.0, 200.0, 30.0, 30.0]], &[0, 1], &[(A, 0.9), (NOWHERE, 0.7)]),
            image(&[B], &[0], &[(B, 0.4)]),
        ];
        images[0].1.scale = 0.5;
        let d = figures(&["all"], &images, 0.5);
        let counts: Vec<(u64, u64)> =
            d.by_height.iter().map(|b| (b.recall.count, b.recall.of)).collect();
        assert_eq!(counts, [(0, 0), (0, 1), (1, 1), (0, 1), (0, 0), (0, 0)]);
        assert_eq!((d.false_positives.count, d.false_positives_an_image), (1, 0.5));
        assert_eq!((d.sets[0].recall.count, d.sets[0].recall.of), (1, 3));
    }

    #[test]
    fn a_set_without_faces_has_no_average_precision_and_says_why() {
        let d = figures(&["all"], &[image(&[A], &[], &[(A, 0.9)])], 0.5);
        assert!(
            d.sets[0].average_precision.is_none()
                && d.sets[0].unsupported.is_some()
                && !d.evaluated()
        );
        assert!(!figures(&["all"], &[], 0.5).evaluated());
    }

    #[test]
    fn average_precision_counts_all_detections_and_recall_those_that_a_device_reports() {
        let mut crowd = image(&[A, B], &[0, 1], &[(A, 0.9), (B, 0.8)]);
        crowd.1.reported.truncate(1);
        crowd.1.beyond_capacity = 1;
        let d = figures(&["all"], &[crowd], 0.5);
        assert!((d.sets[0].average_precision.unwrap() - 1.0).abs() < 1e-9);
        assert_eq!((d.sets[0].recall.count, d.detections, d.beyond_capacity), (1, 1, 1));
    }

    #[test]
    fn a_crowd_of_more_faces_than_a_device_keeps_is_found_whole() {
        let mut finder = DetectorFinder::new(&Models::builtin().unwrap(), 640, 0.9).unwrap();
        let noise: Vec<u8> =
            (0..480u32 * 640 * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut png = Vec::new();
        let picture =
            image::RgbImage::from_raw(640, 480, noise).expect("as many bytes as pixels need");
        picture.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
        let found = finder.find(&png, 0.0, 0.0).unwrap();
        assert!(found.faces.len() > MAX_FACES && found.faces.windows(2).all(|w| w[0].1 >= w[1].1));
        assert_eq!(found.reported.len(), MAX_FACES);
        assert!(found.beyond_capacity > 0);
    }

    struct FixedFinder;
    impl Find for FixedFinder {
        fn find(&mut self, bytes: &[u8], _: f32, _: f32) -> Result<DetectorOutput, String> {
            match bytes {
                b"good" => Ok(DetectorOutput {
                    faces: vec![(Rect::new(0.0, 0.0, 50.0, 50.0), 0.9)],
                    scale: 1.0,
                    ..DetectorOutput::default()
                }),
                b"bomb" => std::panic::panic_any("hostile"),
                _ => Err("no image".into()),
            }
        }
    }

    #[test]
    fn images_that_cannot_be_looked_at_are_listed_and_an_empty_list_evaluates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("a", "good"), ("b", "bad"), ("c", "bomb")] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let list: String = ["a", "b", "c", "d"]
            .map(|i| format!("{{\"image\":\"{i}\",\"boxes_xywh\":[[0,0,50,50]]}}\n"))
            .concat();
        let run = |list: &str| {
            with_run(&SETTINGS, |r| super::run(|| Ok(FixedFinder), dir.path(), list, r).unwrap())
        };
        let (d, left_out, lines) = run(&list);
        let faces = [[0.0, 0.0, 50.0, 50.0, 0.9]];
        assert_eq!(
            lines,
            [serde_json::json!({"image": "a", "scale": 1.0, "faces": faces, "reported": []})]
        );
        assert_eq!((d.images, d.sets[0].average_precision), (1, Some(1.0)));
        assert_eq!(
            left_out.by_reason().into_iter().collect::<Vec<_>>(),
            [("internal error", 1), ("missing image", 1), ("unreadable image", 1)]
        );
        assert!(!run("").0.evaluated());
    }

    proptest! {
        #[test]
        fn average_precision_lies_within_its_range_and_adding_a_sure_hit_never_lowers_recall(
            found in
                prop::collection::vec((0f32..300.0, 0f32..300.0, 10f32..80.0, 0.02f32..0.9), 0..20),
        ) {
            let mut list: Vec<([f32; 4], f32)> =
                found.iter().map(|(x, y, s, score)| ([*x, *y, *s, *s], *score)).collect();
            list.sort_by(|a, b| b.1.total_cmp(&a.1));
            let before = figures(&["all"], &[image(&[A, B], &[0, 1], &list)], 0.5);
            list.insert(0, (A, 0.95));
            let after = figures(&["all"], &[image(&[A, B], &[0, 1], &list)], 0.5);
            let ap = |d: &DetectionResult| d.sets[0].average_precision.unwrap();
            prop_assert!(
                (0.0..=1.0 + 1e-9).contains(&ap(&before))
                    && (0.0..=1.0 + 1e-9).contains(&ap(&after))
            );
            prop_assert!(after.sets[0].recall.count >= before.sets[0].recall.count);
            prop_assert_eq!(
                overlap(&Rect::new(1.0, 2.0, 3.0, 4.0), &Rect::new(1.0, 2.0, 3.0, 4.0)),
                1.0
            );
        }
    }
}
