//! From sums to the bytes that are stored.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{LANES, Post};

/// Sums of sixteen channels in order, four a register.
pub(super) type Sums128 = [int32x4_t; 4];

/// Sixteen steps.
///
/// # Safety
/// Sixteen bytes can be read at `at`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn steps(at: *const u8) -> int8x16_t {
    // SAFETY: the caller's promise.
    unsafe { vld1q_s8(at.cast()) }
}

/// The same reference, of which the compiler does not know that it is: what is read through it is
/// read where it is used. Registers are short in the loops below, and a load costs no more than the
/// copy that keeping a start value in one would need.
#[inline(always)]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read in the block: it is empty")]
pub(super) fn afresh<T>(value: &T) -> &T {
    let mut pointer = std::ptr::from_ref(value);
    // SAFETY: there is no instruction: the pointer comes out as it went in.
    unsafe {
        asm!("/* {0} */", inout(reg) pointer, options(nomem, nostack, preserves_flags));
        &*pointer
    }
}

/// A [`Post`] in registers, as far as they suffice: what is used for every pixel.
#[derive(Clone, Copy)]
pub(super) struct NeonFinish<'a, const ACTIVATION: u8> {
    post: &'a Post,
    scale: [float32x4_t; 4],
}

/// Activations as a constant parameter, so that none is decided in a loop.
pub(super) const IDENTITY: u8 = 0;
pub(super) const RELU: u8 = 1;
pub(super) const PRELU: u8 = 2;

impl<'a, const ACTIVATION: u8> NeonFinish<'a, ACTIVATION> {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn load(post: &'a Post) -> Self {
        Self { post, scale: floats(&post.scale) }
    }

    /// Where sums of signed steps start.
    #[inline]
    pub(super) fn biases(&self) -> &[i32; LANES] {
        &self.post.signed_bias
    }

    /// The same in registers.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn start(&self) -> Sums128 {
        let post = afresh(self.post);
        let load = |quarter: usize| {
            // SAFETY: sixteen values.
            unsafe { vld1q_s32(post.signed_bias.as_ptr().add(4 * quarter)) }
        };
        [load(0), load(1), load(2), load(3)]
    }

    /// Sums, biases included, to the steps of sixteen channels.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn finished(&self, sums: Sums128) -> int8x16_t {
        let mut steps = sums;
        let post = if ACTIVATION == PRELU { afresh(self.post) } else { self.post };
        for (quarter, steps) in steps.iter_mut().enumerate() {
            let value = vmulq_f32(vcvtq_f32_s32(*steps), self.scale[quarter]);
            *steps = if ACTIVATION == PRELU {
                let value = vminq_f32(vmaxq_f32(value, vdupq_n_f32(-128.0)), vdupq_n_f32(127.0));
                let value = vrndnq_f32(value);
                // SAFETY: sixteen values.
                let negative = unsafe { vld1q_f32(post.negative.as_ptr().add(4 * quarter)) };
                let factor = vbslq_f32(vcltzq_f32(value), negative, vdupq_n_f32(post.positive));
                vcvtnq_s32_f32(vmulq_f32(value, factor))
            } else {
                vcvtnq_s32_f32(value)
            };
        }
        // Steps fit 16 bits, `Post::new` saw to it: their lower halves are enough.
        let halves = |a: int32x4_t, b: int32x4_t| {
            vuzp1q_s16(vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b))
        };
        let mut bytes =
            vqmovn_high_s16(vqmovn_s16(halves(steps[0], steps[1])), halves(steps[2], steps[3]));
        if ACTIVATION == RELU {
            bytes = vmaxq_s8(bytes, vdupq_n_s8(0));
        }
        bytes
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn floats(lanes: &[f32; LANES]) -> [float32x4_t; 4] {
    // SAFETY: sixteen values.
    let load = |quarter: usize| unsafe { vld1q_f32(lanes.as_ptr().add(4 * quarter)) };
    [load(0), load(1), load(2), load(3)]
}
