//! Brings a face to the embedder's template: five landmarks fix a similarity transform, and the pixels are sampled straight
//! from the frame's native format.
//!
//! Bilinear; where the face shrinks by more than two, as many samples are averaged as a pixel covers, so that nothing
//! aliases. Outside the frame there is black, as in the data that the embedders were trained on.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::manifest::EmbedderSpec;
use crate::frame::{Frame, Pixels, Visitor};
use crate::geometry::{Point, Similarity};

/// Where an embedder wants the landmarks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alignment {
    /// Image-left eye, image-right eye, nose tip, mouth corners, in pixels of the aligned face.
    pub template: [Point; 5],
    /// Side of the aligned face in pixels.
    pub side: usize,
}

impl From<&EmbedderSpec> for Alignment {
    fn from(spec: &EmbedderSpec) -> Self {
        Self { template: spec.template(), side: spec.side }
    }
}

/// An aligned face: square, red, green, blue. Wipes itself when dropped and prints only its size.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct AlignedFace {
    side: usize,
    pixels: Vec<u8>,
}

impl std::fmt::Debug for AlignedFace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedFace({0}x{0})", self.side)
    }
}

/// How a face lay in its frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// Pixels of the frame a pixel of the aligned face: above 1, the face was shrunk.
    pub scale: f32,
    /// Share of the aligned face that lies outside the frame, 0 to 1.
    pub outside: f32,
}

/// Most samples averaged along each axis; a face shrunk further is larger than any use.
const MAX_SAMPLES: usize = 16;

impl AlignedFace {
    /// A black face of `side` x `side` pixels.
    pub fn new(side: usize) -> Self {
        Self { side, pixels: vec![0; side * side * 3] }
    }

    /// Side in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// `side * side * 3` bytes: rows from the top, each pixel red, green, blue.
    pub fn rgb(&self) -> &[u8] {
        &self.pixels
    }

    /// Overwrites the pixels with black.
    pub fn wipe(&mut self) {
        self.pixels.as_mut_slice().zeroize();
    }

    /// Replaces the pixels by the face of `frame` whose landmarks are given. `None`, and black, where the landmarks coincide
    /// or are not finite.
    pub fn warp(&mut self, frame: &Frame<'_>, landmarks: &[Point; 5], alignment: &Alignment) -> Option<Placement> {
        if self.side != alignment.side {
            *self = Self::new(alignment.side);
        }
        let Some(to_face) = Similarity::estimate(landmarks, &alignment.template) else {
            self.pixels.fill(0);
            return None;
        };
        Some(self.sample(frame, &to_face.inverse()))
    }

    /// Replaces the pixels by those of `frame` where `to_frame` takes them.
    pub(super) fn sample(&mut self, frame: &Frame<'_>, to_frame: &Similarity) -> Placement {
        frame.read(Warp { face: self, to_frame: *to_frame, width: frame.width(), height: frame.height() })
    }
}

struct Warp<'a> {
    face: &'a mut AlignedFace,
    to_frame: Similarity,
    width: usize,
    height: usize,
}

/// Fraction bits of a bilinear weight.
const BITS: u32 = 8;

impl Warp<'_> {
    /// The frame at (`x`, `y`), black outside, with `2 * BITS` fraction bits.
    #[inline(always)]
    fn sample<P: Pixels>(&self, pixels: &P, x: f32, y: f32) -> [u32; 3] {
        let (left, top) = (x.floor(), y.floor());
        let (w, h) = (self.width as f32, self.height as f32);
        // Written so that a NaN is outside.
        if !(left >= -1.0 && top >= -1.0 && left < w && top < h) {
            return [0; 3];
        }
        let one = 1u32 << BITS;
        let (fx, fy) = (((x - left) * one as f32 + 0.5) as u32, ((y - top) * one as f32 + 0.5) as u32);
        let (left, top) = (left as isize, top as isize);
        let mut sum = [0u32; 3];
        for (dy, wy) in [(0, one - fy.min(one)), (1, fy.min(one))] {
            for (dx, wx) in [(0, one - fx.min(one)), (1, fx.min(one))] {
                let (px, py) = (left + dx, top + dy);
                if px < 0 || py < 0 || px >= self.width as isize || py >= self.height as isize {
                    continue;
                }
                let p = pixels.rgb(px as usize, py as usize);
                for c in 0..3 {
                    sum[c] += u32::from(p[c]) * wx * wy;
                }
            }
        }
        sum
    }
}

impl Visitor for Warp<'_> {
    type Output = Placement;

    fn visit<P: Pixels>(self, pixels: &P) -> Placement {
        let scale = self.to_frame.scale();
        let samples = if scale > 2.0 { (scale.ceil() as usize).min(MAX_SAMPLES) } else { 1 };
        let side = self.face.side;
        let mut target = std::mem::take(&mut self.face.pixels);
        let mut outside = 0usize;
        let total = (samples * samples) as u64;
        for (y, row) in target.chunks_exact_mut(side * 3).enumerate() {
            for (x, out) in row.chunks_exact_mut(3).enumerate() {
                let centre = self.to_frame.apply(Point::new(x as f32, y as f32));
                let inside = centre.x >= -0.5
                    && centre.y >= -0.5
                    && centre.x <= self.width as f32 - 0.5
                    && centre.y <= self.height as f32 - 0.5;
                outside += usize::from(!inside);
                let mut sum = [0u64; 3];
                for sy in 0..samples {
                    for sx in 0..samples {
                        let offset = |s: usize| (s as f32 + 0.5) / samples as f32 - 0.5;
                        let at = Point::new(x as f32 + offset(sx), y as f32 + offset(sy));
                        let p = self.to_frame.apply(at);
                        let s = self.sample(pixels, p.x, p.y);
                        for c in 0..3 {
                            sum[c] += u64::from(s[c]);
                        }
                    }
                }
                for c in 0..3 {
                    let whole = total << (2 * BITS);
                    out[c] = ((sum[c] + whole / 2) / whole) as u8;
                }
            }
        }
        self.face.pixels = target;
        Placement { scale, outside: outside as f32 / (side * side) as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Layout, PixelFormat, Range};
    use crate::vision::Models;
    use proptest::prelude::*;

    fn alignment() -> Alignment {
        Alignment::from(&Models::builtin().unwrap().manifest.embedder)
    }

    /// A frame whose red grows to the right and whose green grows downwards, one code in `step` pixels.
    fn ramp(width: u32, height: u32, step: u32) -> (Layout, Vec<u8>) {
        let layout = Layout::packed(PixelFormat::Rgb8, Range::Full, width, height).unwrap();
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| [(x / step) as u8, (y / step) as u8, 77]));
        (layout, pixels.flatten().collect())
    }

    fn placed(scale: f32, dx: f32, dy: f32) -> [Point; 5] {
        alignment().template.map(|p| Point::new(p.x * scale + dx, p.y * scale + dy))
    }

    #[test]
    fn landmarks_that_lie_on_the_template_give_the_frame_itself() {
        let (layout, data) = ramp(200, 200, 1);
        let mut face = AlignedFace::new(112);
        let placement = face.warp(&Frame::new(layout, &data).unwrap(), &placed(1.0, 20.0, 30.0), &alignment());
        let placement = placement.unwrap();
        assert!((placement.scale - 1.0).abs() < 1e-4 && placement.outside == 0.0);
        for (i, p) in face.rgb().chunks_exact(3).enumerate() {
            assert_eq!(p, [(i % 112 + 20) as u8, (i / 112 + 30) as u8, 77]);
        }
    }

    #[test]
    fn what_lies_outside_the_frame_is_black_and_its_share_is_known() {
        let (layout, data) = ramp(200, 200, 1);
        let mut face = AlignedFace::new(112);
        let frame = Frame::new(layout, &data).unwrap();
        let placement = face.warp(&frame, &placed(1.0, -56.0, 0.0), &alignment()).unwrap();
        assert!((placement.outside - 0.5).abs() < 0.01, "{placement:?}");
        for row in face.rgb().chunks_exact(112 * 3) {
            assert!(row[..55 * 3].iter().all(|v| *v == 0) && row[57 * 3 + 2] == 77);
        }
    }

    #[test]
    fn a_large_face_is_averaged_and_not_picked_from() {
        let layout = Layout::packed(PixelFormat::Grey, Range::Full, 1000, 1000).unwrap();
        let data: Vec<u8> = (0..1_000_000).map(|i| if (i % 1000 + i / 1000) % 2 == 0 { 255 } else { 0 }).collect();
        let mut face = AlignedFace::new(112);
        face.warp(&Frame::new(layout, &data).unwrap(), &placed(8.0, 10.0, 10.0), &alignment()).unwrap();
        assert!(face.rgb().iter().all(|v| (110..=145).contains(v)));
    }

    #[test]
    fn landmarks_without_a_transform_leave_a_black_face() {
        let (layout, data) = ramp(64, 64, 1);
        let frame = Frame::new(layout, &data).unwrap();
        let mut face = AlignedFace::new(112);
        face.warp(&frame, &placed(0.5, 0.0, 0.0), &alignment()).unwrap();
        assert!(face.warp(&frame, &[Point::new(f32::NAN, 0.0); 5], &alignment()).is_none());
        assert!(face.rgb().iter().all(|v| *v == 0));
        assert_eq!(format!("{face:?}"), "AlignedFace(112x112)");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_similarity_of_a_ramp_is_that_ramp(scale in 0.3f32..3.0, angle in -3.1f32..3.1, dx in -300.0f32..600.0, dy in -300.0f32..600.0) {
            let (layout, data) = ramp(500, 500, 2);
            let map = Similarity { a: scale * angle.cos(), b: scale * angle.sin(), tx: dx, ty: dy };
            let mut face = AlignedFace::new(112);
            face.warp(&Frame::new(layout, &data).unwrap(), &alignment().template.map(|p| map.apply(p)), &alignment()).unwrap();
            for (i, p) in face.rgb().chunks_exact(3).enumerate() {
                let at = map.apply(Point::new((i % 112) as f32, (i / 112) as f32));
                if (3.0..496.0).contains(&at.x) && (3.0..496.0).contains(&at.y) {
                    // Half a code for the steps of two pixels, one for rounding.
                    prop_assert!((f32::from(p[0]) - (at.x - 0.5) / 2.0).abs() < 1.5, "{} at {}", p[0], at.x);
                    prop_assert!((f32::from(p[1]) - (at.y - 0.5) / 2.0).abs() < 1.5, "{} at {}", p[1], at.y);
                } else if !(-4.0..503.0).contains(&at.x) || !(-4.0..503.0).contains(&at.y) {
                    prop_assert_eq!(p, [0, 0, 0]);
                }
            }
        }

        #[test]
        fn any_landmarks_at_all_are_survived(xs in proptest::array::uniform10(proptest::num::f32::ANY)) {
            let (layout, data) = ramp(40, 30, 1);
            let landmarks = std::array::from_fn(|i| Point::new(xs[2 * i], xs[2 * i + 1]));
            AlignedFace::new(112).warp(&Frame::new(layout, &data).unwrap(), &landmarks, &alignment());
        }
    }
}
