//! AArch64 without the dot-product instructions: Cortex-A53, A72 (Raspberry Pi 4), and the parts that those with them share.
//!
//! Stored bytes become signed ones by an exclusive or. `smull` and `smlal` leave the sum of two products in 16 bits, which is exact as
//! long as no weight is -128; `sadalp` adds neighbours to 32 bits. Where a weight is -128, each product is added by itself.

use std::arch::aarch64::*;

use super::{
    Activation, Add, Blocks, BlocksMut, Depthwise, Group, Head, Kernels, LANES, Pointwise, Post, Stem, Table, ZERO,
    neon_dot, scalar,
};

struct Neon;

/// The kernels of this processor, the faster ones first. Advanced SIMD is part of every AArch64 processor that runs Linux.
pub(super) fn detect() -> impl Iterator<Item = &'static dyn Kernels> {
    neon_dot::detect().into_iter().chain([&Neon as &dyn Kernels])
}

impl Kernels for Neon {
    fn name(&self) -> &'static str {
        "neon"
    }

    fn quantize(&self, table: &Table, src: &[u8], dst: &mut [u8]) {
        // SAFETY: every AArch64 processor has the feature.
        unsafe { quantize(table, src, dst) }
    }

    fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
        op.check(rows, &dst, pixels);
        // SAFETY: `check` found that all windows and outputs lie within the slices.
        unsafe {
            match op.narrow {
                true => stem::<true>(op, rows, dst, pixels),
                false => stem::<false>(op, rows, dst, pixels),
            }
        }
    }

    fn pointwise(&self, op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
        op.check(&src, &dst, pixels);
        // SAFETY: `check` found that all inputs, weights and outputs lie within the slices.
        unsafe {
            match op.narrow {
                true => pointwise::<true>(op, src, dst, pixels),
                false => pointwise::<false>(op, src, dst, pixels),
            }
        }
    }

    fn depthwise(&self, op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
        op.check(rows, dst);
        // SAFETY: `check` found that the rows have one length.
        unsafe { depthwise(op, block, rows, dst) }
    }

    fn add(&self, op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
        op.check(first, second, dst);
        // SAFETY: `check` found that the operands hold the output's pixels.
        unsafe { add(op, first, second, dst) }
    }

    fn head(&self, op: &Head, rows: [&[u8]; 3], dst: &mut [f32]) {
        op.check(rows, dst);
        // SAFETY: `check` found that the rows hold the output's pixels.
        unsafe { head(op, rows, dst) }
    }
}

/// Sums of sixteen channels in order, four a register.
pub(super) type Sums = [int32x4_t; 4];

/// Sixteen stored bytes as signed steps.
///
/// # Safety
/// Sixteen bytes can be read at `at`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn signed(at: *const u8) -> int8x16_t {
    // SAFETY: the caller's promise.
    vreinterpretq_s8_u8(veorq_u8(unsafe { vld1q_u8(at) }, vdupq_n_u8(ZERO)))
}

/// A [`Post`] in registers, as far as they suffice: what is used for every pixel.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    post: &'a Post,
    scale: [float32x4_t; 4],
    activation: Activation,
}

impl<'a> Finish<'a> {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn load(post: &'a Post, activation: Activation) -> Self {
        Self { post, scale: floats(&post.scale), activation }
    }

    /// The biases: where sums start.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn start(&self) -> Sums {
        // SAFETY: sixteen values.
        let load = |quarter: usize| unsafe { vld1q_s32(self.post.bias.as_ptr().add(4 * quarter)) };
        [load(0), load(1), load(2), load(3)]
    }

    /// Sums, biases included, to sixteen stored bytes.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn stored(&self, sums: Sums) -> uint8x16_t {
        let mut steps = sums;
        for (quarter, steps) in steps.iter_mut().enumerate() {
            let value = vmulq_f32(vcvtq_f32_s32(*steps), self.scale[quarter]);
            *steps = if self.activation == Activation::PRelu {
                let value = vminq_f32(vmaxq_f32(value, vdupq_n_f32(-128.0)), vdupq_n_f32(127.0));
                let value = vrndnq_f32(value);
                // SAFETY: sixteen values.
                let (positive, negative) = unsafe {
                    let at = 4 * quarter;
                    (vld1q_f32(self.post.positive.as_ptr().add(at)), vld1q_f32(self.post.negative.as_ptr().add(at)))
                };
                vcvtnq_s32_f32(vmulq_f32(value, vbslq_f32(vcltzq_f32(value), negative, positive)))
            } else {
                vcvtnq_s32_f32(value)
            };
        }
        let lower = vqmovn_high_s32(vqmovn_s32(steps[0]), steps[1]);
        let upper = vqmovn_high_s32(vqmovn_s32(steps[2]), steps[3]);
        let mut bytes = vqmovn_high_s16(vqmovn_s16(lower), upper);
        if self.activation == Activation::Relu {
            bytes = vmaxq_s8(bytes, vdupq_n_s8(0));
        }
        veorq_u8(vreinterpretq_u8_s8(bytes), vdupq_n_u8(ZERO))
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn floats(lanes: &[f32; LANES]) -> [float32x4_t; 4] {
    // SAFETY: sixteen values.
    let load = |quarter: usize| unsafe { vld1q_f32(lanes.as_ptr().add(4 * quarter)) };
    [load(0), load(1), load(2), load(3)]
}

/// What the offset of the stored bytes added to the bias, taken out again: signed steps are multiplied here.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn plain(start: Sums, offset: &[i32; LANES]) -> Sums {
    // SAFETY: sixteen values.
    let load = |quarter: usize| unsafe { vld1q_s32(offset.as_ptr().add(4 * quarter)) };
    [
        vaddq_s32(start[0], load(0)),
        vaddq_s32(start[1], load(1)),
        vaddq_s32(start[2], load(2)),
        vaddq_s32(start[3], load(3)),
    ]
}

/// Two partial sums a channel: `[two channels][channel][two]`.
type Partial = [int32x4_t; 8];

/// Adds the products of sixteen channels' weights with two groups of four inputs each, which `inputs` holds twice side by side.
#[inline]
#[target_feature(enable = "neon")]
fn multiply<const NARROW: bool, const P: usize>(
    partial: &mut [Partial; P],
    groups: [&Group; 2],
    inputs: &[[int8x16_t; 2]; P],
) {
    for quarter in 0..4 {
        // SAFETY: a group is four times sixteen bytes.
        let load = |group: &Group| unsafe { vld1q_s8(std::ptr::from_ref(group).cast::<i8>().add(16 * quarter)) };
        let weights = [load(groups[0]), load(groups[1])];
        for (partial, inputs) in partial.iter_mut().zip(inputs) {
            let [lower, upper] = [2 * quarter, 2 * quarter + 1];
            let a = vmull_s8(vget_low_s8(weights[0]), vget_low_s8(inputs[0]));
            let b = vmull_high_s8(weights[0], inputs[0]);
            if NARROW {
                let a = vmlal_s8(a, vget_low_s8(weights[1]), vget_low_s8(inputs[1]));
                let b = vmlal_high_s8(b, weights[1], inputs[1]);
                partial[lower] = vpadalq_s16(partial[lower], a);
                partial[upper] = vpadalq_s16(partial[upper], b);
            } else {
                partial[lower] = vpadalq_s16(partial[lower], a);
                partial[upper] = vpadalq_s16(partial[upper], b);
                let a = vmull_s8(vget_low_s8(weights[1]), vget_low_s8(inputs[1]));
                let b = vmull_high_s8(weights[1], inputs[1]);
                partial[lower] = vpadalq_s16(partial[lower], a);
                partial[upper] = vpadalq_s16(partial[upper], b);
            }
        }
    }
}

/// Four stored bytes as signed steps, in each of four places.
///
/// # Safety
/// Four bytes can be read at `at`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn four(at: *const u8) -> int8x16_t {
    // SAFETY: the caller's promise.
    let bytes = vreinterpretq_u8_u32(vdupq_n_u32(unsafe { at.cast::<u32>().read_unaligned() }));
    vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(ZERO)))
}

/// Writes `P` neighbouring pixels.
///
/// # Safety
/// `16 * P` bytes can be written at `to`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store<const P: usize>(partial: &[Partial; P], finish: &Finish<'_>, start: Sums, to: *mut u8) {
    for (pixel, partial) in partial.iter().enumerate() {
        let mut sums = start;
        for (quarter, sum) in sums.iter_mut().enumerate() {
            *sum = vaddq_s32(*sum, vpaddq_s32(partial[2 * quarter], partial[2 * quarter + 1]));
        }
        // SAFETY: the caller's promise.
        unsafe { vst1q_u8(to.add(pixel * LANES), finish.stored(sums)) };
    }
}

/// # Safety
/// [`Pointwise::check`].
#[target_feature(enable = "neon")]
unsafe fn pointwise<const NARROW: bool>(op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
    for (block, (groups, post)) in op.weights.chunks_exact(op.groups).zip(&op.post).enumerate() {
        let mut pixel = 0;
        while pixel < pixels {
            // SAFETY: `check`.
            unsafe {
                let from = src.bytes.as_ptr().add(pixel * LANES);
                let to = dst.bytes.as_mut_ptr().add(block * dst.stride + pixel * LANES);
                if pixel + 2 <= pixels {
                    pointwise_tile::<NARROW, 2>(groups, post, op.activation, from, src.stride, to);
                } else {
                    pointwise_tile::<NARROW, 1>(groups, post, op.activation, from, src.stride, to);
                }
            }
            pixel += 2;
        }
    }
}

/// # Safety
/// As [`pointwise`], for `P` pixels from those at `from` and `to` on.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn pointwise_tile<const NARROW: bool, const P: usize>(
    groups: &[Group],
    post: &Post,
    activation: Activation,
    from: *const u8,
    stride: usize,
    to: *mut u8,
) {
    let mut partial = [[vdupq_n_s32(0); 8]; P];
    for (index, [first, second]) in groups.as_chunks::<2>().0.iter().enumerate() {
        let mut inputs = [[vdupq_n_s8(0); 2]; P];
        for (pixel, inputs) in inputs.iter_mut().enumerate() {
            // SAFETY: the caller's promise: a pair of groups is eight bytes of one block.
            unsafe {
                let at = from.add(index / 2 * stride + index % 2 * 8 + pixel * LANES);
                *inputs = [four(at), four(at.add(4))];
            }
        }
        multiply::<NARROW, P>(&mut partial, [first, second], &inputs);
    }
    let finish = Finish::load(post, activation);
    // SAFETY: the caller's promise.
    unsafe { store(&partial, &finish, plain(finish.start(), &post.offset), to) };
}

/// # Safety
/// [`Stem::check`].
#[target_feature(enable = "neon")]
unsafe fn stem<const NARROW: bool>(op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
    for (block, (groups, post)) in op.weights.iter().zip(&op.post).enumerate() {
        let finish = Finish::load(post, op.activation);
        let start = plain(finish.start(), &post.offset);
        for pixel in 0..pixels {
            let mut partial = [[vdupq_n_s32(0); 8]; 1];
            // Nine groups and one of nothing make five pairs.
            for pair in 0..5 {
                let at = |group: usize| {
                    // SAFETY: `check`; group `g` is four bytes from `4 * (g % 3)` on of the window in row `g / 3`.
                    unsafe { four(rows[group / 3].as_ptr().add(pixel * op.stride * 3 + group % 3 * 4)) }
                };
                let (second, inputs) = match pair {
                    4 => (&Group::NONE, [at(8), vdupq_n_s8(0)]),
                    _ => (&groups[2 * pair + 1], [at(2 * pair), at(2 * pair + 1)]),
                };
                multiply::<NARROW, 1>(&mut partial, [&groups[2 * pair], second], &[inputs]);
            }
            // SAFETY: `check`.
            unsafe { store(&partial, &finish, start, dst.bytes.as_mut_ptr().add(block * dst.stride + pixel * LANES)) };
        }
    }
}

/// The weights of a tap for sixteen channels in 16 bits.
type Tap = [int16x8_t; 2];

/// # Safety
/// [`Depthwise::check`].
#[target_feature(enable = "neon")]
unsafe fn depthwise(op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
    let input = rows[0].len() / LANES;
    let post = &op.post[block];
    let finish = Finish::load(post, op.activation);
    let start = plain(finish.start(), &post.offset);
    let mut taps: [[Tap; 3]; 3] = [[[vdupq_n_s16(0); 2]; 3]; 3];
    for (taps, group) in taps.iter_mut().zip(&op.weights[block]) {
        // SAFETY: a group is 64 bytes; the instruction parts every fourth of them.
        let int8x16x4_t(first, second, third, _) = unsafe { vld4q_s8(std::ptr::from_ref(group).cast()) };
        for (tap, bytes) in taps.iter_mut().zip([first, second, third]) {
            *tap = [vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)];
        }
    }
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let first = pixel * op.stride;
        let mut sums = start;
        for (row, taps) in rows.iter().zip(&taps) {
            for (column, tap) in taps.iter().enumerate() {
                // Columns outside of the image hold nought.
                let Some(at) = (first + column).checked_sub(op.left).filter(|c| *c < input) else { continue };
                // SAFETY: the column lies within the row.
                let bytes = unsafe { vld1q_u8(row.as_ptr().add(at * LANES)) };
                let lower = vreinterpretq_s16_u16(vsubl_u8(vget_low_u8(bytes), vdup_n_u8(ZERO)));
                let upper = vreinterpretq_s16_u16(vsubl_high_u8(bytes, vdupq_n_u8(ZERO)));
                sums[0] = vmlal_s16(sums[0], vget_low_s16(tap[0]), vget_low_s16(lower));
                sums[1] = vmlal_high_s16(sums[1], tap[0], lower);
                sums[2] = vmlal_s16(sums[2], vget_low_s16(tap[1]), vget_low_s16(upper));
                sums[3] = vmlal_high_s16(sums[3], tap[1], upper);
            }
        }
        // SAFETY: sixteen bytes.
        unsafe { vst1q_u8(to.as_mut_ptr(), finish.stored(sums)) };
    }
}

/// Sixteen stored bytes as real values.
///
/// # Safety
/// Sixteen bytes can be read at `at`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn real(at: *const u8) -> [float32x4_t; 4] {
    // SAFETY: the caller's promise.
    let bytes = unsafe { signed(at) };
    let (lower, upper) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
    [
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(lower))),
        vcvtq_f32_s32(vmovl_high_s16(lower)),
        vcvtq_f32_s32(vmovl_s16(vget_low_s16(upper))),
        vcvtq_f32_s32(vmovl_high_s16(upper)),
    ]
}

/// # Safety
/// [`Add::check`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn add(op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
    let (by_first, by_second) = (vdupq_n_f32(op.first), vdupq_n_f32(op.second));
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let from = if op.doubled { pixel / 2 } else { pixel };
        // SAFETY: `check`.
        let (a, b) = unsafe { (real(first.as_ptr().add(from * LANES)), real(second.as_ptr().add(pixel * LANES))) };
        let mut steps = [vdupq_n_s32(0); 4];
        for (quarter, steps) in steps.iter_mut().enumerate() {
            // Not fused: both products are rounded.
            let sum = vaddq_f32(vmulq_f32(a[quarter], by_first), vmulq_f32(b[quarter], by_second));
            // The conversion saturates, and so do the narrowings.
            *steps = vcvtnq_s32_f32(sum);
        }
        let lower = vqmovn_high_s32(vqmovn_s32(steps[0]), steps[1]);
        let upper = vqmovn_high_s32(vqmovn_s32(steps[2]), steps[3]);
        let bytes = vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(lower), upper));
        // SAFETY: sixteen bytes.
        unsafe { vst1q_u8(to.as_mut_ptr(), veorq_u8(bytes, vdupq_n_u8(ZERO))) };
    }
}

/// # Safety
/// [`Head::check`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn head(op: &Head, rows: [&[u8]; 3], dst: &mut [f32]) {
    let pixels = dst.len() / LANES;
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut sums = floats(&op.bias);
        for (tap, weights) in op.weights.iter().enumerate() {
            let value = match (pixel + tap % 3).checked_sub(1).filter(|c| *c < pixels) {
                // SAFETY: the column lies within the row.
                Some(column) => unsafe { real(rows[tap / 3].as_ptr().add(column * LANES)) },
                None => [vdupq_n_f32(0.0); 4],
            };
            let weights = floats(weights);
            for (quarter, sum) in sums.iter_mut().enumerate() {
                *sum = vaddq_f32(*sum, vmulq_f32(value[quarter], weights[quarter]));
            }
        }
        for (quarter, sum) in sums.iter().enumerate() {
            // SAFETY: sixteen values.
            unsafe { vst1q_f32(to.as_mut_ptr().add(4 * quarter), *sum) };
        }
    }
}

/// Looks sixteen bytes up at a time, in four steps of 64 entries: an index out of a step's range leaves the byte as it is.
#[target_feature(enable = "neon")]
pub(super) fn quantize(table: &Table, src: &[u8], dst: &mut [u8]) {
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
