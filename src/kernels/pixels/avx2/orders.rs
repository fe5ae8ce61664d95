//! Lines in other orders, read as they are: a shuffle takes the place of moving the bytes.

use std::arch::x86_64::*;

use super::super::matrix::Matrix;
use super::super::samples::{DeepLuma, OtherLine};
use super::{Rgbx, STEP, both_pixels, pixels};

/// The pixels that make whole steps; returns how many those are: none of a line that is not read
/// as it is.
///
/// # Safety
/// The line holds as many pixels as `dst`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn convert(line: &OtherLine<'_>, matrix: &Matrix, dst: &mut [Rgbx]) -> usize {
    let low_bytes = _mm256_set1_epi16(0xff);
    let grey = _mm256_set1_epi16(128);
    // SAFETY, of all loads below: a step's samples are within the line, as the caller promises.
    let sixteen = |from: &[u8], at: usize| {
        debug_assert!(at + 16 <= from.len());
        // SAFETY: as above.
        unsafe { _mm_loadu_si128(from.as_ptr().add(at).cast()) }
    };
    let all_of = |from: &[u8], at: usize| {
        debug_assert!(at + 32 <= from.len());
        // SAFETY: as above.
        unsafe { _mm256_loadu_si256(from.as_ptr().add(at).cast()) }
    };
    let wide = |from: &[u8], at: usize| _mm256_cvtepu8_epi16(sixteen(from, at));
    match *line {
        OtherLine::Packed { order, all } => {
            let mask = _mm256_broadcastsi128_si256(groups(4, order.places()));
            each(dst, |x| {
                let both = _mm256_shuffle_epi8(all_of(all, x * 2), mask);
                let (cb, cr) = both_pixels(_mm256_srli_epi16::<8>(both));
                pixels(matrix, _mm256_and_si256(both, low_bytes), cb, cr)
            })
        }
        OtherLine::Nv21 { luma, chroma } => each(dst, |x| {
            let (cr, cb) = both_pixels(wide(chroma, x));
            pixels(matrix, wide(luma, x), cb, cr)
        }),
        OtherLine::Nv24 { luma, chroma, cr_first } => each(dst, |x| {
            let both = all_of(chroma, x * 2);
            let (first, second) = (_mm256_and_si256(both, low_bytes), _mm256_srli_epi16::<8>(both));
            let (cb, cr) = if cr_first { (second, first) } else { (first, second) };
            pixels(matrix, wide(luma, x), cb, cr)
        }),
        OtherLine::Deep { luma: DeepLuma::Words { bits }, row, from } => {
            let below = _mm_cvtsi32_si128(i32::from(bits) - 8);
            each(dst, |x| {
                let upper = _mm256_srl_epi16(all_of(row, (from + x) * 2), below);
                pixels(matrix, _mm256_min_epu16(upper, low_bytes), grey, grey)
            })
        }
        OtherLine::Deep { luma: DeepLuma::Packed10, row, from } if from.is_multiple_of(4) => {
            // Four groups of five bytes; the second load ends where they end.
            let low = _mm_setr_epi8(0, 1, 2, 3, 5, 6, 7, 8, -1, -1, -1, -1, -1, -1, -1, -1);
            let high = _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, 6, 7, 8, 9, 11, 12, 13, 14);
            each(dst, |x| {
                let at = (from + x) / 4 * 5;
                let luma = _mm_or_si128(
                    _mm_shuffle_epi8(sixteen(row, at), low),
                    _mm_shuffle_epi8(sixteen(row, at + 4), high),
                );
                pixels(matrix, _mm256_cvtepu8_epi16(luma), grey, grey)
            })
        }
        OtherLine::Deep { luma: DeepLuma::Packed12, row, from } if from.is_multiple_of(2) => {
            // Eight groups of three bytes.
            let low = _mm_setr_epi8(0, 1, 3, 4, 6, 7, 9, 10, -1, -1, -1, -1, -1, -1, -1, -1);
            let high = _mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, 4, 5, 7, 8, 10, 11, 13, 14);
            each(dst, |x| {
                let at = (from + x) / 2 * 3;
                let luma = _mm_or_si128(
                    _mm_shuffle_epi8(sixteen(row, at), low),
                    _mm_shuffle_epi8(sixteen(row, at + 8), high),
                );
                pixels(matrix, _mm256_cvtepu8_epi16(luma), grey, grey)
            })
        }
        OtherLine::Deep { .. } => 0,
        OtherLine::Rgb { step: 4, places: [r, g, b], all } => {
            let mask = _mm256_broadcastsi128_si256(groups(4, [r, g, b, NOTHING]));
            each(dst, |x| {
                let eight = |at: usize| _mm256_shuffle_epi8(all_of(all, x * 4 + at), mask);
                [eight(0), eight(32)]
            })
        }
        OtherLine::Rgb { step: 3, places: [r, g, b], all } => {
            let first = groups(3, [r, g, b, NOTHING]);
            // The last four pixels are the upper bytes of a load that ends where they end.
            let last = _mm_add_epi8(first, _mm_set1_epi8(4));
            each(dst, |x| {
                let four = |at: usize, mask| _mm_shuffle_epi8(sixteen(all, x * 3 + at), mask);
                [
                    _mm256_set_m128i(four(12, first), four(0, first)),
                    _mm256_set_m128i(four(32, last), four(24, first)),
                ]
            })
        }
        OtherLine::Rgb { .. } => 0,
        OtherLine::Rgb565(all) => each(dst, |x| {
            let codes = all_of(all, x * 2);
            let bits = |shifted, mask: i16| _mm256_and_si256(shifted, _mm256_set1_epi16(mask));
            // The upper bits are repeated below, so that white is white.
            let red = _mm256_or_si256(
                bits(_mm256_srli_epi16::<8>(codes), 0xf8),
                _mm256_srli_epi16::<13>(codes),
            );
            let green = _mm256_or_si256(
                bits(_mm256_srli_epi16::<3>(codes), 0xfc),
                bits(_mm256_srli_epi16::<9>(codes), 0x03),
            );
            let blue = _mm256_or_si256(
                bits(_mm256_slli_epi16::<3>(codes), 0xf8),
                bits(_mm256_srli_epi16::<2>(codes), 0x07),
            );
            let red_green = _mm256_or_si256(red, _mm256_slli_epi16::<8>(green));
            let (low, high) =
                (_mm256_unpacklo_epi16(red_green, blue), _mm256_unpackhi_epi16(red_green, blue));
            [
                _mm256_permute2x128_si256::<0x20>(low, high),
                _mm256_permute2x128_si256::<0x31>(low, high),
            ]
        }),
    }
}

/// Runs `pixels` for each step of `dst`, of which it gets the first pixel's number; returns the
/// pixels that make whole steps.
#[inline]
#[target_feature(enable = "avx2")]
fn each(dst: &mut [Rgbx], pixels: impl Fn(usize) -> [__m256i; 2]) -> usize {
    for (step, out) in dst.chunks_exact_mut(STEP).enumerate() {
        let [low, high] = pixels(step * STEP);
        let out: *mut __m256i = out.as_mut_ptr().cast();
        // SAFETY: sixteen pixels are two registers.
        unsafe {
            _mm256_storeu_si256(out, low);
            _mm256_storeu_si256(out.add(1), high);
        }
    }
    dst.len() / STEP * STEP
}

/// A place that stands for zero, whatever is added to it below.
const NOTHING: usize = 128;

/// A shuffle of four groups of `bytes` bytes each: of each group the four at `places`.
#[inline]
#[target_feature(enable = "avx2")]
fn groups(bytes: usize, places: [usize; 4]) -> __m128i {
    let mask: [u8; 16] = std::array::from_fn(|i| (i / 4 * bytes + places[i % 4]) as u8);
    // SAFETY: sixteen bytes are one register.
    unsafe { _mm_loadu_si128(mask.as_ptr().cast()) }
}
