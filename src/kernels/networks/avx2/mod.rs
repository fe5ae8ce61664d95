//! x86-64 with AVX2, without any dot-product instruction: Haswell, Zen 1 to 3 and later.
//!
//! * After a ReLU no input is negative. `vpmaddubsw` multiplies bytes without a sign with signed
//!   ones and adds two products in 16 bits, where it would saturate; so weights come in runs whose
//!   sums cannot (`Runs`). The products of up to four groups are added in 16 bits, and `vpmaddwd`
//!   with ones takes them to 32.
//! * Elsewhere inputs are widened to 16 bits, once for all output channels, and `vpmaddwd` adds the
//!   exact products of pairs (`Pairs`).

pub(super) mod depthwise;
pub(super) mod elementwise;
pub(super) mod finish;
mod pointwise;

use self::depthwise::{depthwise, global};
use self::elementwise::{add, head, max_pool, sigmoid};
use self::finish::{IDENTITY, PRELU, RELU};
use self::pointwise::{pointwise_pairs, pointwise_runs, stem};
use super::layout::RowPointers;
use super::{
    Activation, Add, Blocks, BlocksMut, ByteTable, Depthwise, FloatHead, Global, InstructionSet,
    LANES, NetworkKernels, Packing, Pointwise, PointwiseWeights, Stem, scalar,
};

/// Made by [`detect`] only, on a processor that has every feature that the functions below enable.
struct Avx2Networks(());

static KERNELS: Avx2Networks = Avx2Networks(());

/// The kernels, where the processor and the operating system support them.
pub(super) fn detect() -> Option<&'static dyn NetworkKernels> {
    InstructionSet::Avx2.is_available().then_some(&KERNELS)
}

impl NetworkKernels for Avx2Networks {
    fn set(&self) -> InstructionSet {
        InstructionSet::Avx2
    }

    fn zero_byte(&self) -> u8 {
        0
    }

    fn packing(&self) -> Packing {
        Packing::Runs
    }

    fn quantize(&self, table: &ByteTable, src: &[u8], dst: &mut [u8]) {
        look_up::<0>(table, src, dst);
    }

    fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
        op.check(rows, &dst, pixels);
        let run = match op.activation {
            Activation::Identity => stem::<IDENTITY>,
            Activation::Relu => stem::<RELU>,
            Activation::PRelu => stem::<PRELU>,
        };
        // SAFETY: `detect` found the feature; `check` that all windows and outputs lie within the
        // slices.
        unsafe { run(op, rows, dst, pixels) }
    }

    fn pointwise(&self, op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
        op.check(&src, &dst, pixels);
        let run = match (&op.weights, op.activation) {
            (PointwiseWeights::Runs(_), Activation::Identity) => pointwise_runs::<IDENTITY>,
            (PointwiseWeights::Runs(_), Activation::Relu) => pointwise_runs::<RELU>,
            (PointwiseWeights::Runs(_), Activation::PRelu) => pointwise_runs::<PRELU>,
            (_, Activation::Identity) => pointwise_pairs::<IDENTITY>,
            (_, Activation::Relu) => pointwise_pairs::<RELU>,
            (_, Activation::PRelu) => pointwise_pairs::<PRELU>,
        };
        // SAFETY: `detect` found the feature; `check` that all inputs, weights and outputs lie
        // within the slices.
        unsafe { run(op, src, dst, pixels) }
    }

    fn depthwise(&self, op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
        let (input, output) = op.check(rows, dst);
        let rows = RowPointers { bytes: rows.map(<[u8]>::as_ptr), pixels: input, left: op.left };
        let run = match (op.stride, op.activation) {
            (1, Activation::Identity) => depthwise::<1, IDENTITY>,
            (1, Activation::Relu) => depthwise::<1, RELU>,
            (1, Activation::PRelu) => depthwise::<1, PRELU>,
            (_, Activation::Identity) => depthwise::<2, IDENTITY>,
            (_, Activation::Relu) => depthwise::<2, RELU>,
            (_, Activation::PRelu) => depthwise::<2, PRELU>,
        };
        // SAFETY: `detect` found the feature; each row holds `input` pixels and `dst` holds
        // `output`.
        unsafe { run(&op.weights[block], &op.post[block], rows, dst.as_mut_ptr(), output) }
    }

    fn global(&self, op: &Global, block: usize, src: &[u8], dst: &mut [u8; LANES]) {
        op.check(block, src);
        let weights = &op.weights[block * op.groups()..][..op.groups()];
        // SAFETY: `detect` found the feature; `check` that there is a group for every four pixels.
        unsafe {
            match op.activation {
                Activation::Identity => global::<0, IDENTITY>(weights, &op.post[block], src, dst),
                Activation::Relu => global::<0, RELU>(weights, &op.post[block], src, dst),
                Activation::PRelu => global::<0, PRELU>(weights, &op.post[block], src, dst),
            }
        }
    }

    fn max_pool(&self, rows: [&[u8]; 2], dst: &mut [u8]) {
        assert!(rows.iter().all(|r| r.len() >= 2 * dst.len()) && dst.len().is_multiple_of(LANES));
        // SAFETY: `detect` found the feature; both rows hold twice the output's bytes.
        unsafe { max_pool::<0>(rows.map(<[u8]>::as_ptr), dst) }
    }

    fn add(&self, op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
        op.check(first, second, dst);
        // SAFETY: `detect` found the feature; `check` that the operands hold the output's pixels.
        unsafe { add::<0>(op, first, second, dst) }
    }

    fn head(&self, op: &FloatHead, rows: [&[u8]; 3], dst: &mut [f32]) {
        op.check(rows, dst);
        // SAFETY: `detect` found the feature; `check` that the rows hold the output's pixels.
        unsafe { head::<0>(op, rows, dst) }
    }

    fn sigmoid(&self, values: &mut [f32]) {
        // SAFETY: `detect` found the feature.
        unsafe { sigmoid(values) }
    }
}

/// As [`scalar::quantize`], without a table where a network takes bytes as they are.
pub(super) fn look_up<const ZERO_BYTE: u8>(table: &ByteTable, src: &[u8], dst: &mut [u8]) {
    // A step is a byte less 128, which is its highest bit turned over.
    const fn turned(flip: u8) -> [u8; 256] {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = byte as u8 ^ flip;
            byte += 1;
        }
        table
    }
    let flip = const { 0x80 ^ ZERO_BYTE };
    if table.uniform && table.channels[0] == const { turned(0x80 ^ ZERO_BYTE) } {
        assert_eq!(src.len(), dst.len());
        dst.iter_mut().zip(src).for_each(|(to, from)| *to = from ^ flip);
    } else {
        scalar::quantize(table, src, dst);
    }
}
