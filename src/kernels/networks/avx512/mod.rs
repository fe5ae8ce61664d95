//! x86-64 with AVX-512 VNNI and VBMI: Ice Lake, Sapphire Rapids, Zen 4 and later.
//!
//! One register holds the sums of sixteen output channels of a pixel; `vpdpbusd` adds four products
//! to each. Four pixels' sums become 64 bytes of a block at once.

mod depthwise;
mod elementwise;
mod finish;
mod pointwise;

use self::depthwise::{depthwise, global};
use self::elementwise::{add, head, max_pool, quantize, sigmoid};
use self::finish::{IDENTITY, PRELU, RELU};
use self::pointwise::{pointwise, stem};
use super::layout::RowPointers;
use super::{
    Activation, Add, Blocks, BlocksMut, ByteTable, Depthwise, FloatHead, Global, InstructionSet,
    LANES, NetworkKernels, Pointwise, Stem, scalar,
};

/// Made by [`detect`] only, on a processor that has every feature that the functions below enable.
struct Avx512Networks(());

static KERNELS: Avx512Networks = Avx512Networks(());

/// The kernels, where the processor and the operating system support them.
pub(super) fn detect() -> Option<&'static dyn NetworkKernels> {
    // More than the set promises: Cascade Lake has no VBMI.
    let has = InstructionSet::Avx512Vnni.is_available()
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi");
    has.then_some(&KERNELS)
}

impl NetworkKernels for Avx512Networks {
    fn set(&self) -> InstructionSet {
        InstructionSet::Avx512Vnni
    }

    fn quantize(&self, table: &ByteTable, src: &[u8], dst: &mut [u8]) {
        if !table.uniform {
            return scalar::quantize(table, src, dst);
        }
        assert_eq!(src.len(), dst.len());
        // SAFETY: `detect` found the features; lengths are equal.
        unsafe { quantize(&table.channels[0], src, dst) }
    }

    fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
        op.check(rows, &dst, pixels);
        // SAFETY: `detect` found the features; `check` that all windows and outputs lie within the
        // slices.
        unsafe {
            match op.activation {
                Activation::Identity => stem::<IDENTITY>(op, rows, dst, pixels),
                Activation::Relu => stem::<RELU>(op, rows, dst, pixels),
                Activation::PRelu => stem::<PRELU>(op, rows, dst, pixels),
            }
        }
    }

    fn pointwise(&self, op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
        op.check(&src, &dst, pixels);
        // SAFETY: `detect` found the features; `check` that all inputs, weights and outputs lie
        // within the slices.
        unsafe {
            match op.activation {
                Activation::Identity => pointwise::<IDENTITY>(op, src, dst, pixels),
                Activation::Relu => pointwise::<RELU>(op, src, dst, pixels),
                Activation::PRelu => pointwise::<PRELU>(op, src, dst, pixels),
            }
        }
    }

    fn depthwise(&self, op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
        let (input, output) = op.check(rows, dst);
        let (weights, post) = (&op.weights[block], &op.post[block]);
        let rows = RowPointers { bytes: rows.map(<[u8]>::as_ptr), pixels: input, left: op.left };
        let run = match (op.stride, op.activation) {
            (1, Activation::Identity) => depthwise::<1, IDENTITY>,
            (1, Activation::Relu) => depthwise::<1, RELU>,
            (1, Activation::PRelu) => depthwise::<1, PRELU>,
            (_, Activation::Identity) => depthwise::<2, IDENTITY>,
            (_, Activation::Relu) => depthwise::<2, RELU>,
            (_, Activation::PRelu) => depthwise::<2, PRELU>,
        };
        // SAFETY: `detect` found the features; each row holds `input` pixels and `dst` holds
        // `output`.
        unsafe { run(weights, post, rows, dst.as_mut_ptr(), output) }
    }

    fn global(&self, op: &Global, block: usize, src: &[u8], dst: &mut [u8; LANES]) {
        op.check(block, src);
        let weights = &op.weights[block * op.groups()..][..op.groups()];
        // SAFETY: `detect` found the features; `check` that there is a group for every four pixels.
        unsafe {
            match op.activation {
                Activation::Identity => global::<IDENTITY>(weights, &op.post[block], src, dst),
                Activation::Relu => global::<RELU>(weights, &op.post[block], src, dst),
                Activation::PRelu => global::<PRELU>(weights, &op.post[block], src, dst),
            }
        }
    }

    fn max_pool(&self, rows: [&[u8]; 2], dst: &mut [u8]) {
        assert!(rows.iter().all(|r| r.len() >= 2 * dst.len()) && dst.len().is_multiple_of(LANES));
        let fast = dst.len() / 64 * 64;
        // SAFETY: `detect` found the features; both rows hold twice the output's bytes.
        unsafe { max_pool(rows.map(<[u8]>::as_ptr), &mut dst[..fast]) }
        scalar::max_pool(rows.map(|r| &r[2 * fast..]), &mut dst[fast..]);
    }

    fn add(&self, op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
        op.check(first, second, dst);
        // SAFETY: `detect` found the features; `check` that the operands hold the output's pixels.
        unsafe { add(op, first, second, dst) }
    }

    fn head(&self, op: &FloatHead, rows: [&[u8]; 3], dst: &mut [f32]) {
        op.check(rows, dst);
        // SAFETY: `detect` found the features; `check` that the rows hold the output's pixels.
        unsafe { head(op, rows, dst) }
    }

    fn sigmoid(&self, values: &mut [f32]) {
        // SAFETY: `detect` found the features.
        unsafe { sigmoid(values) }
    }
}
