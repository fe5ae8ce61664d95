//! Loads of weights and inputs, and from sums to the bytes that are stored.

use std::arch::x86_64::*;

use super::super::{Post, WeightGroup, ZERO};

/// Activations as a constant parameter, so that none is decided in a loop.
pub(super) const IDENTITY: u8 = 0;
pub(super) const RELU: u8 = 1;
pub(super) const PRELU: u8 = 2;

/// A [`Post`] in registers.
#[derive(Clone, Copy)]
pub(super) struct Avx512Finish {
    pub(super) bias: __m512i,
    scale: __m512,
    negative: __m512,
    positive: __m512,
}

impl Avx512Finish {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn load(post: &Post) -> Self {
        // SAFETY: each field holds sixteen values of 32 bits.
        unsafe {
            Self {
                bias: _mm512_loadu_si512(post.bias.as_ptr().cast()),
                scale: _mm512_loadu_ps(post.scale.as_ptr()),
                negative: _mm512_loadu_ps(post.negative.as_ptr()),
                positive: _mm512_set1_ps(post.positive),
            }
        }
    }

    /// Sums to steps in 32 bits, clamped to 8 only where PReLU needs it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn steps<const ACTIVATION: u8>(&self, sums: __m512i) -> __m512i {
        let value = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), self.scale);
        if ACTIVATION != PRELU {
            return _mm512_cvtps_epi32(value);
        }
        let value = _mm512_max_ps(value, _mm512_set1_ps(-128.0));
        let value = _mm512_min_ps(value, _mm512_set1_ps(127.0));
        let value =
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value);
        // A value that was rounded to minus zero counts as negative: its product is zero either
        // way.
        let below = _mm512_movepi32_mask(_mm512_castps_si512(value));
        let scaled = _mm512_mul_ps(value, self.positive);
        _mm512_cvtps_epi32(_mm512_mask_mul_ps(scaled, below, value, self.negative))
    }

    /// The sums of four pixels to 64 stored bytes in the order of memory.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq")]
    pub(super) fn four<const ACTIVATION: u8>(&self, sums: [__m512i; 4]) -> __m512i {
        let [a, b, c, d] = sums;
        let ab = _mm512_packs_epi32(self.steps::<ACTIVATION>(a), self.steps::<ACTIVATION>(b));
        let cd = _mm512_packs_epi32(self.steps::<ACTIVATION>(c), self.steps::<ACTIVATION>(d));
        pack::<ACTIVATION>(_mm512_packs_epi16(ab, cd))
    }
}

/// What two levels of packing leave, `[four channels of 16][pixel][channel]`, to stored bytes
/// `[pixel][channel]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn pack<const ACTIVATION: u8>(steps: __m512i) -> __m512i {
    let steps =
        if ACTIVATION == RELU { _mm512_max_epi8(steps, _mm512_setzero_si512()) } else { steps };
    let stored = _mm512_xor_si512(steps, _mm512_set1_epi8(ZERO as i8));
    _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
        stored,
    )
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn weights(group: &WeightGroup) -> __m512i {
    // SAFETY: a group is 64 bytes, aligned to 64.
    unsafe { _mm512_load_si512(std::ptr::from_ref(group).cast()) }
}

// A loop, here and below, where `map` or `from_fn` would do: these are compiled without the
// features and cannot be inlined together with a closure that has them.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load<const N: usize>(groups: &[WeightGroup; N]) -> [__m512i; N] {
    let mut all = [_mm512_setzero_si512(); N];
    for (register, group) in all.iter_mut().zip(groups) {
        *register = weights(group);
    }
    all
}

/// Four bytes in each of sixteen places.
///
/// # Safety
/// Four bytes can be read at `at`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn broadcast(at: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_set1_epi32(unsafe { at.cast::<i32>().read_unaligned() })
}

/// Writes the stored bytes of `P` pixels, 1 or a multiple of four.
///
/// # Safety
/// `16 * P` bytes can be written at `to`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
pub(super) unsafe fn store<const ACTIVATION: u8, const P: usize>(
    finish: &Avx512Finish,
    sums: &[__m512i; P],
    to: *mut u8,
) {
    if P == 1 {
        let all = finish.four::<ACTIVATION>([sums[0]; 4]);
        // SAFETY: the caller's promise.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(all)) };
        return;
    }
    for (index, sums) in sums.as_chunks::<4>().0.iter().enumerate() {
        let all = finish.four::<ACTIVATION>(*sums);
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_si512(to.add(64 * index).cast(), all) };
    }
}
