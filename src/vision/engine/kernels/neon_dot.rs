//! AArch64 with the dot-product instructions: Cortex-A76 (Raspberry Pi 5), A78 (Jetson Orin), Neoverse and later.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon::{self, Finish, IDENTITY, PRELU, RELU, Rows, Sums, afresh, slide, steps, taps};
use super::{
    Activation, Add, Blocks, BlocksMut, Depthwise, Global, Group, Head, Kernels, LANES, Pointwise, Stem, Table,
};

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

    fn nought(&self) -> u8 {
        0
    }

    fn quantize(&self, table: &Table, src: &[u8], dst: &mut [u8]) {
        // SAFETY: every AArch64 processor has the feature.
        unsafe { neon::quantize(table, src, dst) }
    }

    fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
        op.check(rows, &dst, pixels);
        let run = match op.activation {
            Activation::Identity => stem::<IDENTITY>,
            Activation::Relu => stem::<RELU>,
            Activation::PRelu => stem::<PRELU>,
        };
        // SAFETY: `detect` found the instructions; `check` that all windows and outputs lie within the slices.
        unsafe { run(op, rows, dst, pixels) }
    }

    fn pointwise(&self, op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
        op.check(&src, &dst, pixels);
        let run = match op.activation {
            Activation::Identity => pointwise::<IDENTITY>,
            Activation::Relu => pointwise::<RELU>,
            Activation::PRelu => pointwise::<PRELU>,
        };
        // SAFETY: `detect` found the instructions; `check` that all inputs, weights and outputs lie within the slices.
        unsafe { run(op, src, dst, pixels) }
    }

    fn depthwise(&self, op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
        op.check(rows, dst);
        let run = match op.activation {
            Activation::Identity => depthwise::<IDENTITY>,
            Activation::Relu => depthwise::<RELU>,
            Activation::PRelu => depthwise::<PRELU>,
        };
        // SAFETY: `detect` found the instructions; `check` that the rows have one length.
        unsafe { run(op, block, rows, dst) }
    }

    fn pools(&self) -> bool {
        true
    }

    fn depthwise_pool(&self, op: &Depthwise, block: usize, rows: [&[u8]; 4], dst: &mut [u8]) {
        op.check_pool(rows, dst);
        let run = match op.activation {
            Activation::Relu => depthwise_pool::<RELU>,
            _ => depthwise_pool::<IDENTITY>,
        };
        // SAFETY: `detect` found the instructions; `check_pool` that the rows have one length.
        unsafe { run(op, block, rows, dst) }
    }

    fn global(&self, op: &Global, block: usize, src: &[u8], dst: &mut [u8; LANES]) {
        op.check(block, src);
        // SAFETY: every AArch64 processor has the feature.
        unsafe { neon::global(op, block, src, dst) }
    }

    fn max_pool(&self, rows: [&[u8]; 2], dst: &mut [u8]) {
        // SAFETY: every AArch64 processor has the feature.
        unsafe { neon::max_pool(rows, dst) }
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
unsafe fn store<const ACTIVATION: u8, const P: usize>(sums: &[Sums; P], finish: &Finish<'_, ACTIVATION>, to: *mut u8) {
    for (pixel, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { vst1q_s8(to.add(pixel * LANES).cast(), finish.finished(*sums)) };
    }
}

/// # Safety
/// The instructions, and [`Pointwise::check`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn pointwise<const ACTIVATION: u8>(op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
    for (block, (groups, post)) in op.weights.chunks_exact(op.groups).zip(&op.post).enumerate() {
        let finish = Finish::<ACTIVATION>::load(post);
        let mut pixel = 0;
        while pixel < pixels {
            // SAFETY: `check`.
            unsafe {
                let from = src.bytes.as_ptr().add(pixel * LANES);
                let to = dst.bytes.as_mut_ptr().add(block * dst.stride + pixel * LANES);
                if pixel + 4 <= pixels {
                    pointwise_tile::<ACTIVATION, 4>(groups, &finish, from, src.stride, to);
                    pixel += 4;
                } else {
                    pointwise_tile::<ACTIVATION, 1>(groups, &finish, from, src.stride, to);
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
unsafe fn pointwise_tile<const ACTIVATION: u8, const P: usize>(
    groups: &[Group],
    finish: &Finish<'_, ACTIVATION>,
    from: *const u8,
    stride: usize,
    to: *mut u8,
) {
    let mut sums = [finish.start(); P];
    let (fours, pair) = groups.as_chunks::<4>();
    let mut inputs = [vdupq_n_s8(0); P];
    let mut block = from;
    for filters in fours {
        for (pixel, inputs) in inputs.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *inputs = unsafe { steps(block.add(pixel * LANES)) };
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
            *inputs = unsafe { steps(block.add(pixel * LANES)) };
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
unsafe fn stem<const ACTIVATION: u8>(op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
    for (block, (groups, post)) in op.weights.iter().zip(&op.post).enumerate() {
        let finish = Finish::<ACTIVATION>::load(post);
        let mut pixel = 0;
        while pixel < pixels {
            // SAFETY: `check`.
            unsafe {
                let to = dst.bytes.as_mut_ptr().add(block * dst.stride + pixel * LANES);
                let at = pixel * op.stride * 3;
                let windows = [rows[0].as_ptr().add(at), rows[1].as_ptr().add(at), rows[2].as_ptr().add(at)];
                if pixel + 4 <= pixels {
                    stem_tile::<ACTIVATION, 4>(groups, &finish, windows, op.stride * 3, to);
                    pixel += 4;
                } else {
                    stem_tile::<ACTIVATION, 1>(groups, &finish, windows, op.stride * 3, to);
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
unsafe fn stem_tile<const ACTIVATION: u8, const P: usize>(
    groups: &[Group; 9],
    finish: &Finish<'_, ACTIVATION>,
    windows: [*const u8; 3],
    step: usize,
    to: *mut u8,
) {
    let mut sums = [finish.start(); P];
    for (at, groups) in windows.iter().zip(groups.as_chunks::<3>().0) {
        let mut inputs = [vdupq_n_s8(0); P];
        for (pixel, inputs) in inputs.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *inputs = unsafe { steps(at.add(pixel * step)) };
        }
        group::<0, P>(&mut sums, &groups[0], &inputs);
        group::<1, P>(&mut sums, &groups[1], &inputs);
        group::<2, P>(&mut sums, &groups[2], &inputs);
    }
    // SAFETY: the caller's promise.
    unsafe { store(&sums, finish, to) };
}

/// From three rows of sixteen channels to the three of each channel side by side, four channels a register: `[channel][row]`.
/// The fourth place repeats the third or, in `weights`, is nought.
#[inline]
#[target_feature(enable = "neon")]
fn by_channel([a, b, c]: [int8x16_t; 3], fourth: int8x16_t) -> [int8x16_t; 4] {
    let zip = |ab: int8x16_t, cd: int8x16_t| {
        let (ab, cd) = (vreinterpretq_s16_s8(ab), vreinterpretq_s16_s8(cd));
        [vreinterpretq_s8_s16(vzip1q_s16(ab, cd)), vreinterpretq_s8_s16(vzip2q_s16(ab, cd))]
    };
    let [first, second] = zip(vzip1q_s8(a, b), vzip1q_s8(c, fourth));
    let [third, last] = zip(vzip2q_s8(a, b), vzip2q_s8(c, fourth));
    [first, second, third, last]
}

/// # Safety
/// The instructions, and [`Depthwise::check`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn depthwise<const ACTIVATION: u8>(op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
    let finish = Finish::<ACTIVATION>::load(&op.post[block]);
    let taps = taps(&op.weights[block]);
    let mut filters = [[vdupq_n_s8(0); 4]; 3];
    for (column, filters) in filters.iter_mut().enumerate() {
        *filters = by_channel([taps[0][column], taps[1][column], taps[2][column]], vdupq_n_s8(0));
    }
    let arrange = |column: [int8x16_t; 3]| by_channel(column, column[2]);
    let pixel = |columns: [[int8x16_t; 4]; 3], to: &mut [u8; LANES]| {
        let mut sums = finish.start();
        for (column, filters) in columns.iter().zip(&filters) {
            for (sum, (values, filter)) in sums.iter_mut().zip(column.iter().zip(filters)) {
                *sum = sdot(*sum, *filter, *values);
            }
        }
        // SAFETY: sixteen bytes.
        unsafe { vst1q_s8(to.as_mut_ptr().cast(), finish.finished(sums)) };
    };
    slide(Rows::new(rows, op.left), op.stride, dst, arrange, pixel);
}

/// # Safety
/// The instructions, and [`Depthwise::check_pool`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn depthwise_pool<const ACTIVATION: u8>(op: &Depthwise, block: usize, rows: [&[u8]; 4], dst: &mut [u8]) {
    let finish = Finish::<ACTIVATION>::load(&op.post[block]);
    let taps = taps(&op.weights[block]);
    // Each column of weights twice, for the upper and for the lower of two rows out of four: [quarter][row][column].
    let nought = vdupq_n_s8(0);
    let mut filters = [[[nought; 3]; 2]; 4];
    for column in 0..3 {
        let [a, b, c] = [taps[0][column], taps[1][column], taps[2][column]];
        let (upper, lower) = (by_channel([a, b, c], nought), by_channel([nought, a, b], c));
        for quarter in 0..4 {
            (filters[quarter][0][column], filters[quarter][1][column]) = (upper[quarter], lower[quarter]);
        }
    }
    let arrange = |[a, b, c, d]: [int8x16_t; 4]| by_channel([a, b, c], d);
    let pixel = |columns: [[int8x16_t; 4]; 4], to: &mut [u8; LANES]| {
        let (mut largest, filters) = (finish.start(), afresh(&filters));
        for (quarter, largest) in largest.iter_mut().enumerate() {
            let start = *largest;
            let mut sums = [[start; 2]; 2];
            for (sums, filters) in sums.iter_mut().zip(&filters[quarter]) {
                for (left, sum) in sums.iter_mut().enumerate() {
                    *sum = sdot(*sum, filters[0], columns[left][quarter]);
                    *sum = sdot(*sum, filters[1], columns[left + 1][quarter]);
                    *sum = sdot(*sum, filters[2], columns[left + 2][quarter]);
                }
            }
            let [upper, lower] = sums;
            *largest = vmaxq_s32(vmaxq_s32(upper[0], upper[1]), vmaxq_s32(lower[0], lower[1]));
        }
        // SAFETY: sixteen bytes.
        unsafe { vst1q_s8(to.as_mut_ptr().cast(), finish.finished(largest)) };
    };
    let rows = Rows::new(rows, op.left);
    let read = |column: usize| arrange(rows.column(column));
    let (mut a, mut b) = (read(0), read(1));
    let (pixels, _) = dst.as_chunks_mut::<LANES>();
    // Outputs whose next two columns surely lie within the image.
    let inside = (rows.end().saturating_sub(2) / 2).min(pixels.len());
    let (first, rest) = pixels.split_at_mut(inside);
    for (index, to) in first.iter_mut().enumerate() {
        // SAFETY: columns 2 to `2 * inside + 1` are not left of the image and lie before its end.
        let (c, d) = unsafe { (arrange(rows.within(2 * index + 2)), arrange(rows.within(2 * index + 3))) };
        pixel([a, b, c, d], to);
        (a, b) = (c, d);
    }
    for (index, to) in rest.iter_mut().enumerate() {
        let column = 2 * (inside + index) + 2;
        let (c, d) = (read(column), read(column + 1));
        pixel([a, b, c, d], to);
        (a, b) = (c, d);
    }
}
