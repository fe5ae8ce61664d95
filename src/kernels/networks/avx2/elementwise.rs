//! The operators that are no quantized convolutions.

use std::arch::x86_64::*;

use super::super::{Add, FloatHead, LANES, scalar};

/// # Safety
/// The feature; each row holds twice the bytes of `dst`, which are a multiple of sixteen.
#[target_feature(enable = "avx2")]
pub(in super::super) unsafe fn max_pool<const ZERO_BYTE: u8>(rows: [*const u8; 2], dst: &mut [u8]) {
    for (index, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        // SAFETY: two pixels of each row stand for one of the output.
        unsafe {
            let pair = |row: *const u8| _mm256_loadu_si256(row.add(2 * LANES * index).cast());
            let (upper, lower) = (pair(rows[0]), pair(rows[1]));
            let signed = ZERO_BYTE == 0;
            let both =
                if signed { _mm256_max_epi8(upper, lower) } else { _mm256_max_epu8(upper, lower) };
            let (first, second) =
                (_mm256_castsi256_si128(both), _mm256_extracti128_si256::<1>(both));
            let largest =
                if signed { _mm_max_epi8(first, second) } else { _mm_max_epu8(first, second) };
            _mm_storeu_si128(to.as_mut_ptr().cast(), largest);
        }
    }
}

#[target_feature(enable = "avx2")]
pub(in super::super) fn sigmoid(values: &mut [f32]) {
    // Plain Rust that the compiler widens with this feature; without contraction the results stay
    // the same.
    scalar::sigmoid(values);
}

/// The real value of eight stored bytes.
///
/// # Safety
/// Eight bytes can be read at `from`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn real<const ZERO_BYTE: u8>(from: *const u8) -> __m256 {
    // SAFETY: the caller's promise.
    let bytes = unsafe { _mm_loadl_epi64(from.cast()) };
    let bytes = _mm_xor_si128(bytes, _mm_set1_epi8(ZERO_BYTE as i8));
    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
}

/// # Safety
/// The feature, and [`Add::check`].
#[target_feature(enable = "avx2")]
pub(in super::super) unsafe fn add<const ZERO_BYTE: u8>(
    op: &Add,
    first: &[u8],
    second: &[u8],
    dst: &mut [u8],
) {
    let factors = (_mm256_set1_ps(op.first), _mm256_set1_ps(op.second));
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let from = if op.doubled { pixel / 2 } else { pixel };
        let mut steps = [_mm256_setzero_si256(); 2];
        for (half, steps) in steps.iter_mut().enumerate() {
            // SAFETY: `check`.
            let (a, b) = unsafe {
                let second = second.as_ptr().add(pixel * LANES + 8 * half);
                (
                    real::<ZERO_BYTE>(first.as_ptr().add(from * LANES + 8 * half)),
                    real::<ZERO_BYTE>(second),
                )
            };
            let sum = _mm256_add_ps(_mm256_mul_ps(a, factors.0), _mm256_mul_ps(b, factors.1));
            let sum =
                _mm256_min_ps(_mm256_max_ps(sum, _mm256_set1_ps(-128.0)), _mm256_set1_ps(127.0));
            *steps = _mm256_cvtps_epi32(sum);
        }
        let words = _mm256_packs_epi32(steps[0], steps[1]);
        // Channels 0 to 3 and 8 to 11 are in the lower half.
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
        let bytes =
            _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        let bytes = _mm_xor_si128(bytes, _mm_set1_epi8(ZERO_BYTE as i8));
        // SAFETY: sixteen bytes.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) };
    }
}

/// # Safety
/// The feature, and [`FloatHead::check`].
#[target_feature(enable = "avx2")]
pub(in super::super) unsafe fn head<const ZERO_BYTE: u8>(
    op: &FloatHead,
    rows: [&[u8]; 3],
    dst: &mut [f32],
) {
    let pixels = dst.len() / LANES;
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        for half in [0, 8] {
            // SAFETY: two times eight values.
            let mut sum = unsafe { _mm256_loadu_ps(op.bias.as_ptr().add(half)) };
            for (tap, weights) in op.weights.iter().enumerate() {
                let value = match (pixel + tap % 3).checked_sub(1).filter(|c| *c < pixels) {
                    // SAFETY: the column lies within the row.
                    Some(column) => unsafe {
                        real::<ZERO_BYTE>(rows[tap / 3].as_ptr().add(column * LANES + half))
                    },
                    None => _mm256_setzero_ps(),
                };
                // SAFETY: two times eight values.
                let weights = unsafe { _mm256_loadu_ps(weights.as_ptr().add(half)) };
                sum = _mm256_add_ps(sum, _mm256_mul_ps(value, weights));
            }
            // SAFETY: two times eight values.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr().add(half), sum) };
        }
    }
}
