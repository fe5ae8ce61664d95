//! AArch64 with Advanced SIMD: with the dot product of bytes and without it, and the parts that
//! both share.
//!
//! Stored bytes are the steps themselves: the dot product takes signed bytes.

mod dot;
mod finish;
mod plain;
mod pointwise;
mod shared;
mod windows;

use super::NetworkKernels;

/// The kernels of this processor, the faster ones first. Advanced SIMD is part of every AArch64
/// processor that runs Linux.
pub(super) fn detect() -> impl Iterator<Item = &'static dyn NetworkKernels> {
    dot::detect().into_iter().chain([&plain::NeonNetworks as &dyn NetworkKernels])
}
