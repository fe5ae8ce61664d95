//! AArch64 with the dot-product instructions: Cortex-A76 (Raspberry Pi 5), A78 (Jetson Orin), Neoverse and later.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon::{self, Finish, Sums, plain, signed};
use super::{Add, Blocks, BlocksMut, Depthwise, Group, Head, Kernels, LANES, Pointwise, Stem, Table, ZERO};

/// Made by [`detect`] only, on a processor that has the instructions.
struct NeonDot(());

static KERNELS: NeonDot = NeonDot(());

/// The kernels, where the processor supports them.
pub(super) fn detect() -> Option<&'static dyn Kernels> {
    std::arch::is_aarch64_feature_detected!("dotprod").then_some(&KERNELS)
}

impl Kernels for NeonDot {
    fn name(&self) -> &'static str {
        "neondot"
    }

    fn quantize(&self, table: &Table, src: &[u8], dst: &mut [u8]) {
        // SAFETY: every AArch64 processor has the feature.
        unsafe { neon::quantize(table, src, dst) }
    }

    fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
        op.check(rows, &dst, pixels);
        // SAFETY: `detect` found the instructions; `check` that all windows and outputs lie within the slices.
        unsafe { stem(op, rows, dst, pixels) }
    }

    fn pointwise(&self, op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
        op.check(&src, &dst, pixels);
        // SAFETY: `detect` found the instructions; `check` that all inputs, weights and outputs lie within the slices.
        unsafe { pointwise(op, src, dst, pixels) }
    }

    fn depthwise(&self, op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
        let (input, _) = op.check(rows, dst);
        // SAFETY: `detect` found the instructions; each row holds `input` pixels.
        unsafe { depthwise(op, block, rows, input, dst) }
    }

    fn add(&self, op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
        op.check(first, second, dst);
        // SAFETY: `check` found that the operands hold the output's pixels.
        unsafe { neon::add(op, first, second, dst) }
    }

    fn head(&self, op: &Head, rows: [&[u8]; 3], dst: &mut [f32]) {
        op.check(rows, dst);
        // SAFETY: `check` found that the rows hold the output's pixels.
        unsafe { neon::head(op, rows, dst) }
    }
}

/// Adds, to each of four channels, four products with the four inputs in place `LANE`.
// The intrinsic of this name is not in the stable library yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot_lane<const LANE: i32>(sum: int32x4_t, weights: int8x16_t, inputs: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: the instruction reads and writes the named registers only, and the function's feature says that it exists.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {inputs:v}.4b[{lane}]",
            sum = inout(vreg) sum, weights = in(vreg) weights, inputs = in(vreg) inputs, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Adds, to each of four channels, four products with its own four inputs.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(sum: int32x4_t, weights: int8x16_t, inputs: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: as above.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {inputs:v}.16b",
            sum = inout(vreg) sum, weights = in(vreg) weights, inputs = in(vreg) inputs,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Sixteen channels' weights, four a register.
#[inline]
#[target_feature(enable = "neon")]
fn weights(group: &Group) -> [int8x16_t; 4] {
    // SAFETY: a group is four times sixteen bytes.
    let load = |quarter: usize| unsafe { vld1q_s8(std::ptr::from_ref(group).cast::<i8>().add(16 * quarter)) };
    [load(0), load(1), load(2), load(3)]
}

/// Adds a group's products with the four inputs in place `LANE` of each of `P` pixels.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn group<const LANE: i32, const P: usize>(sums: &mut [Sums; P], filters: &Group, inputs: &[int8x16_t; P]) {
    let filters = weights(filters);
    for (sums, inputs) in sums.iter_mut().zip(inputs) {
        for (sum, filter) in sums.iter_mut().zip(filters) {
            *sum = sdot_lane::<LANE>(*sum, filter, *inputs);
        }
    }
}

/// Writes `P` neighbouring pixels.
///
/// # Safety
/// `16 * P` bytes can be written at `to`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store<const P: usize>(sums: &[Sums; P], finish: &Finish<'_>, to: *mut u8) {
    for (pixel, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { vst1q_u8(to.add(pixel * LANES), finish.stored(*sums)) };
    }
}

/// # Safety
/// The instructions, and [`Pointwise::check`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn pointwise(op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
    for (block, (groups, post)) in op.weights.chunks_exact(op.groups).zip(&op.post).enumerate() {
        let finish = Finish::load(post, op.activation);
        let start = plain(finish.start(), &post.offset);
        let mut pixel = 0;
        while pixel < pixels {
            // SAFETY: `check`.
            unsafe {
                let from = src.bytes.as_ptr().add(pixel * LANES);
                let to = dst.bytes.as_mut_ptr().add(block * dst.stride + pixel * LANES);
                if pixel + 4 <= pixels {
                    pointwise_tile::<4>(groups, &finish, start, from, src.stride, to);
                    pixel += 4;
                } else {
                    pointwise_tile::<1>(groups, &finish, start, from, src.stride, to);
                    pixel += 1;
                }
            }
        }
    }
}

/// # Safety
/// As [`pointwise`], for `P` pixels from those at `from` and `to` on.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn pointwise_tile<const P: usize>(
    groups: &[Group],
    finish: &Finish<'_>,
    start: Sums,
    from: *const u8,
    stride: usize,
    to: *mut u8,
) {
    let mut sums = [start; P];
    let (fours, pair) = groups.as_chunks::<4>();
    let mut inputs = [vdupq_n_s8(0); P];
    let mut block = from;
    for filters in fours {
        for (pixel, inputs) in inputs.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *inputs = unsafe { signed(block.add(pixel * LANES)) };
        }
        group::<0, P>(&mut sums, &filters[0], &inputs);
        group::<1, P>(&mut sums, &filters[1], &inputs);
        group::<2, P>(&mut sums, &filters[2], &inputs);
        group::<3, P>(&mut sums, &filters[3], &inputs);
        block = block.wrapping_add(stride);
    }
    if let [first, second] = pair {
        for (pixel, inputs) in inputs.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *inputs = unsafe { signed(block.add(pixel * LANES)) };
        }
        group::<0, P>(&mut sums, first, &inputs);
        group::<1, P>(&mut sums, second, &inputs);
    }
    // SAFETY: the caller's promise.
    unsafe { store(&sums, finish, to) };
}

/// # Safety
/// The instructions, and [`Stem::check`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn stem(op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
    for (block, (groups, post)) in op.weights.iter().zip(&op.post).enumerate() {
        let finish = Finish::load(post, op.activation);
        let start = plain(finish.start(), &post.offset);
        let mut pixel = 0;
        while pixel < pixels {
            // SAFETY: `check`.
            unsafe {
                let to = dst.bytes.as_mut_ptr().add(block * dst.stride + pixel * LANES);
                let at = pixel * op.stride * 3;
                let windows = [rows[0].as_ptr().add(at), rows[1].as_ptr().add(at), rows[2].as_ptr().add(at)];
                if pixel + 4 <= pixels {
                    stem_tile::<4>(groups, &finish, start, windows, op.stride * 3, to);
                    pixel += 4;
                } else {
                    stem_tile::<1>(groups, &finish, start, windows, op.stride * 3, to);
                    pixel += 1;
                }
            }
        }
    }
}

/// # Safety
/// As [`stem`], for `P` pixels from those at `windows` and `to` on.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn stem_tile<const P: usize>(
    groups: &[Group; 9],
    finish: &Finish<'_>,
    start: Sums,
    windows: [*const u8; 3],
    step: usize,
    to: *mut u8,
) {
    let mut sums = [start; P];
    for (window, groups) in windows.iter().zip(groups.as_chunks::<3>().0) {
        let mut inputs = [vdupq_n_s8(0); P];
        for (pixel, inputs) in inputs.iter_mut().enumerate() {
            // Twelve bytes, and not one more, in two loads that overlap: places 0, 1 and 3 are the three groups.
            // SAFETY: the caller's promise.
            let bytes = unsafe {
                let at = window.add(pixel * step);
                vcombine_u8(vld1_u8(at), vld1_u8(at.add(4)))
            };
            *inputs = vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(ZERO)));
        }
        group::<0, P>(&mut sums, &groups[0], &inputs);
        group::<1, P>(&mut sums, &groups[1], &inputs);
        group::<3, P>(&mut sums, &groups[2], &inputs);
    }
    // SAFETY: the caller's promise.
    unsafe { store(&sums, finish, to) };
}

/// Three rows of one block with columns of nought around them.
#[derive(Clone, Copy)]
struct Rows {
    bytes: [*const u8; 3],
    pixels: usize,
    left: usize,
}

impl Rows {
    /// One column of the three rows, channel by channel: `[channel][row]`, the fourth place without meaning.
    ///
    /// # Safety
    /// `pixels` pixels can be read in each row.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn column(&self, column: usize) -> Sums8 {
        let Some(at) = column.checked_sub(self.left).filter(|c| *c < self.pixels) else { return [vdupq_n_s8(0); 4] };
        // SAFETY: the column lies within the rows.
        let [a, b, c] = unsafe {
            let at = at * LANES;
            [signed(self.bytes[0].add(at)), signed(self.bytes[1].add(at)), signed(self.bytes[2].add(at))]
        };
        let (ab, cc) = (vzip1q_s8(a, b), vzip1q_s8(c, c));
        let (upper_ab, upper_cc) = (vzip2q_s8(a, b), vzip2q_s8(c, c));
        let zip = |ab: int8x16_t, cc: int8x16_t| {
            let (ab, cc) = (vreinterpretq_s16_s8(ab), vreinterpretq_s16_s8(cc));
            [vreinterpretq_s8_s16(vzip1q_s16(ab, cc)), vreinterpretq_s8_s16(vzip2q_s16(ab, cc))]
        };
        let ([first, second], [third, fourth]) = (zip(ab, cc), zip(upper_ab, upper_cc));
        [first, second, third, fourth]
    }
}

/// Four bytes for each of sixteen channels.
type Sums8 = [int8x16_t; 4];

/// # Safety
/// The instructions; each row holds `input` pixels.
#[target_feature(enable = "neon,dotprod")]
unsafe fn depthwise(op: &Depthwise, block: usize, rows: [&[u8]; 3], input: usize, dst: &mut [u8]) {
    let post = &op.post[block];
    let finish = Finish::load(post, op.activation);
    let start = plain(finish.start(), &post.offset);
    // From rows of three columns to columns of three rows.
    let mut columns = [Group::NONE; 3];
    for (row, group) in op.weights[block].iter().enumerate() {
        for (lane, weights) in group.0.iter().enumerate() {
            for (column, to) in columns.iter_mut().enumerate() {
                to.0[lane][row] = weights[column];
            }
        }
    }
    let filters = [weights(&columns[0]), weights(&columns[1]), weights(&columns[2])];
    let rows = Rows { bytes: [rows[0].as_ptr(), rows[1].as_ptr(), rows[2].as_ptr()], pixels: input, left: op.left };
    // SAFETY: the caller's promise, here and below.
    let (mut a, mut b) = unsafe { (rows.column(0), rows.column(1)) };
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        // SAFETY: as above.
        let c = unsafe { rows.column(pixel * op.stride + 2) };
        let mut sums = start;
        for quarter in 0..4 {
            sums[quarter] = sdot(sums[quarter], filters[0][quarter], a[quarter]);
            sums[quarter] = sdot(sums[quarter], filters[1][quarter], b[quarter]);
            sums[quarter] = sdot(sums[quarter], filters[2][quarter], c[quarter]);
        }
        // SAFETY: sixteen bytes.
        unsafe { vst1q_u8(to.as_mut_ptr(), finish.stored(sums)) };
        if op.stride == 1 {
            (a, b) = (b, c);
        } else {
            // SAFETY: as above.
            (a, b) = (c, unsafe { rows.column(pixel * 2 + 3) });
        }
    }
}
