//! The part of a thread's stack that its last calls have left.
//!
//! What a function had in its frame stays there until another call happens to reach as deep. A face
//! is looked at in deeper calls than an empty frame, so that where it was could stay for hours.

use std::mem::MaybeUninit;

use super::wipe_at;

/// How far below its caller [`wipe_stack`] reaches. Looking at a face takes 83 KB in a development
/// build; a test sees that it never takes more than this.
pub const STACK_WIPED: usize = 256 << 10;

/// Overwrites what functions have left on the stack that the caller has called before, as far as
/// [`STACK_WIPED`]. What the caller itself has in its frame stays: it must not have been inlined
/// what is to be forgotten.
#[inline(never)]
pub fn wipe_stack() {
    let mut left = MaybeUninit::<[u8; STACK_WIPED]>::uninit();
    // SAFETY: the range is this variable, which nobody reads.
    unsafe { wipe_at(left.as_mut_ptr().cast(), STACK_WIPED) };
}
