//! Lines in other orders, brought into one that a kernel reads, a few pixels at a time.
//!
//! * The bytes are those of the reference for every line: nothing is computed here, only moved.
//! * Nothing allocates; the loops are plain, so that the compiler makes SIMD of them.
//!
//! Not promised: the speed of a kernel that reads the order itself. `watchpost bench formats` says
//! what it costs.

use super::samples::{OtherLine, from_565};
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
                reorder(&all[x * 2..x * 2 + pairs * 4], order.places(), moved);
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
                for (to, (luma, [first, second])) in moved.as_chunks_mut().0.iter_mut().zip(samples)
                {
                    *to = match cr_first {
                        true => [*luma, *second, *first],
                        false => [*luma, *first, *second],
                    };
                }
                kernels.convert(&SampleLine::Ycc444(moved), range, dst);
            }
            OtherLine::Deep { luma, row, from } => {
                let moved = &mut moved[..pixels];
                for (i, to) in moved.iter_mut().enumerate() {
                    *to = luma.upper(row, from + x + i);
                }
                kernels.convert(&SampleLine::Grey(moved), range, dst);
            }
            OtherLine::Rgb { step: 4, places, all } => {
                let all = all[x * 4..(x + pixels) * 4].as_chunks::<4>().0;
                for (to, bytes) in dst.iter_mut().zip(all) {
                    let [r, g, b] = places.map(|p| bytes[p]);
                    *to = [r, g, b, 0];
                }
            }
            OtherLine::Rgb { step, places, all } => {
                for (to, bytes) in dst.iter_mut().zip(all[x * step..].chunks_exact(step)) {
                    let [r, g, b] = places.map(|p| bytes[p]);
                    *to = [r, g, b, 0];
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

/// Four bytes of each group, in the order `places`.
fn reorder(from: &[u8], places: [usize; 4], to: &mut [u8]) {
    for (to, from) in to.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<4>().0) {
        *to = places.map(|p| from[p]);
    }
}
