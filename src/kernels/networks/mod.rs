//! The inner loops of quantized networks: one scalar reference, and one implementation for each
//! instruction set that gives the same bytes.
//!
//! # Promises
//! * For operands within the bounds that [`Post::new`] checks, all implementations give identical
//!   bytes for every shape. Property tests compare them.
//! * Callers hand over slices. Each kernel checks their lengths on entry, and only then works with
//!   pointers.
//! * A network holds its weights once, in the order of the kernels that run it ([`Packing`]).
//!
//! Not promised: speed of the scalar implementation, or equal results where other code changes the
//! processor's rounding mode.
//!
//! # Layout
//! * A stored byte is the quantized value plus 128 (zero is [`ZERO`]), as the x86 dot product takes
//!   it, or the value itself, as ARM and plain AVX2 take it. Each implementation says which by
//!   [`NetworkKernels::zero_byte`].
//! * Channels lie in blocks of [`LANES`], padded with channels that are always zero. Within a
//!   block, a pixel is sixteen adjacent bytes and the next pixel follows:
//!   `[channel block][row][column][16]`.
//! * Four neighbouring pixels of a block are therefore one 64-byte load for the depth-wise
//!   convolutions, and sixteen 32-bit sums fill one 512-bit or four 128-bit registers. A network
//!   with 33 or 119 channels is padded to 48 or 128.
//!
//! # Arithmetic, on every processor
//! * Sums are exact 32-bit integers. With an offset, the weights' part of it (`-128 * sum of
//!   weights`) is in the bias.
//! * Requantization is `clamp(round(f32(sum) * scale), -128, 127)`: the integer converted to `f32`
//!   (rounding to nearest, ties to even; exact below 2^24), one `f32` multiplication, and rounding
//!   to the nearest integer, ties to even.
//! * PReLU has a rounding of its own, as the quantized graph has it: the requantized value is
//!   multiplied with one of two `f32` factors by its sign, rounded and clamped again.
//! * Floating-point sums (the heads) are added in a fixed order; multiplication and addition are
//!   rounded separately.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
mod layout;
#[cfg(target_arch = "aarch64")]
mod neon;
mod operators;
mod packing;
pub mod scalar;
#[cfg(test)]
mod tests;

use super::choice::InstructionSet;

pub use layout::{Blocks, BlocksMut, ByteTable, LANES, WeightGroup, ZERO};
pub use operators::{Activation, Add, Depthwise, FloatHead, Global, Pointwise, Post, Stem};
pub use packing::{
    InputRange, Packing, Pairs, PointwiseWeights, Quarters, Run, Runs, StemWeights, is_narrow,
};

/// The operators, each on a row or a run of pixels. The provided bodies are the reference.
pub trait NetworkKernels: Send + Sync {
    /// The instructions that they are written for.
    fn set(&self) -> InstructionSet;

    /// The stored byte of the quantized value zero: [`ZERO`] where bytes are steps plus 128, as
    /// the provided bodies have it, or 0 where they are the steps themselves in two's complement.
    fn zero_byte(&self) -> u8 {
        ZERO
    }

    /// The order in which [`NetworkKernels::stem`] and [`NetworkKernels::pointwise`] read their
    /// weights; the provided bodies read [`Packing::Groups`].
    fn packing(&self) -> Packing {
        Packing::Groups
    }

    /// Interleaved image bytes to stored activations. Lengths are equal and multiples of three.
    fn quantize(&self, table: &ByteTable, src: &[u8], dst: &mut [u8]) {
        scalar::quantize(table, src, dst);
    }

    /// One output row; `rows` start at the left edge of the first window.
    fn stem(&self, op: &Stem, rows: [&[u8]; 3], dst: BlocksMut<'_>, pixels: usize) {
        scalar::stem(op, rows, dst, pixels);
    }

    /// A run of pixels.
    fn pointwise(&self, op: &Pointwise, src: Blocks<'_>, dst: BlocksMut<'_>, pixels: usize) {
        scalar::pointwise(op, src, dst, pixels);
    }

    /// One output row of one block.
    fn depthwise(&self, op: &Depthwise, block: usize, rows: [&[u8]; 3], dst: &mut [u8]) {
        scalar::depthwise(op, block, rows, dst);
    }

    /// Whether [`NetworkKernels::depthwise_pool`] pays here: it needs registers for
    /// four columns and two rows of sums, and pays where finishing sums is much of the work.
    fn pools(&self) -> bool {
        false
    }

    /// One row of one block of the 2 x 2 maximum with step 2 over two rows of a depth-wise
    /// convolution, of which [`Depthwise::can_pool`] holds. The same bytes as
    /// [`NetworkKernels::depthwise`] twice and [`NetworkKernels::max_pool`]. Only for kernels that
    /// say so by [`NetworkKernels::pools`].
    fn depthwise_pool(&self, op: &Depthwise, block: usize, rows: [&[u8]; 4], dst: &mut [u8]) {
        scalar::depthwise_pool(op, block, rows, dst);
    }

    /// One block.
    fn global(&self, op: &Global, block: usize, src: &[u8], dst: &mut [u8; LANES]) {
        scalar::global(op, block, src, dst);
    }

    /// One output row of one block of a 2 x 2 maximum with step 2.
    fn max_pool(&self, rows: [&[u8]; 2], dst: &mut [u8]) {
        scalar::max_pool(rows, dst);
    }

    /// One row of one block.
    fn add(&self, op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
        scalar::add(op, first, second, dst);
    }

    /// One row of one block.
    fn head(&self, op: &FloatHead, rows: [&[u8]; 3], dst: &mut [f32]) {
        scalar::head(op, rows, dst);
    }

    /// The logistic function, in place.
    fn sigmoid(&self, values: &mut [f32]) {
        scalar::sigmoid(values);
    }
}

/// All that this processor can run, the fastest first; the scalar ones are always there.
pub fn available() -> Vec<&'static dyn NetworkKernels> {
    let mut all: Vec<&'static dyn NetworkKernels> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        all.extend(avx512::detect());
        all.extend(avxvnni::detect());
        all.extend(avx2::detect());
    }
    #[cfg(target_arch = "aarch64")]
    all.extend(neon::detect());
    all.push(&scalar::ScalarNetworks);
    all
}

/// The fastest kernels that need no more than `set`.
pub fn with(set: InstructionSet) -> &'static dyn NetworkKernels {
    available().into_iter().find(|k| k.set() <= set).unwrap_or(&scalar::ScalarNetworks)
}
