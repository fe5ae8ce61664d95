//! Placeholder.
use super::Kernels;
pub(super) fn detect() -> Option<&'static dyn Kernels> { None }
