//! Whether an aligned face can match at all: a sign of blur, of noise and of darkness, from its
//! pixels alone.
//!
//! * For counting, not for refusing: of degraded views that do match, some 40 % are marked too. A
//!   camera most of whose views are marked finds nobody, and says "compared" all the same.
//! * [`Fitness::score`] is a logistic score fitted on half of 385 people in 16 degradations of
//!   press photographs and checked on the other half: of views that do not reach similarity .60
//!   with three other photographs of their person, 91 % lie above [`HARDLY`], of undegraded ones
//!   2.6 %.
//! * Sharpness alone takes noise for sharpness and does not see motion: here blur is the *least*
//!   second difference of four directions, and noise is measured for itself.
//! * One pass over the face, no memory.
//!
//! Not promised: that the cut holds for faces whose side is not 112 pixels; these are not judged.

use serde::Serialize;

use super::align::AlignedFace;

/// Side of the aligned face that the constants were fitted on.
const SIDE: usize = 112;
/// Rows and columns that hold the features: brow to chin, without hair and background.
const ROWS: std::ops::Range<usize> = 28..98;
const COLUMNS: std::ops::Range<usize> = 19..93;
/// Score above which a view is hardly able to match.
pub const HARDLY: f32 = -1.405;
/// Intercept and weights of blur, noise and contrast in the score.
const WEIGHTS: [f32; 4] = [0.670, -2.612, 1.068, -0.852];

/// Medians of the bundled portraits: what a term of the score exceeds is what is wrong.
const USUAL: Fitness = Fitness { detail: -2.25, noise: -2.93, contrast: 7.26 };

/// Measures of one aligned face. All are finite.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fitness {
    /// `ln((m + .2) / (V + 4))`: the least mean squared second difference of the smoothed luma over
    /// four directions, by the luma's variance. The lower, the more blurred. Its 3rd percentile on
    /// clean photographs is about -3.4.
    pub detail: f32,
    /// `ln(sigma / sqrt(V + 4) + .001)`, sigma the noise after Immerkaer (1996). The higher, the
    /// noisier.
    pub noise: f32,
    /// `ln(V + 4)`. The lower, the darker or flatter.
    pub contrast: f32,
}

/// Why a view is hardly able to match: the measure that says most for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HardlyAble {
    /// Out of focus, or smeared by motion.
    Blurred,
    /// Sensor noise as strong as the features.
    Noisy,
    /// Too dark, or too flat.
    Dark,
}

impl HardlyAble {
    /// Every reason.
    pub const ALL: [HardlyAble; 3] = [Self::Blurred, Self::Noisy, Self::Dark];

    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blurred => "blurred",
            Self::Noisy => "noisy",
            Self::Dark => "dark",
        }
    }
}

impl Fitness {
    /// Measures `face`; `None` where its side is not 112 pixels.
    pub fn of(face: &AlignedFace) -> Option<Self> {
        (face.side() == SIDE).then(|| Self::of_pixels(face.rgb()))
    }

    /// `rgb`: 112 rows of 112 pixels of three bytes.
    fn of_pixels(rgb: &[u8]) -> Self {
        let luma = |x: usize, y: usize| {
            let p = &rgb[(y * SIDE + x) * 3..][..3];
            // In 256ths: exact in 32 bits.
            77 * i32::from(p[0]) + 150 * i32::from(p[1]) + 29 * i32::from(p[2])
        };
        let row = |x: usize, y: usize| luma(x - 1, y) + luma(x, y) + luma(x + 1, y);
        // Nine times the box mean.
        let smooth = |x: usize, y: usize| row(x, y - 1) + row(x, y) + row(x, y + 1);
        let (mut sum, mut squares, mut noise) = (0i64, 0i64, 0i64);
        let mut second = [0f64; 4];
        for y in ROWS {
            for x in COLUMNS {
                let v = luma(x, y);
                sum += i64::from(v);
                squares += i64::from(v) * i64::from(v);
                let corners = luma(x - 1, y - 1)
                    + luma(x + 1, y - 1)
                    + luma(x - 1, y + 1)
                    + luma(x + 1, y + 1);
                let sides = luma(x - 1, y) + luma(x + 1, y) + luma(x, y - 1) + luma(x, y + 1);
                noise += i64::from((corners - 2 * sides + 4 * v).abs());
                let b = 2 * smooth(x, y);
                for (sum, ends) in second.iter_mut().zip([
                    smooth(x + 2, y) + smooth(x - 2, y),
                    smooth(x, y + 2) + smooth(x, y - 2),
                    smooth(x + 2, y + 2) + smooth(x - 2, y - 2),
                    smooth(x + 2, y - 2) + smooth(x - 2, y + 2),
                ]) {
                    *sum += f64::from(ends - b).powi(2);
                }
            }
        }
        let n = (ROWS.len() * COLUMNS.len()) as f64;
        let mean = sum as f64 / n / 256.0;
        let variance = (squares as f64 / n / 65536.0 - mean * mean).max(0.0);
        // A diagonal step is longer by the root of two: its second difference by two, squared four.
        let least = (second[0].min(second[1])).min(second[2].min(second[3]) / 4.0)
            / n
            / (9.0f64 * 256.0).powi(2);
        let sigma = noise as f64 / n / 256.0 * (std::f64::consts::PI / 2.0).sqrt() / 6.0;
        Self {
            detail: ((least + 0.2) / (variance + 4.0)).ln() as f32,
            noise: (sigma / (variance + 4.0).sqrt() + 0.001).ln() as f32,
            contrast: (variance + 4.0).ln() as f32,
        }
    }

    /// Logarithm of the odds, but for a constant, that the view does not reach its own person.
    pub fn score(&self) -> f32 {
        let [base, detail, noise, contrast] = WEIGHTS;
        base + detail * self.detail + noise * self.noise + contrast * self.contrast
    }

    /// Why the view is hardly able to match; `None` where it is able.
    pub fn hardly_able(&self) -> Option<HardlyAble> {
        (self.score() > HARDLY).then(|| {
            let [_, detail, noise, contrast] = WEIGHTS;
            let over = |weight: f32, value: f32, usual: f32| weight * (value - usual);
            [
                (HardlyAble::Blurred, over(detail, self.detail, USUAL.detail)),
                (HardlyAble::Noisy, over(noise, self.noise, USUAL.noise)),
                (HardlyAble::Dark, over(contrast, self.contrast, USUAL.contrast)),
            ]
            .into_iter()
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(HardlyAble::Blurred, |(reason, _)| reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Layout, PixelFormat, Range};
    use crate::vision::{Alignment, Detector, Faces, Models};
    use proptest::prelude::*;

    /// A linear congruential generator (Knuth's MMIX).
    struct Mmix(u64);

    impl Mmix {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) % n
        }
    }

    const PORTRAITS: [&[u8]; 5] = [
        include_bytes!("../demo/portraits/biden-2010.jpg"),
        include_bytes!("../demo/portraits/collins.jpg"),
        include_bytes!("../demo/portraits/hopper.jpg"),
        include_bytes!("../demo/portraits/obama-2010.jpg"),
        include_bytes!("../demo/portraits/obama-2012.jpg"),
    ];

    /// The aligned faces of all portraits.
    fn portraits() -> Vec<Vec<u8>> {
        let models = Models::builtin().unwrap();
        let mut detector = Detector::new(&models, 640).unwrap();
        let alignment = Alignment::from(&models.manifest.embedder);
        PORTRAITS
            .iter()
            .map(|jpeg| {
                let image = image::load_from_memory(jpeg).unwrap().to_rgb8();
                let (width, height) = image.dimensions();
                let layout = Layout::packed(PixelFormat::Rgb8, Range::Full, width, height).unwrap();
                let data = image.into_raw();
                let frame = Frame::new(layout, &data).unwrap();
                let mut faces = Faces::new();
                detector.detect(&frame, 0.6, &mut faces).unwrap();
                let mut face = AlignedFace::new(SIDE);
                face.warp(&frame, &faces[0].landmarks, &alignment).unwrap();
                face.rgb().to_vec()
            })
            .collect()
    }

    /// The mean along a line of `length` pixels, in the direction of `step`.
    fn motion(rgb: &[u8], length: i32, step: (i32, i32)) -> Vec<u8> {
        let side = SIDE as i32;
        let at = |x: i32, y: i32, c: i32| {
            let (x, y) = (x.clamp(0, side - 1), y.clamp(0, side - 1));
            i32::from(rgb[((y * side + x) * 3 + c) as usize])
        };
        (0..side * side * 3)
            .map(|i| {
                let (x, y, c) = (i / 3 % side, i / 3 / side, i % 3);
                let sum: i32 =
                    (-length / 2..=length / 2).map(|k| at(x + k * step.0, y + k * step.1, c)).sum();
                (sum / (length / 2 * 2 + 1)) as u8
            })
            .collect()
    }

    /// Light times `gain`, and noise of about `sigma`.
    fn sensor(rgb: &[u8], gain: f32, sigma: f32) -> Vec<u8> {
        let mut draw = Mmix(7);
        rgb.iter()
            .map(|v| {
                // Twelve of them have a variance of 1.
                let unit: f32 =
                    (0..12).map(|_| draw.below(1000) as f32 / 1000.0).sum::<f32>() - 6.0;
                (f32::from(*v) * gain + unit * sigma).clamp(0.0, 255.0) as u8
            })
            .collect()
    }

    fn reasons(faces: &[Vec<u8>], degrade: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Option<HardlyAble>> {
        faces.iter().map(|f| Fitness::of_pixels(&degrade(f)).hardly_able()).collect()
    }

    #[test]
    fn portraits_are_able_to_match_and_degraded_ones_are_hardly_able_for_the_right_reason() {
        let faces = portraits();
        assert_eq!(reasons(&faces, <[u8]>::to_vec), [None; 5]);
        for step in [(1, 0), (0, 1), (1, 1), (1, -1)] {
            assert_eq!(
                reasons(&faces, |f| motion(f, 12, step)),
                [Some(HardlyAble::Blurred); 5],
                "{step:?}"
            );
        }
        // Two portraits of strong contrast stay able at this noise.
        let noisy = reasons(&faces, |f| sensor(f, 1.0, 45.0));
        assert_eq!(noisy.iter().filter(|r| **r == Some(HardlyAble::Noisy)).count(), 3);
        assert_eq!(noisy.iter().filter(|r| r.is_none()).count(), 2);
        let night = reasons(&faces, |f| sensor(f, 0.06, 1.0));
        assert_eq!(night, [Some(HardlyAble::Dark); 5]);
    }

    #[test]
    fn noise_does_not_hide_motion() {
        let blurred = |f: &[u8]| sensor(&motion(f, 12, (1, 0)), 1.0, 12.0);
        assert!(reasons(&portraits(), blurred).iter().all(Option::is_some));
    }

    #[test]
    fn a_face_of_another_size_is_not_judged_and_a_flat_one_is_hardly_able() {
        assert!(Fitness::of(&AlignedFace::new(96)).is_none());
        let flat = Fitness::of(&AlignedFace::new(SIDE)).unwrap();
        assert!(flat.hardly_able().is_some(), "{flat:?} {}", flat.score());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_crop_has_finite_measures(seed: u64, low in 0u8..=255, span in 0u64..256) {
            let mut draw = Mmix(seed);
            let value = |draw: &mut Mmix| low.saturating_add(draw.below(span + 1) as u8);
            let rgb: Vec<u8> = (0..SIDE * SIDE * 3).map(|_| value(&mut draw)).collect();
            let f = Fitness::of_pixels(&rgb);
            prop_assert!(f.detail.is_finite() && f.noise.is_finite() && f.contrast.is_finite());
            prop_assert!(f.score().is_finite(), "{f:?}");
        }
    }
}
