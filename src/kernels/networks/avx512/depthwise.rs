//! Convolutions of each channel by itself.
//!
//! One byte permutation turns four neighbouring pixels of sixteen channels into sixteen
//! dot-product operands, which serve two output pixels with the weights shifted by one byte.

use std::arch::x86_64::*;

use super::super::layout::RowPointers;
use super::super::{LANES, Post, WeightGroup, ZERO};
use super::finish::{Avx512Finish, load, store, weights};

/// Four neighbouring columns of a row that has columns of zero around it.
#[derive(Clone, Copy)]
struct Columns {
    /// Of the first one, in bytes from the row's first pixel; before it where the first ones lie
    /// outside.
    start: isize,
    /// A pixel is four bits: those that lie within the row.
    within: __mmask16,
}

impl Columns {
    /// From column `column - left` on, of a row of `pixels`.
    #[inline]
    fn at(column: usize, left: usize, pixels: usize) -> Self {
        let before = left.saturating_sub(column).min(4);
        let until = (pixels + left).saturating_sub(column).min(4);
        let within = ((1u32 << (4 * until)) - 1) & !((1 << (4 * before)) - 1);
        Self {
            start: (column as isize - left as isize) * LANES as isize,
            within: within as __mmask16,
        }
    }

    /// The columns of the row at `row`, channel by channel: `[channel][pixel]`. `INSIDE` says that
    /// all lie within it.
    ///
    /// # Safety
    /// The row's pixels can be read.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vbmi")]
    unsafe fn load<const INSIDE: bool>(self, row: *const u8) -> __m512i {
        const INDEX: [i8; 64] = {
            let mut index = [0; 64];
            let mut at = 0;
            while at < 64 {
                index[at] = ((at % 4) * 16 + at / 4) as i8;
                at += 1;
            }
            index
        };
        let start = row.wrapping_offset(self.start);
        // SAFETY: all four lie within the row, or only those that do are read; a masked load does
        // not touch the others.
        unsafe {
            let four = if INSIDE {
                _mm512_loadu_si512(start.cast())
            } else {
                _mm512_mask_loadu_epi32(_mm512_set1_epi8(ZERO as i8), self.within, start.cast())
            };
            _mm512_permutexvar_epi8(_mm512_loadu_si512(INDEX.as_ptr().cast()), four)
        }
    }
}

/// # Safety
/// The features; the rows can be read, and `pixels` pixels written at `to`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx512vnni")]
pub(super) unsafe fn depthwise<const STRIDE: usize, const ACTIVATION: u8>(
    groups: &[WeightGroup; 3],
    post: &Post,
    rows: RowPointers,
    to: *mut u8,
    pixels: usize,
) {
    let finish = Avx512Finish::load(post);
    let first = load(groups);
    // For the pixel to the right of the same four columns.
    let mut second = first;
    for filter in &mut second {
        *filter = _mm512_slli_epi32::<8>(*filter);
    }
    // Columns that four pixels read.
    let width = if STRIDE == 1 { 6 } else { 10 };
    let mut pixel = 0;
    while pixel < pixels {
        let column = pixel * STRIDE;
        let left = pixels - pixel;
        // SAFETY: the caller's promise; as many pixels as are left are written, and where four are
        // and all their columns lie within the rows, this is said.
        unsafe {
            let to = to.add(pixel * LANES);
            if left >= 4 && column >= rows.left && column + width <= rows.left + rows.pixels {
                let sums =
                    depthwise_four::<STRIDE, true>(&first, &second, rows, column, finish.bias);
                _mm512_storeu_si512(to.cast(), finish.four::<ACTIVATION>(sums));
            } else {
                let sums =
                    depthwise_four::<STRIDE, false>(&first, &second, rows, column, finish.bias);
                let written = ((1u32 << (4 * left.min(4))) - 1) as __mmask16;
                _mm512_mask_storeu_epi32(to.cast(), written, finish.four::<ACTIVATION>(sums));
            }
        }
        pixel += 4;
    }
}

/// The sums of four pixels of a depth-wise convolution whose windows begin at `column`; `second` is
/// `first` for the pixel to the right.
///
/// # Safety
/// As [`depthwise`]; `INSIDE` says that all columns lie within the rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx512vnni")]
#[expect(clippy::needless_range_loop, reason = "the rows of three arrays")]
unsafe fn depthwise_four<const STRIDE: usize, const INSIDE: bool>(
    first: &[__m512i; 3],
    second: &[__m512i; 3],
    rows: RowPointers,
    column: usize,
    bias: __m512i,
) -> [__m512i; 4] {
    let at = |column| Columns::at(column, rows.left, rows.pixels);
    let mut sums = [bias; 4];
    // SAFETY: the caller's promise.
    unsafe {
        if STRIDE == 1 {
            // Each four columns serve two pixels.
            let columns = [at(column), at(column + 2)];
            for row in 0..3 {
                for (half, columns) in columns.iter().enumerate() {
                    let columns = columns.load::<INSIDE>(rows.bytes[row]);
                    sums[2 * half] = _mm512_dpbusd_epi32(sums[2 * half], columns, first[row]);
                    sums[2 * half + 1] =
                        _mm512_dpbusd_epi32(sums[2 * half + 1], columns, second[row]);
                }
            }
        } else {
            let columns = [at(column), at(column + 2), at(column + 4), at(column + 6)];
            for row in 0..3 {
                for (sum, columns) in sums.iter_mut().zip(columns) {
                    *sum = _mm512_dpbusd_epi32(
                        *sum,
                        columns.load::<INSIDE>(rows.bytes[row]),
                        first[row],
                    );
                }
            }
        }
    }
    sums
}

/// # Safety
/// The features; `src` holds at most four pixels for each of the groups.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx512vnni")]
pub(super) unsafe fn global<const ACTIVATION: u8>(
    groups: &[WeightGroup],
    post: &Post,
    src: &[u8],
    dst: &mut [u8; LANES],
) {
    let finish = Avx512Finish::load(post);
    let pixels = src.len() / LANES;
    let mut sum = finish.bias;
    for (index, group) in groups.iter().enumerate() {
        // SAFETY: the row is the slice.
        let columns = unsafe { Columns::at(4 * index, 0, pixels).load::<false>(src.as_ptr()) };
        sum = _mm512_dpbusd_epi32(sum, columns, weights(group));
    }
    // SAFETY: sixteen bytes.
    unsafe { store::<ACTIVATION, 1>(&finish, &[sum], dst.as_mut_ptr()) };
}
