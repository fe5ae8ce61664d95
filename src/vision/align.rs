//! Brings a face to the embedder's template: five landmarks fix a similarity transform, and the
//! pixels are sampled straight from the frame's native format.
//!
//! Bilinear; where the face shrinks by more than two, as many samples are averaged as a pixel
//! covers, so that nothing aliases. Outside the frame there is black, as in the data that the
//! embedders were trained on.
//!
//! The part of the frame in which the face lies is converted to pixels once, tile by tile where it
//! is large, and sampled from there ([`pixels`]); it is wiped afterwards.
//! Nothing is allocated but the face itself.

use std::ops::Range;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::manifest::EmbedderSpec;
use crate::frame::{Frame, Pixels, Visitor};
use crate::geometry::{Orientation, Point, Similarity};
use crate::kernels::pixels::{self, BILINEAR, Patch, PixelKernels, Rgbx, SampleWalk};
use crate::locked::wipe;

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
const MAX_SAMPLES: usize = SampleWalk::MOST_SAMPLES;
/// Longest side of a tile of the aligned face whose part of the frame is held at once.
const MAX_TILE: usize = 160;

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
        wipe(&mut self.pixels);
    }

    /// Overwrites each pixel that `stays` does not keep, by its column and row, with `grey`.
    pub(super) fn keep(&mut self, grey: u8, stays: impl Fn(usize, usize) -> bool) {
        for (i, pixel) in self.pixels.chunks_exact_mut(3).enumerate() {
            if !stays(i % self.side, i / self.side) {
                pixel.fill(grey);
            }
        }
    }

    /// Replaces the pixels by the face of `frame` whose landmarks are given. `None`, and black,
    /// where the landmarks coincide or are not finite.
    pub fn warp(
        &mut self,
        frame: &Frame<'_>,
        landmarks: &[Point; 5],
        alignment: &Alignment,
    ) -> Option<Placement> {
        if self.side != alignment.side {
            *self = Self::new(alignment.side);
        }
        let Some(to_face) = Similarity::estimate(landmarks, &alignment.template) else {
            wipe(&mut self.pixels);
            return None;
        };
        Some(self.sample(frame, &to_face.inverse()))
    }

    /// Replaces the pixels by those of `frame` where `to_frame` takes them.
    pub(super) fn sample(&mut self, frame: &Frame<'_>, to_frame: &Similarity) -> Placement {
        self.sample_with(pixels::in_use(), frame, to_frame)
    }
}

/// Most pixels of the frame that are held at once: 64 KiB, on the stack.
const PATCH: usize = 16_384;
/// Shortest side of a tile of the aligned face whose part of the frame is held at once.
const LEAST_TILE: usize = 8;
/// Where coordinates of a frame end for [`SampleWalk`]; no frame is as large.
const FAR: f32 = 1e5;

impl AlignedFace {
    /// [`AlignedFace::sample`] with the kernels given.
    fn sample_with(
        &mut self,
        kernels: &dyn PixelKernels,
        frame: &Frame<'_>,
        to_frame: &Similarity,
    ) -> Placement {
        let scale = to_frame.scale();
        let samples = if scale > 2.0 { (scale.ceil() as usize).min(MAX_SAMPLES) } else { 1 };
        let walk =
            SampleWalk { a: to_frame.a, b: to_frame.b, tx: to_frame.tx, ty: to_frame.ty, samples };
        if let Some(tile) = tile(&walk, self.side) {
            self.in_tiles(kernels, frame, &walk, tile);
        } else {
            frame.read(OneByOne { face: self, frame: (frame.width(), frame.height()), walk });
        }
        Placement {
            scale,
            outside: outside(&walk, self.side, frame.width() as f32, frame.height() as f32),
        }
    }

    /// Each tile's part of the frame is converted to pixels, and then sampled.
    fn in_tiles(
        &mut self,
        kernels: &dyn PixelKernels,
        frame: &Frame<'_>,
        walk: &SampleWalk,
        tile: usize,
    ) {
        let side = self.side;
        let mut held = [[0; 4]; PATCH];
        let mut row = [[0; 4]; MAX_TILE];
        for (top, left) in
            (0..side).step_by(tile).flat_map(|y| (0..side).step_by(tile).map(move |x| (y, x)))
        {
            let (bottom, right) = ((top + tile).min(side), (left + tile).min(side));
            let patch =
                part_of_frame(kernels, frame, &part(walk, left..right, top..bottom), &mut held);
            for y in top..bottom {
                let row = &mut row[..right - left];
                kernels.walk(&patch, walk, left, y, row);
                kernels.pack(
                    false,
                    row,
                    &mut self.pixels[(y * side + left) * 3..(y * side + right) * 3],
                );
            }
        }
        wipe(held.as_flattened_mut());
        wipe(row.as_flattened_mut());
    }
}

/// Columns and rows of a frame, or beyond it.
#[derive(Debug, Clone)]
struct FramePart {
    columns: Range<i32>,
    rows: Range<i32>,
}

/// What the pixels `columns`, `rows` of the aligned face are sampled from. Coordinates are
/// monotonous along a row and along a column, rounding included, so the outermost samples are at
/// the corners.
fn part(walk: &SampleWalk, columns: Range<usize>, rows: Range<usize>) -> FramePart {
    let ends = |r: &Range<usize>| {
        [r.start as f32 + walk.offset(0), (r.end - 1) as f32 + walk.offset(walk.samples - 1)]
    };
    let (xs, ys) = (ends(&columns), ends(&rows));
    let corners = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(i, j)| walk.at(xs[i], ys[j]));
    // A bilinear sample has the pixel before its point and the one after.
    let span = |all: [f32; 4]| {
        let (least, most) =
            all.into_iter().fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(v), b.max(v)));
        least.floor() as i32..most.floor() as i32 + 2
    };
    FramePart { columns: span(corners.map(|c| c.0)), rows: span(corners.map(|c| c.1)) }
}

/// The longest side of square tiles whose parts of the frame can be held; `None` where even the
/// shortest cannot, or the coordinates are no numbers: a face that is larger than any frame, or
/// none at all.
fn tile(walk: &SampleWalk, side: usize) -> Option<usize> {
    let far = side as f32;
    let corners = [(0.0, 0.0), (0.0, far), (far, 0.0), (far, far)].map(|(x, y)| walk.at(x, y));
    if side == 0 || !corners.iter().all(|(x, y)| x.abs() < FAR && y.abs() < FAR) {
        return None;
    }
    let mut tile = side.min(MAX_TILE);
    // Of a tile anywhere: a bilinear sample has two pixels, its point falls anywhere between two, a
    // line begins at an even column, and one for rounding, which below `FAR` is far less.
    let fits =
        |tile: usize| (tile as f32 * (walk.a.abs() + walk.b.abs()) + 5.0).powi(2) <= PATCH as f32;
    while !fits(tile) {
        if tile <= LEAST_TILE {
            return None;
        }
        tile = (tile / 2).next_multiple_of(LEAST_TILE);
    }
    Some(tile)
}

/// The pixels of a part of the frame, black beyond it.
fn part_of_frame<'a>(
    kernels: &dyn PixelKernels,
    frame: &Frame<'_>,
    part: &FramePart,
    held: &'a mut [Rgbx],
) -> Patch<'a> {
    let within = |r: &Range<i32>, side: usize| {
        let side = side as i32;
        r.start.clamp(0, side) as usize..r.end.clamp(0, side) as usize
    };
    let (columns, rows) =
        (within(&part.columns, frame.width()), within(&part.rows, frame.height()));
    // A line begins at an even column, which may be one before the part's first.
    let is_native = frame.orientation() == Orientation::NATIVE;
    let first = if is_native { columns.start & !1 } else { columns.start };
    let left = part.columns.start - (columns.start - first) as i32;
    let width = (part.columns.end - left) as usize;
    let held = &mut held[..width * part.rows.len()];
    if columns.is_empty() || rows.is_empty() {
        held.fill([0; 4]);
        return Patch { pixels: held, width, left, top: part.rows.start };
    }
    let pixels = first..columns.end;
    let before = (first as i32 - left) as usize;
    for (y, line) in part.rows.clone().zip(held.chunks_exact_mut(width)) {
        if usize::try_from(y).is_ok_and(|y| rows.contains(&y)) {
            line[..before].fill([0; 4]);
            line[before + pixels.len()..].fill([0; 4]);
        } else {
            line.fill([0; 4]);
        }
    }
    let above = (rows.start as i32 - part.rows.start) as usize;
    frame.block(kernels, pixels, rows, &mut held[above * width + before..], width);
    Patch { pixels: held, width, left, top: part.rows.start }
}

/// Share of the aligned face's pixels whose centres lie outside the frame.
fn outside(walk: &SampleWalk, side: usize, width: f32, height: f32) -> f32 {
    let inside = |x: usize, y: usize| {
        let (x, y) = walk.at(x as f32, y as f32);
        x >= -0.5 && y >= -0.5 && x <= width - 0.5 && y <= height - 0.5
    };
    let last = side.saturating_sub(1);
    if [(0, 0), (0, last), (last, 0), (last, last)].into_iter().all(|(x, y)| inside(x, y)) {
        return 0.0;
    }
    let count: usize = (0..side).map(|y| (0..side).filter(|x| !inside(*x, y)).count()).sum();
    count as f32 / (side * side) as f32
}

/// The definition of a sampled face, pixel by pixel from single samples: the reference, and what
/// takes the place of tiles for a face that is larger than they can be.
struct OneByOne<'a> {
    face: &'a mut AlignedFace,
    /// Width and height.
    frame: (usize, usize),
    walk: SampleWalk,
}

impl OneByOne<'_> {
    /// The frame at (`x`, `y`), black outside, with `2 * BILINEAR` fraction bits.
    #[inline(always)]
    fn sample<P: Pixels>(&self, pixels: &P, x: f32, y: f32) -> [u32; 3] {
        let (left, top) = (x.floor(), y.floor());
        let (width, height) = self.frame;
        // Written so that a NaN is outside.
        if !(left >= -1.0 && top >= -1.0 && left < width as f32 && top < height as f32) {
            return [0; 3];
        }
        let one = 1u32 << BILINEAR;
        let (fx, fy) =
            (((x - left) * one as f32 + 0.5) as u32, ((y - top) * one as f32 + 0.5) as u32);
        let (left, top) = (left as isize, top as isize);
        let mut sum = [0u32; 3];
        for (dy, wy) in [(0, one - fy.min(one)), (1, fy.min(one))] {
            for (dx, wx) in [(0, one - fx.min(one)), (1, fx.min(one))] {
                let (px, py) = (left + dx, top + dy);
                if px < 0 || py < 0 || px >= width as isize || py >= height as isize {
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

impl Visitor for OneByOne<'_> {
    type Output = ();

    fn visit<P: Pixels>(self, pixels: &P) {
        let walk = self.walk;
        let side = self.face.side;
        let mut target = std::mem::take(&mut self.face.pixels);
        let total = (walk.samples * walk.samples) as u64;
        for (i, out) in target.chunks_exact_mut(3).enumerate() {
            let (x, y) = ((i % side) as f32, (i / side) as f32);
            let mut sum = [0u64; 3];
            for (sy, sx) in
                (0..walk.samples).flat_map(|sy| (0..walk.samples).map(move |sx| (sy, sx)))
            {
                let (px, py) = walk.at(x + walk.offset(sx), y + walk.offset(sy));
                let s = self.sample(pixels, px, py);
                (0..3).for_each(|c| sum[c] += u64::from(s[c]));
            }
            let whole = total << (2 * BILINEAR);
            (0..3).for_each(|c| out[c] = ((sum[c] + whole / 2) / whole) as u8);
        }
        self.face.pixels = target;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::fixture::{noisy, turned_copy};
    use crate::frame::{Layout, PixelFormat, Range};
    use crate::kernels::pixels::available;
    use crate::vision::Models;
    use proptest::prelude::*;

    fn alignment() -> Alignment {
        Alignment::from(&Models::builtin().unwrap().manifest.embedder)
    }

    /// A frame whose red grows to the right and whose green grows downwards, one code in `step`
    /// pixels.
    fn ramp(width: u32, height: u32, step: u32) -> (Layout, Vec<u8>) {
        let layout = Layout::packed(PixelFormat::Rgb8, Range::Full, width, height).unwrap();
        let pixels = (0..height)
            .flat_map(|y| (0..width).map(move |x| [(x / step) as u8, (y / step) as u8, 77]));
        (layout, pixels.flatten().collect())
    }

    fn placed(scale: f32, dx: f32, dy: f32) -> [Point; 5] {
        alignment().template.map(|p| Point::new(p.x * scale + dx, p.y * scale + dy))
    }

    #[test]
    fn landmarks_that_lie_on_the_template_give_the_frame_itself() {
        let (layout, data) = ramp(200, 200, 1);
        let mut face = AlignedFace::new(112);
        let placement =
            face.warp(&Frame::new(layout, &data).unwrap(), &placed(1.0, 20.0, 30.0), &alignment());
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
        let data: Vec<u8> =
            (0..1_000_000).map(|i| if (i % 1000 + i / 1000) % 2 == 0 { 255 } else { 0 }).collect();
        let mut face = AlignedFace::new(112);
        face.warp(&Frame::new(layout, &data).unwrap(), &placed(8.0, 10.0, 10.0), &alignment())
            .unwrap();
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

    #[test]
    fn a_face_larger_than_any_tile_is_sampled_too() {
        let layout = Layout::packed(PixelFormat::Grey, Range::Full, 8000, 8000).unwrap();
        let data = vec![90; 64_000_000];
        let mut face = AlignedFace::new(112);
        face.warp(&Frame::new(layout, &data).unwrap(), &placed(70.0, 40.0, 40.0), &alignment())
            .unwrap();
        assert!(face.rgb().iter().all(|v| *v == 90));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn a_face_is_sampled_as_its_definition_says_wherever_it_lies(
            (w, h, pad, format, full) in
                (1u32..400, 1u32..300, 0usize..20, 0usize..6, any::<bool>()),
            scale in prop_oneof![3 => 0.05f32..2.5, 1 => 2.5f32..40.0],
            angle in -3.2f32..3.2,
            (cx, cy) in (-0.3f32..1.3, -0.3f32..1.3),
            side in prop_oneof![1usize..40, Just(112), Just(160), Just(200)],
            (seed, extreme) in (any::<u32>(), any::<bool>()),
        ) {
            let (layout, data) = noisy((w, h, pad), (format, full), (seed, extreme));
            let frame = Frame::new(layout, &data).unwrap();
            let (a, b, half) = (scale * angle.cos(), scale * angle.sin(), side as f32 / 2.0);
            let (x, y) = (cx * w as f32, cy * h as f32);
            let map =
                Similarity { a, b, tx: x - (a * half - b * half), ty: y - (b * half + a * half) };
            let samples =
                if map.scale() > 2.0 { (map.scale().ceil() as usize).min(MAX_SAMPLES) } else { 1 };
            let walk = SampleWalk { a, b, tx: map.tx, ty: map.ty, samples };
            let mut want = AlignedFace::new(side);
            frame.read(OneByOne { face: &mut want, frame: (w as usize, h as usize), walk });
            for kernels in available() {
                let mut got = AlignedFace::new(side);
                got.pixels.fill(1);
                let placement = got.sample_with(kernels, &frame, &map);
                prop_assert!(got.pixels == want.pixels, "{}", kernels.set());
                let centres =
                    (0..side * side).map(|i| walk.at((i % side) as f32, (i / side) as f32));
                let beyond = |(x, y): &(f32, f32)| {
                    *x < -0.5 || *y < -0.5 || *x > w as f32 - 0.5 || *y > h as f32 - 0.5
                };
                let count = centres.filter(beyond).count();
                prop_assert_eq!(placement.outside, count as f32 / (side * side) as f32);
            }
        }

    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_face_in_a_turned_frame_is_that_in_a_copy_that_was_turned(
            (w, h, pad) in (1u32..300, 1u32..250, 0usize..20),
            format in 0..PixelFormat::ALL.len(),
            full: bool,
            scale in prop_oneof![5 => 0.05f32..2.5, 1 => 2.5f32..20.0],
            angle in -3.2f32..3.2,
            (cx, cy) in (-0.3f32..1.3, -0.3f32..1.3),
            side in prop_oneof![4 => 1usize..40, 1 => Just(112), 1 => Just(160)],
            seed: u32,
        ) {
            let (layout, data) = noisy((w, h, pad), (format, full), (seed, false));
            let native = Frame::new(layout, &data).unwrap();
            let (a, b, half) = (scale * angle.cos(), scale * angle.sin(), side as f32 / 2.0);
            for orientation in Orientation::all() {
                let (turned, copy) = turned_copy(&native, orientation);
                let copy = Frame::new(turned, &copy).unwrap();
                let (x, y) = (cx * copy.width() as f32, cy * copy.height() as f32);
                let map = Similarity {
                    a, b, tx: x - (a * half - b * half), ty: y - (b * half + a * half)
                };
                for kernels in available() {
                    let (mut want, mut got) = (AlignedFace::new(side), AlignedFace::new(side));
                    let placement = want.sample_with(kernels, &copy, &map);
                    got.pixels.fill(1);
                    let frame = native.oriented(orientation);
                    prop_assert_eq!(got.sample_with(kernels, &frame, &map), placement);
                    prop_assert!(got.pixels == want.pixels, "{} {:?}", kernels.set(), orientation);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn any_similarity_of_a_ramp_is_that_ramp(
            scale in 0.3f32..3.0,
            angle in -3.1f32..3.1,
            dx in -300.0f32..600.0,
            dy in -300.0f32..600.0,
        ) {
            let (layout, data) = ramp(500, 500, 2);
            let map = Similarity { a: scale * angle.cos(), b: scale * angle.sin(), tx: dx, ty: dy };
            let mut face = AlignedFace::new(112);
            face.warp(
                &Frame::new(layout, &data).unwrap(),
                &alignment().template.map(|p| map.apply(p)),
                &alignment(),
            )
            .unwrap();
            for (i, p) in face.rgb().chunks_exact(3).enumerate() {
                let at = map.apply(Point::new((i % 112) as f32, (i / 112) as f32));
                if (3.0..496.0).contains(&at.x) && (3.0..496.0).contains(&at.y) {
                    // Half a code for the steps of two pixels, one for rounding.
                    prop_assert!(
                        (f32::from(p[0]) - (at.x - 0.5) / 2.0).abs() < 1.5,
                        "{} at {}",
                        p[0],
                        at.x
                    );
                    prop_assert!(
                        (f32::from(p[1]) - (at.y - 0.5) / 2.0).abs() < 1.5,
                        "{} at {}",
                        p[1],
                        at.y
                    );
                } else if !(-4.0..503.0).contains(&at.x) || !(-4.0..503.0).contains(&at.y) {
                    prop_assert_eq!(p, [0, 0, 0]);
                }
            }
        }

        #[test]
        fn any_landmarks_at_all_are_survived(
            xs in proptest::array::uniform10(proptest::num::f32::ANY),
        ) {
            let (layout, data) = ramp(40, 30, 1);
            let landmarks = std::array::from_fn(|i| Point::new(xs[2 * i], xs[2 * i + 1]));
            AlignedFace::new(112).warp(
                &Frame::new(layout, &data).unwrap(),
                &landmarks,
                &alignment(),
            );
        }
    }
}
