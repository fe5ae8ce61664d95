//! The kernels of `src/vision/engine`, by themselves: see `run`.

#[path = "../../src/vision/engine/kernels/mod.rs"]
pub mod kernels;
