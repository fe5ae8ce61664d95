//! The operators that are the same with and without the dot product.

use std::arch::aarch64::*;

use super::super::{Activation, Add, ByteTable, FloatHead, Global, LANES, scalar};
use super::finish::{IDENTITY, NeonFinish, PRELU, RELU, steps};

/// A convolution with a window as large as the image, one pixel at a time.
#[target_feature(enable = "neon")]
pub(super) fn global(op: &Global, block: usize, src: &[u8], dst: &mut [u8; LANES]) {
    let post = &op.post[block];
    let mut sums = post.signed_bias;
    for (group, pixels) in op.weights[block * op.groups()..].iter().zip(src.chunks(4 * LANES)) {
        for (pixel, values) in pixels.chunks_exact(LANES).enumerate() {
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum += i32::from(values[lane].cast_signed()) * i32::from(group.0[lane][pixel]);
            }
        }
    }
    // SAFETY: sixteen values.
    let load = |quarter: usize| unsafe { vld1q_s32(sums.as_ptr().add(4 * quarter)) };
    let sums = [load(0), load(1), load(2), load(3)];
    let finished = match op.activation {
        Activation::Identity => NeonFinish::<IDENTITY>::load(post).finished(sums),
        Activation::Relu => NeonFinish::<RELU>::load(post).finished(sums),
        Activation::PRelu => NeonFinish::<PRELU>::load(post).finished(sums),
    };
    // SAFETY: sixteen bytes.
    unsafe { vst1q_s8(dst.as_mut_ptr().cast(), finished) };
}

#[target_feature(enable = "neon")]
pub(super) fn max_pool(rows: [&[u8]; 2], dst: &mut [u8]) {
    assert!(rows.iter().all(|r| r.len() >= 2 * dst.len()) && dst.len().is_multiple_of(LANES));
    for (index, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        // SAFETY: two pixels of each row stand for one of the output, and a pixel is sixteen bytes.
        unsafe {
            let pixel = |row: usize, column: usize| {
                steps(rows[row].as_ptr().add((2 * index + column) * LANES))
            };
            let largest =
                vmaxq_s8(vmaxq_s8(pixel(0, 0), pixel(0, 1)), vmaxq_s8(pixel(1, 0), pixel(1, 1)));
            vst1q_s8(to.as_mut_ptr().cast(), largest);
        }
    }
}

/// Four steps as real values.
///
/// # Safety
/// Four bytes can be read at `at`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn real(at: *const u8) -> float32x4_t {
    // SAFETY: the caller's promise.
    let steps = vreinterpret_s8_u32(vdup_n_u32(unsafe { at.cast::<u32>().read_unaligned() }));
    vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(steps))))
}

/// # Safety
/// [`Add::check`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn add(op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
    let (by_first, by_second) = (vdupq_n_f32(op.first), vdupq_n_f32(op.second));
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let from = if op.doubled { pixel / 2 } else { pixel };
        // SAFETY: `check`.
        let (a, b) = unsafe {
            (steps(first.as_ptr().add(from * LANES)), steps(second.as_ptr().add(pixel * LANES)))
        };
        let (a, b) = (reals(a), reals(b));
        let mut steps = [vdupq_n_s32(0); 4];
        for (quarter, steps) in steps.iter_mut().enumerate() {
            // Not fused: both products are rounded. The conversion saturates, and so do the
            // narrowings.
            *steps = vcvtnq_s32_f32(vaddq_f32(
                vmulq_f32(a[quarter], by_first),
                vmulq_f32(b[quarter], by_second),
            ));
        }
        let lower = vqmovn_high_s32(vqmovn_s32(steps[0]), steps[1]);
        let upper = vqmovn_high_s32(vqmovn_s32(steps[2]), steps[3]);
        // SAFETY: sixteen bytes.
        unsafe { vst1q_s8(to.as_mut_ptr().cast(), vqmovn_high_s16(vqmovn_s16(lower), upper)) };
    }
}

/// Sixteen signed steps as real values.
#[inline]
#[target_feature(enable = "neon")]
fn reals(steps: int8x16_t) -> [float32x4_t; 4] {
    let (lower, upper) = (vmovl_s8(vget_low_s8(steps)), vmovl_high_s8(steps));
    [
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(lower))),
        vcvtq_f32_s32(vmovl_high_s16(lower)),
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(upper))),
        vcvtq_f32_s32(vmovl_high_s16(upper)),
    ]
}

/// # Safety
/// [`FloatHead::check`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn head(op: &FloatHead, rows: [&[u8]; 3], dst: &mut [f32]) {
    // Four channels at a time: their weights and three columns of three rows fit the registers.
    for quarter in 0..4 {
        // SAFETY: sixteen values.
        let load = |lanes: &[f32; LANES]| unsafe { vld1q_f32(lanes.as_ptr().add(4 * quarter)) };
        let bias = load(&op.bias);
        let mut weights = [bias; 9];
        for (register, lanes) in weights.iter_mut().zip(&op.weights) {
            *register = load(lanes);
        }
        let outside = [vdupq_n_f32(0.0); 3];
        let column = |column: usize| {
            let mut values = outside;
            for (value, row) in values.iter_mut().zip(rows) {
                // SAFETY: four channels of a column within the row.
                *value = unsafe { real(row.as_ptr().add(column * LANES + 4 * quarter)) };
            }
            values
        };
        let (mut a, mut b) = (outside, column(0));
        let mut pixel = |c: [float32x4_t; 3], to: &mut [f32; LANES]| {
            let mut sum = bias;
            // Row by row, as the reference adds.
            for row in 0..3 {
                for (tap, values) in [a, b, c].iter().enumerate() {
                    sum = vaddq_f32(sum, vmulq_f32(values[row], weights[3 * row + tap]));
                }
            }
            // SAFETY: sixteen values.
            unsafe { vst1q_f32(to.as_mut_ptr().add(4 * quarter), sum) };
            (a, b) = (b, c);
        };
        if let Some((last, others)) = dst.as_chunks_mut::<LANES>().0.split_last_mut() {
            for (index, to) in others.iter_mut().enumerate() {
                pixel(column(index + 1), to);
            }
            pixel(outside, last);
        }
    }
}

/// Looks sixteen bytes up at a time, in four steps of 64 entries: an index out of a step's range
/// leaves the byte as it is.
#[target_feature(enable = "neon")]
pub(super) fn quantize(table: &ByteTable, src: &[u8], dst: &mut [u8]) {
    if !table.uniform {
        return scalar::quantize(table, src, dst);
    }
    assert_eq!(src.len(), dst.len());
    let entries = &table.channels[0];
    // SAFETY: 256 bytes in four times 64.
    let quarter = |q: usize| unsafe { vld1q_u8_x4(entries.as_ptr().add(64 * q)) };
    let quarters = [quarter(0), quarter(1), quarter(2), quarter(3)];
    let (from, to) = (src.as_chunks::<LANES>(), dst.as_chunks_mut::<LANES>());
    for (from, to) in from.0.iter().zip(to.0) {
        // SAFETY: sixteen bytes.
        let index = unsafe { vld1q_u8(from.as_ptr()) };
        let mut found = vqtbl4q_u8(quarters[0], index);
        found = vqtbx4q_u8(found, quarters[1], vsubq_u8(index, vdupq_n_u8(64)));
        found = vqtbx4q_u8(found, quarters[2], vsubq_u8(index, vdupq_n_u8(128)));
        found = vqtbx4q_u8(found, quarters[3], vsubq_u8(index, vdupq_n_u8(192)));
        // SAFETY: sixteen bytes.
        unsafe { vst1q_u8(to.as_mut_ptr(), found) };
    }
    for (from, to) in from.1.iter().zip(to.1) {
        *to = entries[usize::from(*from)];
    }
}
