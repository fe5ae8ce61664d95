//! From sums to the bytes that are stored.

use std::arch::x86_64::*;

use super::super::{LANES, Post};

/// Activations as a constant parameter, so that none is decided in a loop.
pub(in super::super) const IDENTITY: u8 = 0;
pub(in super::super) const RELU: u8 = 1;
pub(in super::super) const PRELU: u8 = 2;

/// Sums of sixteen channels in order, eight a register.
pub(in super::super) type Sums256 = [__m256i; 2];

/// What sums are multiplied with, of channels 0 to 3 and 8 to 11 and then of the others.
#[derive(Clone, Copy)]
pub(in super::super) struct InterleavedFactors {
    scale: [__m256; 2],
    negative: [__m256; 2],
}

/// A [`Post`], for steps that are stored plus `ZERO_BYTE`, which is 0 or 128.
#[derive(Clone, Copy)]
pub(in super::super) struct Finish256<'a, const ZERO_BYTE: u8>(&'a Post);

impl<'a, const ZERO_BYTE: u8> Finish256<'a, ZERO_BYTE> {
    pub(in super::super) fn of(post: &'a Post) -> Self {
        Self(post)
    }

    /// Where the sums of each channel start.
    #[inline]
    pub(in super::super) fn start(self) -> &'a [i32; LANES] {
        if ZERO_BYTE == 0 { &self.0.signed_bias } else { &self.0.bias }
    }

    /// Where the sums start.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn bias(self) -> Sums256 {
        let at = self.start().as_ptr();
        // SAFETY: two times eight values.
        unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(8).cast())] }
    }

    /// Eight sums to steps, clamped to 8 bits only where PReLU needs it.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn steps<const ACTIVATION: u8>(
        self,
        sums: __m256i,
        scale: __m256,
        negative: __m256,
    ) -> __m256i {
        let value = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scale);
        if ACTIVATION != PRELU {
            return _mm256_cvtps_epi32(value);
        }
        let value = _mm256_max_ps(value, _mm256_set1_ps(-128.0));
        let value = _mm256_min_ps(value, _mm256_set1_ps(127.0));
        let value = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value);
        // By the sign bit: a value that was rounded to minus zero gives zero either way.
        let positive = _mm256_set1_ps(self.0.positive);
        let factor = _mm256_blendv_ps(positive, negative, value);
        _mm256_cvtps_epi32(_mm256_mul_ps(value, factor))
    }

    /// Steps to stored bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn stored<const ACTIVATION: u8>(self, lower: __m256i, upper: __m256i) -> __m256i {
        let mut bytes = _mm256_packs_epi16(lower, upper);
        if ACTIVATION == RELU {
            bytes = _mm256_max_epi8(bytes, _mm256_setzero_si256());
        }
        _mm256_xor_si256(bytes, _mm256_set1_epi8(ZERO_BYTE as i8))
    }

    /// The sums of two pixels to 32 stored bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn two<const ACTIVATION: u8>(self, first: Sums256, second: Sums256) -> __m256i {
        let mut words = [first[0]; 2];
        for (words, sums) in words.iter_mut().zip([first, second]) {
            let mut steps = sums;
            for (half, steps) in steps.iter_mut().enumerate() {
                // SAFETY: two times eight values.
                let load =
                    |field: &[f32; LANES]| unsafe { _mm256_loadu_ps(field.as_ptr().add(8 * half)) };
                let (scale, negative) = (load(&self.0.scale), load(&self.0.negative));
                *steps = self.steps::<ACTIVATION>(*steps, scale, negative);
            }
            *words = _mm256_packs_epi32(steps[0], steps[1]);
        }
        // Both packings work in halves of the registers: channels 0 to 3 and 8 to 11 of each pixel
        // are in the lower one.
        let bytes = self.stored::<ACTIVATION>(words[0], words[1]);
        _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
    }

    /// Scales and PReLU's factors for [`interleaved`](Self::interleaved).
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn interleaved_factors(self) -> InterleavedFactors {
        let order = |field: &[f32; LANES]| {
            // SAFETY: four times four values.
            let four = |quad: usize| unsafe { _mm_loadu_ps(field.as_ptr().add(4 * quad)) };
            [_mm256_set_m128(four(2), four(0)), _mm256_set_m128(four(3), four(1))]
        };
        InterleavedFactors { scale: order(&self.0.scale), negative: order(&self.0.negative) }
    }

    /// The sums of two pixels, of channels 0 to 3 and 8 to 11 and then of the others, to 32 stored
    /// bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn interleaved<const ACTIVATION: u8>(
        self,
        factors: &InterleavedFactors,
        pixels: [Sums256; 2],
    ) -> __m256i {
        let mut words = pixels[0];
        for (words, sums) in words.iter_mut().zip(pixels) {
            let mut steps = sums;
            for (half, steps) in steps.iter_mut().enumerate() {
                let (scale, negative) = (factors.scale[half], factors.negative[half]);
                *steps = self.steps::<ACTIVATION>(*steps, scale, negative);
            }
            *words = _mm256_packs_epi32(steps[0], steps[1]);
        }
        // Words are in order; the halves of the two pixels' bytes are not.
        let bytes = self.stored::<ACTIVATION>(words[0], words[1]);
        _mm256_permute4x64_epi64::<0b11_01_10_00>(bytes)
    }

    /// The sums of two pixels, four channels a register and a pixel in each half of it, to 32
    /// stored bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn quads<const ACTIVATION: u8>(self, sums: [__m256i; 4]) -> __m256i {
        let mut steps = sums;
        for (quad, steps) in steps.iter_mut().enumerate() {
            let load = |field: &[f32; LANES]| {
                // SAFETY: four times four values.
                unsafe { _mm256_broadcast_ps(&*field.as_ptr().add(4 * quad).cast()) }
            };
            let (scale, negative) = (load(&self.0.scale), load(&self.0.negative));
            *steps = self.steps::<ACTIVATION>(*steps, scale, negative);
        }
        let lower = _mm256_packs_epi32(steps[0], steps[1]);
        self.stored::<ACTIVATION>(lower, _mm256_packs_epi32(steps[2], steps[3]))
    }

    /// Writes the stored bytes of `P` pixels.
    ///
    /// # Safety
    /// `16 * P` bytes can be written at `to`.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) unsafe fn store<const ACTIVATION: u8, const P: usize>(
        self,
        sums: &[Sums256; P],
        to: *mut u8,
    ) {
        let (pairs, last) = sums.as_chunks::<2>();
        // SAFETY: the caller's promise.
        unsafe {
            for (index, [first, second]) in pairs.iter().enumerate() {
                let bytes = self.two::<ACTIVATION>(*first, *second);
                _mm256_storeu_si256(to.add(32 * index).cast(), bytes);
            }
            if let [last] = last {
                let bytes = self.two::<ACTIVATION>(*last, *last);
                let to = to.add(LANES * (P - 1));
                _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(bytes));
            }
        }
    }
}
