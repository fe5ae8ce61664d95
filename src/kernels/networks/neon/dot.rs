//! AArch64 with the dot-product instructions: Cortex-A76 (Raspberry Pi 5), A78 (Jetson Orin),
//! Neoverse and later.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{
    Activation, Add, Blocks, BlocksMut, ByteTable, Depthwise, FloatHead, Global, InstructionSet,
    LANES, NetworkKernels, Packing, Pointwise, Stem, WeightGroup,
};
use super::finish::{IDENTITY, NeonFinish, PRELU, RELU, Sums128, afresh, steps};
use super::shared;
use super::windows::{EdgeRows, Windows, four_registers, slide, taps};

/// Made by [`detect`] only, on a processor that has the instructions.
struct NeonDotNetworks(());

static KERNELS: NeonDotNetworks = NeonDotNetworks(());

/// The kernels, where the processor supports them.
pub(super) fn detect() -> Option<&'static dyn NetworkKernels> {
    InstructionSet::NeonDot.is_available().then_some(&KERNELS)
}

impl NetworkKernels for NeonDotNetworks {
    fn set(&self) -> InstructionSet {
        InstructionSet::NeonDot
    }

    fn zero_byte(&self) -> u8 {
        0
    }

    fn packing(&self) -> Packing {
        Packing::Dense
    }

    fn quantize(&self, table: &ByteTable, src: &[u8], dst: &mut [u8]) {
        // SAFETY: every AArch64 processor has the feature.
        unsafe { shared::quantize(table, src, dst) }
    }

    fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
        op.check(rows, &dst, pixels);
        let run = match op.activation {
            Activation::Identity => stem::<IDENTITY>,
            Activation::Relu => stem::<RELU>,
            Activation::PRelu => stem::<PRELU>,
        };
        // SAFETY: `detect` found the instructions; `check` that all windows and outputs lie within
        // the slices.
        unsafe { run(op, rows, dst, pixels) }
    }

    fn pointwise(&self, op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
        op.check(&src, &dst, pixels);
        let run = match op.activation {
            Activation::Identity => pointwise::<IDENTITY>,
            Activation::Relu => pointwise::<RELU>,
            Activation::PRelu => pointwise::<PRELU>,
        };
        // SAFETY: `detect` found the instructions; `check` that all inputs, weights and outputs lie
        // within the slices.
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
        unsafe { shared::global(op, block, src, dst) }
    }

    fn max_pool(&self, rows: [&[u8]; 2], dst: &mut [u8]) {
        // SAFETY: every AArch64 processor has the feature.
        unsafe { shared::max_pool(rows, dst) }
    }

    fn add(&self, op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
        op.check(first, second, dst);
        // SAFETY: `check` found that the operands hold the output's pixels.
        unsafe { shared::add(op, first, second, dst) }
    }

    fn head(&self, op: &FloatHead, rows: [&[u8]; 3], dst: &mut [f32]) {
        op.check(rows, dst);
        // SAFETY: `check` found that the rows hold the output's pixels.
        unsafe { shared::head(op, rows, dst) }
    }
}

/// Adds, to each of four channels, four products with its own four inputs.
// The intrinsic of this name is not in the stable library yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(sum: int32x4_t, weights: int8x16_t, inputs: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: the instruction reads and writes the named registers only, and the function's feature
    // says that it exists.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {inputs:v}.16b",
            sum = inout(vreg) sum, weights = in(vreg) weights, inputs = in(vreg) inputs,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Writes `P` neighbouring pixels.
///
/// # Safety
/// `16 * P` bytes can be written at `to`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store<const ACTIVATION: u8, const P: usize>(
    sums: &[Sums128; P],
    finish: &NeonFinish<'_, ACTIVATION>,
    to: *mut u8,
) {
    for (pixel, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { vst1q_s8(to.add(pixel * LANES).cast(), finish.finished(*sums)) };
    }
}

/// # Safety
/// The instructions, and [`Pointwise::check`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn pointwise<const ACTIVATION: u8>(
    op: &Pointwise,
    src: Blocks<'_>,
    dst: BlocksMut<'_>,
    pixels: usize,
) {
    for (block, (groups, post)) in
        op.weights.groups().chunks_exact(op.groups).zip(&op.post).enumerate()
    {
        let finish = NeonFinish::<ACTIVATION>::load(post);
        // SAFETY: `check`.
        unsafe {
            let mut from = src.bytes.as_ptr();
            let mut to = dst.bytes.as_mut_ptr().add(block * dst.stride);
            for _ in 0..pixels / 4 {
                store(&products_of_four(groups, &finish, from, src.stride), &finish, to);
                (from, to) = (from.add(4 * LANES), to.add(4 * LANES));
            }
            for _ in 0..pixels % 4 {
                store(&[products(groups, &finish, from, src.stride)], &finish, to);
                (from, to) = (from.add(LANES), to.add(LANES));
            }
        }
    }
}

/// The sums of the pixel at `from`.
///
/// # Safety
/// As [`pointwise`].
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn products<const ACTIVATION: u8>(
    groups: &[WeightGroup],
    finish: &NeonFinish<'_, ACTIVATION>,
    from: *const u8,
    stride: usize,
) -> Sums128 {
    let (mut sums, mut block) = (finish.start(), from);
    for run in groups.chunks(4) {
        // SAFETY: the caller's promise.
        let inputs = vreinterpretq_s32_s8(unsafe { steps(block) });
        let four = [
            vdupq_laneq_s32::<0>(inputs),
            vdupq_laneq_s32::<1>(inputs),
            vdupq_laneq_s32::<2>(inputs),
            vdupq_laneq_s32::<3>(inputs),
        ];
        for (group, inputs) in run.iter().zip(four) {
            for (sum, weights) in sums.iter_mut().zip(four_registers(group)) {
                *sum = sdot(*sum, weights, vreinterpretq_s8_s32(inputs));
            }
        }
        block = block.wrapping_add(stride);
    }
    sums
}

/// The text of what multiplies four pixels' inputs (v20 on, in place `$lane`) with a group's
/// weights (four registers) and adds them to sixteen sums (v0 on).
macro_rules! group {
    ($a:literal, $b:literal, $c:literal, $d:literal, $lane:literal) => {
        concat!(
            group!(pixel "0", "1", "2", "3", "20", $a, $b, $c, $d, $lane),
            group!(pixel "4", "5", "6", "7", "21", $a, $b, $c, $d, $lane),
            group!(pixel "8", "9", "10", "11", "22", $a, $b, $c, $d, $lane),
            group!(pixel "12", "13", "14", "15", "23", $a, $b, $c, $d, $lane),
        )
    };
    (pixel $i:literal, $j:literal, $k:literal, $l:literal, $input:literal,
        $a:literal, $b:literal, $c:literal, $d:literal, $lane:literal) => {
        concat!(
            "sdot v", $i, ".4s, v", $a, ".16b, v", $input, ".4b[", $lane, "]\n",
            "sdot v", $j, ".4s, v", $b, ".16b, v", $input, ".4b[", $lane, "]\n",
            "sdot v", $k, ".4s, v", $c, ".16b, v", $input, ".4b[", $lane, "]\n",
            "sdot v", $l, ".4s, v", $d, ".16b, v", $input, ".4b[", $lane, "]\n",
        )
    };
}

/// The sums of four pixels from `from` on, in registers of its own choice: the compiler would copy
/// the biases and load in pieces.
///
/// # Safety
/// As [`pointwise`]; the number of groups is none, two or three more than a multiple of four.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn products_of_four<const ACTIVATION: u8>(
    groups: &[WeightGroup],
    finish: &NeonFinish<'_, ACTIVATION>,
    from: *const u8,
    stride: usize,
) -> [Sums128; 4] {
    let (a, b, c, d, e, f, g, h): (
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
    );
    let (i, j, k, l, m, n, o, p): (
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
        int32x4_t,
    );
    // SAFETY: reads the groups' bytes once from their start, and sixteen bytes of each of four
    // pixels in each block of inputs; the rest is registers, which are all named.
    unsafe {
        asm!(
            // All four pixels start with the biases.
            "ld1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{bias}]",
            "ld1 {{v4.4s, v5.4s, v6.4s, v7.4s}}, [{bias}]",
            "ld1 {{v8.4s, v9.4s, v10.4s, v11.4s}}, [{bias}]",
            "ld1 {{v12.4s, v13.4s, v14.4s, v15.4s}}, [{bias}]",
            "cbz {runs}, 3f",
            "2:",
            "ld1 {{v20.16b, v21.16b, v22.16b, v23.16b}}, [{inputs}], {stride}",
            "ld1 {{v16.16b, v17.16b, v18.16b, v19.16b}}, [{weights}], #64",
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{weights}], #64",
            "subs {runs}, {runs}, #1",
            group!("16", "17", "18", "19", "0"),
            "ld1 {{v16.16b, v17.16b, v18.16b, v19.16b}}, [{weights}], #64",
            group!("24", "25", "26", "27", "1"),
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{weights}], #64",
            group!("16", "17", "18", "19", "2"),
            group!("24", "25", "26", "27", "3"),
            "b.ne 2b",
            "3:",
            "cbz {rest}, 4f",
            "ld1 {{v20.16b, v21.16b, v22.16b, v23.16b}}, [{inputs}]",
            "ld1 {{v16.16b, v17.16b, v18.16b, v19.16b}}, [{weights}], #64",
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{weights}], #64",
            group!("16", "17", "18", "19", "0"),
            group!("24", "25", "26", "27", "1"),
            "tbz {rest}, #0, 4f",
            "ld1 {{v16.16b, v17.16b, v18.16b, v19.16b}}, [{weights}]",
            group!("16", "17", "18", "19", "2"),
            "4:",
            bias = in(reg) finish.biases().as_ptr(), runs = inout(reg) groups.len() / 4 => _,
            stride = in(reg) stride,
            inputs = inout(reg) from => _, weights = inout(reg) groups.as_ptr() => _,
            rest = in(reg) groups.len() % 4,
            out("v0") a, out("v1") b, out("v2") c, out("v3") d, out("v4") e, out("v5") f,
            out("v6") g, out("v7") h,
            out("v8") i, out("v9") j, out("v10") k, out("v11") l, out("v12") m, out("v13") n,
            out("v14") o, out("v15") p,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
            out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            options(pure, readonly, nostack),
        );
    }
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]]
}

/// A first layer is a pointwise one over the bytes of its windows, which are gathered to two blocks
/// of sixteen.
///
/// # Safety
/// The instructions, and [`Stem::check`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn stem<const ACTIVATION: u8>(
    op: &Stem,
    rows: [&[u8]; 3],
    dst: BlocksMut<'_>,
    pixels: usize,
) {
    let step = op.stride * 3;
    let windows = Windows::new(step);
    for (block, (groups, post)) in op.weights.dense().iter().zip(&op.post).enumerate() {
        // The last is zero.
        let groups = &groups[..7];
        let finish = NeonFinish::<ACTIVATION>::load(post);
        let mut at = rows.map(<[u8]>::as_ptr);
        // SAFETY: `check`.
        unsafe {
            let mut to = dst.bytes.as_mut_ptr().add(block * dst.stride);
            for _ in 0..pixels / 4 {
                let [[a, b], [e, f]] = windows.two(at);
                let [[c, d], [g, h]] = windows.two(at.map(|at| at.wrapping_add(2 * step)));
                let bytes = [[a, b, c, d], [e, f, g, h]];
                store(
                    &products_of_four(groups, &finish, bytes.as_ptr().cast(), 4 * LANES),
                    &finish,
                    to,
                );
                at = at.map(|at| at.wrapping_add(4 * step));
                to = to.add(4 * LANES);
            }
            for _ in 0..pixels % 4 {
                let bytes = windows.one(at);
                store(&[products(groups, &finish, bytes.as_ptr().cast(), LANES)], &finish, to);
                at = at.map(|at| at.wrapping_add(step));
                to = to.add(LANES);
            }
        }
    }
}

/// From three rows of sixteen channels to the three of each channel side by side, four channels a
/// register: `[channel][row]`. The fourth place repeats the third or, in `weights`, is zero.
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
unsafe fn depthwise<const ACTIVATION: u8>(
    op: &Depthwise,
    block: usize,
    rows: [&[u8]; 3],
    dst: &mut [u8],
) {
    let finish = NeonFinish::<ACTIVATION>::load(&op.post[block]);
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
    slide(EdgeRows::new(rows, op.left), op.stride, dst, arrange, pixel);
}

/// # Safety
/// The instructions, and [`Depthwise::check_pool`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn depthwise_pool<const ACTIVATION: u8>(
    op: &Depthwise,
    block: usize,
    rows: [&[u8]; 4],
    dst: &mut [u8],
) {
    let finish = NeonFinish::<ACTIVATION>::load(&op.post[block]);
    let taps = taps(&op.weights[block]);
    // Each column of weights twice, for the upper and for the lower of two rows out of four:
    // [quarter][row][column].
    let zero = vdupq_n_s8(0);
    let mut filters = [[[zero; 3]; 2]; 4];
    for column in 0..3 {
        let [a, b, c] = [taps[0][column], taps[1][column], taps[2][column]];
        let (upper, lower) = (by_channel([a, b, c], zero), by_channel([zero, a, b], c));
        for quarter in 0..4 {
            (filters[quarter][0][column], filters[quarter][1][column]) =
                (upper[quarter], lower[quarter]);
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
    let rows = EdgeRows::new(rows, op.left);
    let read = |column: usize| arrange(rows.column(column));
    let (mut a, mut b) = (read(0), read(1));
    let (pixels, _) = dst.as_chunks_mut::<LANES>();
    // Outputs whose next two columns certainly lie within the image.
    let inside = (rows.end().saturating_sub(2) / 2).min(pixels.len());
    let (first, rest) = pixels.split_at_mut(inside);
    for (index, to) in first.iter_mut().enumerate() {
        // SAFETY: columns 2 to `2 * inside + 1` are not left of the image and lie before its end.
        let (c, d) =
            unsafe { (arrange(rows.within(2 * index + 2)), arrange(rows.within(2 * index + 3))) };
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
