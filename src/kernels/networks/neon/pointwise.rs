//! Pointwise convolutions and first layers without the dot product.
//!
//! `smull` and `smlal` leave the sum of two products in 16 bits, which is exact as long as no
//! weight is -128, and of four where the packing says so; `sadalp` adds neighbours to 32 bits.
//! Where a weight is -128, each product is added by itself.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{Blocks, BlocksMut, LANES, Pointwise, Post, Stem, WeightGroup};
use super::finish::{NeonFinish, afresh};
use super::windows::Windows;

/// Two partial sums a channel: `[two channels][channel][two]`.
type Partial128 = [int32x4_t; 8];

/// Where partial sums start: each bias next to a zero.
fn spread(post: &Post) -> [[i32; 4]; 8] {
    std::array::from_fn(|pair| [post.signed_bias[2 * pair], 0, post.signed_bias[2 * pair + 1], 0])
}

/// [`spread`] in registers, for each of `P` pixels.
#[inline]
#[target_feature(enable = "neon")]
fn start<const P: usize>(spread: &[[i32; 4]; 8]) -> [Partial128; P] {
    let mut all = [[vdupq_n_s32(0); 8]; P];
    for partial in &mut all {
        for (register, values) in partial.iter_mut().zip(afresh(spread)) {
            // SAFETY: four values.
            *register = unsafe { vld1q_s32(values.as_ptr()) };
        }
    }
    all
}

/// Sixteen inputs, each four of them in all four places of a register.
///
/// # Safety
/// Sixteen bytes can be read at `at`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn placed(at: *const u8) -> [int8x16_t; 4] {
    // SAFETY: the caller's promise.
    let int32x4x4_t(a, b, c, d) = unsafe { vld4q_dup_s32(at.cast()) };
    [a, b, c, d].map(|r| vreinterpretq_s8_s32(r))
}

/// Writes `P` neighbouring pixels.
///
/// # Safety
/// `16 * P` bytes can be written at `to`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store<const ACTIVATION: u8, const P: usize>(
    partial: &[Partial128; P],
    finish: &NeonFinish<'_, ACTIVATION>,
    to: *mut u8,
) {
    for (pixel, partial) in partial.iter().enumerate() {
        let sum = |quarter: usize| vpaddq_s32(partial[2 * quarter], partial[2 * quarter + 1]);
        let sums = [sum(0), sum(1), sum(2), sum(3)];
        // SAFETY: the caller's promise.
        unsafe { vst1q_s8(to.add(pixel * LANES).cast(), finish.finished(sums)) };
    }
}

/// # Safety
/// [`Pointwise::check`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn pointwise<const NARROW: bool, const ACTIVATION: u8>(
    op: &Pointwise,
    src: Blocks<'_>,
    dst: BlocksMut<'_>,
    pixels: usize,
) {
    let runs = op.groups.div_ceil(4);
    let quarters = op.weights.quarters();
    let weights = quarters.weights.chunks_exact(op.groups).zip(quarters.fours.chunks_exact(runs));
    for (block, ((groups, fours), post)) in weights.zip(&op.post).enumerate() {
        let (finish, spread) = (NeonFinish::<ACTIVATION>::load(post), spread(post));
        // SAFETY: `check`.
        unsafe {
            let mut from = src.bytes.as_ptr();
            let mut to = dst.bytes.as_mut_ptr().add(block * dst.stride);
            for _ in 0..pixels / 2 {
                let partial = if NARROW {
                    products_of_two(groups, fours, &spread, from, src.stride)
                } else {
                    products::<2>(groups, &spread, from, src.stride)
                };
                store(&partial, &finish, to);
                (from, to) = (from.add(2 * LANES), to.add(2 * LANES));
            }
            if !pixels.is_multiple_of(2) {
                store(&products::<1>(groups, &spread, from, src.stride), &finish, to);
            }
        }
    }
}

/// The partial sums of `P` pixels from `from` on, each product widened by itself.
///
/// # Safety
/// [`Pointwise::check`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn products<const P: usize>(
    groups: &[WeightGroup],
    spread: &[[i32; 4]; 8],
    from: *const u8,
    stride: usize,
) -> [Partial128; P] {
    let (mut partial, mut block) = (start::<P>(spread), from);
    for run in groups.chunks(4) {
        let mut inputs = [[vdupq_n_s8(0); 4]; P];
        for (pixel, inputs) in inputs.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *inputs = unsafe { placed(block.add(pixel * LANES)) };
        }
        let weights = run.iter().flat_map(|group| group.0.as_flattened().as_chunks::<LANES>().0);
        for (at, weights) in weights.enumerate() {
            let (quarter, group) = (at / run.len(), at % run.len());
            // SAFETY: sixteen bytes.
            let weights = unsafe { vld1q_s8(weights.as_ptr()) };
            for (partial, inputs) in partial.iter_mut().zip(&inputs) {
                let [lower, upper] = [2 * quarter, 2 * quarter + 1];
                let product = vmull_s8(vget_low_s8(weights), vget_low_s8(inputs[group]));
                partial[lower] = vpadalq_s16(partial[lower], product);
                partial[upper] = vpadalq_s16(partial[upper], vmull_high_s8(weights, inputs[group]));
            }
        }
        block = block.wrapping_add(stride);
    }
    partial
}

/// The text of what multiplies two pixels' inputs (v16 on and v20 on) with a quarter's weights and
/// adds them to the four partial sums that it names. In 16 bits, of the first group, then of
/// further ones; at the end it widens them.
macro_rules! first {
    ($weights:literal, $left:literal, $right:literal) => {
        concat!(
            "smull v28.8h, v",
            $weights,
            ".8b, v",
            $left,
            ".8b\nsmull2 v29.8h, v",
            $weights,
            ".16b, v",
            $left,
            ".16b\n",
            "smull v30.8h, v",
            $weights,
            ".8b, v",
            $right,
            ".8b\nsmull2 v31.8h, v",
            $weights,
            ".16b, v",
            $right,
            ".16b\n",
        )
    };
}
macro_rules! further {
    ($weights:literal, $left:literal, $right:literal) => {
        concat!(
            "smlal v28.8h, v",
            $weights,
            ".8b, v",
            $left,
            ".8b\nsmlal2 v29.8h, v",
            $weights,
            ".16b, v",
            $left,
            ".16b\n",
            "smlal v30.8h, v",
            $weights,
            ".8b, v",
            $right,
            ".8b\nsmlal2 v31.8h, v",
            $weights,
            ".16b, v",
            $right,
            ".16b\n",
        )
    };
}
macro_rules! widened {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "sadalp v",
            $a,
            ".4s, v28.8h\nsadalp v",
            $b,
            ".4s, v29.8h\n",
            "sadalp v",
            $c,
            ".4s, v30.8h\nsadalp v",
            $d,
            ".4s, v31.8h\n",
        )
    };
}
/// A quarter of four groups: widened once,
macro_rules! four {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{weights}], #64\n",
            first!("24", "16", "20"),
            further!("25", "17", "21"),
            further!("26", "18", "22"),
            further!("27", "19", "23"),
            widened!($a, $b, $c, $d),
        )
    };
}
/// or twice;
macro_rules! twice_two {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ld1 {{v24.16b, v25.16b, v26.16b, v27.16b}}, [{weights}], #64\n",
            first!("24", "16", "20"),
            further!("25", "17", "21"),
            widened!($a, $b, $c, $d),
            first!("26", "18", "22"),
            further!("27", "19", "23"),
            widened!($a, $b, $c, $d),
        )
    };
}
/// a quarter of two groups.
macro_rules! last_two {
    ($a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "ld1 {{v24.16b, v25.16b}}, [{weights}], #32\n",
            first!("24", "16", "20"),
            further!("25", "17", "21"),
            widened!($a, $b, $c, $d),
        )
    };
}

/// The partial sums of two pixels from `from` on, where no weight is -128. In registers of its own
/// choice: sixteen sums, eight inputs, four weights and four products are all that there are, and
/// the compiler would rather keep something else.
///
/// # Safety
/// [`Pointwise::check`], and `fours` has one a run.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn products_of_two(
    groups: &[WeightGroup],
    fours: &[bool],
    spread: &[[i32; 4]; 8],
    from: *const u8,
    stride: usize,
) -> [Partial128; 2] {
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
    // SAFETY: reads the groups' bytes once from their start, sixteen bytes of each of two pixels in
    // each block of inputs, and one of `fours` for every four groups; the rest is registers, which
    // are all named.
    unsafe {
        asm!(
            // Both pixels start with the biases.
            "ld1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{spread}], #64",
            "ld1 {{v4.4s, v5.4s, v6.4s, v7.4s}}, [{spread}]",
            "sub {spread}, {spread}, #64",
            "ld1 {{v8.4s, v9.4s, v10.4s, v11.4s}}, [{spread}], #64",
            "ld1 {{v12.4s, v13.4s, v14.4s, v15.4s}}, [{spread}]",
            "cbz {runs}, 4f",
            "2:",
            "ldrb {four:w}, [{fours}], #1",
            // Each four of sixteen inputs, in all places of a register.
            "ld4r {{v16.4s, v17.4s, v18.4s, v19.4s}}, [{left}], {stride}",
            "ld4r {{v20.4s, v21.4s, v22.4s, v23.4s}}, [{right}], {stride}",
            "subs {runs}, {runs}, #1",
            "cbz {four:w}, 3f",
            four!("0", "1", "8", "9"), four!("2", "3", "10", "11"),
            four!("4", "5", "12", "13"), four!("6", "7", "14", "15"),
            "b.ne 2b",
            "b 4f",
            "3:",
            twice_two!("0", "1", "8", "9"), twice_two!("2", "3", "10", "11"),
            twice_two!("4", "5", "12", "13"), twice_two!("6", "7", "14", "15"),
            "b.ne 2b",
            "4:",
            "cbz {pair}, 5f",
            "ld4r {{v16.4s, v17.4s, v18.4s, v19.4s}}, [{left}]",
            "ld4r {{v20.4s, v21.4s, v22.4s, v23.4s}}, [{right}]",
            last_two!("0", "1", "8", "9"), last_two!("2", "3", "10", "11"),
            last_two!("4", "5", "12", "13"), last_two!("6", "7", "14", "15"),
            "5:",
            spread = inout(reg) spread.as_ptr() => _, runs = inout(reg) groups.len() / 4 => _,
            fours = inout(reg) fours.as_ptr() => _, four = out(reg) _, stride = in(reg) stride,
            left = inout(reg) from => _, right = inout(reg) from.wrapping_add(LANES) => _,
            weights = inout(reg) groups.as_ptr() => _, pair = in(reg) groups.len() % 4,
            out("v0") a, out("v1") b, out("v2") c, out("v3") d, out("v4") e, out("v5") f,
            out("v6") g, out("v7") h,
            out("v8") i, out("v9") j, out("v10") k, out("v11") l, out("v12") m, out("v13") n,
            out("v14") o, out("v15") p,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
            out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
            options(pure, readonly, nostack),
        );
    }
    [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]]
}

/// A first layer is a pointwise one over the bytes of its windows, which are gathered to two blocks
/// of sixteen.
///
/// # Safety
/// [`Stem::check`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn stem<const NARROW: bool, const ACTIVATION: u8>(
    op: &Stem,
    rows: [&[u8]; 3],
    dst: BlocksMut<'_>,
    pixels: usize,
) {
    let step = op.stride * 3;
    let windows = Windows::new(step);
    let quarters = op.weights.quarters();
    let weights = quarters.weights.chunks_exact(8).zip(quarters.fours.chunks_exact(2));
    for (block, ((groups, fours), post)) in weights.zip(&op.post).enumerate() {
        let (finish, spread) = (NeonFinish::<ACTIVATION>::load(post), spread(post));
        let mut at = rows.map(<[u8]>::as_ptr);
        // SAFETY: `check`.
        unsafe {
            let mut to = dst.bytes.as_mut_ptr().add(block * dst.stride);
            for _ in 0..pixels / 2 {
                let bytes = windows.two(at);
                let from = bytes.as_ptr().cast();
                let partial = if NARROW {
                    products_of_two(groups, fours, &spread, from, 2 * LANES)
                } else {
                    products::<2>(groups, &spread, from, 2 * LANES)
                };
                store(&partial, &finish, to);
                at = at.map(|at| at.wrapping_add(2 * step));
                to = to.add(2 * LANES);
            }
            if !pixels.is_multiple_of(2) {
                let bytes = windows.one(at);
                store(&products::<1>(groups, &spread, bytes.as_ptr().cast(), LANES), &finish, to);
            }
        }
    }
}
