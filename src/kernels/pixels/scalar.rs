//! The reference: what every other implementation must give, byte for byte.

use super::{
    BILINEAR, InstructionSet, KEEP, Patch, PixelKernels, Range, Rgbx, RingRows, SampleLine,
    SampleWalk, Taps, WEIGHT, Wide,
};

/// The provided bodies, without any instruction that not every processor has.
pub struct ScalarPixels;

impl PixelKernels for ScalarPixels {
    fn set(&self) -> InstructionSet {
        InstructionSet::Scalar
    }
}

pub(super) fn convert(line: &SampleLine<'_>, range: Range, dst: &mut [Rgbx]) {
    assert!(line.holds(dst.len()));
    let put = |(x, out): (usize, &mut Rgbx)| {
        let [r, g, b] = line.rgb(x, range);
        *out = [r, g, b, 0];
    };
    dst.iter_mut().enumerate().for_each(put);
}

pub(super) fn across(taps: &Taps, line: &[Rgbx], dst: &mut [Wide]) {
    assert!(line.len() >= taps.padded() && dst.len() == taps.targets());
    for (i, out) in dst.iter_mut().enumerate() {
        *out = across_at(taps, line, i);
    }
}

/// One pixel of [`across`].
pub(super) fn across_at(taps: &Taps, line: &[Rgbx], i: usize) -> Wide {
    let (start, weights) = taps.at(i);
    let mut sum = [1 << (WEIGHT - KEEP - 1); 4];
    for (pixel, weight) in line[start..].iter().zip(weights) {
        for c in 0..3 {
            sum[c] += u32::from(pixel[c]) * u32::from(*weight);
        }
    }
    let [r, g, b, _] = sum.map(|s| (s >> (WEIGHT - KEEP)) as u16);
    [r, g, b, 0]
}

pub(super) fn down(rows: &RingRows<'_>, first: usize, weights: &[u16], dst: &mut [Rgbx]) {
    rows.check(weights, dst);
    down_from(rows, first, weights, 0, dst);
}

/// As [`down`] for the pixels from `x` on.
pub(super) fn down_from(
    rows: &RingRows<'_>,
    first: usize,
    weights: &[u16],
    x: usize,
    dst: &mut [Rgbx],
) {
    for (x, out) in (x..).zip(dst) {
        let mut sum = [1u32 << (WEIGHT + KEEP - 1); 3];
        for (k, weight) in weights.iter().enumerate() {
            let pixel = rows.at(first + k)[x];
            for c in 0..3 {
                sum[c] += u32::from(pixel[c]) * u32::from(*weight);
            }
        }
        let [r, g, b] = sum.map(|s| (s >> (WEIGHT + KEEP)) as u8);
        *out = [r, g, b, 0];
    }
}

pub(super) fn pack(bgr: bool, src: &[Rgbx], dst: &mut [u8]) {
    assert!(dst.len() == src.len() * 3);
    for ([r, g, b, _], out) in src.iter().zip(dst.chunks_exact_mut(3)) {
        out.copy_from_slice(&if bgr { [*b, *g, *r] } else { [*r, *g, *b] });
    }
}

pub(super) fn swap(src: &[u8], dst: &mut [u8]) {
    assert!(dst.len() == src.len() && src.len().is_multiple_of(3));
    for (pixel, out) in src.chunks_exact(3).zip(dst.chunks_exact_mut(3)) {
        out.copy_from_slice(&[pixel[2], pixel[1], pixel[0]]);
    }
}

pub(super) fn walk(patch: &Patch<'_>, walk: &SampleWalk, x: usize, y: usize, dst: &mut [Rgbx]) {
    let rows = patch.check();
    walk.check();
    let last = [patch.left + patch.width as i32 - 2, patch.top + rows as i32 - 2].map(|v| v as f32);
    let total = (walk.samples * walk.samples) as u32;
    for (x, out) in (x..).zip(dst) {
        let mut sum = [total << (2 * BILINEAR - 1); 3];
        for sy in 0..walk.samples {
            for sx in 0..walk.samples {
                let (px, py) = walk.at(x as f32 + walk.offset(sx), y as f32 + walk.offset(sy));
                let weight = |v: f32| ((v - v.floor()) * (1 << BILINEAR) as f32 + 0.5) as u32;
                let (wx, wy) = (weight(px), weight(py));
                let place = |v: f32, first: i32, last: f32| {
                    (v.floor().max(first as f32).min(last) as i32 - first) as usize
                };
                let at =
                    place(py, patch.top, last[1]) * patch.width + place(px, patch.left, last[0]);
                let pixels =
                    [at, at + 1, at + patch.width, at + patch.width + 1].map(|at| patch.pixels[at]);
                let one = 1 << BILINEAR;
                for (c, sum) in sum.iter_mut().enumerate() {
                    let [a, b, d, e] = pixels.map(|p| u32::from(p[c]));
                    *sum += (a * (one - wx) + b * wx) * (one - wy) + (d * (one - wx) + e * wx) * wy;
                }
            }
        }
        let [r, g, b] = sum.map(|s| ((s >> (2 * BILINEAR)) / total) as u8);
        *out = [r, g, b, 0];
    }
}
