//! The kernels of `src/vision`, by themselves: see `run`.

#[path = "../../src/frame.rs"]
pub mod frame;
#[path = "../../src/vision/engine/kernels/mod.rs"]
pub mod kernels;
#[path = "../../src/vision/resample/mod.rs"]
pub mod resample;
