//! The kernels of `src/vision` and of `src/watchlist`, by themselves: see `run`.

#[path = "../../src/frame.rs"]
pub mod frame;
#[path = "../../src/vision/engine/kernels/mod.rs"]
pub mod kernels;
#[path = "../../src/vision/resample/mod.rs"]
pub mod resample;
#[path = "../../src/watchlist/kernel.rs"]
pub mod search;
#[path = "../../src/template.rs"]
pub mod template;
