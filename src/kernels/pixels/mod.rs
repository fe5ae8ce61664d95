//! The inner loops around the networks: a camera's samples to pixels, pixels to another size, a
//! turned face to an upright one.
//!
//! # Promises
//! * The implementations give identical bytes for every format, size and position. Property tests
//!   compare them with `scalar`, the reference.
//! * Callers hand over slices. Each kernel checks their lengths on entry, and only then works with
//!   pointers.
//! * Nothing allocates but [`Taps::set`].
//!
//! Not promised: speed of the scalar implementation.
//!
//! # Arithmetic, on every processor
//! * Samples become red, green, blue by [`ycc_to_rgb`], a pixel of four bytes of which the last is
//!   zero ([`Rgbx`]).
//! * Resizing is first across, then down ([`Taps`]): the products of bytes and weights of
//!   [`WEIGHT`] fraction bits are summed exactly and rounded (halves up) to [`KEEP`] fraction bits;
//!   the products of those and weights again, to bytes.
//! * A turned picture ([`SampleWalk`]) is sampled bilinearly at points that are computed in `f32`,
//!   each operation rounded separately, with weights of 8 bits. Sums are exact, and rounded once
//!   (halves up).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod reorder;
mod samples;
mod scalar;
mod taps;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use super::choice::{self, InstructionSet};

pub use samples::{
    DeepLuma, OtherLine, PackedOrder, Range, SampleLine, full_luma, rgb_luma, ycc_to_rgb,
};
pub use scalar::ScalarPixels;
pub use taps::Taps;

/// Fraction bits of a resize's weight: those of one target pixel add up to `1 << WEIGHT`.
pub const WEIGHT: u32 = 14;
/// Fraction bits that a row keeps between the passes; 255 with them fits 15 bits.
pub const KEEP: u32 = 7;
/// Fraction bits of a bilinear weight.
pub const BILINEAR: u32 = 8;

/// Red, green, blue, zero.
pub type Rgbx = [u8; 4];

/// A pixel between the passes of a resize, with [`KEEP`] fraction bits.
pub type Wide = [u16; 4];

/// Rows between the passes, the latest few: row `r` lies in slot `r % slots`.
#[derive(Clone, Copy)]
pub struct RingRows<'a> {
    /// Slot after slot.
    pub pixels: &'a [Wide],
    /// Pixels of a row.
    pub width: usize,
}

impl<'a> RingRows<'a> {
    /// The row `row`, and the slots there are.
    fn at(&self, row: usize) -> &'a [Wide] {
        let slots = self.pixels.len() / self.width;
        &self.pixels[row % slots * self.width..][..self.width]
    }

    /// Panics where `width` pixels of `rows` rows are not there, or the weights are too large for
    /// exact sums.
    fn check(&self, weights: &[u16], dst: &[Rgbx]) {
        assert!(
            dst.len() == self.width
                && self.width > 0
                && self.pixels.len() >= self.width * weights.len()
        );
        assert!(weights.iter().map(|w| u32::from(*w)).sum::<u32>() <= 1 << WEIGHT);
    }
}

/// A piece of a frame in pixels. Where it reaches beyond the frame it is black.
#[derive(Clone, Copy)]
pub struct Patch<'a> {
    /// Row after row, `width` pixels each.
    pub pixels: &'a [Rgbx],
    /// Pixels of a row, at least 2.
    pub width: usize,
    /// Column of its first pixel in the frame.
    pub left: i32,
    /// Row of its first pixel in the frame.
    pub top: i32,
}

impl Patch<'_> {
    /// Rows. Panics where a bilinear sample would not fit.
    fn check(&self) -> usize {
        let rows = self.pixels.len() / self.width;
        assert!(self.width >= 2 && rows >= 2 && self.pixels.len() <= i32::MAX as usize / 4);
        // So that positions are exact in `f32`.
        const FAR: i32 = 1 << 22;
        assert!(
            self.left.abs() < FAR
                && self.top.abs() < FAR
                && self.width < FAR as usize
                && rows < FAR as usize
        );
        rows
    }
}

/// Which points of the frame the pixels of a turned picture are: `(a x - b y + tx, b x + a y +
/// ty)`, finite and below 2^22.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleWalk {
    /// Scale times the cosine.
    pub a: f32,
    /// Scale times the sine.
    pub b: f32,
    /// Where the picture's origin lies in the frame.
    pub tx: f32,
    /// Where the picture's origin lies in the frame.
    pub ty: f32,
    /// Samples along each axis whose mean is a pixel, 1 to [`SampleWalk::MOST_SAMPLES`].
    pub samples: usize,
}

impl SampleWalk {
    /// Sums of so many samples along each axis still fit 32 bits.
    pub const MOST_SAMPLES: usize = 16;

    /// Where the sample `index` of a pixel lies, relative to its centre.
    pub fn offset(&self, index: usize) -> f32 {
        (index as f32 + 0.5) / self.samples as f32 - 0.5
    }

    /// The frame's point under the picture's point (`x`, `y`).
    pub fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.a * x - self.b * y + self.tx, self.b * x + self.a * y + self.ty)
    }

    fn check(&self) {
        assert!((1..=Self::MOST_SAMPLES).contains(&self.samples));
    }
}

/// The operations. The provided bodies are the reference.
pub trait PixelKernels: Send + Sync {
    /// The instructions that they are written for.
    fn set(&self) -> InstructionSet;

    /// The pixels of a line, of which there are as many as in `dst`.
    fn convert(&self, line: &SampleLine<'_>, range: Range, dst: &mut [Rgbx]) {
        scalar::convert(line, range, dst);
    }

    /// One row resized across; `line` is as long as [`Taps::padded`] says.
    fn across(&self, taps: &Taps, line: &[Rgbx], dst: &mut [Wide]) {
        scalar::across(taps, line, dst);
    }

    /// One row of the target: the rows `first` and following, by their weights, of which the sum is
    /// at most 1.
    fn down(&self, rows: &RingRows<'_>, first: usize, weights: &[u16], dst: &mut [Rgbx]) {
        scalar::down(rows, first, weights, dst);
    }

    /// Three bytes a pixel, red first or, for `bgr`, blue first.
    fn pack(&self, bgr: bool, src: &[Rgbx], dst: &mut [u8]) {
        scalar::pack(bgr, src, dst);
    }

    /// Pixels of three bytes with the first and the third exchanged.
    fn swap(&self, src: &[u8], dst: &mut [u8]) {
        scalar::swap(src, dst);
    }

    /// The pixels (`x`, `y`) and following, one for each in `dst`, of a turned picture whose points
    /// lie in `patch`. A point whose four neighbours do not lie in it gets those at its border.
    fn walk(&self, patch: &Patch<'_>, walk: &SampleWalk, x: usize, y: usize, dst: &mut [Rgbx]) {
        scalar::walk(patch, walk, x, y, dst);
    }
}

/// Every implementation that this processor can run, the fastest first; the scalar one is always
/// there.
pub fn available() -> Vec<&'static dyn PixelKernels> {
    let mut all: Vec<&'static dyn PixelKernels> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    all.extend(avx2::detect());
    #[cfg(target_arch = "aarch64")]
    all.extend([&neon::NeonPixels as &dyn PixelKernels]);
    all.push(&ScalarPixels);
    all
}

/// The fastest implementation that needs no more than `set`.
pub fn with(set: InstructionSet) -> &'static dyn PixelKernels {
    available().into_iter().find(|k| k.set() <= set).unwrap_or(&ScalarPixels)
}

/// The implementation that this process uses.
pub fn in_use() -> &'static dyn PixelKernels {
    static IN_USE: OnceLock<&'static dyn PixelKernels> = OnceLock::new();
    *IN_USE.get_or_init(|| with(choice::in_use()))
}
