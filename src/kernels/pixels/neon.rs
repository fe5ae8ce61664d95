//! AArch64: Advanced SIMD, which every such processor that runs Linux has.

use std::arch::aarch64::*;

use super::matrix::Matrix;
use super::reorder;
use super::{
    BILINEAR, InstructionSet, KEEP, Patch, PixelKernels, Range, Rgbx, RingRows, SampleLine,
    SampleWalk, Taps, WEIGHT, Wide, scalar,
};

pub(super) struct NeonPixels;

impl PixelKernels for NeonPixels {
    fn set(&self) -> InstructionSet {
        InstructionSet::Neon
    }

    fn convert(&self, line: &SampleLine<'_>, range: Range, dst: &mut [Rgbx]) {
        assert!(line.holds(dst.len()));
        if let SampleLine::Other(other) = line {
            return reorder::convert(self, other, range, dst);
        }
        // SAFETY: the line holds as many pixels as `dst`.
        let done = unsafe { convert(line, Matrix::of(range), dst) };
        if done < dst.len() {
            scalar::convert(&line.skip(done), range, &mut dst[done..]);
        }
    }

    fn across(&self, taps: &Taps, line: &[Rgbx], dst: &mut [Wide]) {
        assert!(line.len() >= taps.padded() && dst.len() == taps.targets());
        // SAFETY: the line and `dst` are as long as the axis says.
        unsafe { across(taps, line, dst) }
    }

    fn down(&self, rows: &RingRows<'_>, first: usize, weights: &[u16], dst: &mut [Rgbx]) {
        rows.check(weights, dst);
        // SAFETY: each row holds as many pixels as `dst`.
        let done = unsafe { down(rows, first, weights, dst) };
        scalar::down_from(rows, first, weights, done, &mut dst[done..]);
    }

    fn pack(&self, bgr: bool, src: &[Rgbx], dst: &mut [u8]) {
        assert!(dst.len() == src.len() * 3);
        // SAFETY: `dst` has three bytes for each pixel.
        let done = unsafe { pack(bgr, src, dst) };
        scalar::pack(bgr, &src[done..], &mut dst[done * 3..]);
    }

    fn swap(&self, src: &[u8], dst: &mut [u8]) {
        assert!(dst.len() == src.len() && src.len().is_multiple_of(3));
        let whole = src.len() / 48 * 48;
        for (pixels, out) in src.chunks_exact(48).zip(dst.chunks_exact_mut(48)) {
            // SAFETY: sixteen pixels of three bytes.
            unsafe {
                let uint8x16x3_t(r, g, b) = vld3q_u8(pixels.as_ptr());
                vst3q_u8(out.as_mut_ptr(), uint8x16x3_t(b, g, r));
            }
        }
        scalar::swap(&src[whole..], &mut dst[whole..]);
    }

    fn walk(&self, patch: &Patch<'_>, walk: &SampleWalk, x: usize, y: usize, dst: &mut [Rgbx]) {
        let rows = patch.check();
        walk.check();
        // SAFETY: `check` found that the patch holds its rows and at least two pixels each way.
        let done = unsafe { bilinear(patch, rows, walk, x, y, dst) };
        scalar::walk(patch, walk, x + done, y, &mut dst[done..]);
    }
}

/// Pixels of one step of [`convert`].
const STEP: usize = 16;

/// The pixels that make whole steps; returns how many those are.
///
/// # Safety
/// The line holds as many pixels as `dst`.
#[target_feature(enable = "neon")]
unsafe fn convert(line: &SampleLine<'_>, matrix: &Matrix, dst: &mut [Rgbx]) -> usize {
    let grey = vdup_n_u8(128);
    let both = |half: uint8x8_t| [vzip1_u8(half, half), vzip2_u8(half, half)];
    let halves = |all: uint8x16_t| [vget_low_u8(all), vget_high_u8(all)];
    for (step, out) in dst.chunks_exact_mut(STEP).enumerate() {
        let x = step * STEP;
        // SAFETY: a step's samples are within the line, as the caller promises. Its pixels begin at
        // a multiple of 16, so chroma is whole. Its sixteen pixels lie in `out`.
        unsafe {
            let (luma, cb, cr) = match *line {
                SampleLine::Grey(luma) => {
                    (halves(vld1q_u8(luma.as_ptr().add(x))), [grey; 2], [grey; 2])
                }
                SampleLine::Yuyv(all) => {
                    let uint8x8x4_t(first, cb, second, cr) = vld4_u8(all.as_ptr().add(x * 2));
                    ([vzip1_u8(first, second), vzip2_u8(first, second)], both(cb), both(cr))
                }
                SampleLine::Nv12 { luma, chroma } => {
                    let uint8x8x2_t(cb, cr) = vld2_u8(chroma.as_ptr().add(x));
                    (halves(vld1q_u8(luma.as_ptr().add(x))), both(cb), both(cr))
                }
                SampleLine::I420 { luma, cb, cr } => {
                    let half = |plane: &[u8]| both(vld1_u8(plane.as_ptr().add(x / 2)));
                    (halves(vld1q_u8(luma.as_ptr().add(x))), half(cb), half(cr))
                }
                SampleLine::Ycc444(all) => {
                    let uint8x16x3_t(luma, cb, cr) = vld3q_u8(all.as_ptr().add(x * 3));
                    (halves(luma), halves(cb), halves(cr))
                }
                SampleLine::Rgb8(all) => {
                    let uint8x16x3_t(r, g, b) = vld3q_u8(all.as_ptr().add(x * 3));
                    vst4q_u8(out.as_mut_ptr().cast(), uint8x16x4_t(r, g, b, vdupq_n_u8(0)));
                    continue;
                }
                // Brought into order before; left to the reference where it was not.
                SampleLine::Other(_) => return 0,
            };
            for half in 0..2 {
                let [r, g, b] = pixels(matrix, luma[half], cb[half], cr[half]);
                vst4_u8(out.as_mut_ptr().add(8 * half).cast(), uint8x8x4_t(r, g, b, vdup_n_u8(0)));
            }
        }
    }
    dst.len() / STEP * STEP
}

/// Eight pixels' red, green and blue.
#[inline]
#[target_feature(enable = "neon")]
fn pixels(matrix: &Matrix, luma: uint8x8_t, cb: uint8x8_t, cr: uint8x8_t) -> [uint8x8_t; 3] {
    let signed =
        |v: uint8x8_t, less: i16| vsubq_s16(vreinterpretq_s16_u16(vmovl_u8(v)), vdupq_n_s16(less));
    let (luma, cb, cr) = (signed(luma, matrix.black), signed(cb, 128), signed(cr, 128));
    let halves = |v: int16x8_t| [vget_low_s16(v), vget_high_s16(v)];
    let lumas = halves(luma).map(|h| vmull_n_s16(h, matrix.luma));
    let add = |[low, high]: [int32x4_t; 2], chroma: int16x8_t, weight: i16| {
        let [a, b] = halves(chroma);
        [vmlal_n_s16(low, a, weight), vmlal_n_s16(high, b, weight)]
    };
    // Luma's rest and the chroma's, rounded to whole numbers, and luma's whole.
    let rounded = |[low, high]: [int32x4_t; 2]| {
        vaddq_s16(luma, vcombine_s16(vrshrn_n_s32::<16>(low), vrshrn_n_s32::<16>(high)))
    };
    let red = vmlaq_n_s16(rounded(add(lumas, cr, matrix.red)), cr, matrix.red_whole);
    let green = add(add(lumas, cb, matrix.green_cb), cr, matrix.green_cr);
    let green = vmlaq_n_s16(rounded(green), cr, matrix.green_whole);
    let blue = vaddq_s16(rounded(add(lumas, cb, matrix.blue)), vshlq_n_s16::<1>(cb));
    [vqmovun_s16(red), vqmovun_s16(green), vqmovun_s16(blue)]
}

/// # Safety
/// `line` and `dst` are as long as `taps` says.
#[target_feature(enable = "neon")]
unsafe fn across(taps: &Taps, line: &[Rgbx], dst: &mut [Wide]) {
    let (starts, weights) = taps.filled();
    assert!(starts.len() == dst.len() && weights.len() == dst.len() * taps.most());
    let half = vdupq_n_u32(1 << (WEIGHT - KEEP - 1));
    // Two pixels of the line from the `at`-th on.
    let two = |at: usize| {
        debug_assert!(at + 2 <= line.len());
        // SAFETY: every target pixel may read as many pixels from its first one on as it has
        // weights, as the caller promises.
        vmovl_u8(unsafe { vld1_u8(line.as_ptr().add(at).cast()) })
    };
    let mut done = 0;
    if taps.most() == 2 {
        // Shrunk to a half, or stretched: four target pixels' weights are one register.
        for (out, (starts, weights)) in
            dst.chunks_exact_mut(4).zip(starts.chunks_exact(4).zip(weights.chunks_exact(8)))
        {
            let at = |i: usize| two(starts[i].start as usize);
            // SAFETY: eight weights.
            let weights = unsafe { vld1q_u16(weights.as_ptr()) };
            let (first, second) = (vget_low_u16(weights), vget_high_u16(weights));
            let a = vcombine_u16(sum::<0, 1>(half, at(0), first), sum::<2, 3>(half, at(1), first));
            let b =
                vcombine_u16(sum::<0, 1>(half, at(2), second), sum::<2, 3>(half, at(3), second));
            // SAFETY: four pixels of four values.
            unsafe { vst1q_u16_x2(out.as_mut_ptr().cast(), uint16x8x2_t(a, b)) };
            done += 4;
        }
    }
    let rest = starts.iter().zip(weights.chunks_exact(taps.most())).zip(dst).skip(done);
    for ((tap, weights), out) in rest {
        let mut sums = half;
        for (k, pair) in weights.chunks_exact(2).enumerate() {
            let pixels = two(tap.start as usize + 2 * k);
            sums = vmlal_n_u16(sums, vget_low_u16(pixels), pair[0]);
            sums = vmlal_n_u16(sums, vget_high_u16(pixels), pair[1]);
        }
        // SAFETY: four values of 16 bits.
        unsafe { vst1_u16(out.as_mut_ptr(), vshrn_n_u32::<{ (WEIGHT - KEEP) as i32 }>(sums)) };
    }
}

/// One target pixel of two pixels, by two lanes of the weights.
#[inline]
#[target_feature(enable = "neon")]
fn sum<const FIRST: i32, const SECOND: i32>(
    start: uint32x4_t,
    pixels: uint16x8_t,
    weights: uint16x4_t,
) -> uint16x4_t {
    let sum = vmlal_lane_u16::<FIRST>(start, vget_low_u16(pixels), weights);
    let sum = vmlal_lane_u16::<SECOND>(sum, vget_high_u16(pixels), weights);
    vshrn_n_u32::<{ (WEIGHT - KEEP) as i32 }>(sum)
}

/// The pixels that make whole fours; returns how many those are.
///
/// # Safety
/// Each row holds as many pixels as `dst`.
#[target_feature(enable = "neon")]
unsafe fn down(rows: &RingRows<'_>, first: usize, weights: &[u16], dst: &mut [Rgbx]) -> usize {
    const DOWN: i32 = (WEIGHT + KEEP) as i32;
    for (step, out) in dst.chunks_exact_mut(4).enumerate() {
        let mut sums = [vdupq_n_u32(1 << (WEIGHT + KEEP - 1)); 4];
        for (k, weight) in weights.iter().enumerate() {
            let row = rows.at(first + k);
            debug_assert!(step * 4 + 4 <= row.len());
            for part in 0..2 {
                // SAFETY: the row is as long as `dst`.
                let pixels = unsafe { vld1q_u16(row.as_ptr().add(step * 4 + part * 2).cast()) };
                sums[2 * part] = vmlal_n_u16(sums[2 * part], vget_low_u16(pixels), *weight);
                sums[2 * part + 1] =
                    vmlal_n_u16(sums[2 * part + 1], vget_high_u16(pixels), *weight);
            }
        }
        let [a, b, c, d] = sums.map(|s| vmovn_u32(vshrq_n_u32::<DOWN>(s)));
        let bytes = vcombine_u8(vmovn_u16(vcombine_u16(a, b)), vmovn_u16(vcombine_u16(c, d)));
        // SAFETY: four pixels are sixteen bytes.
        unsafe { vst1q_u8(out.as_mut_ptr().cast(), bytes) };
    }
    dst.len() / 4 * 4
}

/// The pixels that make whole sixteens; returns how many those are.
///
/// # Safety
/// `dst` has three bytes for each pixel of `src`.
#[target_feature(enable = "neon")]
unsafe fn pack(bgr: bool, src: &[Rgbx], dst: &mut [u8]) -> usize {
    for (pixels, out) in src.chunks_exact(16).zip(dst.chunks_exact_mut(48)) {
        // SAFETY: sixteen pixels of four bytes, and of three.
        unsafe {
            let uint8x16x4_t(r, g, b, _) = vld4q_u8(pixels.as_ptr().cast());
            vst3q_u8(
                out.as_mut_ptr(),
                if bgr { uint8x16x3_t(b, g, r) } else { uint8x16x3_t(r, g, b) },
            );
        }
    }
    src.len() / 16 * 16
}

/// The pixels that make whole fours; returns how many those are.
///
/// # Safety
/// The patch holds `rows` rows; both its sides are at least 2.
#[target_feature(enable = "neon")]
unsafe fn bilinear(
    patch: &Patch<'_>,
    rows: usize,
    walk: &SampleWalk,
    x: usize,
    y: usize,
    dst: &mut [Rgbx],
) -> usize {
    let (left, top) = (patch.left, patch.top);
    let (right, bottom) = (left + patch.width as i32 - 2, top + rows as i32 - 2);
    let total = (walk.samples * walk.samples) as u32;
    const ONE: u16 = 1 << BILINEAR;
    for (step, out) in dst.chunks_exact_mut(4).enumerate() {
        let from = [0, 1, 2, 3].map(|i| (x + 4 * step + i) as f32);
        // SAFETY: four values.
        let columns = unsafe { vld1q_f32(from.as_ptr()) };
        let mut sums = [vdupq_n_u32(total << (2 * BILINEAR - 1)); 4];
        for sy in 0..walk.samples {
            let py = y as f32 + walk.offset(sy);
            let (of_x, of_y) = (vdupq_n_f32(walk.b * py), vdupq_n_f32(walk.a * py));
            for sx in 0..walk.samples {
                let px = vaddq_f32(columns, vdupq_n_f32(walk.offset(sx)));
                // Product and sum are rounded apart, as in the reference: never one fused
                // operation.
                let ax = vmulq_f32(vdupq_n_f32(walk.a), px);
                let bx = vmulq_f32(vdupq_n_f32(walk.b), px);
                let fx = vaddq_f32(vsubq_f32(ax, of_x), vdupq_n_f32(walk.tx));
                let fy = vaddq_f32(vaddq_f32(bx, of_y), vdupq_n_f32(walk.ty));
                let (low_x, low_y) = (vrndmq_f32(fx), vrndmq_f32(fy));
                let weight = |v, low| {
                    let part = vmulq_f32(vsubq_f32(v, low), vdupq_n_f32(f32::from(ONE)));
                    vcvtq_u32_f32(vaddq_f32(part, vdupq_n_f32(0.5)))
                };
                // Of a bound and what is no number these give the bound.
                let place = |low, first: i32, last: i32| {
                    let low = vmaxnmq_f32(low, vdupq_n_f32(first as f32));
                    let low = vminnmq_f32(low, vdupq_n_f32(last as f32));
                    vsubq_s32(vcvtq_s32_f32(low), vdupq_n_s32(first))
                };
                let at = vmlaq_n_s32(
                    place(low_x, left, right),
                    place(low_y, top, bottom),
                    patch.width as i32,
                );
                let mut places = [0i32; 4];
                let (mut across, mut down) = ([0u16; 4], [0u16; 4]);
                // SAFETY: four values each.
                unsafe {
                    vst1q_s32(places.as_mut_ptr(), at);
                    vst1_u16(across.as_mut_ptr(), vmovn_u32(weight(fx, low_x)));
                    vst1_u16(down.as_mut_ptr(), vmovn_u32(weight(fy, low_y)));
                }
                for lane in 0..4 {
                    let row = |next: usize| {
                        // SAFETY: the place is within the first `rows - 1` rows and the first
                        // `width - 1` columns of the patch, so that two pixels there and below can
                        // be read.
                        let pixels = unsafe {
                            vld1_u8(patch.pixels.as_ptr().add(places[lane] as usize + next).cast())
                        };
                        let pixels = vmovl_u8(pixels);
                        let first = vmul_n_u16(vget_low_u16(pixels), ONE - across[lane]);
                        vmla_n_u16(first, vget_high_u16(pixels), across[lane])
                    };
                    let sum = vmlal_n_u16(sums[lane], row(0), ONE - down[lane]);
                    sums[lane] = vmlal_n_u16(sum, row(patch.width), down[lane]);
                }
            }
        }
        for (sum, out) in sums.iter().zip(out) {
            let mut means = [0u16; 4];
            // SAFETY: four values.
            unsafe { vst1_u16(means.as_mut_ptr(), vshrn_n_u32::<{ 2 * BILINEAR as i32 }>(*sum)) };
            *out = means.map(|m| (u32::from(m) / total) as u8);
        }
    }
    dst.len() / 4 * 4
}
