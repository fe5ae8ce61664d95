//! Convolutions of each channel by itself.
//!
//! Steps are widened to 16 bits, and `vpmaddwd` adds the exact products of two taps. The two taps
//! are of the upper two rows of a column, and of two neighbouring columns of the lowest row: with a
//! stride of one, what a column is interleaved with serves three pixels.

use std::arch::x86_64::*;

use super::super::layout::RowPointers;
use super::super::{LANES, Post, WeightGroup};
use super::finish::{Finish256, Sums256};

/// Sixteen steps of a padded column of a row, zero outside of it.
///
/// # Safety
/// The rows' pixels can be read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn widened(rows: &RowPointers, row: usize, column: usize) -> __m256i {
    match column.checked_sub(rows.left).filter(|column| *column < rows.pixels) {
        // SAFETY: the column lies within the row.
        Some(column) => unsafe {
            let at = rows.bytes[row].add(column * LANES);
            _mm256_cvtepi8_epi16(_mm_loadu_si128(at.cast()))
        },
        None => _mm256_setzero_si256(),
    }
}

/// Two taps of sixteen channels in turn, `[channels 0 to 3 and 8 to 11, 4 to 7 and 12 to 15]`.
type Interleaved = [__m256i; 2];

#[inline]
#[target_feature(enable = "avx2")]
fn interleaved(first: __m256i, second: __m256i) -> Interleaved {
    [_mm256_unpacklo_epi16(first, second), _mm256_unpackhi_epi16(first, second)]
}

/// The weights of two taps of a block, `(row, column)` each, as [`interleaved`] has the steps.
#[target_feature(enable = "avx2")]
fn taps(
    groups: &[WeightGroup; 3],
    first: (usize, usize),
    second: Option<(usize, usize)>,
) -> Interleaved {
    let weights = |tap: Option<(usize, usize)>| {
        let mut words = [0i16; LANES];
        if let Some((row, column)) = tap {
            for (word, four) in words.iter_mut().zip(&groups[row].0) {
                *word = i16::from(four[column]);
            }
        }
        // SAFETY: sixteen values of 16 bits.
        unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
    };
    interleaved(weights(Some(first)), weights(second))
}

/// Adds the products of two taps.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply(sums: &mut Sums256, steps: &Interleaved, weights: &Interleaved) {
    for ((sum, steps), weights) in sums.iter_mut().zip(steps).zip(weights) {
        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(*steps, *weights));
    }
}

/// What is made of a column: its upper two rows, and the lowest row with that of the next column.
#[derive(Clone, Copy)]
struct Column {
    upper: Interleaved,
    lowest: Interleaved,
}

/// # Safety
/// The feature; the rows can be read, and `pixels` pixels written at `to`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn depthwise<const STRIDE: usize, const ACTIVATION: u8>(
    groups: &[WeightGroup; 3],
    post: &Post,
    rows: RowPointers,
    to: *mut u8,
    pixels: usize,
) {
    let finish = Finish256::<0>::of(post);
    let upper = [0, 1, 2].map(|column| taps(groups, (0, column), Some((1, column))));
    let (lowest, last) = (taps(groups, (2, 0), Some((2, 1))), taps(groups, (2, 2), None));
    // Sums are of channels 0 to 3 and 8 to 11, then 4 to 7 and 12 to 15.
    let [first, second] = finish.bias();
    let bias = [
        _mm256_permute2x128_si256::<0x20>(first, second),
        _mm256_permute2x128_si256::<0x31>(first, second),
    ];
    let factors = finish.interleaved_factors();
    let column = |at: usize, below: __m256i, next: __m256i| {
        // SAFETY: the caller's promise.
        let (a, b) = unsafe { (widened(&rows, 0, at), widened(&rows, 1, at)) };
        Column { upper: interleaved(a, b), lowest: interleaved(below, next) }
    };
    // SAFETY: the caller's promise.
    let below = |at: usize| unsafe { widened(&rows, 2, at) };
    let mut done = 0;
    let mut columns = [column(0, below(0), below(1)), column(1, below(1), below(2))];
    let mut next = below(2);
    let mut pending = bias;
    while done < pixels {
        let start = done * STRIDE;
        if STRIDE == 2 {
            columns =
                [column(start, below(start), below(start + 1)), column(start + 1, next, next)];
            next = below(start + 2);
        }
        let after = if STRIDE == 1 { below(start + 3) } else { next };
        let third = column(start + 2, next, after);
        let mut sums = bias;
        multiply(&mut sums, &columns[0].upper, &upper[0]);
        multiply(&mut sums, &columns[1].upper, &upper[1]);
        multiply(&mut sums, &third.upper, &upper[2]);
        multiply(&mut sums, &columns[0].lowest, &lowest);
        multiply(&mut sums, &third.lowest, &last);
        // SAFETY: `to` holds `pixels` pixels.
        unsafe {
            if done % 2 == 1 {
                let bytes = finish.interleaved::<ACTIVATION>(&factors, [pending, sums]);
                _mm256_storeu_si256(to.add((done - 1) * LANES).cast(), bytes);
            } else if done + 1 == pixels {
                let bytes = finish.interleaved::<ACTIVATION>(&factors, [sums, sums]);
                _mm_storeu_si128(to.add(done * LANES).cast(), _mm256_castsi256_si128(bytes));
            }
        }
        pending = sums;
        columns = [columns[1], third];
        next = after;
        done += 1;
    }
}

/// # Safety
/// The feature; `src` holds at most four pixels for each of the groups.
#[target_feature(enable = "avx2")]
pub(in super::super) unsafe fn global<const ZERO_BYTE: u8, const ACTIVATION: u8>(
    groups: &[WeightGroup],
    post: &Post,
    src: &[u8],
    dst: &mut [u8; LANES],
) {
    let finish = Finish256::<ZERO_BYTE>::of(post);
    let mut sums = finish.bias();
    for (group, pixels) in groups.iter().zip(src.chunks(4 * LANES)) {
        for (pixel, steps) in pixels.as_chunks::<LANES>().0.iter().enumerate() {
            for (half, sum) in sums.iter_mut().enumerate() {
                // SAFETY: eight channels of a pixel, and four weights of each of them.
                let (steps, weights) = unsafe {
                    let steps = _mm_loadl_epi64(steps.as_ptr().add(8 * half).cast());
                    let weights = _mm256_load_si256(group.0.as_ptr().add(8 * half).cast());
                    // What is stored with an offset has no sign; its part is in the bias.
                    if ZERO_BYTE == 0 {
                        (_mm256_cvtepi8_epi32(steps), weights)
                    } else {
                        (_mm256_cvtepu8_epi32(steps), weights)
                    }
                };
                // The pixel's weight, shifted to the top and back with its sign.
                let weights = _mm256_sllv_epi32(weights, _mm256_set1_epi32(24 - 8 * pixel as i32));
                let weights = _mm256_srai_epi32::<24>(weights);
                *sum = _mm256_add_epi32(*sum, _mm256_mullo_epi32(steps, weights));
            }
        }
    }
    // SAFETY: sixteen bytes.
    unsafe { finish.store::<ACTIVATION, 1>(&[sums], dst.as_mut_ptr()) };
}
