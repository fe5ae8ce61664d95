//! Lines in other orders, brought into one that a kernel reads, a few pixels at a time.
//!
//! * The bytes are those of the reference for every line: nothing is computed here, only moved.
//! * Nothing allocates; the loops are plain, so that the compiler makes SIMD of them.
//!
//! Not promised: the speed of a kernel that reads the order itself, as those of AVX2 do. `watchpost
//! bench formats` says what it costs.

use super::samples::{DeepLuma, OtherLine, PackedOrder, from_565};
use super::{PixelKernels, Range, Rgbx, SampleLine};

/// Pixels a turn: a multiple of what any kernel takes at a time, and few enough for the first
/// cache.
const TURN: usize = 256;

/// The pixels of `line`, of which there are as many as in `dst`.
pub(super) fn convert(
    kernels: &dyn PixelKernels,
    line: &OtherLine<'_>,
    range: Range,
    dst: &mut [Rgbx],
) {
    let mut moved = [0; 3 * TURN];
    for (turn, dst) in dst.chunks_mut(TURN).enumerate() {
        let (x, pixels) = (turn * TURN, dst.len());
        let pairs = pixels.div_ceil(2);
        match *line {
            OtherLine::Packed { order, all } => {
                let moved = &mut moved[..pairs * 4];
                let all = &all[x * 2..x * 2 + pairs * 4];
                match order {
                    PackedOrder::Uyvy => reorder::<4, 4>(all, PackedOrder::Uyvy.places(), moved),
                    PackedOrder::Yvyu => reorder::<4, 4>(all, PackedOrder::Yvyu.places(), moved),
                    PackedOrder::Vyuy => reorder::<4, 4>(all, PackedOrder::Vyuy.places(), moved),
                }
                kernels.convert(&SampleLine::Yuyv(moved), range, dst);
            }
            OtherLine::Nv21 { luma, chroma } => {
                let moved = &mut moved[..pairs * 2];
                let swapped = chroma[x..x + pairs * 2].as_chunks().0.iter();
                for (to, [cr, cb]) in moved.as_chunks_mut().0.iter_mut().zip(swapped) {
                    *to = [*cb, *cr];
                }
                let luma = &luma[x..x + pixels];
                kernels.convert(&SampleLine::Nv12 { luma, chroma: moved }, range, dst);
            }
            OtherLine::Nv24 { luma, chroma, cr_first } => {
                let moved = &mut moved[..pixels * 3];
                let chroma = chroma[x * 2..(x + pixels) * 2].as_chunks().0.iter();
                let samples = luma[x..x + pixels].iter().zip(chroma);
                let moved_pixels = moved.as_chunks_mut().0.iter_mut().zip(samples);
                if cr_first {
                    moved_pixels.for_each(|(to, (luma, [cr, cb]))| *to = [*luma, *cb, *cr]);
                } else {
                    moved_pixels.for_each(|(to, (luma, [cb, cr]))| *to = [*luma, *cb, *cr]);
                }
                kernels.convert(&SampleLine::Ycc444(moved), range, dst);
            }
            OtherLine::Deep { luma, row, from } => {
                let moved = &mut moved[..pixels];
                upper(luma, row, from + x, moved);
                kernels.convert(&SampleLine::Grey(moved), range, dst);
            }
            OtherLine::Rgb { step, places, all } => {
                let all = &all[x * step..(x + pixels) * step];
                // Each order that a camera has is a loop of its own.
                match (step, places) {
                    (4, [0, 1, 2]) => colours::<4>(all, [0, 1, 2], dst),
                    (4, [2, 1, 0]) => colours::<4>(all, [2, 1, 0], dst),
                    (4, [1, 2, 3]) => colours::<4>(all, [1, 2, 3], dst),
                    (4, [3, 2, 1]) => colours::<4>(all, [3, 2, 1], dst),
                    (4, places) => colours::<4>(all, places, dst),
                    (3, [2, 1, 0]) => colours::<3>(all, [2, 1, 0], dst),
                    _ => {
                        for (to, bytes) in dst.iter_mut().zip(all.chunks_exact(step)) {
                            let [r, g, b] = places.map(|p| bytes[p]);
                            *to = [r, g, b, 0];
                        }
                    }
                }
            }
            OtherLine::Rgb565(all) => {
                let all = all[x * 2..(x + pixels) * 2].as_chunks().0;
                for (to, bytes) in dst.iter_mut().zip(all) {
                    let [r, g, b] = from_565(u16::from_le_bytes(*bytes));
                    *to = [r, g, b, 0];
                }
            }
        }
    }
}

/// Red, green and blue at `places` of each `STEP` bytes.
#[inline(always)]
fn colours<const STEP: usize>(from: &[u8], places: [usize; 3], to: &mut [Rgbx]) {
    for (to, from) in to.iter_mut().zip(from.as_chunks::<STEP>().0) {
        let [r, g, b] = places.map(|p| from[p]);
        *to = [r, g, b, 0];
    }
}

/// `OUT` bytes of each group of `IN`, in the order `places`.
#[inline(always)]
fn reorder<const IN: usize, const OUT: usize>(from: &[u8], places: [usize; OUT], to: &mut [u8]) {
    for (to, from) in to.as_chunks_mut::<OUT>().0.iter_mut().zip(from.as_chunks::<IN>().0) {
        *to = places.map(|p| from[p]);
    }
}

/// The upper bytes of the pixels from `x` on of a row.
fn upper(luma: DeepLuma, row: &[u8], x: usize, to: &mut [u8]) {
    let done = match luma {
        DeepLuma::Words { bits } => {
            let codes = row[x * 2..].as_chunks::<2>().0;
            for (to, code) in to.iter_mut().zip(codes) {
                *to = (u16::from_le_bytes(*code) >> (bits - 8)).min(255) as u8;
            }
            to.len()
        }
        DeepLuma::Packed10 if x.is_multiple_of(4) => {
            reorder::<5, 4>(&row[x / 4 * 5..], [0, 1, 2, 3], to);
            to.len() / 4 * 4
        }
        DeepLuma::Packed12 if x.is_multiple_of(2) => {
            reorder::<3, 2>(&row[x / 2 * 3..], [0, 1], to);
            to.len() / 2 * 2
        }
        DeepLuma::Packed10 | DeepLuma::Packed12 => 0,
    };
    for (i, to) in to.iter_mut().enumerate().skip(done) {
        *to = luma.upper(row, x + i);
    }
}
