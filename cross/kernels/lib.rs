//! The kernels of `src/vision/engine` and of `src/watchlist`, by themselves: see `run`.

#[path = "../../src/vision/engine/kernels/mod.rs"]
pub mod kernels;
#[path = "../../src/watchlist/kernel.rs"]
pub mod search;
#[path = "../../src/template.rs"]
pub mod template;
