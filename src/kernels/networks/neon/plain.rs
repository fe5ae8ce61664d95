//! AArch64 without the dot-product instructions: Cortex-A53, A72 (Raspberry Pi 4).

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{
    Activation, Add, Blocks, BlocksMut, ByteTable, Depthwise, FloatHead, Global, InstructionSet,
    LANES, NetworkKernels, Packing, Pointwise, Stem,
};
use super::finish::{IDENTITY, NeonFinish, PRELU, RELU, Sums128};
use super::pointwise::{pointwise, stem};
use super::shared;
use super::windows::{EdgeRows, slide, taps};

/// Needs nothing that not every AArch64 processor has.
pub(super) struct NeonNetworks;

impl NetworkKernels for NeonNetworks {
    fn set(&self) -> InstructionSet {
        InstructionSet::Neon
    }

    fn zero_byte(&self) -> u8 {
        0
    }

    fn packing(&self) -> Packing {
        Packing::Quarters
    }

    fn quantize(&self, table: &ByteTable, src: &[u8], dst: &mut [u8]) {
        // SAFETY: every AArch64 processor has the feature.
        unsafe { shared::quantize(table, src, dst) }
    }

    fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
        op.check(rows, &dst, pixels);
        let run = match (op.weights.quarters().narrow, op.activation) {
            (true, Activation::Identity) => stem::<true, IDENTITY>,
            (true, Activation::Relu) => stem::<true, RELU>,
            (true, Activation::PRelu) => stem::<true, PRELU>,
            (false, Activation::Identity) => stem::<false, IDENTITY>,
            (false, Activation::Relu) => stem::<false, RELU>,
            (false, Activation::PRelu) => stem::<false, PRELU>,
        };
        // SAFETY: `check` found that all windows and outputs lie within the slices.
        unsafe { run(op, rows, dst, pixels) }
    }

    fn pointwise(&self, op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
        op.check(&src, &dst, pixels);
        let run = match (op.weights.quarters().narrow, op.activation) {
            (true, Activation::Identity) => pointwise::<true, IDENTITY>,
            (true, Activation::Relu) => pointwise::<true, RELU>,
            (true, Activation::PRelu) => pointwise::<true, PRELU>,
            (false, Activation::Identity) => pointwise::<false, IDENTITY>,
            (false, Activation::Relu) => pointwise::<false, RELU>,
            (false, Activation::PRelu) => pointwise::<false, PRELU>,
        };
        // SAFETY: `check` found that all inputs, weights and outputs lie within the slices.
        unsafe { run(op, src, dst, pixels) }
    }

    fn depthwise(&self, op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
        op.check(rows, dst);
        let run = match (op.narrow, op.activation) {
            (true, Activation::Identity) => depthwise::<true, IDENTITY>,
            (true, Activation::Relu) => depthwise::<true, RELU>,
            (true, Activation::PRelu) => depthwise::<true, PRELU>,
            (false, Activation::Identity) => depthwise::<false, IDENTITY>,
            (false, Activation::Relu) => depthwise::<false, RELU>,
            (false, Activation::PRelu) => depthwise::<false, PRELU>,
        };
        // SAFETY: `check` found that the rows have one length.
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

// The compiler parts the intrinsics of these instructions into two: it keeps the upper halves of
// all weights in registers of their own, which there are not enough of. So they are written out.
macro_rules! instruction {
    (
        $(#[$doc:meta])* $name:ident, $text:literal,
        ($($from:ident: $type:ty),*) -> $sum:ident: $result:ty
    ) => {
        $(#[$doc])*
        #[inline]
        #[target_feature(enable = "neon")]
        fn $name($sum: $result, $($from: $type),*) -> $result {
            let mut sum = $sum;
            // SAFETY: the instruction, which every AArch64 processor has, reads and writes the
            // named registers only.
            unsafe {
                asm!(
                    $text, sum = inout(vreg) sum, $($from = in(vreg) $from,)*
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sum
        }
    };
}

instruction! {
    /// Adds the products of the upper eight.
    mlal_high, "smlal2 {sum:v}.8h, {a:v}.16b, {b:v}.16b",
    (a: int8x16_t, b: int8x16_t) -> sum: int16x8_t
}
instruction! {
    /// Adds the lower four.
    addw, "saddw {sum:v}.4s, {sum:v}.4s, {a:v}.4h", (a: int16x8_t) -> sum: int32x4_t
}
instruction! {
    /// Adds the upper four.
    addw_high, "saddw2 {sum:v}.4s, {sum:v}.4s, {a:v}.8h", (a: int16x8_t) -> sum: int32x4_t
}

/// The products of the upper eight.
#[inline]
#[target_feature(enable = "neon")]
fn mull_high(a: int8x16_t, b: int8x16_t) -> int16x8_t {
    let product: int16x8_t;
    // SAFETY: as above.
    unsafe {
        asm!(
            "smull2 {product:v}.8h, {a:v}.16b, {b:v}.16b",
            product = lateout(vreg) product, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    product
}

/// Products of two taps, added to sums of 32 bits by way of 16, or one by one where two might not
/// fit.
#[inline]
#[target_feature(enable = "neon")]
fn two<const NARROW: bool>(sums: &mut Sums128, values: [int8x16_t; 2], weights: [int8x16_t; 2]) {
    if !NARROW {
        one(sums, values[0], weights[0]);
        return one(sums, values[1], weights[1]);
    }
    let lower = vmull_s8(vget_low_s8(values[0]), vget_low_s8(weights[0]));
    let lower = vmlal_s8(lower, vget_low_s8(values[1]), vget_low_s8(weights[1]));
    widen(sums, lower, mlal_high(mull_high(values[0], weights[0]), values[1], weights[1]));
}

/// Products of one tap, added to sums of 32 bits.
#[inline]
#[target_feature(enable = "neon")]
fn one(sums: &mut Sums128, value: int8x16_t, weight: int8x16_t) {
    widen(sums, vmull_s8(vget_low_s8(value), vget_low_s8(weight)), mull_high(value, weight));
}

#[inline]
#[target_feature(enable = "neon")]
fn widen(sums: &mut Sums128, lower: int16x8_t, upper: int16x8_t) {
    sums[0] = addw(sums[0], lower);
    sums[1] = addw_high(sums[1], lower);
    sums[2] = addw(sums[2], upper);
    sums[3] = addw_high(sums[3], upper);
}

/// # Safety
/// [`Depthwise::check`].
#[target_feature(enable = "neon")]
unsafe fn depthwise<const NARROW: bool, const ACTIVATION: u8>(
    op: &Depthwise,
    block: usize,
    rows: [&[u8]; 3],
    dst: &mut [u8],
) {
    let finish = NeonFinish::<ACTIVATION>::load(&op.post[block]);
    let taps = taps(&op.weights[block]);
    let pixel = |[a, b, c]: [[int8x16_t; 3]; 3], to: &mut [u8; LANES]| {
        let mut sums = finish.start();
        two::<NARROW>(&mut sums, [a[0], a[1]], [taps[0][0], taps[1][0]]);
        two::<NARROW>(&mut sums, [a[2], b[0]], [taps[2][0], taps[0][1]]);
        two::<NARROW>(&mut sums, [b[1], b[2]], [taps[1][1], taps[2][1]]);
        two::<NARROW>(&mut sums, [c[0], c[1]], [taps[0][2], taps[1][2]]);
        one(&mut sums, c[2], taps[2][2]);
        // SAFETY: sixteen bytes.
        unsafe { vst1q_s8(to.as_mut_ptr().cast(), finish.finished(sums)) };
    };
    slide(EdgeRows::new(rows, op.left), op.stride, dst, |column| column, pixel);
}
