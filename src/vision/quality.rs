//! How fit a view of a face is for comparison, and the gate that turns away what is not.
//!
//! A comparison of smeared, tiny or averted faces gives confident wrong answers, so such views are
//! never embedded. The measures are geometric and photometric only; nothing here says anything
//! about the person.

use serde::{Deserialize, Serialize};

use super::align::{AlignedFace, Placement};
use super::faces::Detection;
use crate::geometry::Point;
use crate::problem::Problem;

/// Measures of one view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quality {
    /// Distance between the eyes in pixels of the frame.
    pub eye_distance_px: f32,
    /// Contrast-normalised sharpness of the aligned face: standard deviation of its Laplacian over
    /// that of its luma. 0.15 to 0.5 for press photographs, below 0.1 for a smear. 0 before the
    /// face was aligned.
    pub sharpness: f32,
    /// Degrees to the image's right, from the landmarks and a mean face: good to some ten degrees.
    pub yaw: f32,
    /// Degrees downwards; the same accuracy.
    pub pitch: f32,
    /// Degrees clockwise in the image. The alignment undoes it.
    pub roll: f32,
    /// The detector's confidence, 0 to 1.
    pub detector_score: f32,
    /// Share of the aligned face outside the frame, 0 to 1.
    pub outside: f32,
    /// All of these as one figure to rank views by, 0 to 1. Not a probability.
    pub overall: f32,
}

/// Why a view is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TooPoor {
    /// The landmarks are no face: two coincide, or one is not finite.
    Landmarks,
    /// The eyes are too close to each other in pixels.
    TooSmall,
    /// The detector is not sure enough.
    LowScore,
    /// Turned away too far.
    Pose,
    /// Too much of it lies outside the frame.
    CutOff,
    /// Out of focus, smeared by motion, or stretched from too few pixels.
    Blurred,
    /// It lies on its side or stands on its head, so that its landmarks are wrong.
    Lying,
}

impl TooPoor {
    /// Every reason, in the order in which they are checked.
    pub const ALL: [TooPoor; 7] = [
        Self::Landmarks,
        Self::TooSmall,
        Self::LowScore,
        Self::Pose,
        Self::CutOff,
        Self::Blurred,
        Self::Lying,
    ];

    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Landmarks => "landmarks",
            Self::TooSmall => "too_small",
            Self::LowScore => "low_score",
            Self::Pose => "pose",
            Self::CutOff => "cut_off",
            Self::Blurred => "blurred",
            Self::Lying => "lying",
        }
    }
}

/// `[vision.quality]`: the least that a view must have to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QualityGate {
    /// Fewest pixels between the eyes. At 17 px verification on LFW falls from 99.3 to 98.5 %, at
    /// 10 px to 96.5 %.
    pub min_eye_distance_px: f32,
    /// Least sharpness: `watchpost detect --json` tells that of a picture. Press photographs have
    /// 0.15 to 0.5; blurred by a Gaussian of 4 px, at which embeddings no longer resemble the
    /// original's, 0.06.
    pub min_sharpness: f32,
    /// Most degrees to either side.
    pub max_yaw: f32,
    /// Most degrees up or down.
    pub max_pitch: f32,
    /// Least confidence of the detector, 0 to 1.
    pub min_score: f32,
    /// Largest share of the face outside the frame, 0 to 1.
    pub max_outside: f32,
}

impl Default for QualityGate {
    fn default() -> Self {
        Self {
            min_eye_distance_px: 16.0,
            min_sharpness: 0.09,
            max_yaw: 50.0,
            max_pitch: 35.0,
            min_score: 0.7,
            max_outside: 0.15,
        }
    }
}

impl QualityGate {
    /// Adds what is wrong with it to `out`.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        let mut check = |key: &str, value: f32, low: f32, high: f32| {
            if !(low..=high).contains(&value) {
                out.push(Problem {
                    key: format!(
                        "{vision_quality}.{key}",
                        vision_quality = setting!(vision.quality)
                    ),
                    value: value.to_string(),
                    remedy: format!("write a number from {low} to {high}"),
                });
            }
        };
        check("min_eye_distance_px", self.min_eye_distance_px, 4.0, 1000.0);
        check("min_sharpness", self.min_sharpness, 0.0, 2.0);
        check("max_yaw", self.max_yaw, 5.0, 90.0);
        check("max_pitch", self.max_pitch, 5.0, 90.0);
        check("min_score", self.min_score, 0.0, 1.0);
        check("max_outside", self.max_outside, 0.0, 1.0);
    }

    /// Whether a view may be compared, by everything that is known before its pixels are read.
    ///
    /// # Errors
    /// The first reason that applies.
    pub fn check_geometry(&self, q: &Quality) -> Result<(), TooPoor> {
        // Each is written so that a NaN fails.
        let require = |good: bool, reason| if good { Ok(()) } else { Err(reason) };
        require(
            q.eye_distance_px.is_finite() && q.yaw.is_finite() && q.pitch.is_finite(),
            TooPoor::Landmarks,
        )?;
        require(q.eye_distance_px >= self.min_eye_distance_px, TooPoor::TooSmall)?;
        require(q.detector_score >= self.min_score, TooPoor::LowScore)?;
        require(q.yaw.abs() <= self.max_yaw && q.pitch.abs() <= self.max_pitch, TooPoor::Pose)
    }

    /// Whether a view may be compared.
    ///
    /// # Errors
    /// The first reason that applies, in the order of [`TooPoor::ALL`].
    pub fn check(&self, q: &Quality) -> Result<(), TooPoor> {
        self.check_geometry(q)?;
        let require = |good: bool, reason| if good { Ok(()) } else { Err(reason) };
        require(q.outside <= self.max_outside, TooPoor::CutOff)?;
        require(q.sharpness >= self.min_sharpness, TooPoor::Blurred)
    }
}

impl Quality {
    /// What the detection alone tells; [`Quality::complete`] adds what the pixels tell.
    pub fn of_detection(face: &Detection) -> Self {
        let (yaw, pitch, roll) = pose(&face.landmarks);
        let mut q = Self {
            eye_distance_px: face.landmarks[0].distance(face.landmarks[1]),
            sharpness: 0.0,
            yaw,
            pitch,
            roll,
            detector_score: face.score,
            outside: 0.0,
            overall: 0.0,
        };
        q.overall = q.rank(1.0);
        q
    }

    /// Adds sharpness and the share outside the frame, both known once the face is aligned.
    #[must_use]
    pub fn complete(mut self, face: &AlignedFace, placement: &Placement) -> Self {
        self.sharpness = sharpness(face);
        self.outside = placement.outside;
        self.overall = self.rank((self.sharpness / SHARP).min(1.0)) * (1.0 - self.outside);
        self
    }

    fn rank(&self, sharp: f32) -> f32 {
        // The template's eyes are 35 px apart: more pixels than that still help a little, through
        // less noise.
        let size = (self.eye_distance_px / 60.0).clamp(0.0, 1.0).powf(0.4);
        let frontal = (self.yaw.to_radians().cos() * self.pitch.to_radians().cos()).max(0.0);
        let overall = size * frontal * self.detector_score.clamp(0.0, 1.0) * sharp.powf(0.5);
        if overall.is_finite() { overall.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Sharpness from which more is only noise.
const SHARP: f32 = 0.35;

/// Standard deviation of the 4-neighbour Laplacian of the luma over that of the luma, in the part
/// of the aligned face that holds the features (the middle two thirds across, from the brow to the
/// chin). Noise of the darkest scenes, of which the standard deviation is about 2, is not taken for
/// contrast.
fn sharpness(face: &AlignedFace) -> f32 {
    let (side, rgb) = (face.side(), face.rgb());
    let luma = |x: usize, y: usize| {
        let p = &rgb[(y * side + x) * 3..][..3];
        (77 * i32::from(p[0]) + 150 * i32::from(p[1]) + 29 * i32::from(p[2]) + 128) >> 8
    };
    let (left, right) = (side / 6, side - side / 6);
    let (top, bottom) = (side / 4, side - side / 8);
    let (mut n, mut sum, mut square, mut laplace) = (0i64, 0i64, 0i64, 0i64);
    for y in top.max(1)..bottom.min(side - 1) {
        for x in left.max(1)..right.min(side - 1) {
            let v = luma(x, y);
            let l = luma(x - 1, y) + luma(x + 1, y) + luma(x, y - 1) + luma(x, y + 1) - 4 * v;
            n += 1;
            sum += i64::from(v);
            square += i64::from(v * v);
            laplace += i64::from(l * l);
        }
    }
    if n == 0 {
        return 0.0;
    }
    let n = n as f64;
    let variance = (square as f64 / n - (sum as f64 / n).powi(2)).max(0.0);
    ((laplace as f64 / n) / (variance + 4.0)).sqrt() as f32
}

/// A mean face in units of half the eye distance: right, down, towards the viewer; the eyes'
/// midpoint is the origin. Right and down are the mean of the detector's own landmarks on frontal
/// press photographs; depths are those of an average adult (nose tip 34 mm before the eyes, corners
/// of the mouth 9 mm, eyes 63 mm apart).
const MEAN_FACE: [[f64; 3]; 5] =
    [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.12, 1.08], [-0.86, 1.96, 0.29], [0.86, 1.96, 0.29]];

/// Yaw, pitch and roll in degrees: the scaled orthographic camera that maps [`MEAN_FACE`] to the
/// landmarks best (least squares), read as a rotation. NaN where the landmarks coincide or are not
/// finite.
fn pose(landmarks: &[Point; 5]) -> (f32, f32, f32) {
    let mean = |f: &dyn Fn(usize) -> f64| (0..5).map(f).sum::<f64>() / 5.0;
    let model_mean: [f64; 3] = std::array::from_fn(|k| mean(&|i| MEAN_FACE[i][k]));
    let model = |i: usize| -> [f64; 3] { std::array::from_fn(|k| MEAN_FACE[i][k] - model_mean[k]) };
    let (mx, my) = (mean(&|i| f64::from(landmarks[i].x)), mean(&|i| f64::from(landmarks[i].y)));
    // Normal equations of the 2x3 camera matrix.
    let mut a = [[0.0f64; 3]; 3];
    let mut b = [[0.0f64; 3]; 2];
    for (i, p) in landmarks.iter().enumerate() {
        let (m, q) = (model(i), [f64::from(p.x) - mx, f64::from(p.y) - my]);
        for r in 0..3 {
            for c in 0..3 {
                a[r][c] += m[r] * m[c];
            }
            for (row, q) in b.iter_mut().zip(q) {
                row[r] += m[r] * q;
            }
        }
    }
    let right = solve(a, b[0]);
    let down = solve(a, b[1]);
    let length = |v: [f64; 3]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
    let scale = 0.5 * (length(right) + length(down));
    if !(scale > 1e-9 && scale.is_finite()) {
        return (f32::NAN, f32::NAN, f32::NAN);
    }
    let (dx, dy) = (landmarks[1].x - landmarks[0].x, landmarks[1].y - landmarks[0].y);
    let roll = f64::from(dy).atan2(f64::from(dx));
    // The face's own forward axis (towards the viewer when frontal) as the image shows it, the roll
    // undone.
    let (fx, fy) = (right[2] / scale, down[2] / scale);
    let (fx, fy) = (fx * roll.cos() + fy * roll.sin(), fy * roll.cos() - fx * roll.sin());
    let yaw = fx.atan2((1.0 - fx * fx - fy * fy).max(0.0).sqrt()).to_degrees();
    let pitch = fy.clamp(-1.0, 1.0).asin().to_degrees();
    (yaw as f32, pitch as f32, roll.to_degrees() as f32)
}

/// Solves `a x = b` by Cramer's rule; `a` is the mean face's, which is regular.
fn solve(a: [[f64; 3]; 3], b: [f64; 3]) -> [f64; 3] {
    let det = |m: [[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = det(a);
    std::array::from_fn(|k| {
        let mut m = a;
        for r in 0..3 {
            m[r][k] = b[r];
        }
        det(m) / whole
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Rect;
    use proptest::prelude::*;

    /// A good view in every respect.
    fn good() -> Quality {
        Quality {
            eye_distance_px: 60.0,
            sharpness: 0.6,
            yaw: 5.0,
            pitch: -5.0,
            roll: 0.0,
            detector_score: 0.9,
            outside: 0.0,
            overall: 0.8,
        }
    }

    /// The mean face turned by yaw, pitch and roll, in degrees, as an orthographic camera sees it.
    fn seen(yaw: f64, pitch: f64, roll: f64, half_eyes: f64) -> [Point; 5] {
        let (y, p, r) = (yaw.to_radians(), pitch.to_radians(), roll.to_radians());
        MEAN_FACE.map(|[x, d, z]| {
            // Towards the viewer is +z: pitch about the x axis, then yaw about the vertical one,
            // then roll in the image.
            let (d, z) = (d * p.cos() + z * p.sin(), z * p.cos() - d * p.sin());
            let x = x * y.cos() + z * y.sin();
            let (x, d) = (x * r.cos() - d * r.sin(), x * r.sin() + d * r.cos());
            Point::new((300.0 + half_eyes * x) as f32, (200.0 + half_eyes * d) as f32)
        })
    }

    fn textured(side: usize, cell: usize) -> AlignedFace {
        use crate::frame::{Frame, Layout, PixelFormat, Range};
        let alignment = super::super::Alignment { template: seen(0.0, 0.0, 0.0, 17.0), side };
        let data: Vec<u8> = (0..400 * 400)
            .map(|i| if (i % 400 / cell + i / 400 / cell).is_multiple_of(2) { 220 } else { 40 })
            .collect();
        let layout = Layout::packed(PixelFormat::Grey, Range::Full, 400, 400).unwrap();
        let mut face = AlignedFace::new(side);
        let mut alignment = alignment;
        alignment.template.iter_mut().for_each(|p| *p = Point::new(p.x - 244.0, p.y - 149.0));
        face.warp(&Frame::new(layout, &data).unwrap(), &seen(0.0, 0.0, 0.0, 17.0), &alignment)
            .unwrap();
        face
    }

    #[test]
    fn each_shortcoming_is_turned_away_for_its_own_reason() {
        let gate = QualityGate::default();
        assert_eq!(gate.check(&good()), Ok(()));
        for (bad, reason) in [
            (Quality { eye_distance_px: 9.0, ..good() }, TooPoor::TooSmall),
            (Quality { sharpness: 0.05, ..good() }, TooPoor::Blurred),
            (Quality { yaw: -70.0, ..good() }, TooPoor::Pose),
            (Quality { pitch: 60.0, ..good() }, TooPoor::Pose),
            (Quality { detector_score: 0.5, ..good() }, TooPoor::LowScore),
            (Quality { outside: 0.4, ..good() }, TooPoor::CutOff),
            (Quality { yaw: f32::NAN, ..good() }, TooPoor::Landmarks),
            (Quality { sharpness: f32::NAN, ..good() }, TooPoor::Blurred),
        ] {
            assert_eq!(gate.check(&bad), Err(reason));
        }
    }

    #[test]
    fn landmarks_that_coincide_or_are_no_numbers_are_no_face() {
        for p in [Point::new(5.0, 5.0), Point::new(f32::NAN, 1.0), Point::new(f32::INFINITY, 1.0)] {
            let face =
                Detection { rect: Rect::new(0.0, 0.0, 9.0, 9.0), landmarks: [p; 5], score: 0.9 };
            let q = Quality::of_detection(&face);
            assert_eq!(QualityGate::default().check_geometry(&q), Err(TooPoor::Landmarks));
            assert_eq!(q.overall, 0.0);
        }
    }

    #[test]
    fn a_pattern_of_single_pixels_is_sharper_than_the_same_pattern_enlarged() {
        let sharpness: Vec<_> = [2, 4, 8, 16].map(|cell| sharpness(&textured(112, cell))).to_vec();
        assert!(sharpness.windows(2).all(|w| w[0] > 1.2 * w[1]), "{sharpness:?}");
        assert_eq!(super::sharpness(&AlignedFace::new(112)), 0.0);
        assert_eq!(super::sharpness(&AlignedFace::new(1)), 0.0);
    }

    #[test]
    fn a_larger_sharper_more_frontal_view_ranks_higher() {
        let face = |yaw, half, score| Detection {
            rect: Rect::default(),
            landmarks: seen(yaw, 0.0, 0.0, half),
            score,
        };
        let rank = |f: Detection| Quality::of_detection(&f).overall;
        assert!(rank(face(0.0, 30.0, 0.9)) > rank(face(0.0, 10.0, 0.9)));
        assert!(rank(face(0.0, 30.0, 0.9)) > rank(face(40.0, 30.0, 0.9)));
        assert!(rank(face(0.0, 30.0, 0.9)) > rank(face(0.0, 30.0, 0.6)));
    }

    #[test]
    fn the_defaults_have_no_problems_and_an_impossible_value_is_named() {
        let mut out = Vec::new();
        QualityGate::default().problems(&mut out);
        assert!(out.is_empty(), "{out:?}");
        QualityGate { max_yaw: f32::NAN, ..QualityGate::default() }.problems(&mut out);
        assert_eq!(out[0].key, "vision.quality.max_yaw");
    }

    proptest! {
        #[test]
        fn pose_is_read_back_from_a_turned_mean_face(
            yaw in -60.0f64..60.0,
            pitch in -30.0f64..30.0,
            roll in -45.0f64..45.0,
            half in 5.0f64..100.0,
        ) {
            let (y, p, r) = pose(&seen(yaw, pitch, roll, half));
            let off = |got: f32, true_one: f64| (f64::from(got) - true_one).abs();
            prop_assert!(off(y, yaw) < 0.5 && off(p, pitch) < 0.5 && off(r, roll) < 0.5, "{} {} \
                {}", y, p, r);
        }
    }
}
