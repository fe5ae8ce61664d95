//! Raw bindings to `linux/videodev2.h`, a stand-in for the crate of the same name that runs bindgen in its build script.
//!
//! One file per architecture, written by `generate.sh`; each asserts the kernel's struct sizes and offsets at compile time.
//! 64-bit files hold for every 64-bit little-endian Linux with the same layout; other architectures are a compile error
//! rather than a wrong layout.
#![allow(
    clippy::all,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn
)]

#[cfg(target_arch = "x86_64")]
include!("x86_64.rs");
#[cfg(target_arch = "aarch64")]
include!("aarch64.rs");
#[cfg(target_arch = "arm")]
include!("arm.rs");

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
compile_error!("no V4L2 bindings for this architecture: add it to vendor/v4l2-sys-mit/generate.sh");
