//! The operators that are no quantized convolutions.

use std::arch::x86_64::*;

use super::super::{Add, FloatHead, LANES, ZERO, scalar};

/// # Safety
/// The features; each row holds twice the bytes of `dst`, which are a multiple of 64.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn max_pool(rows: [*const u8; 2], dst: &mut [u8]) {
    for (index, to) in dst.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        // SAFETY: eight pixels of each row stand for four of the output.
        unsafe {
            let pixels = |at: usize| {
                let upper = _mm512_loadu_si512(rows[0].add(128 * index + at).cast());
                _mm512_max_epu8(upper, _mm512_loadu_si512(rows[1].add(128 * index + at).cast()))
            };
            let (a, b) = (pixels(0), pixels(64));
            let even = _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b);
            let odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b);
            _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_max_epu8(even, odd));
        }
    }
}

/// The real value of sixteen stored bytes.
///
/// # Safety
/// Sixteen bytes can be read at `from`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn real(from: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    let bytes = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(from.cast()) });
    _mm512_sub_ps(_mm512_cvtepi32_ps(bytes), _mm512_set1_ps(f32::from(ZERO)))
}

/// # Safety
/// The features, and [`Add::check`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
pub(super) unsafe fn add(op: &Add, first: &[u8], second: &[u8], dst: &mut [u8]) {
    let factors = (_mm512_set1_ps(op.first), _mm512_set1_ps(op.second));
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let from = if op.doubled { pixel / 2 } else { pixel };
        // SAFETY: `check`.
        let (a, b) = unsafe {
            (real(first.as_ptr().add(from * LANES)), real(second.as_ptr().add(pixel * LANES)))
        };
        let sum = _mm512_add_ps(_mm512_mul_ps(a, factors.0), _mm512_mul_ps(b, factors.1));
        let sum = _mm512_min_ps(_mm512_max_ps(sum, _mm512_set1_ps(-128.0)), _mm512_set1_ps(127.0));
        let stored = _mm512_add_epi32(_mm512_cvtps_epi32(sum), _mm512_set1_epi32(i32::from(ZERO)));
        // SAFETY: sixteen bytes.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(stored)) };
    }
}

/// # Safety
/// The features, and [`FloatHead::check`].
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn head(op: &FloatHead, rows: [&[u8]; 3], dst: &mut [f32]) {
    let mut weights = [_mm512_setzero_ps(); 9];
    for (register, tap) in weights.iter_mut().zip(&op.weights) {
        // SAFETY: sixteen values.
        *register = unsafe { _mm512_loadu_ps(tap.as_ptr()) };
    }
    // SAFETY: sixteen values.
    let bias = unsafe { _mm512_loadu_ps(op.bias.as_ptr()) };
    let pixels = dst.len() / LANES;
    for (pixel, to) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut sum = bias;
        for (row, weights) in rows.iter().zip(weights.as_chunks::<3>().0) {
            for (tap, weights) in weights.iter().enumerate() {
                let value = match (pixel + tap).checked_sub(1).filter(|c| *c < pixels) {
                    // SAFETY: the column lies within the row.
                    Some(column) => unsafe { real(row.as_ptr().add(column * LANES)) },
                    None => _mm512_setzero_ps(),
                };
                sum = _mm512_add_ps(sum, _mm512_mul_ps(value, *weights));
            }
        }
        // SAFETY: sixteen values.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), sum) };
    }
}

#[target_feature(enable = "avx512f")]
pub(super) fn sigmoid(values: &mut [f32]) {
    // Plain Rust that the compiler widens with these features; without contraction the results stay
    // the same.
    scalar::sigmoid(values);
}

/// # Safety
/// The features; the slices have one length.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) unsafe fn quantize(table: &[u8; 256], src: &[u8], dst: &mut [u8]) {
    let mut parts = [_mm512_setzero_si512(); 4];
    for (register, part) in parts.iter_mut().zip(table.as_chunks::<64>().0) {
        // SAFETY: 64 bytes.
        *register = unsafe { _mm512_loadu_si512(part.as_ptr().cast()) };
    }
    let mut at = 0;
    while at < src.len() {
        let left = src.len() - at;
        let mask: __mmask64 = if left >= 64 { !0 } else { (1 << left) - 1 };
        // SAFETY: the mask holds as many bytes as are left.
        unsafe {
            let bytes = _mm512_maskz_loadu_epi8(mask, src.as_ptr().add(at).cast());
            let lower = _mm512_permutex2var_epi8(parts[0], bytes, parts[1]);
            let upper = _mm512_permutex2var_epi8(parts[2], bytes, parts[3]);
            let stored = _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), lower, upper);
            _mm512_mask_storeu_epi8(dst.as_mut_ptr().add(at).cast(), mask, stored);
        }
        at += 64;
    }
}
